"""Compiled inner loops of the derivative operators, written in Python and made for the processor at hand."""

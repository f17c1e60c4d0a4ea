"""Pointwise functions as graphs of scalar expressions: traced from torch code, differentiated, to be compiled."""

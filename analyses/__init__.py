"""Runnable analyses: the only package that imports both solvers and dynamics."""

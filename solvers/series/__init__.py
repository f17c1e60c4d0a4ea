"""Truncated Taylor series that behave as tensors."""

from solvers.series.series import Series as Series

__all__ = ["Series"]

"""How much of a loss is rounding, which a line search must not take for a rise or a fall."""

from __future__ import annotations

import math

import torch

LEAST = {torch.float64: 1e-10, torch.float32: 1e-6}
"""Rounding of a loss that is a sum over many points, relative."""
MOST = 1e-2


def loss_rounding(value: float, dtype: torch.dtype, caution: float = 1.0) -> float:
    r"""Return the relative rounding of a sum of squares whose terms are differences of numbers of order 1 to 10.

    $$ f = \sum r_i^2, \quad |\Delta r| = \delta: \qquad \frac{|\Delta f|}{f} \le \frac{2 |r| |\Delta r|}{f}
       = \frac{2 \delta}{\sqrt f}, \qquad \delta = 32 \varepsilon $$

    The residual of an equation is what is left of terms that cancel, so its error is theirs and does not fall with it.
    At f = 1e-18 that hides a decrease of 1e-5 of the loss, while slopes, which are known to the same relative error,
    still tell a descent. Never below 1e-10 (1e-6 in single precision), the rounding of the sum; nor above 0.01.

    Args:
        value: loss f.
        dtype: that it was computed in.
        caution: factor, where the terms are known to be larger.

    Returns:
        Share of the loss.

    Example:
        >>> [round(loss_rounding(value, torch.float64), 10) for value in (1.0, 1e-18)]
        [1e-10, 1.42109e-05]
    """
    least = LEAST.get(dtype, LEAST[torch.float32])
    share = 64 * torch.finfo(dtype).eps / math.sqrt(value) if value > 0 else least
    return min(caution * max(share, least), MOST)

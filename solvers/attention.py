"""Residual-based attention: point weights that follow the residual's history, state in, state out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ResidualBasedAttention:
    """lambda_i <- gamma lambda_i + eta |r_i| / max_j |r_j|, and the interior loss is mean((lambda_i r_i)^2).

    The weight stands inside the square (the paper's form), so a point's effective weight is lambda^2. From lambda = 0
    the weights stay in [0, eta / (1 - gamma)]; their memory is 1 / (1 - gamma) steps. In the first steps lambda is
    nearly zero and the boundary terms dominate every gradient.

    Args:
        gamma: decay, in [0, 1).
        eta: growth, positive.

    Raises:
        ValueError: gamma or eta out of range.

    References:
        S. J. Anagnostopoulos et al., arXiv 2307.00379 and 2403.18494.

    Example:
        >>> rule = ResidualBasedAttention(gamma=0.5, eta=1.0)
        >>> rule.update(rule.start(torch.ones(2, 1)), torch.tensor([[1.0], [-2.0]])).tolist()
        [0.5, 1.0]
    """

    gamma: float = 0.999
    eta: float = 0.001

    def __post_init__(self):
        if not 0 <= self.gamma < 1 or not 0 < self.eta < float("inf"):
            raise ValueError(f"expected 0 <= gamma < 1 and eta > 0, came gamma={self.gamma}, eta={self.eta}")

    def start(self, residual: Tensor) -> Tensor:
        """Return the initial weights, zero.

        Args:
            residual: (n, equations), for the shape, dtype and device.

        Returns:
            (n,) zeros.
        """
        return residual.new_zeros(len(residual))

    @torch.no_grad()
    def update(self, weights: Tensor, residual: Tensor) -> Tensor:
        """Return the next weights; the residual of a system counts with the sum of its absolute components.

        Args:
            weights: (n,) lambda.
            residual: (n, equations) at this step's parameters.

        Returns:
            (n,) new lambda.
        """
        size = residual.abs().sum(dim=1)
        largest = size.max()
        return self.gamma * weights + self.eta * (size / largest if largest > 0 else size)

"""Random features made odd, their differences taken before any sum."""

from __future__ import annotations

from torch import Tensor, nn

from solvers.networks.random_features import RandomFeatures


class OddFeatures(nn.Module):
    """u(x) = sum_j c_j [s(w_j . x + b_j) - s(b_j - w_j . x)], with w_j, b_j drawn once and only c free.

    `Odd(RandomFeatures(...))` is the same function, summed in another order: there the even halves of all features are
    added up first, c_j times 1 where a feature is saturated, and cancel afterwards. Here the rounding is that of the
    features alone, the same for every c: u is linear in c to the last digits, as the Jacobian says it is, and least
    squares ends at its own rounding (errors of 1e-16 instead of 1e-12 on a self-similar profile).

    Args:
        features: whose inner weights and coefficients these are.

    Raises:
        ValueError: no random features.

    Example:
        >>> import torch
        >>> u = OddFeatures(RandomFeatures(1, 50, scale=10.0))
        >>> _ = nn.init.ones_(u.features.coefficient)
        >>> x = torch.tensor([[0.3], [-0.3], [0.0]], dtype=torch.float64)
        >>> abs((u(x)[0] + u(x)[1]).item()) < 1e-13, u(x)[2].item() == 0
        (True, True)
    """

    def __init__(self, features: RandomFeatures):
        super().__init__()
        if not isinstance(features, RandomFeatures):
            raise ValueError(
                f"expected RandomFeatures, came {type(features).__name__}: write OddFeatures(RandomFeatures(1, 200)), "
                f"and Odd(network) for any other network"
            )
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        """Return u at x.

        Args:
            x: (n, inputs).

        Returns:
            (n, 1).
        """
        return (self.features.features(x) - self.features.features(-x)) @ self.features.coefficient

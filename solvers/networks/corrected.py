"""A trained network and a second stage that corrects it."""

from __future__ import annotations

from torch import Tensor, nn


class Corrected(nn.Module):
    """The sum u(x) = f(x) + g(x) of a network that stays as it is and a correction that is trained.

    What the first stage missed is small and has its own scales; a second network, or random features whose outer
    coefficients `GaussNewton` finds, starts there with all its digits. Correct f again and again by correcting the sum.

    Take `TangentProp(backend="taylor")` where the last digits count: the Jacobian is made from torch's series, and
    compiled code rounds saturated features otherwise, by eps over their small derivatives. Least squares then builds on
    differences that are not there (errors of 1e-12 instead of 1e-16 on a self-similar profile).

    Args:
        network: f, whose parameters are frozen here.
        correction: g, such as `OddFeatures(RandomFeatures(1, 200, scale=10.0))`, whose coefficients begin at 0.

    Raises:
        ValueError: a part that is no module.

    Source: Y. Wang, C.-Y. Lai, J. Comput. Phys. 504 (2024) 112865, multi-stage networks.

    Example:
        >>> import torch
        >>> from solvers.networks.random_features import RandomFeatures
        >>> u = Corrected(nn.Linear(1, 1), RandomFeatures(1, 10))
        >>> [name for name, parameter in u.named_parameters() if parameter.requires_grad]
        ['correction.coefficient']
    """

    def __init__(self, network: nn.Module, correction: nn.Module):
        super().__init__()
        for name, part in (("network", network), ("correction", correction)):
            if not isinstance(part, nn.Module):
                raise ValueError(f"expected {name} as a module, came {type(part).__name__}: give an nn.Module")
        self.network, self.correction = network.requires_grad_(False), correction

    def forward(self, x: Tensor) -> Tensor:
        """Return u at x.

        Args:
            x: (n, axes).

        Returns:
            (n, components).
        """
        return self.network(x) + self.correction(x)

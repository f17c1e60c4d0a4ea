"""Residual-based attention: point weights that follow the residual's history, state in, state out."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

INSIDE, OUTSIDE = "mean((lambda r)^2)", "mean(lambda r^2)"
NORMALIZE, VECTOR = ("max", "minmax"), ("sum", "norm")


@dataclass(frozen=True)
class ResidualBasedAttention:
    """lambda_i <- gamma lambda_i + eta |r_i| / max_j |r_j|, and the interior loss is mean((lambda_i r_i)^2).

    The weight stands inside the square (the paper's form), so a point's effective weight is lambda^2; `inside=False`
    is mean(lambda_i r_i^2), the form of the authors' JAX code. From lambda = 0 the weights stay in [0, eta / (1 -
    gamma)]; their memory is 1 / (1 - gamma) steps. In the first steps lambda is nearly zero and the boundary terms
    dominate every gradient; initialisation 2 avoids that: it takes eta = 1 while all weights are zero, that is in the
    first update, so that lambda_1 = |r| / max |r|.

    Where all |r| are equal there is nothing to stretch, "minmax" does as "max" does: all weights grow by eta, or decay
    where the residual is zero. A row that is not finite counts as zero.

    Args:
        gamma: decay, in [0, 1).
        eta: growth, positive.
        inside: whether lambda stands inside the square of the loss.
        initialisation: 1, or 2 for eta = 1 in the first update.
        normalize: "max" for |r| / max |r|, "minmax" for (|r| - min |r|) / (max |r| - min |r|).
        vector: |r| of a system: "sum" of the absolute components (the paper's cavity) or their Euclidean "norm". The
            loss is the sum of the components' squares for both. For a weight an equation keep a rule an equation.
        form: the loss, stated for the record; follows from `inside`.

    Raises:
        ValueError: gamma or eta out of range, another initialisation, an unknown name.

    Source: S. J. Anagnostopoulos et al., arXiv 2307.00379 and 2403.18494; initialisations, min-max and the form outside
    the square as in the code of both.

    Cost: five passes over n numbers an update.

    Example:
        In any torch loop, weights in, weights out; `solvers.attach(..., points=x, attention=lambda: weights,
        attention_rule=attention)` records them:

        >>> model, x = torch.nn.Linear(1, 1), torch.linspace(-1, 1, 5)[:, None]
        >>> attention, adam = ResidualBasedAttention(initialisation=2), torch.optim.Adam(model.parameters(), lr=0.1)
        >>> weights = attention.start(model(x))
        >>> for _ in range(100):
        ...     residual = model(x) - 3 * x
        ...     weights = attention.update(weights, residual)
        ...     adam.zero_grad()
        ...     attention.loss(weights, residual).backward()
        ...     _ = adam.step()
        >>> round(model.weight.item(), 1), attention.form
        (3.0, 'mean((lambda r)^2)')
    """

    gamma: float = 0.999
    eta: float = 0.001
    inside: bool = True
    initialisation: int = 1
    normalize: str = "max"
    vector: str = "sum"
    form: str = field(init=False, default=INSIDE)

    def __post_init__(self):
        if not 0 <= self.gamma < 1 or not 0 < self.eta < float("inf"):
            raise ValueError(f"expected 0 <= gamma < 1 and eta > 0, came gamma={self.gamma}, eta={self.eta}")
        allowed = {"inside": (True, False), "initialisation": (1, 2), "normalize": NORMALIZE, "vector": VECTOR}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"expected {name} to be one of {values}, came {getattr(self, name)!r}")
        object.__setattr__(self, "form", INSIDE if self.inside else OUTSIDE)

    def start(self, residual: Tensor) -> Tensor:
        """Return the initial weights, zero.

        Args:
            residual: (n, equations) or (n,), for the shape, dtype and device.

        Returns:
            (n,) zeros.
        """
        return residual.new_zeros(len(residual))

    @torch.no_grad()
    def update(self, weights: Tensor, residual: Tensor) -> Tensor:
        """Return the next weights.

        Args:
            weights: (n,) lambda; brought to the residual's device and dtype.
            residual: (n, equations) or (n,) at this step's parameters.

        Returns:
            (n,) new lambda, without a graph.

        Raises:
            ValueError: another number of points than weights.
        """
        _check(weights, residual)
        weights, relative = weights.to(residual), self._relative(residual)
        grown = self.eta * relative
        if self.initialisation == 2:
            grown = torch.where(weights.any(), grown, relative)
        return self.gamma * weights + grown

    def factor(self, weights: Tensor) -> Tensor:
        """Return what the residual is multiplied by before it is squared.

        Args:
            weights: (n,) lambda.

        Returns:
            (n,): lambda inside the square, its root outside.
        """
        return weights if self.inside else weights.sqrt()

    def loss(self, weights: Tensor, residual: Tensor) -> Tensor:
        """Return the loss that `form` states: a mean over points, a sum over equations.

        Args:
            weights: (n,) lambda.
            residual: (n, equations) or (n,), with its graph.

        Returns:
            A scalar.

        Raises:
            ValueError: another number of points than weights.
        """
        _check(weights, residual)
        # As a column: (n,) times (n, 1) would be an (n, n) table, whose mean is a loss of something else.
        factor = self.factor(weights.detach().to(residual))[:, None]
        return (factor * residual.reshape(len(residual), -1)).square().sum() / len(residual)

    def _relative(self, residual: Tensor) -> Tensor:
        """Return |r| between 0 and 1, (n,)."""
        components = residual.reshape(len(residual), -1)
        size = components.abs().sum(dim=1) if self.vector == "sum" else torch.linalg.vector_norm(components, dim=1)
        size = torch.where(size.isfinite(), size, 0)
        largest = size.max()
        if not largest > 0:
            return size
        if self.normalize == "minmax" and (smallest := size.min()) < largest:
            return (size - smallest) / (largest - smallest)
        return size / largest


def _check(weights: Tensor, residual: Tensor) -> None:
    if weights.shape != residual.shape[:1] or not len(weights):
        raise ValueError(
            f"expected weights (n,) and residual (n, equations) of the same n >= 1 points, came "
            f"{tuple(weights.shape)} and {tuple(residual.shape)}: call start(residual) again where the points change"
        )

"""The singular spectrum of a collocation system with what is known of its errors: round-off and truncation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter

import torch
from torch import Tensor

from dynamics.spectra import spectrum_floor
from solvers.collocation import collocation
from solvers.networks import RandomFeatures
from solvers.noise import entry_floor, redraw
from solvers.operators import TangentProp
from solvers.operators.operator import Operator
from solvers.points import Points
from solvers.problems.problem import Problem
from solvers.regression import Regression


@dataclass(frozen=True, eq=False)
class CollocationSpectrum:
    """The spectrum of a solved collocation system; everything is computed when it is first asked for.

    Args:
        regression: the solved system.
        operator: whose derivatives it holds.
        matrix: (operator, points) -> the weighted matrix of the same system, at any points.
        points: its own.
    """

    regression: Regression
    operator: Operator
    matrix: Callable[[Operator, Points], Tensor]
    points: Points

    @classmethod
    def of(
        cls,
        regression: Regression,
        problem: Problem,
        features: RandomFeatures,
        operator: Operator,
        points: Points,
        weights: Mapping[str, float],
        at: Tensor,
    ) -> CollocationSpectrum:
        """Bind a solved system to what it was made of.

        Args:
            regression: the solved system.
            problem: equation and conditions.
            features: M features.
            operator: takes their derivatives.
            points: collocation points.
            weights: term -> factor of its squared residual, all terms.
            at: (features, 1) that a nonlinear residual was linearised at.

        Returns:
            Its spectrum.
        """

        def matrix(derivatives: Operator, where: Points) -> Tensor:
            return collocation(problem, features, derivatives, where, weights, at).matrix

        return cls(regression, operator, matrix, points)

    @property
    def values(self) -> Tensor:
        """(features,) singular values of the weighted system, largest first."""
        return self.regression.singular_values

    @property
    def svd_floor(self) -> float:
        """Error of each singular value from the SVD's own round-off."""
        return float(spectrum_floor(self.values.cpu().numpy(), self.regression.shape))

    @cached_property
    def entry_floor(self) -> float:
        """Error of each singular value from round-off in the entries, measured at the cost of four assemblies."""
        return entry_floor(redraw(lambda at: self.matrix(self.operator, at), self.points))

    @property
    def floor(self) -> float:
        """Error of each singular value: below it they are round-off."""
        return self.svd_floor + self.entry_floor

    @cached_property
    def exact_values(self) -> Tensor:
        """(features,) singular values of the same system under exact derivatives."""
        return self.values if self.operator.exact else torch.linalg.svdvals(self._exact)

    @cached_property
    def truncation(self) -> Tensor:
        r"""(features,) change of each singular value by the truncation of the operator, to first order.

        $$ |u_k^T (A - A_{exact}) v_k| $$

        with the singular vectors of A; 0 for exact operators, NaN where the value lies below its floor, since the
        vectors there are those of the noise.
        """
        if self.operator.exact:
            return torch.zeros_like(self.values)
        matrix = self.matrix(self.operator, self.points)
        left, _, right = torch.linalg.svd(matrix, full_matrices=False, driver="gesvd" if matrix.is_cuda else None)
        change = ((matrix - self._exact).T @ left * right.T).sum(dim=0).abs()
        return torch.where(self.values > self.floor, change, torch.nan)

    @cached_property
    def _exact(self) -> Tensor:
        return self.matrix(TangentProp(), self.points)

    def row(self) -> dict[str, object]:
        """Return what a trajectory's `/spectra` records of it.

        Returns:
            Variable -> number or array; truncation and exact values only where the operator is not exact.
        """
        start = perf_counter()
        found = {"floor": self.svd_floor, "entry_floor": self.entry_floor}
        if not self.operator.exact:
            found["truncation"] = self.truncation.cpu().numpy()
            found["exact_singular_value"] = self.exact_values.cpu().numpy()
        seconds = self.regression.spectrum_seconds + perf_counter() - start
        return {"singular_value": self.values.cpu().numpy(), **found, "seconds": seconds}

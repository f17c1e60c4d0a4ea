"""Gauss-Newton by a singular value decomposition: what least squares reaches when nothing is squared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from solvers.optimizers.optimizer import Objective, StepInfo
from solvers.optimizers.options import NamedOptions


@dataclass(eq=False)
class GaussNewtonState:
    """The vector.

    Args:
        vector: (parameters,) flat buffer.
    """

    vector: Tensor

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays, for a checkpoint.

        Returns:
            Copies, by name; `GaussNewton.from_arrays` takes them.
        """
        return {"vector": self.vector.cpu().numpy().copy()}


@dataclass(frozen=True)
class GaussNewton(NamedOptions):
    r"""Undamped Gauss-Newton steps s = -J^+ r on the scaled residual r, whose sum of squares is the loss.

    Columns are brought to norm 1 first, the pseudo-inverse leaves out singular values below `rcond` of the largest, and
    the step is halved until the loss falls. J^T J is never formed and no gradient is taken: the residual goes down to
    its own rounding where methods that see the loss stop at the root of it. For parameters that the residual is nearly
    linear in, such as the outer coefficients of random features; far from a solution of a deep network the steps are
    too long to be of use.

    The scaling decides how far that goes: random features differ by many orders in size, and without it those that are
    small in every row count as rounding.

    A coefficient that lies on its bound stays there, in the Jacobian too, and the steps lead to the best fit with it on
    the bound. Declare wider bounds where it has to come off.

    The run ends where the loss falls no more, or where a whole step takes off less than the share `tolerance`: without
    that the last steps gain a few per cent of the rounding each.

    Args:
        rcond: smallest singular value that counts, over the largest.
        halvings: of one step.
        tolerance: share of the loss that a whole step must take off; 0 takes every descent.

    Raises:
        ValueError: an unknown option, or a value out of range.

    Source: A. Bjorck, Numerical Methods for Least Squares Problems, SIAM 1996, section 9.2.

    Cost: a Jacobian and a singular value decomposition a step: 14 rows p^2 flops for p parameters.

    Example:
        >>> from types import SimpleNamespace
        >>> A, b = torch.tensor([[1.0, 0.0], [0.0, 1e-9]]), torch.tensor([1.0, 2e-9])
        >>> def line(x):
        ...     r = A @ x - b
        ...     return SimpleNamespace(value=r @ r, scaled_residual=r, jacobian=A)
        >>> optimizer, vector = GaussNewton(rcond=1e-12), torch.zeros(2)
        >>> state, info = optimizer.step(line, optimizer.init(vector))
        >>> vector.tolist(), info.step_length
        ([1.0, 2.0], 1.0)
    """

    many_evaluations: ClassVar[bool] = True
    records: ClassVar[tuple[str, ...]] = ("step_length",)

    rcond: float = 1e-15
    halvings: int = 20
    tolerance: float = 0.0

    def __post_init__(self):
        self._require(["rcond"], 0 <= self.rcond < 1, "a share of the largest singular value, below 1")
        self._require(["halvings"], int(self.halvings) == self.halvings >= 0, "a whole number of at least 0")
        self._require(["tolerance"], 0 <= self.tolerance < 1, "a share of the loss, below 1")

    def init(self, vector: Tensor) -> GaussNewtonState:
        """Return the state at the start.

        Args:
            vector: (parameters,) flat buffer; it is updated in place.

        Returns:
            The state.
        """
        return GaussNewtonState(vector)

    def from_arrays(self, arrays: Mapping[str, np.ndarray], vector: Tensor) -> GaussNewtonState:
        """Return the state that `GaussNewtonState.to_arrays` has written.

        Args:
            arrays: from it.
            vector: (parameters,) flat buffer, which gets the stored values.

        Returns:
            The state.
        """
        vector.copy_(torch.from_numpy(np.asarray(arrays["vector"])))
        return GaussNewtonState(vector)

    @torch.no_grad()
    def step(self, objective: Objective, state: GaussNewtonState) -> tuple[GaussNewtonState, StepInfo]:
        """Make one step.

        Args:
            objective: vector -> evaluation with value, scaled_residual and jacobian.
            state: from `init` or the last step; its vector is updated in place.

        Returns:
            The state and what happened.
        """
        evaluation = objective(state.vector)
        value = _value(evaluation)
        if not math.isfinite(value):
            return state, StepInfo(stopped="the loss is not finite: nothing to descend on")
        jacobian = evaluation.jacobian.detach().double()
        if not torch.isfinite(jacobian).all():
            return state, StepInfo(stopped="the Jacobian is not finite: no step to be had from it")
        step = -self._solve(jacobian, evaluation.scaled_residual.detach().double()).to(state.vector)
        start = state.vector.clone()
        for halving in range(self.halvings + 1):
            length = 0.5**halving
            state.vector.copy_(torch.add(start, step, alpha=length))
            found = _value(objective(state.vector))
            if found < value:
                return state, StepInfo(step_length=length, stopped=self._ended(length, found, value))
        state.vector.copy_(start)
        return state, StepInfo(stopped=f"the loss falls no more along the Gauss-Newton step, halved {halving} times")

    def _ended(self, length: float, found: float, value: float) -> str | None:
        """Return why the run ends after a descent, or None."""
        if length == 1 and found > (1 - self.tolerance) * value:
            return f"a whole step takes off less than {self.tolerance:g} of the loss"
        return None

    def _solve(self, jacobian: Tensor, residual: Tensor) -> Tensor:
        """Return J^+ r, of the least-squares solutions the shortest in units of the columns."""
        sizes = torch.linalg.vector_norm(jacobian, dim=0)
        sizes = torch.where(sizes > 0, sizes, 1.0)
        left, values, right = torch.linalg.svd(jacobian / sizes, full_matrices=False)
        kept = values > self.rcond * values[0]
        return right[kept].T @ ((left[:, kept].T @ residual) / values[kept]) / sizes


def _value(evaluation: Any) -> float:
    """Return the loss; with its graph, which the Jacobian reads where a coefficient lies on its bound."""
    with torch.enable_grad():
        return float(evaluation.value.detach())

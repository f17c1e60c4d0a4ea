"""The damped normal equations of a least-squares step, from the smaller side of the Jacobian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dynamics.tall import available_memory
from solvers.optimizers.optimizer import Objective

FORMS = ("auto", "primal", "dual")
EPS = torch.finfo(torch.float64).eps
AHEAD = 0.1
"""Share of the step over which the curvature of the residual is measured."""


@dataclass(frozen=True, eq=False)
class DampedStep:
    """A step of the damped linear model.

    Args:
        step: (parameters,) float64.
        damping: mu that it was computed with.
        change: J s, (rows,) float64.
        promised: |r|^2 - |r + J s|^2, what the model says of this very step, its rounding included.
        factor: Cholesky factor of the damped matrix.
    """

    step: Tensor
    damping: float
    change: Tensor
    promised: float
    factor: Tensor


@dataclass(eq=False)
class NormalEquations:
    r"""Steps (J^T J + mu I) s = -J^T r for any mu, from one Gram matrix.

    $$ \text{primal: } s = -(J^T J + \mu I)^{-1} J^T r, \qquad \text{dual: } s = -J^T (J J^T + \mu I)^{-1} r $$

    Args:
        form: "primal" or "dual".
        matrix: J^T J, (parameters, parameters), or J J^T, (rows, rows), float64.
        gradient: (parameters,) 2 J^T r, float64.
        residual: (rows,) r, float64.
        objective: asked for J^T v in the dual form.
        vector: (parameters,) flat buffer, at the point that J and r belong to whenever a step is asked for.
        jacobian: (rows, parameters) J, float64, in the primal form.

    Cost: a Cholesky factorisation n^3 / 3 a step, n the size of the matrix, which is kept.
    """

    form: str
    matrix: Tensor
    gradient: Tensor
    residual: Tensor
    objective: Objective
    vector: Tensor
    jacobian: Tensor | None = None

    @classmethod
    def of(cls, objective: Objective, vector: Tensor, form: str, memory_fraction: float) -> NormalEquations:
        """Return the equations at the vector.

        Args:
            objective: vector -> evaluation with `scaled_residual` and `gradient`, and `jacobian` (primal) or `gram` and
                `transposed` (dual).
            vector: (parameters,) flat buffer.
            form: one of `FORMS`; "auto" is dual where there are fewer rows than parameters.
            memory_fraction: of the memory at hand that they may take.

        Returns:
            The equations.

        Raises:
            ValueError: matrices that would take more.
        """
        evaluation = objective(vector)
        residual = evaluation.scaled_residual.detach().double()
        gradient = evaluation.gradient.detach().double()
        rows, columns = len(residual), len(vector)
        if form == "auto":
            form = "dual" if rows < columns else "primal"
        _require_memory(form, rows, columns, vector.device, memory_fraction)
        if form == "dual":
            return cls(form, evaluation.gram.detach().double(), gradient, residual, objective, vector)
        jacobian = evaluation.jacobian.detach().double()
        return cls(form, jacobian.T @ jacobian, gradient, residual, objective, vector, jacobian)

    @cached_property
    def trace(self) -> float:
        """Sum of the squares of the Jacobian's entries, the same in both forms."""
        return float(self.matrix.trace())

    def step(self, damping: float) -> DampedStep:
        """Return the step, with the damping raised as far as the factorisation needs it.

        Args:
            damping: mu.

        Returns:
            The step; not finite where the matrix is not.
        """
        trace = self.trace
        if not math.isfinite(trace):
            nothing = torch.full_like(self.gradient, math.nan)
            return DampedStep(nothing, damping, self.residual, math.nan, self.matrix)
        factor, failed = self._factor(damping)
        while failed and damping < trace:
            # The matrix is positive semidefinite up to its rounding, eps trace: a few times that is always enough.
            damping = max(10 * damping, EPS * trace)
            factor, failed = self._factor(damping)
        step, change = self._solved(factor, self.residual)
        return DampedStep(step, damping, change, -float(self.gradient @ step) - float(change @ change), factor)

    def acceleration(self, damped: DampedStep, ahead: Tensor) -> Tensor:
        r"""Return the second derivative of the damped path along a step.

        $$ a = -(J^T J + \mu I)^{-1} J^T r_{ss}, \qquad r_{ss} \approx \frac{2}{h} \left( \frac{r(x + h s) - r(x)}{h}
           - J s \right), \quad h = 0.1 $$

        Args:
            damped: the step s.
            ahead: (rows,) r(x + h s).

        Returns:
            (parameters,) float64.
        """
        curved = 2 / AHEAD * ((ahead.detach().double() - self.residual) / AHEAD - damped.change)
        return self._solved(damped.factor, curved)[0]

    def _solved(self, factor: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Return s = -(J^T J + mu I)^-1 J^T v and J s."""
        if self.jacobian is not None:
            step = -torch.cholesky_solve((self.jacobian.T @ right)[:, None], factor)[:, 0]
            return step, self.jacobian @ step
        dual = -torch.cholesky_solve(right[:, None], factor)[:, 0]
        step = self.objective(self.vector).transposed(dual.to(self.vector.dtype))
        return step.detach().double(), self.matrix @ dual

    def _factor(self, damping: float) -> tuple[Tensor, bool]:
        damped = self.matrix.clone()
        damped.diagonal().add_(damping)
        factor, info = torch.linalg.cholesky_ex(damped)
        return factor, bool(info > 0)


def _require_memory(form: str, rows: int, columns: int, device: torch.device, fraction: float) -> None:
    """Refuse more than a share of the memory at hand: for the Gram matrix, its damped copy and the factor."""
    size = rows if form == "dual" else columns
    needed = 8 * (3 * size**2 + (rows * columns if form == "primal" else 0))
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()
    if needed > fraction * free:
        other = "primal" if form == "dual" else "dual"
        smaller = f"form={other!r}, " if (columns if form == "dual" else rows) < size else ""
        raise ValueError(
            f"Levenberg-Marquardt, {form}: expected matrices of at most {fraction * free / 2**30:.3g} GiB "
            f"(memory_fraction = {fraction:g} of what is free), came {needed / 2**30:.3g} GiB for {rows:,} rows and "
            f"{columns:,} parameters: use {smaller}fewer points, a smaller network, or LBFGS(), which needs no matrix"
        )

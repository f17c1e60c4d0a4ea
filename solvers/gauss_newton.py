"""Gauss-Newton over the outer coefficients: one linear solve where the residual is linear, else several."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from solvers.collocation import FeatureTerm, System, linearise
from solvers.regression import Regression, solve_regression

SUFFICIENT = 1e-4
"""Part of the decrease that the linear model promises which a step must bring (Armijo's constant)."""
HALVINGS = 20
FLAT = 1e-4
"""A full step that lowers the residual by less than this, relatively, is the last."""
LINEAR = 100.0
"""A residual further than this many times round-off from what its linearisation promised is not linear."""
NOISE = 10.0
"""A step that changes the residual by no more than this many times its round-off is the last."""


@dataclass(frozen=True, eq=False)
class Iterate:
    """One linearised solve, and where it led.

    Args:
        system: linearised at `at`.
        at: (features, 1) coefficients before the step.
        regression: its solution.
        coefficients: (features, 1) after the step.
        residuals: term -> unweighted residual (rows, 1) there.
        length: part of the step that was taken; 1 in full, 0 where none lowered the residual.
        update_norm: 2-norm of the change of the coefficients.
        evaluations: of the residual so far.
        stopped: why it is the last: "linear", "converged", "round-off", "stuck" or "iterations"; None before.
    """

    system: System
    at: Tensor
    regression: Regression
    coefficients: Tensor
    residuals: Mapping[str, Tensor]
    length: float
    update_norm: float
    evaluations: int
    stopped: str | None


def gauss_newton(
    terms: tuple[FeatureTerm, ...],
    weights: Mapping[str, float],
    start: Tensor,
    *,
    method: str = "svd",
    rcond: float | None = None,
    iterations: int = 50,
) -> Iterator[Iterate]:
    """Minimise sum_terms weight ||R_term(Phi c)||^2 over c, by linearised solves with a line search.

    c <- c + a (c' - c), with c' = argmin ||J c' - (J c - R(c))||. A linear residual needs one solve, wherever it
    starts. Otherwise a is the first of 1, 1/2, 1/4, ... that brings 1e-4 of the decrease that the linear model
    promises. It stops

    * "round-off": the full step changes the residual by ||J (c' - c)|| <= 10 eps || |J| |c| ||, ten times what rounding
      leaves in it: what follows is a walk among solutions that are equally good;
    * "converged": above that, a full step has lowered its 2-norm by less than 1e-4 of itself, or none lowers it and the
      linear model promises no more than that either;
    * "stuck": no step lowers it though the linear model promises more: it does not describe the residual;
    * "iterations": their number is used up.

    Args:
        terms: of a problem.
        weights: term -> factor of its squared residual.
        start: (features, 1): where a nonlinear residual starts.
        method: of `solve_regression`.
        rcond: of `solve_regression`.
        iterations: the most that may be done.

    Yields:
        One `Iterate` a solve.

    Raises:
        ValueError: a residual that is not finite at the start.

    Source: J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed., 10.3.

    Cost: a `solve_regression` each; the features' derivatives are taken once, before.
    """
    if all(term.is_linear() for term in terms):
        solved = _linear(terms, weights, start, method, rcond)
        if _kept(solved, weights):
            yield solved
            return
        start = solved.coefficients
    residuals, evaluations = _residuals(terms, start), 1
    size, coefficients = _size(residuals, weights), start
    if not math.isfinite(size):
        raise ValueError(
            "the residual is not finite at the features' own coefficients, where Gauss-Newton starts: set "
            "features.coefficient to where it is finite"
        )
    for count in range(1, iterations + 1):
        system = linearise(terms, weights, coefficients)
        regression = solve_regression(system.matrix, system.right, method, rcond)
        step = regression.coefficients - coefficients
        promised = size**2 - float((system.matrix @ regression.coefficients - system.right).square().sum())
        at, before, length = coefficients, size, 0.0
        for halving in range(HALVINGS + 1):
            trial = 0.5**halving
            attempt = coefficients + trial * step
            found = _residuals(terms, attempt)
            evaluations += 1
            reached = _size(found, weights)
            if before**2 - reached**2 > SUFFICIENT * trial * (2 - trial) * max(promised, 0.0):
                coefficients, residuals, size, length = attempt, found, reached, trial
                break
        stopped = "iterations" if count == iterations else None
        if float(torch.linalg.vector_norm(system.matrix @ step)) <= NOISE * _round_off(system, coefficients):
            stopped = "round-off"
        elif length == 1.0 and before - size < FLAT * before:
            stopped = "converged"
        elif length == 0.0:
            stopped = "converged" if promised <= FLAT * before**2 else "stuck"
        moved = length * float(torch.linalg.vector_norm(step))
        yield Iterate(system, at, regression, coefficients, residuals, length, moved, evaluations, stopped)
        if stopped:
            return


def _kept(solved: Iterate, weights: Mapping[str, float]) -> bool:
    """Return whether the residual is what the linear system promises: what bends little is seen only far from 0."""
    found = torch.cat([weights[name] ** 0.5 * part for name, part in solved.residuals.items()])
    promised = solved.system.matrix @ solved.coefficients - solved.system.right
    right = solved.system.right
    allowed = _round_off(solved.system, solved.coefficients)
    allowed += torch.finfo(right.dtype).eps * float(torch.linalg.vector_norm(right))
    return float(torch.linalg.vector_norm(found - promised)) <= LINEAR * allowed


def _linear(terms, weights, start, method, rcond) -> Iterate:
    # At 0 the right side is f itself, without the round-off of J c.
    system = linearise(terms, weights, torch.zeros_like(start))
    regression = solve_regression(system.matrix, system.right, method, rcond)
    found = regression.coefficients
    moved = float(torch.linalg.vector_norm(found))
    return Iterate(
        system, torch.zeros_like(start), regression, found, _residuals(terms, found), 1.0, moved, 1, "linear"
    )


def _residuals(terms: tuple[FeatureTerm, ...], coefficients: Tensor) -> dict[str, Tensor]:
    return {term.name: term.residual(coefficients) for term in terms}


def _round_off(system: System, coefficients: Tensor) -> float:
    """Return eps || |J| |c| ||, what rounding in J c leaves in the residual."""
    return torch.finfo(coefficients.dtype).eps * float(
        torch.linalg.vector_norm(system.matrix.abs() @ coefficients.abs())
    )


def _size(residuals: Mapping[str, Tensor], weights: Mapping[str, float]) -> float:
    return math.sqrt(sum(weights[name] * float(part.square().sum()) for name, part in residuals.items()))

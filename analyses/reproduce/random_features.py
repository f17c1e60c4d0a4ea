"""Random features under exact derivatives and under finite differences: spectra, entropies, residuals, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from torch import nn

from dynamics.certified import certified_singular_values
from dynamics.certified_features import certified_feature_matrix
from dynamics.entropy import truncated_entropy
from solvers import AutoDiff, FiniteDifference, Points, RandomFeatures, Sine, problems, solve_least_squares
from solvers.problems import Problem

PROBLEMS: dict[str, Callable[[], Problem]] = {
    "poisson-1d": problems.poisson_1d,
    "biharmonic-1d": problems.biharmonic_1d,
}
ACTIVATIONS = {"tanh": nn.Tanh, "sine": Sine}
STEPS = {"poisson-1d": (1e-1, 1e-2, 1e-3, 1e-4), "biharmonic-1d": (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)}
"""A fourth difference of step 1e-4 has no digit left in float64: the operator refuses it."""

FEATURES = 100
SCALE = 1.0


@dataclass(frozen=True)
class Solve:
    """One solve: what was set, and what came out.

    Args:
        problem: its name.
        activation: its name.
        seed: of the features.
        step: of the finite differences, None for exact derivatives.
        values: singular values, largest first.
        floor: below it they are round-off.
        residual: root mean square of the system's own residual.
        error: relative L2 error off the points.
    """

    problem: str
    activation: str
    seed: int
    step: float | None
    values: np.ndarray
    floor: float
    residual: float
    error: float

    def entropy(self, cut: float, normalize: str | None = "log_kept") -> float:
        """Return H(a).

        Args:
            cut: a.
            normalize: as `truncated_entropy`.

        Returns:
            A number.
        """
        return float(truncated_entropy(self.values, cut, normalize=normalize)[0])

    def kept(self, cut: float) -> int:
        """Return K(a).

        Args:
            cut: a.

        Returns:
            A count.
        """
        return int(truncated_entropy(self.values, cut)[1])

    @property
    def relative_floor(self) -> float:
        """The floor over the largest singular value."""
        return self.floor / float(self.values[0])


def solve_all(seeds: int, advance: Callable[[str], None] = lambda what: None) -> list[Solve]:
    """Solve every combination of problem, activation and derivative for every seed.

    Args:
        seeds: how many, from 0.
        advance: called with a description before the solves of each seed.

    Returns:
        The solves.

    Cost: about 20 ms a solve, 22 solves a seed.
    """
    solves = []
    for problem in PROBLEMS:
        for activation in ACTIVATIONS:
            for seed in range(seeds):
                advance(f"{problem}, {activation}, seed {seed}")
                solves += [_solve(problem, activation, seed, step) for step in (None, *STEPS[problem])]
    return solves


def _features(activation: str, seed: int) -> RandomFeatures:
    return RandomFeatures(1, FEATURES, ACTIVATIONS[activation], SCALE, seed=seed)


def _solve(problem: str, activation: str, seed: int, step: float | None) -> Solve:
    operator = AutoDiff() if step is None else FiniteDifference(step)
    found = solve_least_squares(PROBLEMS[problem](), _features(activation, seed), operator)
    values = found.singular_values.numpy()
    return Solve(problem, activation, seed, step, values, found.floor, found.residual, found.rel_l2)


def pairs(solves: Iterable[Solve], problem: str, step: float, activation: str = "tanh") -> list[tuple[Solve, Solve]]:
    """Return (exact, difference) of each seed.

    Args:
        solves: from `solve_all`.
        problem: its name.
        step: of the differences.
        activation: its name.

    Returns:
        One pair a seed.
    """
    own = [s for s in solves if s.problem == problem and s.activation == activation]
    exact = {s.seed: s for s in own if s.step is None}
    return [(exact[s.seed], s) for s in own if s.step == step]


def agreeing(first: np.ndarray, second: np.ndarray, tolerance: float = 0.01) -> int:
    """Return how many leading singular values agree before the first that does not.

    Args:
        first: singular values, largest first.
        second: others.
        tolerance: relative.

    Returns:
        A count.

    Example:
        >>> agreeing(np.array([1.0, 0.5, 0.1]), np.array([1.001, 0.5, 0.2]))
        2
    """
    count = min(len(first), len(second))
    apart = np.abs(second[:count] / first[:count] - 1) > tolerance
    return int(np.argmax(apart)) if apart.any() else count


@dataclass(frozen=True)
class Unrounded:
    """The same system with entries in multiprecision.

    Args:
        values: its singular values, computed in multiprecision too, largest first.
        residual: of the least-squares solve after its entries were rounded to float64, each once: root mean square.
    """

    values: np.ndarray
    residual: float


def unrounded(problem: str, seed: int, step: float | None, activation: str = "tanh") -> Unrounded:
    """Return what the same system would be if its entries were not rounded on the way.

    Args:
        problem: its name.
        seed: of the features.
        step: of the differences, which are taken in exact arithmetic too; None for exact derivatives.
        activation: its name.

    Returns:
        Singular values and residual.

    Cost: 13 s.
    """
    features, found = _features(activation, seed), PROBLEMS[problem]()
    points = found.sample(interior=2 * FEATURES, boundary=2, method="grid")
    blocks = [(points.interior, found.partials[0], step), (points.boundary, "", None)]
    if problem == "biharmonic-1d":
        blocks.append((points.boundary, "x", step))

    def entries(digits: int) -> list:
        return [row for block in blocks for row in _unrounded_rows(features, activation, *block, digits)]

    matrix = np.array([[float(entry) for entry in row] for row in entries(40)])
    right = np.concatenate([_solution_rows(found, nodes, letters) for nodes, letters, _ in blocks])
    cut = np.finfo(float).eps * max(matrix.shape)
    coefficients = np.linalg.lstsq(matrix, right, rcond=cut)[0]
    residual = (matrix @ coefficients - right)[: len(points.interior)]
    return Unrounded(certified_singular_values(entries, digits=100), float(np.sqrt(np.mean(residual**2))))


def _unrounded_rows(features: RandomFeatures, activation: str, nodes, letters: str, step: float | None, digits: int):
    weight, bias = features.weight.numpy()[:, 0], features.bias.numpy()
    name = {"sine": "sin"}.get(activation, activation)
    return certified_feature_matrix(weight, bias, nodes.numpy()[:, 0], name, len(letters), step=step, digits=digits)


def _solution_rows(problem: Problem, nodes, letters: str) -> np.ndarray:
    """Return a partial of the solution, the right side of the rows; the sign of the equation plays no part."""
    return AutoDiff().plan(Points(nodes), [letters])(problem.solution)[letters].detach().numpy()

"""How fast networks train under exact derivatives and under finite differences, and the spectra they have meanwhile."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from analyses.reproduce.stacked import train_stack
from dynamics.entropy import truncated_entropy
from solvers import MLP, AutoDiff, FiniteDifference, TangentProp, TwoLayer, problems
from solvers.evaluation import Evaluation
from solvers.objective import Objective
from solvers.operators import Operator
from solvers.optimizers.optimizer import flatten
from solvers.points import Points
from solvers.problems import Problem
from solvers.scoring import Score
from solvers.spectra_probe import Selection, spectrum_of

CUTS = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14)
LEVELS = (0.5, 0.1, 3e-2, 1e-2, 1e-3)
"""Fractions of the first loss under exact derivatives that a run has to reach."""

POINTS = 64
STEPS = 1200
PROBLEMS = {"poisson-1d": problems.poisson_1d, "biharmonic-1d": problems.biharmonic_1d}
NETWORKS: dict[str, tuple[int, Callable[[], nn.Sequential]]] = {
    "two-layer": (1, lambda: TwoLayer(1, 50)),
    "depth-2": (2, lambda: MLP(1, [25] * 2)),
    "depth-4": (4, lambda: MLP(1, [14] * 4)),
    "depth-6": (6, lambda: MLP(1, [11] * 6)),
}
"""Name -> number of hidden layers, and how it is made; the deeper ones have 726, 687 and 694 parameters."""

SAFETY = {"poisson-1d": 0.25, "biharmonic-1d": 0.0025}
"""Rate of gradient descent times sigma_1^2 at the start; stable below 1, but sigma_1 grows twentyfold as the
biharmonic equation is learned: 0.01 still trained the eight seeds tried in float64, 0.03 none of them."""


@dataclass(frozen=True)
class Cell:
    """One setting, trained for all seeds at once.

    Args:
        network: its name in `NETWORKS`.
        problem: its name in `PROBLEMS`.
        dtype: "float32" or "float64".
        optimizer: "adam" or "gradient-descent".
        step: of the finite differences, None for exact derivatives.
    """

    network: str
    problem: str
    dtype: str
    optimizer: str
    step: float | None

    @property
    def operator(self) -> Operator:
        """Takes the derivatives of the spectra."""
        return AutoDiff() if self.step is None else FiniteDifference(step=self.step)


def cells(quick: bool = False) -> Iterator[Cell]:
    """Yield the settings of the study, the exact one before its differences.

    Args:
        quick: one problem, one precision and one step only.

    Yields:
        Two-layer networks under both optimizers with three steps, deeper ones under Adam with two.
    """
    for network in NETWORKS:
        if quick and network == "depth-4":
            continue
        for problem in list(PROBLEMS)[: 1 if quick else None]:
            for dtype in ("float64",) if quick else ("float64", "float32"):
                for optimizer in ("adam", "gradient-descent") if network == "two-layer" else ("adam",):
                    steps = (1e-1,) if quick else (1e-1, 1e-2, 1e-3) if network == "two-layer" else (1e-1, 1e-2)
                    for step in (None, *steps):
                        yield Cell(network, problem, dtype, optimizer, step)


def measure_training(
    seeds: int = 16, quick: bool = False, progress: Callable[[str], None] | None = None
) -> list[dict[str, Any]]:
    r"""Train two-layer and deeper networks under exact derivatives and differences, from the same starts.

    64 equidistant points, tanh; full-batch Adam of rate 1e-3, or gradient descent of rate `SAFETY` / sigma_1^2,
    sigma_1 that of the whole scaled Jacobian at the start under exact derivatives (the loss's Hessian has lambda_max
    about 2 sigma_1^2). Exact trainings run by Taylor propagation, their spectra by automatic differentiation: the two
    agree to round-off. A step that leaves no digit in a precision is refused by the operator; the record says so.

    Args:
        seeds: number of initialisations, shared by all cells with the same network.
        quick: 100 steps of a few cells.
        progress: called with the name of each cell before it runs.

    Returns:
        One record a seed and cell, plain values: the cell's fields, `seed`, `status` (complete, diverged, refused), and
        where it ran `parameters`, `rate`, `loss` at `loss_steps`, `steps_to` (level -> first step, None if never),
        `decades` (log10 of first over last loss), `exact_loss` and `rel_l2` at the end, `spectra` (start, middle, end
        -> sigma_1, floor, entry_floor, and entropy and kept at `CUTS`).

    Raises:
        ValueError: no seed.

    Cost: 7 to 9 minutes on one core, 10 s if quick.

    Example:
        >>> records = measure_training(seeds=1, quick=True)
        >>> sorted({record["network"] for record in records})
        ['depth-2', 'depth-6', 'two-layer']
    """
    if seeds < 1:
        raise ValueError(f"expected at least 1 seed, came {seeds}")
    records: list[dict[str, Any]] = []
    for cell in cells(quick):
        if progress is not None:
            progress(f"{cell.network} {cell.problem} {cell.dtype} {cell.optimizer} step {cell.step}")
        records += _measure(cell, seeds, 100 if quick else STEPS)
    return records


def _measure(cell: Cell, seeds: int, steps: int) -> list[dict[str, Any]]:
    dtype = getattr(torch, cell.dtype)
    problem = PROBLEMS[cell.problem]()
    points = problem.sample(interior=POINTS, method="grid").to(dtype=dtype)
    starts = [_start(cell.network, seed).to(dtype) for seed in range(seeds)]
    own = [{**asdict(cell), "seed": seed} for seed in range(seeds)]
    try:
        cell.operator.plan(points, problem.partials)
    except ValueError as error:
        return [{**record, "status": "refused", "reason": str(error)} for record in own]
    exact = _Observer.of(starts[0], problem, AutoDiff(), points)
    own_system = _Observer.of(starts[0], problem, cell.operator, points)
    first = [float(exact.at(network).value.detach()) for network in starts]
    rates = None if cell.optimizer == "adam" else torch.tensor([exact.rate(network) for network in starts], dtype=dtype)
    moments = {"start": 0, "middle": steps // 2, "end": steps}
    trained = TangentProp() if cell.step is None else cell.operator
    run = train_stack(starts, problem, trained, points, steps, rates, list(moments.values()))
    score = Score(problem, points.interior)
    for seed, record in enumerate(own):
        last = run.networks[steps][seed]
        record["parameters"] = sum(parameter.numel() for parameter in last.parameters())
        record["rate"] = None if rates is None else _short(float(rates[seed]))
        record.update(_speed(run.loss[:, seed].double().numpy(), first[seed]))
        record["exact_loss"] = _short(float(exact.at(last).value.detach()))
        record["rel_l2"] = _short(score(last).rel_l2)
        record["spectra"] = {name: own_system.spectrum(run.networks[at][seed]) for name, at in moments.items()}
    return own


def _start(network: str, seed: int) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NETWORKS[network][1]()


@dataclass(frozen=True, eq=False)
class _Observer:
    """An objective that looks at one network after another: made at a start, where residuals stand above round-off."""

    objective: Objective
    selection: Selection

    @classmethod
    def of(cls, network: nn.Sequential, problem: Problem, operator: Operator, points: Points) -> _Observer:
        objective = Objective(problem, copy.deepcopy(network), operator, points)
        return cls(objective, Selection.of(objective, None))

    def at(self, network: nn.Sequential) -> Evaluation:
        return self.objective(flatten([parameter.detach() for parameter in network.parameters()]))

    def rate(self, network: nn.Sequential) -> float:
        """Return a stable rate of gradient descent."""
        sigma = spectrum_of(self.at(network).jacobian.detach())[0][0]
        return SAFETY[self.objective.problem.name] / sigma**2

    def spectrum(self, network: nn.Sequential) -> dict[str, Any] | None:
        """Return the spectrum of S on all points as entropies and counts, None where the network has diverged."""
        evaluation = self.at(network)
        matrix = self.selection.matrix(evaluation)
        values, floor = spectrum_of(matrix)
        if not np.isfinite(values).all() or values[0] == 0:
            return None
        entropy, kept = truncated_entropy(values, CUTS)
        return {
            "sigma_1": _short(values[0]),
            "floor": _short(floor),
            "entry_floor": _short(self.selection.entry_floor(evaluation)),
            "entropy": [_short(value) for value in entropy],
            "kept": kept.tolist(),
        }


def _speed(loss: np.ndarray, first: float) -> dict[str, Any]:
    """Return how the loss fell: at logarithmic steps, to each level, and in decades over the run."""
    steps = sorted({0, *np.round(np.geomspace(1, len(loss) - 1, 13)).astype(int).tolist()})
    reached = {f"{level:g}": np.flatnonzero(loss <= level * first) for level in LEVELS}
    # Adam's loss still jumps from step to step: the median of the last twentieth does not.
    last = float(np.median(loss[-max(1, len(loss) // 20) :]))
    finite = bool(np.isfinite(loss).all())
    return {
        "status": "complete" if finite else "diverged",
        "loss_steps": steps,
        "loss": [_short(loss[step]) for step in steps],
        "steps_to": {level: int(where[0]) if len(where) else None for level, where in reached.items()},
        "decades": _short(math.log10(loss[0] / last)) if finite else None,
    }


def _short(value: float) -> float:
    """Round to six digits, for a file of readable size."""
    return float(f"{value:.6g}")


def paired(records: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float | None]) -> np.ndarray:
    """Return a value of the records in the order of their seeds, NaN where there is none.

    Args:
        records: of one cell.
        value: record -> number or None.

    Returns:
        (seeds,) float64.

    Example:
        >>> paired([{"seed": 1, "x": 3.0}, {"seed": 0, "x": None}], lambda record: record["x"]).tolist()
        [nan, 3.0]
    """
    ordered = [value(record) for record in sorted(records, key=lambda record: record["seed"])]
    return np.array([math.nan if number is None else number for number in ordered], dtype=float)

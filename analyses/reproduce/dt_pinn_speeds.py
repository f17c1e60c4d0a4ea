"""Two trainings beside each other: errors, seconds and iterations, by the paper's protocol and at the same error."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from analyses.reproduce.dt_pinn_settings import Arm
from analyses.reproduce.dt_pinn_training import Trained, lowest, reaches

Measure = Callable[[Trained, Trained], float]
"""(run, run that it is compared with) -> a number; above 1 says that the first is faster, or less accurate."""

AT_END = 0.9
"""Share of the iterations beyond which a lowest error is one that would have fallen on."""


def accuracy(run: Trained, base: Trained) -> float:
    """Return the ratio of the lowest errors, in equal seconds.

    Args:
        run: a training.
        base: what it is compared with.

    Returns:
        Above 1 where the run is the less accurate.
    """
    return run.errors[lowest(run)] / base.errors[lowest(base)]


def equal_iterations(run: Trained, base: Trained) -> float:
    """Return the number of iterations that both made; one that stopped by itself would not have moved any more.

    Args:
        run: a training.
        base: what it is compared with.

    Returns:
        A number, infinite where both stopped.
    """
    return min(np.inf if each.stopped else each.iterations[-1] for each in (run, base))


def _at_lowest(run: Trained, base: Trained) -> tuple[int, int]:
    most = equal_iterations(run, base)
    return lowest(run, most), lowest(base, most)


def accuracy_per_iteration(run: Trained, base: Trained) -> float:
    """Return the ratio of the lowest errors in equal iterations.

    Args:
        run: a training.
        base: what it is compared with.

    Returns:
        Above 1 where the run is the less accurate.
    """
    own, other = _at_lowest(run, base)
    return run.errors[own] / base.errors[other]


def speedup(run: Trained, base: Trained) -> float:
    """Return the paper's speedup: seconds to its own lowest error of the base over those of the run, equal iterations.

    Args:
        run: a training.
        base: what it is compared with.

    Returns:
        Above 1 where the run is faster; NaN where an error never fell.
    """
    own, other = _at_lowest(run, base)
    return _ratio(base.seconds[other], run.seconds[own])


def epochs(run: Trained, base: Trained) -> float:
    """Return the ratio of the iterations to the lowest error, in equal iterations.

    Args:
        run: a training.
        base: what it is compared with.

    Returns:
        Below 1 where the run takes fewer; NaN where an error never fell.
    """
    own, other = _at_lowest(run, base)
    return _ratio(run.iterations[own], base.iterations[other])


def _at_same_error(run: Trained, base: Trained) -> tuple[int, int]:
    """Return where each first reaches the lowest error that both reach."""
    error = max(each.errors[lowest(each)] for each in (run, base))
    return reaches(run, error), reaches(base, error)


def speedup_same_error(run: Trained, base: Trained) -> float:
    """Return the ratio of the seconds, base over run, to the lowest error that both reach.

    Args:
        run: a training.
        base: what it is compared with.

    Returns:
        Above 1 where the run is faster; NaN where an error never fell.
    """
    own, other = _at_same_error(run, base)
    return _ratio(base.seconds[other], run.seconds[own])


def epochs_same_error(run: Trained, base: Trained) -> float:
    """Return the ratio of the iterations to the lowest error that both reach.

    Args:
        run: a training.
        base: what it is compared with.

    Returns:
        Below 1 where the run takes fewer; NaN where an error never fell.
    """
    own, other = _at_same_error(run, base)
    return _ratio(run.iterations[own], base.iterations[other])


def cost(run: Trained, base: Trained) -> float:
    """Return the ratio of the seconds an evaluation of loss and gradient, L-BFGS included.

    Args:
        run: a training.
        base: what it is compared with.

    Returns:
        Above 1 where the run's cost more.
    """
    # The first evaluation is made before the clock starts.
    own, other = (each.seconds[-1] / max(each.evaluations[-1] - 1, 1) for each in (run, base))
    return _ratio(own, other)


def _ratio(value: float, other: float) -> float:
    return value / other if value > 0 and other > 0 else float("nan")


def still_falling(pairs: Sequence[tuple[Trained, Trained]]) -> float:
    """Return the share of runs whose lowest error comes in the last tenth of the iterations compared.

    Args:
        pairs: runs and what they are compared with.

    Returns:
        From 0 to 1.
    """
    seen = []
    for run, base in pairs:
        for each, index in zip((run, base), _at_lowest(run, base), strict=True):
            last = min(equal_iterations(run, base), each.iterations[-1])
            seen.append(each.iterations[index] >= AT_END * last)
    return float(np.mean(seen)) if seen else 0.0


def paired(
    runs: Sequence[Trained], study: str, arm: Arm, base: Arm, counts: Sequence[int] = ()
) -> dict[int, list[tuple[Trained, Trained]]]:
    """Return runs of an arm beside those of another from the same starts.

    Args:
        runs: any.
        study: its name.
        arm: of the first.
        base: of the second.
        counts: numbers of nodes; all of them where empty.

    Returns:
        Number of nodes -> pairs, one a seed.
    """
    own = {(run.count, run.seed): run for run in runs if run.study == study and run.arm == arm}
    other = {(run.count, run.seed): run for run in runs if run.study == study and run.arm == base}
    found: dict[int, list[tuple[Trained, Trained]]] = {}
    for place in sorted(own.keys() & other.keys()):
        if not counts or place[0] in counts:
            found.setdefault(place[0], []).append((own[place], other[place]))
    return found

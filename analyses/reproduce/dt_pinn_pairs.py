"""Runs of one study, and its arms beside each other setting by setting."""

from __future__ import annotations

from collections.abc import Sequence

from analyses.reproduce import dt_pinn_speeds as speeds
from analyses.reproduce.dt_pinn_rows import Cells
from analyses.reproduce.dt_pinn_settings import DISCRETE, Arm
from analyses.reproduce.dt_pinn_training import Trained

TITLES = {"linear": "linear Poisson", "nonlinear": "nonlinear Poisson", "heat": "heat, 25 times"}


def high_orders(runs: Sequence[Trained], study: str, precision: int = 64) -> list[Arm]:
    """Return the DT arms of order 3 and more, whose accuracy the paper calls that of vanilla-PINNs.

    Args:
        runs: any.
        study: its name.
        precision: 32 or 64 bits.

    Returns:
        Arms, lowest order first.
    """
    arms = {run.arm for run in runs if run.study == study and run.arm.method == DISCRETE}
    chosen = (arm for arm in arms if arm.precision == precision and arm.order > 2)
    return sorted(chosen, key=lambda arm: arm.order)


def node_counts(runs: Sequence[Trained], study: str) -> list[int]:
    """Return the numbers of nodes of a study.

    Args:
        runs: any.
        study: its name.

    Returns:
        Ascending.
    """
    return sorted({run.count for run in runs if run.study == study})


def where_measured(runs: Sequence[Trained], study: str) -> str:
    """Return the study, its numbers of nodes and its budget as text.

    Args:
        runs: any.
        study: its name.

    Returns:
        Text for a row.
    """
    budgets = sorted({run.budget for run in runs if run.study == study})
    seconds = " to ".join(f"{value:g}" for value in dict.fromkeys((budgets[0], budgets[-1]))) if budgets else "no"
    numbers = ", ".join(f"{count:,}" for count in node_counts(runs, study))
    return f"{TITLES[study]}, N = {numbers or 'none'}, {seconds} s a run"


def cells(
    runs: Sequence[Trained], study: str, arms: Sequence[Arm], base: Arm, measure: speeds.Measure, counts=()
) -> Cells:
    """Return a measure of pairs of runs, setting by setting.

    Args:
        runs: any.
        study: its name.
        arms: that are compared.
        base: with this one.
        measure: of a pair.
        counts: numbers of nodes; all of them where empty.

    Returns:
        Label -> values, one a seed.
    """
    found = {}
    for arm in arms:
        for count, pairs in speeds.paired(runs, study, arm, base, counts).items():
            order = f", p = {arm.order}" if arm.order is not None else ""
            found[f"N = {count:,}{order}"] = [measure(*pair) for pair in pairs]
    return found


def still_falling(runs: Sequence[Trained], study: str, arms: Sequence[Arm], base: Arm) -> float:
    """Return the share of runs whose error was still falling at the end of the iterations compared.

    Args:
        runs: any.
        study: its name.
        arms: that are compared.
        base: with this one.

    Returns:
        From 0 to 1.
    """
    pairs = [pair for arm in arms for own in speeds.paired(runs, study, arm, base).values() for pair in own]
    return speeds.still_falling(pairs)

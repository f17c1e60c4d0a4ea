"""LBFGS, SSBFGS and SSBroyden on Burgers, Allen-Cahn, KdV and Helmholtz: error against the references, and cost.

The first stage is a network and the optimizer. The second, where a recipe has one, fits random features to the network
and lets Gauss-Newton solve for their coefficients: its error is that of the features, and the network is where it
starts from. So the optimizers are compared by the first column of errors; each window of time, though, begins where
the second stage of the one before has ended.

Run as `python -m analyses.benchmarks.quasi_newton [--quick] [--problems burgers,kdv] [--optimizers SSBroyden]
[--share 0.1] [--seeds 3] [--json FILE]`. Set OMP_NUM_THREADS=1 for one core. In full it takes about half an hour;
seconds with --quick. The recipes, one a problem and the same for each optimizer, are in `quasi_newton_recipes`.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Optional

import torch
import typer

from analyses.benchmarks.machine import describe_machine
from analyses.benchmarks.marching import march
from analyses.benchmarks.quasi_newton_recipes import RECIPES, Recipe
from analyses.terminal import keep, table
from solvers.optimizers import LBFGS, SSBFGS, Optimizer, SSBroyden
from solvers.scoring import Score

# No test of their own may end a run: the evaluations do.
UNTESTED = {"tolerance_gradient": 0.0, "tolerance_step": 0.0, "tolerance_change": 0.0}
OPTIMIZERS: Mapping[str, Callable[[], Optimizer]] = MappingProxyType(
    {
        "LBFGS": partial(LBFGS, history=100, **UNTESTED),
        "SSBFGS": partial(SSBFGS, **UNTESTED),
        "SSBroyden": partial(SSBroyden, **UNTESTED),
    }
)
"""Name -> function that makes the optimizer."""

CHOSEN = (
    "The first stage's error is that of all windows' networks, each of which starts from the corrected end of the one "
    "before.\nThe second stage replaces the network by features: the last error is theirs. Windows, features and their "
    "scales were chosen by looking at the error of seed 0 and at how well features fit the exact solution or reference."
)
"""What to know beside the table."""


def quickened(recipe: Recipe) -> Recipe:
    """Return a recipe that takes no time and solves nothing.

    Args:
        recipe: of a full run.

    Returns:
        The same ansatz and network with few points and features, two windows at most, and 30 evaluations.

    Example:
        >>> quickened(RECIPES["burgers"]).evaluations
        30
    """
    correction = recipe.correction and replace(recipe.correction, columns=40, points=160, steps=2)
    few = {"points": 128, "evaluations": 30, "windows": min(2, recipe.windows), "correction": correction}
    return replace(recipe, **few)


def solve(problem: str, optimizer: str, seed: int, share: float = 1.0, quick: bool = False) -> dict[str, object]:
    """Solve a problem by its recipe, and measure.

    Args:
        problem: of `RECIPES`.
        optimizer: of `OPTIMIZERS`.
        seed: of networks and points.
        share: of the recipe's evaluations.
        quick: by `quickened`.

    Returns:
        A row: relative L2 error after the first stage and at the end, the largest error, all on the problem's test
        grid, the reference's own error, CPU seconds without the reference's and those of the second stage among them,
        evaluations of the first stage, parameters of a window's network, its last losses, status.
    """
    recipe = quickened(RECIPES[problem]) if quick else RECIPES[problem]
    found = march(recipe, OPTIMIZERS[optimizer], seed, share)
    solved = recipe.problem()
    score = Score(solved, torch.empty(0, dtype=torch.float64))
    errors = score(found)
    return {
        "problem": problem,
        "optimizer": optimizer,
        "seed": seed,
        "first_rel_l2": score(found.uncorrected).rel_l2,
        "rel_l2": errors.rel_l2,
        "largest": errors.max_error,
        "floor": solved.solution_floor,
        "seconds": found.seconds,
        "second_stage_seconds": found.correcting,
        "evaluations": found.evaluations,
        "parameters": sum(p.numel() for p in recipe.network().parameters()),
        "losses": found.losses,
        "corrected_losses": found.corrected,
        "gauss_newton_steps": found.steps,
        "status": found.status,
    }


def _chosen(names: list[str] | None, known: Mapping[str, object], kind: str) -> list[str]:
    """Return the names asked for, all where none are.

    Raises:
        typer.BadParameter: an unknown one.
    """
    wanted = [name for text in names or known for name in text.replace(",", " ").split()]
    if unknown := [name for name in wanted if name not in known]:
        raise typer.BadParameter(f"expected {kind} of {', '.join(known)}, came {unknown[0]!r}")
    return wanted


def main(
    quick: Annotated[bool, typer.Option("--quick", help="30 evaluations a window: some 10 s.")] = False,
    problems: Annotated[Optional[list[str]], typer.Option("--problems", help="Some only, commas between.")] = None,  # noqa: UP045
    optimizers: Annotated[Optional[list[str]], typer.Option("--optimizers", help="Some only, commas between.")] = None,  # noqa: UP045
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each, from seed 0.")] = 1,
    share: Annotated[float, typer.Option("--share", min=1e-4, help="Of the recipes' evaluations.")] = 1.0,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print a table as it grows, and return the results.

    Args:
        quick: a handful of evaluations.
        problems: of `RECIPES`; all by default.
        optimizers: of `OPTIMIZERS`; all by default.
        seeds: runs of each.
        share: of the recipes' evaluations.
        json_file: where to keep the results; written after every run.

    Returns:
        Machine and rows.
    """
    rows: list[dict[str, object]] = []
    results: dict[str, object] = {
        "machine": describe_machine(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "share": share,
        "quick": quick,
        "note": CHOSEN,
        "rows": rows,
    }
    pairs = [
        (problem, optimizer)
        for problem in _chosen(problems, RECIPES, "problems")
        for optimizer in _chosen(optimizers, OPTIMIZERS, "optimizers")
    ]
    for seed in range(seeds):
        for problem, optimizer in pairs:
            rows.append(solve(problem, optimizer, seed, share, quick))
            if json_file is not None:
                keep(results, json_file)
    columns = ("problem", "optimizer", "1st stage", "rel. L2", "floor", "CPU s", "2nd", "evaluations", "status")
    table("medians over seeds", columns, [_line(rows, *pair) for pair in pairs])
    typer.echo(CHOSEN)
    return results


def _line(rows: list[dict[str, object]], problem: str, optimizer: str) -> tuple[str, ...]:
    own = [row for row in rows if (row["problem"], row["optimizer"]) == (problem, optimizer)]
    names = ("first_rel_l2", "rel_l2", "seconds", "second_stage_seconds", "evaluations")
    first, rel_l2, seconds, second, evaluations = (statistics.median(row[name] for row in own) for name in names)
    statuses = ", ".join(dict.fromkeys(str(row["status"]) for row in own))
    errors = (f"{first:.1e}", f"{rel_l2:.1e}", f"{own[0]['floor']:.0e}")
    return (problem, optimizer, *errors, f"{seconds:.0f}", f"{second:.0f}", f"{evaluations:,.0f}", statuses)


if __name__ == "__main__":
    typer.run(main)

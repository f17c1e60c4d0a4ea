"""The cost of spectra during training: 256 fixed rows, 20 a decade of steps, and all rows at the end.

Run as `python -m analyses.benchmarks.spectra [--quick] [--json FILE]`; about 12 minutes, 15 s with --quick.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Optional

import torch
import typer

from analyses.benchmarks.interleaved import interleave
from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, table
from dynamics import open_trajectory
from solvers import MLP, AutoDiff, TangentProp, Torch, problems, train
from solvers.objective import Objective
from solvers.spectra_probe import Selection, jacobian_spectrum, spectrum_of

POINTS = 2000
WIDTHS = [32] * 4
OPERATORS = {"tangent-prop": TangentProp(), "autodiff": AutoDiff()}
DTYPES = (torch.float32, torch.float64)


def _setting(dtype: torch.dtype):
    """Return problem, points and the same initial network."""
    torch.manual_seed(0)
    problem = problems.helmholtz((2, 2))
    return problem, problem.sample(interior=POINTS, boundary=256, seed=0).to(dtype=dtype), MLP(2, WIDTHS).to(dtype)


def training_share(operator, dtype: torch.dtype, steps: int, folder: Path) -> dict[str, object]:
    """Train with the probe at its defaults and read its cost back from the file.

    Args:
        operator: of the training.
        dtype: of the training.
        steps: number of updates.
        folder: for the trajectory.

    Returns:
        Seconds of the steps alone, of all spectra of 256 rows, of the one of all rows, and their shares of the former.
    """
    problem, points, network = _setting(dtype)
    path = folder / "run.h5"
    adam = Torch(torch.optim.Adam, lr=1e-3)
    probes = [jacobian_spectrum()]
    run = train(
        problem,
        network,
        operator,
        adam,
        points=points,
        steps=steps,
        probes=probes,
        record=path,
        overwrite=True,
        dtype=dtype,
        progress=False,
    )
    with open_trajectory(path) as trajectory:
        each = trajectory["spectra/seconds"].values
        whole = float(trajectory["spectra_all/seconds"].values[-1])
        operations = float(trajectory["spectra"].attrs["operations"])
    plain = run.seconds - run.recording_seconds
    return {
        "training_s": plain,
        "spectra": len(each),
        "spectra_s": float(each.sum()),
        "share": float(each.sum()) / plain,
        "each_s": [round(float(value), 5) for value in each],
        "svd_operations": operations,
        "all_rows_s": whole,
        "all_rows_share": whole / plain,
    }


def parts(operator, dtype: torch.dtype, budget: float) -> dict[str, dict[str, object]]:
    """Time what one spectrum is made of, and a training step beside it.

    Args:
        operator: takes the derivatives.
        dtype: of the training.
        budget: CPU seconds for all rounds.

    Returns:
        Name -> timing.
    """
    problem, points, network = _setting(dtype)
    objective = Objective(problem, network, operator, points)
    evaluation = objective.begin_step()
    selection = Selection.of(objective, 256)
    matrix = selection.matrix(evaluation)
    calls = {
        "step": lambda: objective.begin_step().gradient,
        "jacobian": lambda: selection.matrix(evaluation),
        "svd": lambda: spectrum_of(matrix),
        "noise": lambda: selection.entry_floor(evaluation),
    }
    return {name: timing.as_json() for name, timing in interleave(calls, budget).items()}


def main(
    quick: Annotated[bool, typer.Option("--quick", help="200 steps of TangentProp: about 15 s.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print a table, and return the results.

    Args:
        quick: 200 steps of one operator in one precision, whose share is far above that of a long run.
        json_file: where to keep the results.

    Returns:
        One entry an operator and precision.
    """
    torch.set_num_threads(1)
    steps = 200 if quick else 10_000
    cells, lines = [], []
    with tempfile.TemporaryDirectory() as name:
        for label, operator in list(OPERATORS.items())[: 1 if quick else None]:
            for dtype in DTYPES[: 1 if quick else None]:
                precision = str(dtype).removeprefix("torch.")
                cell = {"operator": label, "dtype": precision, **training_share(operator, dtype, steps, Path(name))}
                cell["parts"] = parts(operator, dtype, 1.0 if quick else 10.0)
                cells.append(cell)
                each = 1e3 * cell["spectra_s"] / cell["spectra"]
                lines.append(
                    (
                        f"{label}, {precision}",
                        f"{cell['training_s']:.0f} s",
                        f"{cell['spectra']} x {each:.0f} ms",
                        f"{cell['share']:.1%}",
                        f"{cell['all_rows_s']:.1f} s",
                    )
                )
    table(f"spectra in {steps} steps", ("training", "steps", "256 rows", "share", "all rows, once"), lines)
    results = {"machine": describe_machine(), "steps": steps, "points": POINTS, "widths": WIDTHS, "cells": cells}
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)

"""The cost of recording: of a training at the default cadences, and of 20 scalars a step in the file alone.

Run as `python -m analyses.benchmarks.recording [--quick] [--json FILE]`; about 4 minutes, 20 s with --quick.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Optional

import torch
import typer

from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, table
from dynamics import Recorder
from solvers import MLP, AutoDiff, ResidualBasedAttention, Torch, problems, train

POINTS = 2000
WIDTHS = [32] * 4
SCALARS = 20


def training_pair(steps: int, dtype: torch.dtype, folder: Path, seed: int) -> dict[str, float]:
    """Train twice from the same initial weights, without and with recording, in random-free alternation.

    Args:
        steps: of each training.
        dtype: of each training.
        folder: for the trajectory.
        seed: of weights and points; its parity decides which of the two comes first.

    Returns:
        Seconds of both, the recorder's own share, and the overhead that the pair shows.
    """
    problem = problems.helmholtz((2, 2))
    points = problem.sample(interior=POINTS, boundary=256, seed=seed)
    seconds, share = {}, float("nan")
    for recorded in (seed % 2 == 0, seed % 2 == 1):
        torch.manual_seed(seed)
        run = train(
            problem,
            MLP(2, WIDTHS),
            AutoDiff(),
            Torch(torch.optim.Adam, lr=5e-3),
            points=points,
            steps=steps,
            attention=ResidualBasedAttention(),
            record=folder / f"run-{seed}.h5" if recorded else None,
            overwrite=True,
            dtype=dtype,
            progress=False,
        )
        seconds[recorded] = run.seconds
        share = run.recording_share if recorded else share
    return {
        "plain_s": seconds[False],
        "recorded_s": seconds[True],
        "share": share,
        "overhead": seconds[True] / seconds[False] - 1,
    }


def scalar_rows(rows: int, folder: Path) -> float:
    """Return the time per step of recording 20 scalars, the file included.

    Args:
        rows: number of steps.
        folder: for the file.

    Returns:
        Milliseconds per step, from opening to closing the file.
    """
    values = {f"scalar_{index}": float(index) for index in range(SCALARS)}
    start = time.perf_counter()
    with Recorder(folder / "scalars.h5", overwrite=True) as recorder:
        for step in range(rows):
            recorder.record("series", step, **values)
    return (time.perf_counter() - start) / rows * 1e3


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer steps and rounds: about 20 s.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print a table, and return the results.

    Args:
        quick: fewer steps and rounds.
        json_file: where to keep the results.

    Returns:
        Medians and every round.
    """
    torch.set_num_threads(1)
    steps, rounds, rows = (300, 1, 20_000) if quick else (2000, 3, 200_000)
    results: dict[str, object] = {"machine": describe_machine(), "steps": steps, "points": POINTS, "widths": WIDTHS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        training_pair(5, torch.float32, folder, 0)
        lines = []
        for dtype in (torch.float32, torch.float64):
            label = str(dtype).removeprefix("torch.")
            pairs = [training_pair(steps, dtype, folder, seed) for seed in range(rounds)]
            median = {key: statistics.median(pair[key] for pair in pairs) for key in pairs[0]}
            results[f"training_{label}"] = {"median": median, "rounds": pairs}
            lines.append(
                (f"4x32, {POINTS} points, {label}, {steps} steps", f"{median['share']:.1%} of the training time")
            )
        times = [scalar_rows(rows, folder) for _ in range(rounds)]
        results["scalars_ms_per_step"] = {"median": statistics.median(times), "rounds": times, "rows": rows}
        lines.append((f"{SCALARS} scalars a step, {rows} steps", f"{statistics.median(times):.4f} ms per step"))
    table("cost of recording", ("what", "median"), lines)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)

"""Long and large runs: a million steps written, and ten gigabytes looked at with little memory.

Run as `python -m analyses.benchmarks.large [--quick] [--folder FOLDER] [--json FILE]`; some 10 minutes and 10 GB of
disk, 10 s with --quick.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import typer

from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, say, table
from dynamics.format import Stream
from dynamics.recorder import Recorder

SCALARS = 20
MOST_MS = 0.02
MOST_MB = 600.0
BLOCKS, LAYERS, POINTS, NEURONS, SAMPLES, PARAMETERS = 100, 4, 4096, 128, 50_000, 1_000_000
SERIES = """
import sys
from dynamics import open_trajectory
with open_trajectory(sys.argv[1]) as trajectory:
    trajectory["series/loss"].values
"""
# What the system says of a process that ended, ru_maxrss, counts what its parent held when it was started.
MEASURED = """
import atexit, re, runpy, sys
path, what, sys.argv = sys.argv[1], sys.argv[2], sys.argv[2:]

@atexit.register
def keep_peak():
    with open("/proc/self/status") as status, open(path, "w") as file:
        file.write(re.search(r"VmHWM:\\s*(\\d+)", status.read())[1])

if what == "analyses.cli":
    runpy.run_module(what, run_name="__main__", alter_sys=True)
else:
    exec(what)
"""


@dataclass(frozen=True)
class Looked:
    """One program over the large file.

    Args:
        what: it does.
        peak_mb: of its resident memory, as the system counts it.
        seconds: by the wall clock.
        exit_code: 0 where it succeeded.
    """

    what: str
    peak_mb: float
    seconds: float
    exit_code: int


def write_steps(path: str, steps: int) -> dict[str, float]:
    """Record 20 scalars a step.

    Args:
        path: of the new trajectory.
        steps: how many.

    Returns:
        Milliseconds per step from opening to closing the file, by the wall clock and of the CPU.
    """
    row = {f"scalar_{number}": float(number) for number in range(SCALARS)}
    wall, cpu = time.perf_counter(), time.process_time()
    with Recorder(path) as recorder:
        for step in range(steps):
            recorder.record("series", step, **row)
    return {
        "wall_ms": (time.perf_counter() - wall) / steps * 1e3,
        "cpu_ms": (time.process_time() - cpu) / steps * 1e3,
    }


def write_large(path: str, size: float) -> None:
    """Record a trajectory of a given size: every number is written, none compressed.

    Without `/homogeneity` and `/compression`, so that analyzers have to compute them from the snapshots.

    Args:
        path: of the new trajectory.
        size: in bytes.
    """
    rng = np.random.default_rng(0)
    pool = rng.normal(size=2 * PARAMETERS).astype("f4")
    share = {"activations": 0.35, "parameters": 0.25, "residuals": 0.25, "gradients": 0.1, "series": 0.05}
    row = {
        "activations": 4 * LAYERS * POINTS * NEURONS,
        "parameters": 4 * PARAMETERS,
        "residuals": 8 * SAMPLES,
        "gradients": 8 * (BLOCKS + 1) ** 2,
        "series": 8 * SCALARS,
    }
    counts = {name: max(4, round(share[name] * size / row[name])) for name in share}
    last = counts["series"] - 1
    due = {name: np.unique(np.linspace(0, last, count).astype(int)) for name, count in counts.items()}
    streams = [
        Stream("series", coords={"term": ["interior"]}),
        Stream("gradients", attrs={"blocks": BLOCKS, "block_size": 10, "points": 1000}),
    ]
    gram = np.cov(rng.normal(size=(BLOCKS + 1, 200)))
    bounds = {"lower": [-1.0] * LAYERS, "upper": [1.0] * LAYERS}
    streams.append(Stream("activations", attrs=bounds))
    config = {"steps": last, "problem": {"name": "none"}, "attention": {"gamma": 0.999, "eta": 0.001}}
    with Recorder(path, streams=streams, config=config) as recorder:
        recorder.store("points", interior=(("interior_point", "axis"), rng.uniform(size=(SAMPLES, 2))))
        at = dict.fromkeys(due, 0)
        for step in range(last + 1):
            start = 7919 * step % PARAMETERS
            decay = 1.0 / (1 + step)
            recorder.record("series", step, loss=decay, loss_raw=[decay], rel_l2=decay, **_scalars(step))
            if _due(due, at, "residuals", step):
                values = pool[start : start + SAMPLES]
                recorder.record("residuals", step, residual=values * np.float32(decay), attention=np.abs(values))
            if _due(due, at, "activations", step):
                values = np.resize(pool[start:], (LAYERS, POINTS, NEURONS))
                recorder.record("activations", step, activation=np.tanh(values))
            if _due(due, at, "parameters", step):
                recorder.record("parameters", step, value=pool[start : start + PARAMETERS])
            if _due(due, at, "gradients", step):
                recorder.record("gradients", step, mean_norm_total=decay, std_norm_total=1.0, gram=gram * (1 + decay))


def look(what: str, program: str, *arguments: str) -> Looked:
    """Run a program to its end and measure it.

    Args:
        what: it does, for the table.
        program: a module's name, or code.
        arguments: of the program.

    Returns:
        Its memory and time.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        peak = Path(folder, "peak")
        command = [sys.executable, "-c", MEASURED, str(peak), program, *arguments]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            say(f"{what} failed: {output.read().decode(errors='replace')[-400:]}")
        # Linux counts kilobytes, macOS bytes; the larger one where the program was killed.
        kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
        if peak.exists():
            kilobytes = int(peak.read_text())
    return Looked(what, kilobytes * 1024 / 1e6, time.perf_counter() - start, process.returncode)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="10,000 steps and 30 MB.")] = False,
    folder: Annotated[Optional[Path], typer.Option(help="With room for 10 GB; default: the system's own.")] = None,  # noqa: UP045
    gigabytes: Annotated[float, typer.Option(min=0.01, help="Of the large file.")] = 10.0,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print tables, and return the results.

    Args:
        quick: fewer steps, a small file.
        folder: for the files, which are removed at the end.
        gigabytes: size of the large file.
        json_file: where to keep the results.

    Returns:
        Times of the steps, and memory and time of each look at the large file.

    Raises:
        OSError: the disk has too little room.
    """
    steps, size = (10_000, 3e7) if quick else (1_000_000, gigabytes * 1e9)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        free = shutil.disk_usage(name).free
        if free < 1.5 * size:
            raise OSError(f"{name}: expected room for {1.5 * size / 1e9:.1f} GB, came {free / 1e9:.1f}: pass --folder")
        rounds = [write_steps(os.path.join(name, f"steps-{number}.h5"), steps) for number in range(1 if quick else 3)]
        for number in range(len(rounds)):
            os.remove(os.path.join(name, f"steps-{number}.h5"))
        best = min(one["cpu_ms"] for one in rounds)
        table(
            f"{steps} steps of {SCALARS} scalars",
            ("round", "ms per step, wall", "ms per step, CPU"),
            [(str(n), f"{one['wall_ms']:.4f}", f"{one['cpu_ms']:.4f}") for n, one in enumerate(rounds, 1)],
        )
        say(f"at most {MOST_MS} ms: {'yes' if best <= MOST_MS else 'no'}, {best:.4f} ms of CPU")
        path = os.path.join(name, "large.h5")
        start = time.perf_counter()
        write_large(path, size)
        made, written = os.path.getsize(path), time.perf_counter() - start
        allocated = os.stat(path).st_blocks * 512 if hasattr(os.stat(path), "st_blocks") else made
        looks = [
            look("the imports alone", "import analyses.diagnose, dynamics.diagnosis, dynamics.trajectory"),
            look("pinnscope info", "analyses.cli", "info", path),
            look("one series", SERIES, path),
            look("pinnscope diagnose", "analyses.cli", "diagnose", path),
        ]
    lines = []
    for one in looks:
        below = "yes" if one.peak_mb < MOST_MB else "no"
        lines.append((one.what, f"{one.peak_mb:.0f}", f"{one.seconds:.1f}", str(one.exit_code), below))
    table(
        f"{made / 1e9:.2f} GB, {allocated / 1e9:.2f} GB of them on the disk, written in {written:.0f} s",
        ("what", "peak memory, MB", "seconds", "exit code", f"below {MOST_MB:.0f} MB"),
        lines,
    )
    results = {
        "machine": describe_machine(),
        "steps": {"count": steps, "rounds": rounds},
        "large": {"bytes": made, "allocated": allocated, "seconds": written},
        "looks": [asdict(one) for one in looks],
    }
    keep(results, json_file)
    return results


def _scalars(step: int) -> dict[str, float]:
    return {f"scalar_{number}": float(step + number) for number in range(SCALARS - 3)}


def _due(due: dict[str, np.ndarray], at: dict[str, int], name: str, step: int) -> bool:
    if at[name] < len(due[name]) and due[name][at[name]] == step:
        at[name] += 1
        return True
    return False


if __name__ == "__main__":
    typer.run(main)

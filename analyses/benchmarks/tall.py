"""Singular values of a tall matrix in HDF5: memory, error, and time beside `scipy.linalg.qr` of the same blocks.

Run as `python -m analyses.benchmarks.tall [--quick] [--folder DIR] [--json FILE]`; about 4 minutes and 4 GB of disk, 5
s and 4 MB with --quick. Set OMP_NUM_THREADS=1 for one core.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Optional

import h5py
import numpy as np
import scipy.linalg
import typer

from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, table
from dynamics.certified import certified_singular_values
from dynamics.tall import row_blocks, triangular_factor

CHILD = """
import json, sys, time
import h5py
from dynamics.tall import tall_singular_values
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1e3
before = peak()
start = time.perf_counter()
with h5py.File(sys.argv[1]) as file:
    values = tall_singular_values(file["matrix"])
seconds = time.perf_counter() - start
print(json.dumps({"values": values.tolist(), "seconds": seconds, "before_mb": before, "peak_mb": peak()}))
"""
"""A process of its own, so that the peak of its memory is that of this call; getrusage's would be the parent's."""


def write_matrix(path: Path, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Write a matrix whose singular values are known: +- a square matrix W over and over, rows shuffled, then zeros.

    A^T A is copies * W^T W exactly, so sigma_k(A) = sqrt(copies) sigma_k(W), and those of W, 14 decades, are certified.

    Args:
        path: of the file; the dataset is "matrix", in chunks of 256 rows.
        rows: of the matrix.
        columns: of the matrix.
        seed: of W, signs and orders.

    Returns:
        (columns,) singular values.
    """
    generator = np.random.default_rng(seed)
    left, right = (np.linalg.qr(generator.standard_normal((columns, columns)))[0] for _ in range(2))
    square = (left * 10.0 ** -np.linspace(0, 14, columns)) @ right
    copies = rows // columns
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("matrix", (rows, columns), "f8", chunks=(256, columns), fillvalue=0.0)
        for start in range(0, copies, 64):
            signs = generator.choice([-1.0, 1.0], size=min(64, copies - start))
            block = (signs[:, None, None] * square).reshape(-1, columns)
            dataset[start * columns : start * columns + len(block)] = generator.permutation(block)
        dataset[copies * columns :] = 0.0
    return np.sqrt(copies) * certified_singular_values(square)


def interleaved_pass(path: Path) -> dict[str, float]:
    """Read the blocks once and hand each to `scipy.linalg.qr` and to ours, so that a busy machine slows both.

    Args:
        path: from `write_matrix`.

    Returns:
        Wall seconds of reading, of ours and of the reference, and two ratios.
    """
    seconds = {"read_s": 0.0, "reference_s": 0.0}

    def clocked(blocks):
        while True:
            start = time.perf_counter()
            block = next(blocks, None)
            seconds["read_s"] += time.perf_counter() - start
            if block is None:
                return
            start = time.perf_counter()
            scipy.linalg.qr(block, mode="r")
            seconds["reference_s"] += time.perf_counter() - start
            yield block

    with h5py.File(path) as file:
        start = time.perf_counter()
        triangular_factor(clocked(row_blocks(file["matrix"])))
        total = time.perf_counter() - start
    read, reference = seconds["read_s"], seconds["reference_s"]
    ours = total - read - reference
    return seconds | {
        "ours_s": ours,
        "ratio": ours / reference,
        "ratio_with_reading": (ours + read) / (reference + read),
    }


def main(
    quick: Annotated[bool, typer.Option("--quick", help="8,000 x 64 only: about 5 s.")] = False,
    folder: Annotated[Optional[Path], typer.Option("--folder", help="For the 4 GB file, deleted at the end.")] = None,  # noqa: UP045
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print a table, and return the results.

    Args:
        quick: a small matrix and one round.
        folder: where the matrix is kept meanwhile; None takes the system's temporary folder.
        json_file: where to keep the results.

    Returns:
        Error, memory, and every round's seconds.
    """
    rows, columns, rounds = (8_000, 64, 1) if quick else (2_000_000, 256, 3)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path = Path(name) / "matrix.h5"
        exact = write_matrix(path, rows, columns)
        found = subprocess.run([sys.executable, "-c", CHILD, str(path)], capture_output=True, check=True, text=True)
        child = json.loads(found.stdout)
        values = np.array(child.pop("values"))
        passes = [interleaved_pass(path) for _ in range(rounds)]
    error = np.abs(values - exact) / exact[0]
    results: dict[str, object] = {
        "machine": describe_machine(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "rows": rows,
        "columns": columns,
        "largest_error_over_sigma_1": float(error.max()),
        "smallest_over_sigma_1": float(exact[-1] / exact[0]),
        "error_of_smallest_over_sigma_1": float(error[-1]),
        "process": child,
        "passes": passes,
    }
    ratios = sorted(each["ratio_with_reading"] for each in passes)
    lines = [
        ("largest error / sigma_1", f"{error.max():.1e}"),
        ("peak memory of the process", f"{child['peak_mb']:.0f} MB ({child['before_mb']:.0f} MB before the call)"),
        ("reading, QR and SVD", f"{child['seconds']:.1f} s"),
        ("time / scipy.linalg.qr of the blocks", f"{ratios[len(ratios) // 2]:.2f} (reading in both)"),
    ]
    table(f"singular values of {rows:,} x {columns}", ("what", "measured"), lines)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)

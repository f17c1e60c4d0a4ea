"""Building RBF-FD weights: neighbours, kernel, stencils up to translation, and memory, beside treverhines-rbf.

Run as `python -m analyses.benchmarks.stencil_building [--quick] [--json FILE] [--peer PYTHON]`; PYTHON is an
interpreter that has treverhines-rbf, if this one has not. About 20 minutes, nearly all of them the peer's, 10 s with
--quick. Everything runs in one thread, and rounds of both take turns; all times are CPU seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import torch
import typer

from analyses.benchmarks.machine import describe_machine
from analyses.benchmarks.stencil_peer import ONE_THREAD, Peer, peer_process
from analyses.terminal import keep, table
from solvers.kernels.stencils import compiled_weights
from solvers.polyharmonic import monomials
from solvers.stencils import Recipe, stencil_weights
from solvers.stencils.neighbours import nearest

SIZES = (5_000, 20_000, 100_000)
ORDERS = (3, 4)
KINDS = ("jittered", "lattice")

JITTER = 0.35
"""Largest move of a lattice's nodes along each axis, in spacings."""

LAYERS = 5
"""Of a lattice's nodes, how many along the boundary are moved: exact ones leave polynomials undetermined there."""

ABSENT = "not installed"
MEMORY = """
import json, sys, time
import numpy as np
from solvers.stencils import Recipe, stencil_weights
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1e3
nodes, order = np.load(sys.argv[1]), int(sys.argv[2])
before, d = peak(), nodes.shape[1]
laplacian = {tuple(row): 1.0 for row in (2 * np.eye(d, dtype=int)).tolist()}
stencil_weights(nodes, nodes, Recipe.of(order, 2, d), [laplacian])
print(json.dumps({"before_mb": before, "peak_mb": peak()}))
"""
"""A process of its own, so that the peak of its memory is that of this call."""


def make_nodes(count: int, dimension: int, kind: str, seed: int = 0) -> np.ndarray:
    """Return a lattice of close-packed balls, its nodes moved at random, all or beside the boundary alone.

    Args:
        count: about so many.
        dimension: d, 2 (hexagonal) or 3 (hexagonal close-packed).
        kind: "jittered" or "lattice".
        seed: of the moves.

    Returns:
        (M, d) float64, in a box with sides of about 1.

    Example:
        >>> make_nodes(1000, 3, "lattice").shape
        (1000, 3)
    """
    side = round(count ** (1 / dimension))
    place = np.stack(np.meshgrid(*[np.arange(side)] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    moves = np.random.default_rng(seed).uniform(-JITTER, JITTER, place.shape)
    if kind == "lattice":
        moves[np.minimum(place, side - 1 - place).min(axis=1) >= LAYERS] = 0.0
    i, j, k = (*place.T, 0)[:3]
    packed = (i + (j + k) % 2 / 2, 3**0.5 / 2 * (j + k % 2 / 3), (2 / 3) ** 0.5 * k)
    return (np.stack(packed[:dimension], axis=1) + moves) / side


def laplacian(dimension: int) -> dict[tuple[int, ...], float]:
    """Return the Laplacian.

    Args:
        dimension: d.

    Returns:
        Multi-index -> coefficient.
    """
    return {tuple(row): 1.0 for row in (2 * np.eye(dimension, dtype=int)).tolist()}


def clocked(call: Callable[[], object]) -> tuple[float, object]:
    """Return CPU seconds of a call, and its result.

    Args:
        call: without arguments.

    Returns:
        Both.
    """
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def measure(peer: Peer, kind: str, dimension: int, order: int, count: int, rounds: int, compare: bool) -> dict:
    """Measure one node set and order.

    Args:
        peer: treverhines-rbf, or what stands for it.
        kind: of nodes, in `KINDS`.
        dimension: d.
        order: p, of the Laplacian's error.
        count: of nodes, about.
        rounds: of both; the least seconds are kept.
        compare: whether weights are compared with the peer's.

    Returns:
        Seconds of the parts, of the whole, of the peer, and the ratio.
    """
    recipe = Recipe.of(order, 2, dimension)
    nodes, small = (make_nodes(number, dimension, kind) for number in (count, 4 * recipe.size))
    powers, operators = monomials(dimension, recipe.degree), [laplacian(dimension)]

    def build(points=nodes):
        return stencil_weights(points, points, recipe, operators)

    compile_s, _ = clocked(lambda: build(small))
    peer.seconds(small, recipe)
    least: dict[str, float] = {}
    for _ in range(rounds):
        search_s, index = clocked(lambda: nearest(nodes, nodes, recipe.size))
        given = (nodes, nodes, index, recipe.exponent, powers, operators)
        kernel_s, (_, solved) = clocked(lambda given=given: compiled_weights(*given))
        build_s, (index, weights) = clocked(build)
        result = peer.folder / "found.npz" if compare else None
        found = {"search_s": search_s, "kernel_s": kernel_s, "build_s": build_s}
        found["peer_s"] = peer.seconds(nodes, recipe, result)
        known = {name: value for name, value in found.items() if value is not None}
        least |= {name: min(value, least.get(name, value)) for name, value in known.items()}
    row = {"nodes": kind, "dimension": dimension, "order": order, "count": len(nodes), "stencil": recipe.size}
    row |= {"first_call_s": compile_s, "unsolved": int((~solved).sum()), "peer_s": None, **least}
    row["peer_over_build"] = least["peer_s"] / least["build_s"] if "peer_s" in least else None
    if compare and "peer_s" in least:
        row["difference"] = _difference(index, weights[0], np.load(result))
    return row


def _difference(index: np.ndarray, weights: np.ndarray, found) -> float | None:
    """Return the largest difference from the peer, relative to the largest weight of a row; None for other stencils."""
    order = np.argsort(index, axis=1)
    others = found["weights"].reshape(weights.shape)
    if not np.array_equal(np.take_along_axis(index, order, axis=1), found["index"].reshape(index.shape)):
        return None
    errors = np.abs(np.take_along_axis(weights, order, axis=1) - others).max(axis=1)
    return float((errors / np.abs(others).max(axis=1)).max())


def peak_memory(dimension: int, order: int, count: int) -> dict[str, float]:
    """Return the peak memory of a process that builds the weights of the Laplacian on jittered nodes.

    Args:
        dimension: d.
        order: p.
        count: of nodes.

    Returns:
        MB before the call and at the peak.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nodes.npy"
        np.save(path, make_nodes(count, dimension, "jittered"))
        command = [sys.executable, "-c", MEMORY, str(path), str(order)]
        child = subprocess.run(command, capture_output=True, check=True, text=True, env=os.environ | ONE_THREAD)
    return {"dimension": dimension, "order": order, "count": count, **json.loads(child.stdout)}


def show(results: dict) -> None:
    """Print the tables.

    Args:
        results: of `main`.
    """

    def text(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    lines = []
    for row in results["rows"]:
        peer = ABSENT if row["peer_s"] is None else f"{row['peer_s']:.2f}"
        case = f"{row['nodes']} {row['dimension']}-D p={row['order']} {row['count']:,}"
        seconds = [f"{row[name]:.3f}" for name in ("search_s", "kernel_s", "build_s")]
        lines.append((case, *seconds, peer, text(row["peer_over_build"], ".1f")))
    header = ("nodes", "search", "kernel", "whole", "peer", "peer/whole")
    table("CPU seconds of the Laplacian's weights", header, lines)
    memory = [
        (
            f"{row['dimension']}-D p={row['order']} N={row['count']:,}",
            f"{row['before_mb']:.0f}",
            f"{row['peak_mb']:.0f}",
        )
        for row in results["memory"]
    ]
    table("memory of the process, MB", ("nodes", "before", "peak"), memory)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="500 nodes, one round: about 10 s.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
    peer: Annotated[Optional[str], typer.Option("--peer", help="A Python that has treverhines-rbf.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print tables, and return the results.

    Args:
        quick: few nodes and one round.
        json_file: where to keep the results.
        peer: path of an interpreter with treverhines-rbf; None takes this one.

    Returns:
        A row for each case, and memory.
    """
    sizes, orders, largest = ((500,), (3,), 2_000) if quick else (SIZES, ORDERS, SIZES[-1])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with peer_process(peer or sys.executable) as other:
            rows = [
                measure(other, kind, dimension, order, count, 1 if quick or count > 5_000 else 3, count == sizes[0])
                for kind in KINDS
                for dimension in (2, 3)
                for order in orders
                for count in sizes
            ]
    finally:
        torch.set_num_threads(threads)
    memory = [peak_memory(dimension, orders[-1], largest) for dimension in (2, 3)]
    results = {"machine": describe_machine(), "threads": 1, "rows": rows, "memory": memory}
    show(results)
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)

"""Derivatives of a network by every method: time, memory and dispatched operations, beside nested autograd.

Run as `python -m analyses.benchmarks.derivatives [--quick] [--json FILE] [--part NAME ...] [--figure FILE]` on an idle
machine; about 25 minutes, one with --quick. Methods are in peers.py; those on JAX need `pip install
'pinnscope[peers]'`. Times are CPU time of one thread: forward, loss and the gradient in all parameters.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import torch
import typer
from torch.utils._python_dispatch import TorchDispatchMode

from analyses.benchmarks.interleaved import SLOW_S, Timing, clock, interleave
from analyses.benchmarks.machine import describe_machine
from analyses.benchmarks.peers import INSTALL, METHODS, Task, Unavailable, flat_gradient
from analyses.terminal import say, table

Cell = dict[str, object]
NAMES = {
    "all": ("nested", "nested_jvp", "plain", "partitions", "taylor", "ours", "one_call", "jax_jet"),
    "operators": ("nested", "plain", "taylor", "ours", "one_call", "jax_hessian", "folx"),
    "memory": ("nested", "plain", "partitions", "taylor", "ours", "one_call"),
    "dispatch": ("nested", "partitions", "taylor", "ours", "one_call"),
}
PATIENCE = {"nested": (3.2, 60.0), "nested_jvp": (3.7, 10.0), "partitions": (1.8, 60.0)}
"""Methods that compile nothing, so that a slow first call counts: measured growth an order, and seconds to wait."""
REFERENCES = ("nested", "jax_jet", "taylor")
"""Which method the others are checked against: the first that ran."""
TOLERANCE = {"float32": 1e-3, "float64": 1e-8}
MUST = {
    ("3x24", 256, "float32"): {1: 1.8, 3: 6.5, 5: 30, 7: 220, 9: 1500},
    ("4x128", 4096, "float32"): {1: 1.1, 3: 3.8, 5: 23},
    ("4x50", 4096, "float64"): {3: 4.4, 5: 27},
}
GOAL = {
    ("3x24", 256, "float32"): {1: 2.2, 3: 8, 5: 40, 7: 290, 9: 1700},
    ("4x50", 4096, "float64"): {3: 6, 5: 45},
}
FLOOR = {"median": 1.0, "maximum": 1.2}
"""Time of ours over an ordinary step on as many rows: what it may be in the median, and at most."""


def _tasks(part: str, quick: bool) -> Iterator[Task]:
    small, middle, wide = (24,) * 3, (50,) * 4, (128,) * 4
    if part == "all" and quick:
        yield from (Task(small, 256, "float32", order) for order in (1, 3, 5))
        yield Task(middle, 4096, "float64", 3)
    elif part == "all":
        shapes = [(small, 256, (1, 2, 3, 5, 7, 9)), (small, 4096, (1, 2, 3, 5, 7, 9))]
        shapes += [(middle, 256, (1, 3, 5, 9)), (wide, 256, (1, 3, 5, 9))]
        shapes += [(middle, 4096, (1, 3, 5, 7, 9)), (wide, 4096, (1, 3, 5, 7, 9))]
        for widths, batch, orders in shapes:
            for dtype in TOLERANCE:
                yield from (Task(widths, batch, dtype, order) for order in orders)
    elif part == "operators":
        yield Task(small, 4096, "float32", 2, "laplacian", 2)
        if not quick:
            yield Task(middle, 4096, "float32", 2, "laplacian", 2)
            yield Task(middle, 4096, "float32", 2, "laplacian", 10)
            yield Task(small, 4096, "float32", 4, "bilaplacian", 2)
            yield Task(middle, 4096, "float64", 4, "bilaplacian", 2)
    elif part == "memory":
        yield from (Task(middle, 4096, "float64", order) for order in ((3,) if quick else (3, 5, 9)))
    else:
        yield from (Task(small, 256, "float32", order) for order in ((1, 3) if quick else (1, 3, 5, 7)))


def _cell(part: str, task: Task) -> Cell:
    derivatives = f"n={task.order}" if task.operator == "all" else f"{task.operator} d={task.inputs}"
    return {
        "part": part,
        "shape": task.shape,
        "batch": task.batch,
        "dtype": task.dtype,
        "order": task.order,
        "label": f"{task.shape}, {task.batch}, {derivatives}",
        "methods": {},
    }


def _refuse_prohibitive(name: str, task: Task, seen: dict[object, tuple[int, float]]) -> None:
    """Raise where the previous order predicts too long a call, or nesting much of the machine's memory."""
    growth, patience = PATIENCE.get(name, (1.0, math.inf))
    order, seconds = seen.get((name, replace(task, order=0)), (task.order, 0.0))
    if (predicted := seconds * growth ** (task.order - order)) > patience:
        raise Unavailable(f"predicted {predicted:.0f} s a call from order {order}, above {patience:.0f} s")
    if name.startswith("nested"):
        # Resident for nested graphs were 46, 334 and 3300 copies of all activations at n = 3, 5, 7: 2.95x an order.
        activations = task.batch * sum(task.widths) * (4 if task.dtype == "float32" else 8)
        predicted = 1.7 * 2.95**task.order * activations
        if predicted > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2:
            raise Unavailable(f"predicted {predicted / 2**30:.0f} GiB, above half of the memory")


def _attempt(measure: Callable[..., dict[str, object]], *arguments: object) -> dict[str, object]:
    """Return what a method measured, or why it did not: one method must not end a benchmark of half an hour."""
    try:
        return measure(*arguments)
    except Unavailable as reason:
        return {"skipped": str(reason)}
    except (RuntimeError, ValueError, TypeError, KeyError, NotImplementedError, MemoryError) as failure:
        return {"failed": f"{type(failure).__name__}: {failure}"}


def _warm(name: str, task: Task, seen: dict[object, tuple[int, float]]) -> dict[str, object]:
    """Return a step, its loss and gradient, and its one measurement if it is too slow for more."""
    _refuse_prohibitive(name, task, seen)
    step, kept = METHODS[name](task), []
    cpu, wall = clock(lambda: kept.append(step()))
    warm = {"step": step, "vector": flat_gradient(kept.pop())}
    if name in PATIENCE and cpu > SLOW_S:
        warm["once"] = Timing(1, [cpu], [wall])
    return warm


def _time(part: str, task: Task, budget: float, seen: dict[object, tuple[int, float]]) -> Cell:
    cell, tried = _cell(part, task), {name: _attempt(_warm, name, task, seen) for name in NAMES[part]}
    warm = {name: outcome for name, outcome in tried.items() if "step" in outcome}
    cell["reference"] = next((name for name in REFERENCES if name in warm), None)
    reference = warm[cell["reference"]]["vector"] if cell["reference"] else None
    for name, outcome in tried.items():
        if name not in warm:
            cell["methods"][name] = outcome
            continue
        plan = getattr(outcome["step"], "plan", None)
        cell["methods"][name] = {"backend": str(plan.backend)} if hasattr(plan, "backend") else {}
        if name != "plain":
            cell["methods"][name]["error"] = _error(outcome["vector"], reference)
    right = [name for name in warm if not cell["methods"][name].get("error", 0.0) > TOLERANCE[task.dtype]]
    repeated = {name: warm[name]["step"] for name in right if "once" not in warm[name]}
    timings = {name: warm[name]["once"] for name in right if "once" in warm[name]}
    timings |= interleave(repeated, budget)
    for name, timing in timings.items():
        cell["methods"][name] |= timing.as_json()
        seen[name, replace(task, order=0)] = (task.order, statistics.median(timing.cpu))
    return cell


def _error(vector: np.ndarray, reference: np.ndarray | None) -> float:
    """Return the largest deviation over the largest entry; infinite where a number is not finite."""
    if reference is None or not np.isfinite(vector).all() or vector.shape != reference.shape:
        return math.inf
    return float(np.abs(vector - reference).max() / np.abs(reference).max())


def _resident(name: str) -> float:
    """Return a line of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def _peak(name: str, task: Task) -> dict[str, object]:
    torch.set_num_threads(1)
    METHODS[name](replace(task, batch=16))()
    step = METHODS[name](task)
    # getrusage's high-water mark survives exec and so starts at the parent's; the kernel's own can be reset.
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    step()
    return {"peak_mib": _resident("VmHWM") - before}


def _peak_in_fresh_process(name: str, task: Task) -> dict[str, object]:
    if not Path("/proc/self/clear_refs").exists():
        raise Unavailable("needs Linux's /proc")
    if name == "nested" and task.order > 3:
        raise Unavailable("measured up to n = 3")
    # With a fixed threshold glibc returns a tensor's pages when it is freed; by default what it keeps varies by 40 %.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "65536")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(_peak, name, task).result()


class _Count(TorchDispatchMode):
    operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operations += 1
        return function(*args, **(kwargs or {}))


def _operations(name: str, task: Task) -> dict[str, object]:
    step = METHODS[name](task)
    step()
    with _Count() as count:
        step()
    return {"operations": count.operations}


def _measure(part: str, task: Task, budget: float, seen: dict[object, tuple[int, float]]) -> Cell:
    if part in ("all", "operators"):
        return _time(part, task, budget, seen)
    measure = _peak_in_fresh_process if part == "memory" else _operations
    return _cell(part, task) | {"methods": {name: _attempt(measure, name, task) for name in NAMES[part]}}


def _ratio(cell: Cell, over: str, name: str) -> float:
    times = [cell["methods"].get(method, {}).get("cpu_ms", math.nan) for method in (over, name)]
    return times[0] / times[1]


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.1f}"


def _text(cell: Cell, name: str) -> str:
    """Return the ratio to nested; milliseconds in brackets for nested, ours and wherever nested was out of reach."""
    entry = cell["methods"].get(name, {})
    if "peak_mib" in entry or "operations" in entry:
        return _number(entry.get("peak_mib", entry.get("operations")))
    if "cpu_ms" not in entry:
        return "failed" if "failed" in entry else "-" if "skipped" in entry else f"WRONG {entry['error']:.0e}"
    ratio = _ratio(cell, "nested", name)
    shown = [] if math.isnan(ratio) or name == "nested" else [_number(ratio)]
    if not shown or name == "ours":
        shown.append(f"[{_number(entry['cpu_ms'])}]")
    return " ".join(shown)


HEADERS = {"nested_jvp": "jvp", "partitions": "paper", "one_call": "1 call", "jax_jet": "jet", "jax_hessian": "jax"}
TITLES = {
    "all": "u, ..., u^(n), loss and gradient: CPU time of nested autograd over the method's, [ms]",
    "operators": "u and an operator, loss and gradient: CPU time of nested autograd over the method's, [ms]",
    "memory": "peak memory of one call, MiB above what was resident before, freed tensors returned",
    "dispatch": "torch operations dispatched in one call; kernels of our own are not among them",
}


def _print_tables(cells: Sequence[Cell]) -> None:
    for part, dtype in dict.fromkeys((cell["part"], cell["dtype"]) for cell in cells):
        rows = [cell for cell in cells if (cell["part"], cell["dtype"]) == (part, dtype)]
        lines = [(cell["label"], *(_text(cell, name) for name in NAMES[part])) for cell in rows]
        table(f"{TITLES[part]}; {dtype}", ("network, points", *(HEADERS.get(n, n) for n in NAMES[part])), lines)
    timed = [cell for cell in cells if cell["part"] in ("all", "operators")]
    pairs = [[_ratio(cell, name, "plain") for name in ("ours", "one_call")] for cell in timed]
    lines = [
        (f"{cell['label']}, {cell['dtype']}", *("-" if math.isnan(value) else f"{value:.2f}" for value in pair))
        for cell, pair in zip(timed, pairs, strict=True)
    ]
    table("CPU time over an ordinary step on as many rows", ("network, points", "ours", "one_call"), lines)
    if any(entry.get("skipped") == INSTALL for cell in cells for entry in cell["methods"].values()):
        say(f"columns on JAX are empty: {INSTALL}")
    for cell in cells:
        for name, entry in cell["methods"].items():
            if "failed" in entry:
                say(f"{cell['label']}, {cell['dtype']}, {name}: {entry['failed']}")


def _verdict(reached: bool, measured: float, one_call: float = math.nan) -> str:
    if math.isnan(measured):
        return "not measured"
    beside = "" if math.isnan(one_call) else f" (one_call {one_call:.3g})"
    return f"{'reached' if reached else 'not reached'}: measured {measured:.3g}{beside}"


def _summary(cells: Sequence[Cell]) -> list[list[str]]:
    """Compare ours with the figures it has to reach, and with an ordinary step."""
    timed = {(c["shape"], c["batch"], c["dtype"], c["order"]): c for c in cells if c["part"] == "all"}
    lines = []
    for title, figures in (("must", MUST), ("goal", GOAL)):
        for key, wanted in figures.items():
            for order, least in wanted.items():
                cell = timed.get((*key, order), {"methods": {}})
                measured, one_call = (_ratio(cell, "nested", name) for name in ("ours", "one_call"))
                what = f"{title}: {key[0]}, {key[1]}, {key[2]}, n={order}: nested/ours >= {least}"
                lines.append([what, _verdict(measured >= least, measured, one_call)])
    floors = [_ratio(cell, "ours", "plain") for cell in cells if cell["part"] in ("all", "operators")]
    floors = [value for value in floors if not math.isnan(value)] or [math.nan]
    for title, measured in (("median", statistics.median(floors)), ("maximum", max(floors))):
        lines.append([f"ours/plain, {title} <= {FLOOR[title]}", _verdict(measured <= FLOOR[title], measured)])
    return lines


DRAWN = {
    "nested": ("nested autograd", "C3", "-o"),
    "jax_jet": ("jax.experimental.jet, compiled", "C4", "-v"),
    "partitions": ("partitions, as in the paper", "C1", "-^"),
    "taylor": ("TangentProp, torch alone", "C2", "-s"),
    "plain": ("ordinary step on n + 1 times the points", "0.5", "--"),
    "ours": ("TangentProp", "C0", "-D"),
}
PANELS = (("3x24", 256), ("4x50", 4096), ("4x128", 4096))


def _draw(cells: Sequence[Cell], path: Path) -> None:
    import matplotlib.pyplot as plt

    timed = [cell for cell in cells if cell["part"] == "all" and cell["dtype"] == "float32"]
    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 3.6), sharey=True, layout="constrained")
    for (shape, batch), panel in zip(PANELS, axes, strict=True):
        rows = [cell for cell in timed if (cell["shape"], cell["batch"]) == (shape, batch)]
        for name, (label, color, style) in DRAWN.items():
            times = [cell["methods"].get(name, {}).get("cpu_ms", math.nan) for cell in rows]
            panel.semilogy([c["order"] for c in rows], times, style, color=color, label=label, markersize=4)
        panel.set(title=f"{shape} tanh, {batch} points, float32", xlabel="highest derivative n", xlim=(0.5, 9.5))
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("all derivatives, loss and gradient [ms CPU]")
    axes[0].legend(fontsize="x-small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _versions() -> dict[str, str]:
    found = {}
    for name in ("jax", "jaxlib", "folx", "llvmlite"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Few cells and rounds: about a minute.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
    part: Annotated[Optional[list[str]], typer.Option(help=f"One of {', '.join(NAMES)}; all.")] = None,  # noqa: UP045
    figure: Annotated[Optional[Path], typer.Option(help="Draw ratio against n.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print tables and what was reached, and return the results.

    Args:
        quick: few cells and rounds.
        json_file: where to keep the results; written after every cell.
        part: which parts; None takes all of them.
        figure: where to draw the ratios.

    Returns:
        The machine, every cell with all rounds, and the summary.

    Raises:
        BadParameter: an unknown part.
    """
    if unknown := set(part or ()) - set(NAMES):
        raise typer.BadParameter(f"unknown part {sorted(unknown)[0]!r}; expected one of {', '.join(NAMES)}")
    torch.set_num_threads(1)
    machine = describe_machine()
    machine["versions"] |= _versions()
    results: dict[str, object] = {"machine": machine, "threads": 1, "quick": quick, "cells": [], "summary": []}
    seen: dict[object, tuple[int, float]] = {}
    for chosen in part or NAMES:
        for task in _tasks(chosen, quick):
            cell = _measure(chosen, task, 2.0 if quick else 8.0, seen)
            results["cells"].append(cell)
            say(f"{chosen}: {cell['label']}, {task.dtype}: ours {_text(cell, 'ours')}, nested {_text(cell, 'nested')}")
            _keep(results, json_file)
    _print_tables(results["cells"])
    results["summary"] = _summary(results["cells"])
    table("ours against the figures", ("figure", "outcome"), results["summary"])
    _keep(results, json_file)
    if figure is not None:
        _draw(results["cells"], figure)
    return results


def _keep(results: dict[str, object], path: Path | None) -> None:
    if path is not None:
        # One line a list of numbers: a reader wants cells, not rounds.
        text = re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), json.dumps(results, indent=1))
        path.write_text(text + "\n")


if __name__ == "__main__":
    typer.run(main)

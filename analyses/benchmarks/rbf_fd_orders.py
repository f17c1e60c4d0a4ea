"""Orders of RBF-FD: errors of Laplacian rows, Robin rows and the solved discretisation as the nodes become finer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from analyses.terminal import say, table
from solvers.discrete_solution import solve_on_nodes
from solvers.geometry import Ball, Curve, Disk, Nodes, Region, Shape, scatter
from solvers.operators import RBFFD
from solvers.points import EQUATION, Points
from solvers.problems import Problem
from solvers.problems.exact_robin import exact_robin
from solvers.problems.manufactured_wave import Wave

ALLOWED = 0.3
"""A fitted slope may lie this far below p."""
QUANTITIES = ("laplacian", "robin", "solution")
RULED = QUANTITIES[:2]
"""Those whose slopes are judged; that of the solution is printed beside them."""
Cell = dict[str, object]


class Domain(NamedTuple):
    """A shape, the orders that are tried on it, and numbers of interior and boundary nodes.

    `counts` are those that rows are tested at, `solved` those that the discretisation is solved at, which in space is
    much dearer.
    """

    shape: Callable[[], Shape]
    orders: tuple[int, ...]
    counts: tuple[int, ...]
    solved: tuple[int, ...]


def flower() -> Shape:
    """Return the inside of r = 1 + 0.2 cos(5 angle).

    Returns:
        A curve.
    """

    def path(t: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * t
        return (1 + 0.2 * np.cos(5 * angle))[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    return Curve(path)


def holed_ellipse() -> Shape:
    """Return the ellipse of half-axes 1.2 and 0.9 without a disk of radius 0.3 off its centre.

    Returns:
        A difference.
    """

    def path(t: np.ndarray) -> np.ndarray:
        return np.stack([1.2 * np.cos(2 * np.pi * t), 0.9 * np.sin(2 * np.pi * t)], axis=1)

    return Curve(path) - Disk((0.35, 0.1), 0.3)


PLANE = (828, 1663, 3196, 6114, 12_228, 24_456, 48_912)
SPACE = (8_000, 16_000, 32_000, 64_000)
"""As fine, at p = 4, as the plane's at p = 6: on the coarsest the radius of a stencil is 1.3 over the wavenumber of u.

Coarser nodes are not yet in the range of the order: from 1,000 to 8,000 the slope for p = 4 grows from 3.0 to 3.6.
"""
DOMAINS = {
    "disk": Domain(Disk, (2, 3, 4, 5, 6), PLANE, PLANE[:5]),
    "flower": Domain(flower, (2, 3, 4, 5, 6), PLANE, PLANE[:5]),
    "ellipse": Domain(holed_ellipse, (2, 3, 4, 5, 6), PLANE, PLANE[:5]),
    "ball": Domain(Ball, (2, 3, 4), SPACE, (1000, 2000, 4000, 8000)),
}
QUICK = {
    "disk": Domain(Disk, (2, 4), (500, 1500), (500, 1500)),
    "ellipse": Domain(holed_ellipse, (3,), (500, 1500), (500, 1500)),
    "ball": Domain(Ball, (2,), (700, 1400), (700, 1400)),
}


def row_errors(nodes: Points, wave: Wave, order: int) -> dict[str, float]:
    """Return the relative l2 errors of the rows, for u = 1 + sin(pi x) cos(pi y), times cos(pi z) in space.

    Args:
        nodes: with one layer of ghosts.
        wave: u.
        order: p.

    Returns:
        "laplacian" and "robin" -> error.
    """
    operator = RBFFD(order)
    equation, x = nodes.only(EQUATION), nodes.boundary
    laplacian = operator.plan(equation, ["laplacian"])(wave)["laplacian"]
    jet = operator.plan(nodes.only("boundary"), ["", "n"])(wave)
    robin = (nodes.normals * wave.gradient(x)).sum(dim=1, keepdim=True) + wave(x)
    return {
        "laplacian": _relative(laplacian, wave.laplacian(equation.rows)),
        "robin": _relative(jet["n"] + jet[""], robin),
    }


def _relative(found: Tensor, exact: Tensor) -> float:
    return float(torch.linalg.vector_norm(found - exact) / torch.linalg.vector_norm(exact))


def slope(spacings: Sequence[float], values: Sequence[float]) -> float:
    """Return the least-squares slope of log(error) against log(h).

    Args:
        spacings: h.
        values: errors.

    Returns:
        The order seen.

    Example:
        >>> round(slope([0.1, 0.05, 0.025], [1e-3, 1.25e-4, 1.5625e-5]), 6)
        3.0
    """
    return float(np.polyfit(np.log(spacings), np.log(values), 1)[0])


def measure(quick: bool) -> dict[str, object]:
    """Measure all domains and orders.

    Args:
        quick: few domains, orders and nodes.

    Returns:
        A row a domain and order: nodes, spacings and errors of each quantity, slopes, and whether the ruled ones pass.
    """
    rows = []
    for name, domain in (QUICK if quick else DOMAINS).items():
        start = time.process_time()
        shape = domain.shape()
        wave = Wave(dimension=shape.dimension)
        problem = _problem(name, shape, wave)
        sets = {count: scatter(shape, count=count) for count in sorted({*domain.counts, *domain.solved})}
        points = {count: nodes.points() for count, nodes in sets.items()}
        for order in domain.orders:
            found = [row_errors(points[count], wave, order) for count in domain.counts]
            series = {quantity: [each[quantity] for each in found] for quantity in RULED}
            series["solution"] = [solve_on_nodes(problem, points[n], RBFFD(order)).rel_l2 for n in domain.solved]
            rows.append(_row(name, order, domain, sets, series))
        say(f"orders: {name}, {time.process_time() - start:.0f} s")
    return {"rows": rows}


def _row(name: str, order: int, domain: Domain, sets: Mapping[int, Nodes], series: dict[str, list[float]]) -> Cell:
    used = {quantity: domain.solved if quantity == "solution" else domain.counts for quantity in QUANTITIES}
    spacings = {quantity: [sets[count].spacing for count in used[quantity]] for quantity in QUANTITIES}
    slopes = {quantity: slope(spacings[quantity], series[quantity]) for quantity in QUANTITIES}
    return {
        "domain": name,
        "order": order,
        "nodes": {quantity: [len(sets[count].inside) for count in used[quantity]] for quantity in QUANTITIES},
        "spacings": spacings,
        "errors": series,
        "slopes": slopes,
        "passed": all(slopes[quantity] > order - ALLOWED for quantity in RULED),
    }


def _problem(name: str, shape: Shape, wave: Wave) -> Problem:
    return Problem(
        name,
        Region(shape),
        ("laplacian",),
        lambda jet, x, coefficients: jet["laplacian"] - wave.laplacian(x),
        (exact_robin(wave, wave.gradient),),
        solution=wave,
    )


def show(found: dict[str, object]) -> None:
    """Print the table of orders.

    Args:
        found: from `measure`.
    """
    lines = []
    for row in found["rows"]:
        pairs = [(f"{row['errors'][q][-1]:.1e}", f"{row['slopes'][q]:.2f}") for q in QUANTITIES]
        cells = [text for pair in pairs for text in pair]
        lines.append((row["domain"], str(row["order"]), *cells, "yes" if row["passed"] else "NO"))
    for kind in ("laplacian", "solution"):
        ends = {row["domain"]: (row["nodes"][kind][0], row["nodes"][kind][-1]) for row in found["rows"]}
        say(f"nodes, {kind}: {', '.join(f'{name} {low:,} to {high:,}' for name, (low, high) in ends.items())}")
    heads = ("domain", "p", "Laplacian", "slope", "Robin", "slope", "solution", "slope", "> p-0.3")
    table("relative errors on the finest nodes, fitted slopes against h (the ellipse has a hole)", heads, lines)


def summary(found: dict[str, object]) -> list[tuple[str, str, str]]:
    """Compare the slopes with what they must reach.

    Args:
        found: from `measure`.

    Returns:
        What, measured, verdict; a line a domain.
    """
    lines = []
    for name in dict.fromkeys(row["domain"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["domain"] == name]
        margin = min(row["slopes"][quantity] - row["order"] for row in rows for quantity in RULED)
        reached = all(row["passed"] for row in rows)
        what = f"must: slopes of Laplacian and Robin rows > p - {ALLOWED}, {name}"
        lines.append((what, f"least p {margin:+.2f}", "reached" if reached else "not reached"))
    return lines

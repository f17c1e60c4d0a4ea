"""How good the reference of the lid-driven cavity is: by degree, by another method, and from what others found."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.polynomial import Polynomial

from solvers.references.cavity_collocation import collocated_velocity
from solvers.references.cavity_flow import CavityFlow
from solvers.references.cavity_ghia import BOTELLA_PEYRET, GHIA, extremes, ghia_distances
from solvers.references.cavity_lid import LIDS
from solvers.references.cavity_solve import solve_cavity
from solvers.references.recipe import Refinement

GRID = 101
COLLOCATION = 64
REGULARISED = LIDS["regularised"].speed(Polynomial([0.0, 1.0]))
"""The lid's speed."""


def velocity_distance(one: CavityFlow, other: CavityFlow, count: int = GRID) -> float:
    """Return the relative L2 distance of two velocities on the uniform grid of the square.

    Args:
        one: a flow.
        other: the one whose norm is divided by.
        count: of grid points along each axis, ends included.

    Returns:
        ||one - other|| / ||other||.
    """
    line = np.linspace(0, 1, count)
    x, y = (part.ravel() for part in np.meshgrid(line, line, indexing="ij"))
    expected = other.velocity(x, y)
    return float(np.linalg.norm(one.velocity(x, y) - expected) / np.linalg.norm(expected))


def refine_cavity(reynolds: float, lid: str, degree: int) -> Iterator[Refinement]:
    """Yield the table that shows how good a reference is.

    Args:
        reynolds: Re.
        lid: of `LIDS`.
        degree: of the reference.

    Yields:
        Lower degrees from the reference; for the regularised lid another method from it; for the uniform lid it from
        Ghia's values, in root mean square and at most, in units of the lid's speed, and from those of Botella and
        Peyret at Re = 1000.
    """
    start = time.process_time()
    kept = solve_cavity(reynolds, lid, degree)
    seconds = time.process_time() - start
    for lower in (degree // 2, 3 * degree // 4, 7 * degree // 8):
        start = time.process_time()
        flow = solve_cavity(reynolds, lid, lower)
        spent = time.process_time() - start
        yield Refinement(f"degree {lower}", velocity_distance(flow, kept), f"degree {degree}", spent)
    if lid == "regularised":
        start = time.process_time()
        x, y, velocity = collocated_velocity(reynolds, REGULARISED, COLLOCATION, kept.stream)
        spent = time.process_time() - start
        expected = kept.velocity(x, y)
        distance = float(np.linalg.norm(velocity - expected) / np.linalg.norm(expected))
        yield Refinement(f"Chebyshev collocation, degree {COLLOCATION + 2}", distance, f"degree {degree}", spent)
    if lid == "classical" and reynolds in GHIA:
        for axis, away in ghia_distances(kept, int(reynolds)).items():
            text = f"degree {degree}, {axis} on the centre line"
            yield Refinement(f"{text}, rms", float(np.sqrt((away**2).mean())), "Ghia et al. 1982", seconds)
            yield Refinement(f"{text}, largest", float(np.abs(away).max()), "Ghia et al. 1982", seconds)
    if lid == "classical" and reynolds == 1000:
        found = extremes(kept)
        for name, value in BOTELLA_PEYRET.items():
            yield Refinement(f"degree {degree}, {name}", abs(found[name] - value), "Botella, Peyret 1998", seconds)

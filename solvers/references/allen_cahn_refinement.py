"""How good the reference of Allen-Cahn's equation is: coarser and finer elements, and cosines, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from solvers.references.allen_cahn_cosines import AllenCahnCosines, extrapolated
from solvers.references.allen_cahn_elements import ElementsResolution
from solvers.references.allen_cahn_solution import AllenCahnSolution
from solvers.references.recipe import Refinement

USED = ElementsResolution()
FINE = replace(
    USED, degree=28, stages=18, late=16, ratio=2.0, earliest=1e-8, thinnest=0.01, grading=2.0, tolerance=1e-16
)


def refinements(diffusion: float, reaction: float) -> Iterator[Refinement]:
    """Yield how far coarser elements, and cosines, are from finer elements on 101 x 50 points of x >= 0 and t > 0.

    The problem's test grid is this one with its mirror image, and t = 0, where the elements are exact. The last row is
    the largest difference in the layer, at 1 - x <= 0.02 and t <= 0.01.

    Args:
        diffusion: D.
        reaction: r.

    Yields:
        The rows, 12 s of CPU.
    """
    grid = [each.ravel() for each in np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 1, 51)[1:])]
    layer = [each.ravel() for each in np.meshgrid(np.linspace(0.98, 1, 101), np.linspace(0, 0.01, 11)[1:])]

    def elements(resolution: ElementsResolution, points: list[np.ndarray] = grid) -> np.ndarray:
        return AllenCahnSolution.solved(diffusion, reaction, resolution)(*points)

    def cosines(modes: int) -> np.ndarray:
        return AllenCahnCosines(diffusion, modes, reaction=reaction)(*grid)

    def limit(modes: int) -> np.ndarray:
        return extrapolated(*grid, diffusion, modes, reaction=reaction)

    finest = elements(FINE)
    for change in ({"degree": 8, "stages": 4}, {"degree": 12, "stages": 8}, {"degree": 16, "stages": 12}, {}):
        told = replace(USED, **change)
        yield _row(f"elements, degree {told.degree}, {told.stages} stages", lambda told=told: elements(told), finest)
    for modes in (512, 1024, 2048, 4096):
        yield _row(f"{modes} cosines, 400 ETDRK4 steps", lambda modes=modes: cosines(modes), finest)
    for modes in (4096, 8192):
        yield _row(f"cosines up to {modes}, extrapolated", lambda modes=modes: limit(modes), finest)
    began = time.process_time()
    thin = extrapolated(*layer, diffusion, 32768, 50, reaction=reaction, end=0.01)
    worst = np.abs(thin - elements(USED, layer)).max()
    told = "the elements, largest in the layer"
    yield Refinement("cosines up to 32768, extrapolated", float(worst), told, time.process_time() - began)


def _row(resolution: str, compute: Callable[[], np.ndarray], finest: np.ndarray) -> Refinement:
    began = time.process_time()
    values = compute()
    seconds = time.process_time() - began
    away = np.linalg.norm(values - finest) / np.linalg.norm(finest)
    return Refinement(resolution, float(away), f"elements, degree {FINE.degree}, {FINE.stages} stages", seconds)

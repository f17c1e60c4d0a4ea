"""How far a file is from the solution of its equation, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from analyses.reproduce.reference_files_identity import Identified
from dynamics.errors import FLOORS

LAYER, EARLY, SHOCK = "|x| > 0.98", "t < 0.1", "|x| < 0.02"
PLACES = {"burgers": SHOCK, "allen-cahn": LAYER, "kdv": None}
"""Where the solution is hard to resolve: the shock, the kink; in KdV nowhere."""


@dataclass(frozen=True, eq=False)
class Distance:
    """A file against our reference, over the file's own grid.

    Args:
        relative: L2 distance over the L2 norm of the reference.
        largest: |difference|.
        x: where the largest is.
        t: when it is.
        floor: relative L2 error of the reference, or the file's rounding where that is larger.
        largest_floor: below which the largest means nothing, taken as the floor times the largest |u|.
        shares: of the sum of squares in `LAYER`, `EARLY` and `SHOCK`.
        elsewhere: relative L2 distance without the problem's place of `PLACES`; without one, as a whole.
        start: largest |difference| at t = 0, NaN for a file that begins later.
        reference: ours, (nx, nt).
        difference: file minus ours, (nx, nt).
    """

    relative: float
    largest: float
    x: float
    t: float
    floor: float
    largest_floor: float
    shares: dict[str, float]
    elsewhere: float
    start: float
    reference: np.ndarray
    difference: np.ndarray

    @property
    def at_floor(self) -> bool:
        """Whether the distance is within `FLOORS` of the reference's own error."""
        return self.relative <= FLOORS * self.floor


def measure(found: Identified) -> Distance:
    """Compare a file with our reference.

    Args:
        found: the file with its problem.

    Returns:
        Distances.
    """
    file, problem = found.file, found.problem
    x, t = np.meshgrid(file.x, file.t, indexing="ij")
    # A single-precision axis may end an ulp outside the domain.
    points = np.stack([np.clip(x, -1, 1), np.clip(t, 0, 1)], axis=-1).reshape(-1, 2)
    reference = problem.solution(torch.from_numpy(points)).numpy().reshape(x.shape)
    difference = file.u - reference
    squares = difference**2
    total = squares.sum() or 1.0
    parts = {LAYER: np.abs(x) > 0.98, EARLY: t < 0.1, SHOCK: np.abs(x) < 0.02}
    row, column = np.unravel_index(np.abs(difference).argmax(), x.shape)
    place = PLACES[problem.name]
    rest = ~parts[place] if place else np.ones_like(x, dtype=bool)
    floor = max(problem.solution_floor, file.rounding / 4)
    return Distance(
        relative=_relative(difference, reference),
        largest=float(np.abs(difference).max()),
        x=float(file.x[row]),
        t=float(file.t[column]),
        floor=floor,
        largest_floor=floor * float(np.abs(reference).max()),
        shares={name: float(squares[part].sum() / total) for name, part in parts.items()},
        elsewhere=_relative(difference[rest], reference[rest]),
        start=float(np.abs(difference[:, 0]).max()) if abs(file.t[0]) < 1e-9 else float("nan"),
        reference=reference,
        difference=difference,
    )


def _relative(difference: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(difference) / np.linalg.norm(reference))


def bounded(value: float, floor: float) -> str:
    """Return a distance as text, never below what the reference can tell.

    Args:
        value: measured.
        floor: of the reference.

    Returns:
        Three digits, "<= floor" within three floors, "-" for NaN.

    Example:
        >>> bounded(4.0053e-5, 1e-14), bounded(2e-11, 1e-11), bounded(float("nan"), 1.0)
        ('4.005e-05', '<= 1.0e-11', '-')
    """
    if np.isnan(value):
        return "-"
    return f"<= {floor:.1e}" if value <= FLOORS * floor else f"{value:.3e}"

"""Allen-Cahn from starts that agree at the points of a file and differ between them: what a file cannot tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import make_interp_spline

from analyses.reproduce.reference_files_distance import Distance
from analyses.reproduce.reference_files_identity import Identified
from analyses.reproduce.reference_files_modes import FINER, period_points, periodic_run, trigonometric


@dataclass(frozen=True)
class Start:
    """A resolved solution from one start.

    Args:
        name: of the start.
        from_file: relative L2 distance of the file from it.
        from_ours: relative L2 distance of our reference from it.
    """

    name: str
    from_file: float
    from_ours: float


def starts(found: Identified, distance: Distance) -> list[Start]:
    """Solve with many modes from smooth curves through the points of a file's first row.

    Args:
        found: a file that is one period from t = 0.
        distance: of the file from our reference.

    Returns:
        One row a start; none for a file that is not such.

    Raises:
        ValueError: a period of fewer than 8 points.
    """
    points = period_points(found.file)
    if not points or abs(found.file.t[0]) > 1e-9:
        return []
    if points < 8:
        raise ValueError(f"expected a period of at least 8 points, came {points}")
    row = found.file.u[:points, 0]
    fine = -1 + 2 * np.arange(FINER * points) / (FINER * points)
    coarse = np.append(fine[::FINER], 1.0)
    curves = {}
    for degree in (3, 5, 7):
        spline = make_interp_spline(coarse, np.append(row, row[0]), k=degree, bc_type="periodic")
        curves[f"periodic spline of degree {degree}"] = spline(fine)
    curves["trigonometric interpolant"] = trigonometric(row, FINER * points)
    runs = {name: periodic_run(found, FINER * points, curve)[::FINER] for name, curve in curves.items()}
    # The repeated point is part of the file, and of its score.
    runs = {name: run if points == len(found.file.x) else np.vstack([run, run[:1]]) for name, run in runs.items()}
    norm = np.linalg.norm(distance.reference)
    return [
        Start(
            name,
            float(np.linalg.norm(found.file.u - run) / norm),
            float(np.linalg.norm(distance.reference - run) / norm),
        )
        for name, run in runs.items()
    ]

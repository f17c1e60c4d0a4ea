"""What a recorded training of a profile left in its file: loss, lambda and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynamics import open_trajectory
from solvers.problems.selfsimilar_burgers import LAMBDA


@dataclass(frozen=True)
class History:
    """A training's course, read back from its file.

    Args:
        steps: recorded.
        evaluations: of the loss until then.
        loss: there.
        lam: lambda there.
    """

    steps: np.ndarray
    evaluations: np.ndarray
    loss: np.ndarray
    lam: np.ndarray


def history(path: Path) -> History:
    """Read loss and lambda of every step from a trajectory.

    Args:
        path: of the file.

    Returns:
        Arrays, one entry a step.
    """
    with open_trajectory(path) as tree:
        series, coefficients = tree["series"], tree["coefficients"]
        lam = coefficients["value"].sel(coefficient=LAMBDA).values
        columns = (series["step"].values, series["evaluations"].values, series["loss"].values)
        return History(*(np.asarray(column) for column in (*columns, lam)))


def joined(courses: Sequence[History]) -> History:
    """Return the course of stages that followed each other.

    Args:
        courses: one a stage, in order.

    Returns:
        One course, whose steps and evaluations go on.

    Example:
        >>> one = History(np.array([0, 1]), np.array([1, 3]), np.array([1.0, 0.5]), np.array([0.2, 0.3]))
        >>> both = joined([one, one])
        >>> both.steps.tolist(), both.evaluations.tolist()
        ([0, 1, 1, 2], [1, 3, 4, 6])
    """
    steps, evaluations, before = [], [], (0, 0)
    for course in courses:
        steps.append(course.steps + before[0])
        evaluations.append(course.evaluations + before[1])
        before = steps[-1][-1], evaluations[-1][-1]
    columns = (np.concatenate(steps), np.concatenate(evaluations))
    return History(*columns, *(np.concatenate([getattr(c, name) for c in courses]) for name in ("loss", "lam")))


def snapshots(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the recorded parameters.

    Args:
        path: of the file.

    Returns:
        Steps, and (steps, parameters).
    """
    with open_trajectory(path) as tree:
        return tree["parameters/step"].values.copy(), tree["parameters/value"].values.copy()

"""How many Fourier modes a file was made with: its spectrum, and runs of our own with as many."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, rfft

from analyses.reproduce.reference_files_distance import Distance
from analyses.reproduce.reference_files_identity import Identified
from analyses.reproduce.reference_files_reading import ReferenceFile
from solvers.references.etdrk4 import etdrk4

STEP = {"burgers": 5e-4, "allen-cahn": 1e-3, "kdv": 1e-4}
"""Largest time steps of our own runs."""
FINER = 8
"""How many times as many modes the resolved run has."""
MOST = 1100
"""Points of a period; runs with more modes take minutes."""
EDGE = 1e-12
"""Of the largest amplitude: below it a mode is round-off."""
LIKE = 0.1
"""A run that is this much nearer to the file than our reference is has made the same error."""


@dataclass(frozen=True, eq=False)
class Modes:
    """What the spectrum of a file says, all NaN or empty where its grid is not one period.

    Args:
        points: of a period.
        time: at which the spectra are taken, that of the largest difference; at the floor, of the steepest solution.
        amplitudes: of the file's modes, 0 to points // 2.
        ours: of our reference on the same grid.
        edge: last mode of the file above `EDGE` of the largest.
        our_edge: of ours.
        same: relative L2 distance of a run with as many modes as points from the file; NaN where that is at the floor
            of our reference anyway.
        same_error: of that run's own time steps.
        resolved: of a run with `FINER` times as many modes that begins with the trigonometric interpolant of the
            file's own first row; NaN where the first run is not the file's.
        verdict: what this says of the file.
    """

    points: int
    time: float
    amplitudes: np.ndarray
    ours: np.ndarray
    edge: int
    our_edge: int
    same: float
    same_error: float
    resolved: float
    verdict: str


def modes(found: Identified, distance: Distance) -> Modes:
    """Look for the number of modes that a file was made with.

    A pseudo-spectral run with as many modes as the period has points reproduces a file that was made so, error and
    all, to the accuracy of the time steps; one made with more modes it misses by the error that those avoided.

    Args:
        found: file and problem.
        distance: of the file from our reference.

    Returns:
        Spectra and distances.
    """
    file = found.file
    points = period_points(file)
    column = _column(file, distance)
    if not points:
        nothing = np.empty(0)
        return Modes(0, distance.t, nothing, nothing, 0, 0, math.nan, math.nan, math.nan, "not one period")
    amplitudes = amplitude(file.u[:points, column])
    ours = amplitude(distance.reference[:points, column])
    same = same_error = resolved = math.nan
    if abs(file.t[0]) < 1e-9 and points <= MOST and not distance.at_floor:
        runs = [periodic_run(found, points, file.u[:points, 0], halved) for halved in (1, 2)]
        same, same_error = (_away(other, runs[1], distance) for other in (file.u[:points], runs[0]))
        if same <= LIKE * distance.relative:
            start = trigonometric(file.u[:points, 0], FINER * points)
            resolved = _away(file.u[:points], periodic_run(found, FINER * points, start)[::FINER], distance)
    edges = _edge(amplitudes), _edge(ours)
    verdict = _verdict(points, edges, distance, same)
    return Modes(points, float(file.t[column]), amplitudes, ours, *edges, same, same_error, resolved, verdict)


def _column(file: ReferenceFile, distance: Distance) -> int:
    """The time of the largest difference; of the steepest solution where all differences are the floor's."""
    if distance.at_floor:
        return int(np.argmax(np.abs(np.diff(distance.reference, axis=0)).max(axis=0)))
    return int(np.argmin(np.abs(file.t - distance.t)))


def _verdict(points: int, edges: tuple[int, int], distance: Distance, same: float) -> str:
    edge, our_edge = edges
    if edge < 0.9 * our_edge:
        return f"cut at {2 * edge + 1}"
    if distance.at_floor or our_edge < 0.9 * (points // 2):
        return f"{2 * our_edge + 1} would do" if our_edge < 0.9 * (points // 2) else f">= {points}"
    if same <= LIKE * distance.relative:
        return f"{points}"
    return "not told" if math.isnan(same) else f"more than {points}"


def period_points(file: ReferenceFile) -> int:
    """Return how many points of a file's grid are one period of [-1, 1), 0 where it is not one.

    Args:
        file: any.

    Returns:
        nx, or nx - 1 where x = 1 repeats x = -1.
    """
    step = (file.x[-1] - file.x[0]) / (len(file.x) - 1)
    if abs(file.x[0] + 1) > 1e-6:
        return 0
    return next((len(file.x) - k for k in (0, 1) if abs(file.x[0] + step * (len(file.x) - k) - 1) < 1e-6), 0)


def amplitude(values: np.ndarray) -> np.ndarray:
    """Return the amplitudes of the modes of a periodic row.

    Args:
        values: (points,).

    Returns:
        (points // 2 + 1,), amplitudes of cos and sin together.
    """
    found = 2 * np.abs(rfft(values)) / len(values)
    found[0] /= 2
    return found


def _edge(amplitudes: np.ndarray) -> int:
    return int(np.flatnonzero(amplitudes > EDGE * amplitudes.max())[-1])


def trigonometric(values: np.ndarray, points: int) -> np.ndarray:
    """Return the trigonometric interpolant of a periodic row on a finer grid.

    Args:
        values: one period.
        points: of the finer grid, more than of the row.

    Returns:
        (points,).

    Example:
        >>> x = np.arange(5) * 2 / 5
        >>> fine = trigonometric(np.sin(np.pi * x), 10)
        >>> bool(np.allclose(fine, np.sin(np.pi * np.arange(10) / 5)))
        True
    """
    spectrum = rfft(values)
    if len(values) % 2 == 0:
        # The highest mode of an even number of points stands for both signs of its wavenumber.
        spectrum[-1] /= 2
    return irfft(spectrum, points) * points / len(values)


def periodic_run(found: Identified, points: int, start: np.ndarray, halved: int = 1) -> np.ndarray:
    """Solve the identified equation with a given number of Fourier modes, without dealiasing.

    Args:
        found: file, whose times are taken, and problem.
        points: of the period.
        start: (points,) at the first time.
        halved: how many times the time steps are shortened.

    Returns:
        (points, nt).
    """
    name, value, times = found.problem.name, found.coefficient, found.file.t
    wave = np.pi * np.arange(points // 2 + 1)
    slope = wave.copy()
    if points % 2 == 0:
        slope[-1] = 0
    if name == "allen-cahn":
        linear = 5 - value * wave**2
    else:
        linear = -value * wave**2 if name == "burgers" else 1j * value**2 * slope**3

    def nonlinear(state: np.ndarray) -> np.ndarray:
        values = irfft(state, points)
        return -5 * rfft(values**3) if name == "allen-cahn" else -0.5j * slope * rfft(values**2)

    between = (times[-1] - times[0]) / (len(times) - 1)
    steps = math.ceil(between / STEP[name] - 1e-9) * halved
    with np.errstate(all="ignore"):
        march = etdrk4(linear, nonlinear, rfft(start), between / steps, steps * (len(times) - 1))
        return np.array([irfft(state, points) for count, state in enumerate(march) if count % steps == 0]).T


def _away(values: np.ndarray, run: np.ndarray, distance: Distance) -> float:
    with np.errstate(all="ignore"):
        away = np.linalg.norm(values - run) / np.linalg.norm(distance.reference[: len(run)])
    return float(away) if np.isfinite(away) else math.inf

"""How each problem of the quasi-Newton benchmark is put to a network: ansatz, network, points, windows of time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from torch import Tensor, nn

from analyses.benchmarks.correction_features import InWindow, OddLayered
from analyses.benchmarks.hard_conditions import Function
from solvers.functions import cos, sin
from solvers.networks import MLP, PeriodicFeatures, PeriodicMLP, RandomFeatures, Sine
from solvers.problems import Problem, allen_cahn, burgers, helmholtz, kdv


def periodic(widths: list[int], highest: int, even: bool = False) -> nn.Module:
    """Return an MLP of harmonics in x, of period 2, and t.

    Args:
        widths: of its hidden layers.
        highest: harmonic.
        even: whether it is even in x.

    Returns:
        The network.

    Example:
        >>> sum(p.numel() for p in periodic([30, 30], 2).parameters())
        1141
    """
    return PeriodicMLP(2, widths, harmonics=highest, even=even)


Features = Callable[[int, float, float, int], nn.Module]
"""(columns, low, high, seed) -> features on the window low <= t <= high, linear in their one parameter."""


@dataclass(frozen=True)
class Correction:
    """The second stage of a window: u = g + D F, F features in the network's place.

    Their coefficients are fitted to the network's values, and Gauss-Newton goes on from there. Added to the network, as
    in `Corrected`, they would have to take its errors away, which may be rougher than the solution and which, for
    Burgers, are not odd in x: its error at t > 1/3 then stayed at 4e-4 and more, after 450 evaluations a window.

    Args:
        features: makes F.
        columns: coefficients.
        points: of the equation.
        steps: of Gauss-Newton, at most.
        factor: D's part of space, as in `Recipe`.
        rcond: of the singular values.
    """

    features: Features
    columns: int
    points: int
    steps: int = 8
    factor: Function | None = None
    rcond: float = 1e-15


@dataclass(frozen=True)
class Recipe:
    """A problem as the benchmark solves it: u = g + D N, N the network.

    Time is cut into windows of one length, one network each: g is the last window's end, D the factor of space times
    (t - t_0) / length. A steady problem has g = 0 and one window.

    Args:
        problem: with its reference.
        network: makes N.
        points: of the equation, a window.
        evaluations: of the loss, a window.
        start: u at the beginning; None for a steady problem.
        factor: D's part of space, zero where u is given on the boundary; None for 1.
        windows: of time.
        crowding: a of x = sinh(a s) / sinh(a): the points' density at x = 0 over that of even ones is sinh(a) / a;
            0 for even ones.
        soft: weight of the initial condition in the loss of the first window, where it is not built in; 0 where it is.
        odd: u is odd in x, is solved for on x > 0 only, and D and the features vanish at x = 0.
        correction: second stage, or None.
    """

    problem: Callable[[], Problem]
    network: Callable[[], nn.Module]
    points: int
    evaluations: int
    start: Function | None = None
    factor: Function | None = None
    windows: int = 1
    crowding: float = 0.0
    soft: float = 0.0
    odd: bool = False
    correction: Correction | None = None


def _layered(columns: int, low: float, high: float, seed: int) -> nn.Module:
    return OddLayered(columns, (0.2, 0.05, 0.012), low, high, seed=seed)


def _sines(columns: int, low: float, high: float, seed: int) -> nn.Module:
    harmonics = PeriodicFeatures(2, 4)
    scale = [6.0] * (harmonics.width - 1) + [2.0]
    features = RandomFeatures(harmonics.width, columns, Sine, scale=scale, seed=seed)
    return nn.Sequential(InWindow(low, high), harmonics, features)


def _plain(columns: int, low: float, high: float, seed: int) -> nn.Module:
    return RandomFeatures(2, columns, Sine, scale=20.0, seed=seed)


def _square(x: Tensor) -> Tensor:
    return (1 - x[:, :1] ** 2) * (1 - x[:, 1:] ** 2)


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "burgers": Recipe(
            burgers,
            partial(MLP, 2, [20, 20, 20]),
            points=2048,
            evaluations=600,
            start=lambda x: -sin(math.pi * x[:, :1]),
            factor=lambda x: x[:, :1] * (1 - x[:, :1]),
            windows=9,
            crowding=5.0,
            odd=True,
            correction=Correction(_layered, columns=1_000, points=3_000, factor=lambda x: 1 - x[:, :1] ** 2),
        ),
        "allen-cahn": Recipe(
            allen_cahn,
            partial(periodic, [30, 30], 2, even=True),
            points=1024,
            evaluations=2_000,
            start=lambda x: x[:, :1] ** 2 * cos(math.pi * x[:, :1]),
            windows=5,
            soft=100.0,
        ),
        "kdv": Recipe(
            kdv,
            partial(periodic, [30, 30], 2),
            points=1024,
            evaluations=250,
            start=lambda x: cos(math.pi * x[:, :1]),
            windows=12,
            correction=Correction(_sines, columns=1_200, points=3_000),
        ),
        "helmholtz": Recipe(
            helmholtz,
            partial(MLP, 2, [20, 20], activation=Sine),
            points=1024,
            evaluations=35_000,
            factor=_square,
            correction=Correction(_plain, columns=800, points=2_000, factor=_square),
        ),
    }
)
"""Problem -> how it is solved, the same for every optimizer."""

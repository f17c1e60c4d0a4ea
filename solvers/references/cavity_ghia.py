"""What others found on the centre lines of the cavity with a uniform lid, to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from scipy.optimize import minimize_scalar

from solvers.references.cavity_flow import CavityFlow

# 129 x 129 points, whose places are multiples of 1/128 printed to four digits.
_Y = (0, 7, 8, 9, 13, 22, 36, 58, 64, 79, 94, 109, 122, 123, 124, 125, 128)
_X = (0, 8, 9, 10, 12, 20, 29, 30, 64, 103, 110, 116, 121, 122, 123, 124, 128)
_U = {
    100: """0 -.03717 -.04192 -.04775 -.06434 -.10150 -.15662 -.21090 -.20581 -.13641 .00332 .23151 .68717 .73722 .78871
        .84123 1""",
    400: """0 -.08186 -.09266 -.10338 -.14612 -.24299 -.32726 -.17119 -.11477 .02135 .16256 .29093 .55892 .61756 .68439
        .75837 1""",
    1000: """0 -.18109 -.20196 -.22220 -.29730 -.38289 -.27805 -.10648 -.06080 .05702 .18719 .33304 .46604 .51117 .57492
        .65928 1""",
}
_V = {
    100: """0 .09233 .10091 .10890 .12317 .16077 .17507 .17527 .05454 -.24533 -.22445 -.16914 -.10313 -.08864 -.07391
        -.05906 0""",
    400: """0 .18360 .19713 .20920 .22965 .28124 .30203 .30174 .05186 -.38598 -.44993 -.23827 -.22847 -.19254 -.15663
        -.12146 0""",
    1000: """0 .27485 .29012 .30353 .32627 .37095 .33075 .32235 .02526 -.31966 -.42665 -.51550 -.39188 -.33714 -.27669
        -.21388 0""",
}

GHIA: Mapping[int, Mapping[str, np.ndarray]] = MappingProxyType(
    {
        reynolds: MappingProxyType(
            {
                "y": np.array(_Y) / 128,
                "u": np.array(_U[reynolds].split(), dtype=float),
                "x": np.array(_X) / 128,
                "v": np.array(_V[reynolds].split(), dtype=float),
            }
        )
        for reynolds in _U
    }
)
"""Reynolds number -> y and u on x = 1/2, x and v on y = 1/2: U. Ghia, K. N. Ghia, C. T. Shin, J. Comput. Phys. 48
(1982), tables I and II, as printed: no point is left out, also none that must be a misprint (v at x = 116/128,
Re = 400)."""

BOTELLA_PEYRET: Mapping[str, float] = MappingProxyType(
    {"u_min": -0.3885698, "v_max": 0.3769447, "v_min": -0.5270771, "stream_min": -0.1189366}
)
"""Re = 1000, extremes of u on x = 1/2, of v on y = 1/2 and of the stream function, to seven digits: O. Botella and
R. Peyret, Computers & Fluids 27 (1998), Chebyshev collocation with 160 modes (their lid moves to the left)."""


def ghia_distances(flow: CavityFlow, reynolds: int) -> dict[str, np.ndarray]:
    """Return how far a flow is from Ghia's values, in units of the lid's speed.

    Args:
        flow: with the uniform lid.
        reynolds: 100, 400 or 1000.

    Returns:
        "u" and "v", (17,) each: flow less table, along rising y and x.
    """
    table = GHIA[reynolds]
    middle = np.full(len(table["y"]), 0.5)
    u = flow.velocity(middle, table["y"])[:, 0] - table["u"]
    return {"u": u, "v": flow.velocity(table["x"], middle)[:, 1] - table["v"]}


def extremes(flow: CavityFlow) -> dict[str, float]:
    """Return the extremes of u on x = 1/2 and of v on y = 1/2, and the smallest value of the stream function.

    Args:
        flow: any.

    Returns:
        By the names of `BOTELLA_PEYRET`.
    """

    def u(y: float) -> float:
        return float(flow.velocity(np.array([0.5]), np.array([y]))[0, 0])

    def v(x: float) -> float:
        return float(flow.velocity(np.array([x]), np.array([0.5]))[0, 1])

    return {
        "u_min": _smallest(u, 0.02, 0.7),
        "v_max": -_smallest(lambda x: -v(x), 0.02, 0.5),
        "v_min": _smallest(v, 0.5, 0.98),
        "stream_min": _centre(flow),
    }


def _smallest(function, low: float, high: float) -> float:
    return float(minimize_scalar(function, bounds=(low, high), method="bounded", options={"xatol": 1e-7}).fun)


def _centre(flow: CavityFlow) -> float:
    """Return the stream function at the centre of the primary vortex, by Newton's method for the point at rest."""
    line = np.linspace(0.1, 0.9, 41)
    x, y = (part.ravel() for part in np.meshgrid(line, line))
    lowest = int(flow.stream(x, y).argmin())
    place = np.array([x[lowest], y[lowest]])
    for _ in range(6):
        x, y = place[:1], place[1:]
        slope = np.array([flow.stream(x, y, 1, 0)[0], flow.stream(x, y, 0, 1)[0]])
        mixed = flow.stream(x, y, 1, 1)[0]
        bend = np.array([[flow.stream(x, y, 2, 0)[0], mixed], [mixed, flow.stream(x, y, 0, 2)[0]]])
        place = place - np.linalg.solve(bend, slope)
    return float(flow.stream(place[:1], place[1:])[0])

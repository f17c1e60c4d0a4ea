"""The wave equation on a string with fixed ends: a tone and its overtone."""

from __future__ import annotations

import math

from solvers.domain import Box
from solvers.functions import cos, sin
from solvers.problems.closed_form import CLOSED_FORM, phase_floor
from solvers.problems.conditions import dirichlet, initial_value
from solvers.problems.equation_text import in_pi, times
from solvers.problems.number import real_number
from solvers.problems.poisson import integer_modes
from solvers.problems.problem import Condition, Problem

HIGHEST = 50
"""Half waves in x or t that the test grid resolves, with four points a wave."""


def wave(speed: float = 2.0, overtone: int = 4, amplitude: float = 0.5) -> Problem:
    """Return u_tt = c^2 u_xx on (0, 1) x (0, 1), u(0, t) = u(1, t) = 0, u_t(x, 0) = 0, from two half-wave modes.

    u = sin(pi x) cos(c pi t) + a sin(m pi x) cos(m c pi t). The loss has four terms: equation, boundary, initial value
    and initial velocity.

    Variants of the name, which `settings` tells apart:

    * c = 2, m = 4, a = 0.5 is that of S. Wang, X. Yu, P. Perdikaris, J. Comput. Phys. 449 (2022) 110768, of jaxpi's
      authors, PINA and PINNacle.
    * Rathore et al. (arXiv 2402.01868) have m, their beta, as a parameter, with c = 2 and a = 0.5.
    * jaxpi2's documentation has m = 2; DeepXDE's example m = 2, c = 10, a = 1.

    Args:
        speed: c.
        overtone: m, an integer of 2 or more.
        amplitude: a, of the overtone.

    Returns:
        The problem. Its floor is the rounding of the phase m c pi t, eps m c pi / 2: 2.8e-15 for the defaults.

    Raises:
        ValueError: speed that is not positive (0 does not move, and c^2 < 0 is ill-posed), an overtone that is none, an
            amplitude that is not finite, or m or m c above 50, more than the test grid resolves.

    Example:
        >>> import torch
        >>> wave().solution(torch.tensor([[0.125, 0.5]], dtype=torch.float64)).item()
        0.11731656763491022
    """
    speed, amplitude = real_number("speed", speed), real_number("amplitude", amplitude)
    m = integer_modes((overtone,), 1, HIGHEST)[0]
    if m < 2:
        raise ValueError(f"expected an overtone of 2 or more half waves, the tone itself has 1, came {overtone}")
    if not (speed > 0 and m * speed <= HIGHEST):
        raise ValueError(
            f"expected speed > 0 (c itself, not c^2) with overtone * speed <= {HIGHEST}, where the test grid has four "
            f"points a period, came {speed} with overtone {overtone}"
        )
    if not math.isfinite(amplitude):
        raise ValueError(f"expected a finite amplitude of the overtone, came {amplitude}: 0 leaves it out")
    pitch = speed * math.pi

    def start(x):
        return sin(math.pi * x[:, 0:1]) + amplitude * sin(m * math.pi * x[:, 0:1])

    def solution(x):
        place, time = x[:, 0:1], x[:, 1:2]
        tone = sin(math.pi * place) * cos(pitch * time)
        return tone + amplitude * sin(m * math.pi * place) * cos(m * pitch * time)

    def residual(jet, x, coefficients):
        return jet["tt"] - speed**2 * jet["xx"]

    return Problem(
        "wave",
        Box(("x", "t"), (0.0, 0.0), (1.0, 1.0)),
        ("tt", "xx"),
        residual,
        (
            dirichlet(),
            initial_value(start),
            Condition("velocity", "initial", ("t",), lambda jet, x, normals, coefficients: jet["t"]),
        ),
        solution=solution,
        solution_floor=phase_floor(m * max(pitch, math.pi)),
        floor_origin=CLOSED_FORM,
        test_shape=(101, 101),
        settings={"speed": speed, "overtone": m, "amplitude": amplitude},
        equation=f"u_tt = {times(speed**2, 'u_xx')}, u0 of pi x and {in_pi(m)} x",
    )

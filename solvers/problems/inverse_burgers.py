"""The viscosity of Burgers' equation, to be found from noisy measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence

from solvers.problems.burgers import burgers
from solvers.problems.inverse_problem import inverse_problem
from solvers.problems.problem import Problem


def inverse_burgers(
    viscosity: float = 0.01 / math.pi,
    measurements: int = 1000,
    noise: float = 0.01,
    seed: int = 0,
    how: str = "trained",
    *,
    start: float | None = None,
    bounds: Sequence[float] = (0.0, 0.1),
    weight: float = 1.0,
    points: object = None,
) -> Problem:
    r"""Return the problem of finding nu in u_t + u u_x = nu u_xx from values of u with noise; the rest as in `burgers`.

    Measured is the exact solution at points drawn uniformly from (-1, 1) x (0, 1). No unbiased estimate has a standard
    deviation below `settings["standard_error"]`, see `NoisyData`: with the defaults 0.6 % of nu, nearly all of it from
    the few points inside the shock.

    M. Raissi et al. (J. Comput. Phys. 378 (2019) 686-707) find two coefficients, of u u_x and of u_xx, from 2,000
    points of the same solution with 1 % of noise. There the data stand in for boundary and initial values, equation and
    data share their points; here boundary and initial values are known, the equation has points of its own, and nu
    alone is unknown. Before the noise their file is exact to 3e-12 in relative L2; other files of the same solution,
    made with 511 Fourier modes, are wrong by 4e-5.

    Args:
        viscosity: true nu.
        measurements: how many.
        noise: standard deviation over that of the noiseless values, from 0 on.
        seed: of points and noise.
        how: nu is "trained", "bounded" or "eliminated", see `Coefficient`; all three find it.
        start: of nu; 5 times the true value.
        bounds: of nu.
        weight: of the data's mean square in the loss; see `inverse_heat` for why not more.
        points: (n, 2) of the domain to measure at instead.

    Returns:
        The problem.

    Raises:
        ValueError: a viscosity that `burgers` refuses or outside its bounds, a start outside them, fewer than two
            measurements, negative noise, points outside the domain or all where u does not depend on nu.

    Example:
        >>> problem = inverse_burgers()
        >>> f"{problem.settings['standard_error']['viscosity'] / problem.coefficients[0].exact:.1%}"
        '0.6%'
    """

    def residual(jet, x, coefficients):
        return jet["t"] + jet[""] * jet["x"] - coefficients["viscosity"] * jet["xx"]

    return inverse_problem(
        burgers,
        "viscosity",
        viscosity,
        residual,
        measurements=measurements,
        noise=noise,
        seed=seed,
        how=how,
        start=start,
        bounds=bounds,
        weight=weight,
        points=points,
        equation="u_t + u u_x = nu u_xx, nu unknown",
    )

"""The diffusivity of the heat equation, to be found from noisy measurements."""

from __future__ import annotations

from collections.abc import Sequence

from solvers.problems.equation_text import in_pi
from solvers.problems.heat import heat
from solvers.problems.inverse_problem import inverse_problem
from solvers.problems.problem import Problem


def inverse_heat(
    diffusivity: float = 0.1,
    measurements: int = 200,
    noise: float = 0.01,
    seed: int = 0,
    how: str = "trained",
    *,
    mode: int = 1,
    start: float | None = None,
    bounds: Sequence[float] = (0.0, 3.0),
    weight: float = 1.0,
    points: object = None,
) -> Problem:
    r"""Return the problem of finding nu in u_t = nu u_xx from values of u with noise; the rest is that of `heat`.

    Measured is u = e^(-k^2 pi^2 nu t) sin(k pi x) at points drawn uniformly from (-1, 1) x (0, 1). No unbiased estimate
    has a standard deviation below `settings["standard_error"]`, see `NoisyData`.

    As in DeepXDE's inverse diffusion problem the equation, boundary and initial values are known and one coefficient is
    not. There a source keeps u = e^-t sin(pi x), and u is measured without noise at 10 places at t = 1; here there is
    no source, and the points lie anywhere at any time.

    **Weight of the data.** What the equation's term tolerates lets u follow the noise, and nu with it: a component of
    the noise that leaves c times its size in the equation is fitted to the share w / (w + c^2), and its u_xx makes nu
    too small. Root mean square of (estimate - nu) / standard error, 10 draws of the defaults after 400 steps of
    SSBroyden, MLP(2, [20, 20]): 0.91 with w = 0.01 and with w = 1, 1.95 with 100, 9.1 with 1e4, which is the precision
    of the data relative to their size, mean(u^2) / s^2. Of 10 times the noise, where that is 100: 0.92 with w = 1, 3.2
    with 100, 52 with 1e4, nu too small on average. The default is 1; with w = 0.01 L-BFGS is still some 75 standard
    errors off after 500 steps (2 draws).

    Args:
        diffusivity: true nu.
        measurements: how many.
        noise: standard deviation over that of the noiseless values, from 0 on.
        seed: of points and noise.
        how: nu is "trained", "bounded" or "eliminated", see `Coefficient`; all three find it.
        mode: k.
        start: of nu; 5 times the true value.
        bounds: of nu.
        weight: w of the data's mean square in the loss.
        points: (n, 2) of the domain to measure at instead.

    Returns:
        The problem.

    Raises:
        ValueError: a diffusivity that `heat` refuses or outside its bounds, a start outside them, fewer than two
            measurements, negative noise, points outside the domain or all where u does not depend on nu.

    Example:
        >>> problem = inverse_heat()
        >>> error = problem.settings["standard_error"]["diffusivity"]
        >>> [c.start for c in problem.coefficients], f"{error:.1e}"
        ([0.5], '1.6e-04')
    """

    def residual(jet, x, coefficients):
        return jet["t"] - coefficients["diffusivity"] * jet["xx"]

    return inverse_problem(
        lambda value: heat(value, mode),
        "diffusivity",
        diffusivity,
        residual,
        measurements=measurements,
        noise=noise,
        seed=seed,
        how=how,
        start=start,
        bounds=bounds,
        weight=weight,
        points=points,
        equation=f"u_t = nu u_xx, nu unknown, u0 = sin({in_pi(mode)} x)",
    )

"""Self-similar blow-up of Burgers' equation: the profile and its unknown exponent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from solvers.domain import Box
from solvers.problems.coefficient import Coefficient
from solvers.problems.conditions import dirichlet
from solvers.problems.problem import Problem
from solvers.problems.residual_derivatives import residual_derivatives
from solvers.problems.self_similar_profile import SelfSimilarProfile

LAMBDA = "lambda"
EDGE = 2.0
"""The profile is computed on [-2, 2], and U(-2) = 1 fixes its scale."""

NEAR = 0.1
"""Where the smoothness condition is asked for: well inside the nearest complex singularity, 0.385 for k = 0."""

SOBOLEV = 0.3
"""Weight of R' beside R."""


def selfsimilar_burgers(
    k: int = 0,
    how: str = "eliminated",
    *,
    interval: tuple[float, float] | None = None,
    start: float | None = None,
    orders: Sequence[int] | None = None,
    normalised: bool = True,
) -> Problem:
    r"""Return the k-th self-similar Burgers profile: U odd, U(-2) = 1, and lambda unknown.

    $$ -\lambda U + ((1 + \lambda) X + U) U' = 0, \qquad \lambda \in [1/(2k+3),\, 1/(2k+1)] $$

    u = (1 - t)^lambda U(x (1 - t)^(-1 - lambda)) then blows up at t = 1. Every lambda has a solution,
    X = -U - sign(U) |U|^(1 + 1/lambda); only lambda = 1/(2k + 2) has a smooth one, X = -U - U^(2k+3). What selects it
    is the smoothness condition at the origin: with m = 2k + 3, u_j the Taylor coefficients of U and R_j those of the
    residual, u_1 = -1 and R_1 = ... = R_{m-1} = 0 give R_m = (lambda (m - 1) - 1) u_m, so R_m = 0 fixes lambda. At both
    ends of the interval stand solutions with a kink that a network can approach, of which the one at 1/(2k + 3) has
    a continuous m-th derivative: orders above m are asked for too.

    Loss: mean R^2 + 0.3 mean R'^2 on [-2, 2], the sum over `orders` of mean (R^(j) / j!)^2 on 16 points of [0, 0.1],
    and (U(-2) - 1)^2. Take an odd network, `Odd(MLP(1, [20, 20]))`, and `TangentProp`: U is differentiated to order
    max(orders) + 1.

    Args:
        k: number of the profile, 0 the stable one.
        how: lambda is "eliminated" (the residual is affine in it), "trained" or "bounded", see `Coefficient`.
        interval: of lambda; the k-th by default. One without 1/(2j + 2) inside has no smooth profile.
        start: of lambda, for "trained" and "bounded"; the middle of the interval.
        orders: derivatives of R at the origin; 1 to m + 2 for k <= 2, 1 to m + 4 above. The published loss has m alone.
        normalised: divide R^(j) by j!; the published loss does not.

    Returns:
        The problem, with the exact profile and exponent where the interval holds 1/(2k + 2).

    Raises:
        ValueError: k that is no whole number from 0, an interval that is not 0 < low < high, a start outside; in
            training, a network in float32 for k >= 2, or an even one.

    Source: J. Eggers, M. A. Fontelos, Nonlinearity 22 (2009) R1-R44; K. Chickering, arXiv 2412.09752, eq. 7 and
        appendix A; Y. Wang et al., Phys. Rev. Lett. 130 (2023) 244002.

    Example:
        >>> problem = selfsimilar_burgers(1)
        >>> [c.name for c in problem.coefficients], problem.settings["interval"], problem.conditions[1].partials[-1]
        (['lambda'], (0.2, 0.3333333333333333), 'xxxxxxxx')
    """
    if not isinstance(k, int | float) or not math.isfinite(k) or k != int(k) or k < 0:
        raise ValueError(f"expected k = 0, 1, 2, ..., the number of the profile, came {k!r}")
    k, m = int(k), 2 * int(k) + 3
    low, high = 1 / m, 1 / (m - 2)
    if interval is not None:
        low, high = map(float, interval) if len(interval) == 2 else (math.nan, math.nan)
        if not 0 < low < high < math.inf:
            raise ValueError(f"expected an interval of lambda with 0 < low < high, came {interval!r}")
    start = (low + high) / 2 if start is None else start
    orders = tuple(range(1, m + (2 if k <= 2 else 4) + 1)) if orders is None else tuple(orders)
    exact = SelfSimilarProfile.smooth(k) if low < 1 / (2 * k + 2) < high else None

    def residual(jet, x, coefficients):
        u, slope, lam = jet[""], jet["x"], coefficients[LAMBDA]
        return (x + u) * slope + lam * (x * slope - u)

    def solution(x: Tensor) -> Tensor:
        return torch.from_numpy(exact(x.double().numpy()))

    partials = ("", "x")
    smoothness = residual_derivatives("smoothness", "origin", residual, partials, orders, normalised=normalised)
    return Problem(
        "selfsimilar-burgers",
        Box(("x",), (-EDGE,), (EDGE,)),
        partials,
        residual,
        (
            residual_derivatives("slope", "interior", residual, partials, [1], weight=SOBOLEV),
            smoothness,
            dirichlet(1.0, name="normalisation", where="x-"),
        ),
        (Coefficient(LAMBDA, start, low, high, how, exact.lam if exact else math.nan),),
        solution=solution if exact else None,
        solution_floor=1e-15 if exact else math.nan,
        floor_origin="root of x = -u - u^p by Newton's method, 106 bits" if exact else "",
        equation=f"-l u + ((1 + l) x + u) u_x = 0, k = {k}",
        settings={"k": k, "how": how, "interval": (low, high), "orders": orders, "normalised": normalised},
        sets={"origin": torch.linspace(0.0, NEAR, 16, dtype=torch.float64)[:, None]},
        sampling={"interior": 150},
        examine=lambda network: _examine(network, k),
    )


def _examine(network: nn.Module, k: int) -> None:
    """Refuse a network that cannot be the k-th profile."""
    parameter = next(network.parameters())
    if parameter.dtype == torch.float32 and k >= 2:
        raise ValueError(
            f"expected a float64 network for k = {k}, came float32: R^({2 * k + 3}) divided by its factorial has a "
            f"rounding of 1e-7 of sums that cancel, more than what tells lambda = 1/{2 * k + 2} from its neighbours; "
            f"leave dtype=torch.float64"
        )
    x = torch.linspace(0.1, EDGE, 20, dtype=parameter.dtype, device=parameter.device)[:, None]
    with torch.no_grad():
        right, left = network(x), network(-x)
    if right.shape == left.shape and float(right.abs().max()) > 0 and torch.allclose(right, left, rtol=1e-5, atol=0):
        raise ValueError(
            "expected a network that can be odd, came an even one, f(-x) = f(x), and the profile is odd: take "
            "Odd(MLP(1, [20, 20]))"
        )

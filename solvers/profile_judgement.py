"""Judging a trained network as a self-similar profile."""

from __future__ import annotations

import torch
from torch import nn

from solvers.acceptance import LOSS, Acceptance, judge
from solvers.operators import TangentProp
from solvers.points import Points
from solvers.problems import Problem
from solvers.problems.selfsimilar_burgers import EDGE, LAMBDA


def judge_profile(problem: Problem, network: nn.Module, lam: float, loss: float, limit: float = LOSS) -> Acceptance:
    """Judge a trained network by its Taylor coefficients at 0, its size, lambda and the loss, as `judge` says.

    The exact profile is not looked at.

    Args:
        problem: `selfsimilar_burgers`, whose k and interval count.
        network: U; (n, 1) -> (n, 1), in float64 on the CPU.
        lam: lambda as trained.
        loss: at the end of training.
        limit: largest loss of a solution.

    Returns:
        Whether it is a solution, the bar of lambda, and why not.

    Raises:
        ValueError: another problem, or a lambda outside the problem's interval.

    Cost: the network's series of order 2k + 3 at one point.

    Example:
        >>> from solvers import MLP
        >>> from solvers.networks import Odd
        >>> from solvers.problems import selfsimilar_burgers
        >>> network = Odd(MLP(1, [4])).double()
        >>> _ = torch.nn.init.zeros_(network.network[-1].weight)
        >>> judge_profile(selfsimilar_burgers(0), network, 0.5, 1.0).reasons[0]
        "the trivial solution U = 0: max |U| = 0.0e+00, U'(0) = 0.0e+00"
    """
    if not {"k", "interval"} <= set(problem.settings):
        raise ValueError(
            f"expected a problem from selfsimilar_burgers(k), came {problem.name!r}: it has no k-th profile"
        )
    k, interval = problem.settings["k"], problem.settings["interval"]
    order = 2 * k + 3
    x = torch.linspace(0.0, EDGE, 101, dtype=torch.float64)[:, None]
    plan = TangentProp(backend="taylor").plan(Points(x[:1], axes="x"), problem.partials)
    with torch.no_grad():
        jet = plan.series(network, order=order)
        missed = problem.residual(jet, plan.variable(order), {LAMBDA: lam})
        largest = float(network(x).abs().max())
    at_zero, wrong = (part.coefficients[:, 0, 0].tolist() for part in (jet[""], missed))
    return judge(k, lam, interval, loss, wrong, at_zero, largest, limit)

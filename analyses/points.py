"""From a checked configuration to collocation points, or to nodes for RBF-FD."""

from __future__ import annotations

import numpy as np

from analyses.config import RunConfig, UsageError
from solvers.domain import Box
from solvers.jet import TIME
from solvers.points import Points
from solvers.problems import Problem

NODES = "nodes"


def build_points(config: RunConfig, problem: Problem) -> Points:
    """Return the configured collocation points.

    Args:
        config: of the run.
        problem: gives the domain.

    Returns:
        Points in float64 on the CPU.

    Raises:
        UsageError: options that the domain's points do not have, or RBF-FD without nodes.
    """
    options = config.points.model_dump(exclude_none=True)
    box = isinstance(problem.domain, Box)
    methods = ("lhs", "grid", NODES) if box else (NODES, "random")
    method = options.setdefault("method", methods[0])
    if method not in methods:
        raise UsageError(
            f"key 'points.method': problem {problem.name!r} lives on {'a box' if box else repr(problem.domain.shape)}, "
            f"expected one of {', '.join(methods)}, came {method!r}"
        )
    if config.operator.name == "rbf-fd" and method != NODES:
        raise UsageError(
            f"operator 'rbf-fd' takes its stencils from nodes, came points.method = {method!r}: expected "
            f'method = "nodes" in [points]'
        )
    _refuse_strangers(problem, options)
    if "times" in options:
        options["times"] = _times(problem, options["times"])
    try:
        return problem.sample(seed=config.seed, **options)
    except ValueError as error:
        # The way out of the message, other points, is none for an operator that needs nodes.
        told = str(error).partition(": use method=")
        if config.operator.name == "rbf-fd" and told[1]:
            raise UsageError(f"operator 'rbf-fd' does not apply: {told[0]}; take another one") from None
        raise UsageError(f"[points] {error}") from None


def _refuse_strangers(problem: Problem, options: dict[str, object]) -> None:
    """Refuse options that the method has no use for."""
    nodes, method = options["method"] == NODES, options["method"]
    for name in ("boundary", "initial") if nodes else ("times", "ghost_layers"):
        if name in options:
            instead = "it follows from 'interior', the number of nodes" if nodes else 'it belongs to method = "nodes"'
            raise UsageError(f"key 'points.{name}' has no meaning with method = {method!r}: {instead}; remove it")
    if "times" in options and TIME not in problem.axes:
        raise UsageError(f"key 'points.times': problem {problem.name!r} has no time, remove it")


def _times(problem: Problem, given: int | list[float]) -> np.ndarray:
    """Return the times; a number of them is spread over the problem's own."""
    at = problem.axes.index(TIME)
    if isinstance(given, int):
        return np.linspace(problem.domain.lower[at], problem.domain.upper[at], given)
    return np.array(given, dtype=np.float64)

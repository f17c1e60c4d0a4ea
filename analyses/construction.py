"""From a checked configuration to problem, network and operator: the tables of names that TOML files use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from analyses.config import RunConfig, Section, UsageError, choice, look_up
from analyses.optimizer import build_optimizer as build_optimizer
from analyses.points import build_points as build_points
from solvers import (
    MLP,
    AutoDiff,
    FiniteDifference,
    LocalFeatures,
    RandomFeatures,
    Sine,
    TangentProp,
    TwoLayer,
)
from solvers.networks import Atan, FourierMLP, Gaussian, ModifiedMLP, Odd, PeriodicMLP, ResidualMLP
from solvers.operators import RBFFD
from solvers.problems import PROBLEMS, Problem


def _rbf_fd(order: int = 5, cache: str | None = None, backend: str = "auto") -> RBFFD:
    return RBFFD(order=order, cache=cache, backend=backend)


OPERATORS = {
    "autodiff": AutoDiff,
    "finite-difference": FiniteDifference,
    "rbf-fd": _rbf_fd,
    "tangent-prop": TangentProp,
}
NETWORKS = {
    "mlp": MLP,
    "two-layer": TwoLayer,
    "random-features": RandomFeatures,
    "local-features": LocalFeatures,
    "modified-mlp": ModifiedMLP,
    "residual-mlp": ResidualMLP,
    "fourier-mlp": FourierMLP,
    "periodic-mlp": PeriodicMLP,
}
SEEDED = ("random-features", "local-features", "fourier-mlp")
"""Networks with a seed of their own, the run's by default; the others draw from torch's global generator."""
SOLVED = ("random-features", "local-features")
"""Networks that are solved for by least squares."""
ODD = "odd"
"""Option of every network that is trained: its odd part, `Odd(network)`."""
ACTIVATIONS = {
    "tanh": torch.nn.Tanh,
    "sine": Sine,
    "sigmoid": torch.nn.Sigmoid,
    "softplus": torch.nn.Softplus,
    "silu": torch.nn.SiLU,
    "gelu": torch.nn.GELU,
    "gaussian": Gaussian,
    "atan": Atan,
}


def build_problem(config: RunConfig) -> Problem:
    """Return the configured problem.

    Args:
        config: of the run.

    Returns:
        The problem.

    Raises:
        UsageError: unknown name or option, a value that the problem refuses, or a weight of a condition it lacks.
    """
    problem = _build("problem", PROBLEMS, config.problem)
    names = [condition.name for condition in problem.conditions]
    for name in config.weights:
        if name not in names:
            raise UsageError(
                f"key 'weights.{name}': problem {problem.name!r} has no such condition; expected {choice(name, names)}"
            )
    weighted = (replace(one, weight=config.weights.get(one.name, one.weight)) for one in problem.conditions)
    return replace(problem, conditions=tuple(weighted)) if config.weights else problem


def build_network(config: RunConfig, problem: Problem) -> torch.nn.Module:
    """Return the configured network for the problem's axes and components, drawn with the run's seed.

    `odd = true` takes its odd part; a "periodic-mlp" has the problem's period.

    Args:
        config: of the run.
        problem: gives the numbers of inputs and outputs.

    Returns:
        The network, on the CPU.

    Raises:
        UsageError: unknown name, option or activation, or `odd` where it makes no sense.
    """
    odd = _is_odd(config.network)
    given: dict[str, object] = {"inputs": len(problem.axes)}
    if "activation" in config.network.options:
        name = str(config.network.options["activation"])
        if name not in ACTIVATIONS:
            raise UsageError(f"unknown activation {name!r}; expected {choice(name, ACTIVATIONS)}")
        given["activation"] = ACTIVATIONS[name]
    if config.network.name in SEEDED and "seed" not in config.network.options:
        given["seed"] = config.seed
    if config.network.name == "local-features":
        given |= {"lower": problem.domain.lower, "upper": problem.domain.upper}
    if config.network.name == "periodic-mlp":
        given |= _period(problem)
    if problem.components > 1:
        given["outputs"] = problem.components
    torch.manual_seed(config.seed)
    network = _build("network", NETWORKS, config.network, given, beside=(ODD,))
    return Odd(network) if odd else network


def _period(problem: Problem) -> dict[str, object]:
    periodic = getattr(problem.domain, "periodic", ())
    if len(periodic) != 1:
        raise UsageError(
            f"network 'periodic-mlp' needs a problem that is periodic along one axis, came {problem.name!r}: take 'mlp'"
        )
    axis = problem.axes.index(periodic[0])
    return {"axis": axis, "period": problem.domain.upper[axis] - problem.domain.lower[axis]}


def _is_odd(section: Section) -> bool:
    odd = section.options.get(ODD, False)
    if not isinstance(odd, bool):
        raise UsageError(f"key 'network.{ODD}': expected true or false, came {odd!r}")
    if odd and section.name in SOLVED:
        raise UsageError(
            f"key 'network.{ODD}' has no meaning for {section.name!r}, whose outer weights are solved for: remove it, "
            f"or take a network that is trained, such as 'mlp'"
        )
    return odd


def build_operator(config: RunConfig):
    """Return the configured derivative operator.

    Args:
        config: of the run.

    Returns:
        The operator.

    Raises:
        UsageError: unknown name or option, or a value that it refuses.
    """
    return _build("operator", OPERATORS, config.operator)


def _build(
    kind: str,
    table: Mapping[str, Callable],
    section: Section,
    given: Mapping[str, object] | None = None,
    *,
    beside: tuple[str, ...] = (),
):
    """Make what a section names from its options; those `beside` are the caller's."""
    factory = look_up(kind, table, section.name)
    given, asked = dict(given or {}), {k: v for k, v in section.options.items() if k not in beside}
    parameters = inspect.signature(factory).parameters
    known = [name for name in parameters if name not in given or name == "activation"]
    if unknown := [name for name in asked if name not in known]:
        raise UsageError(
            f"{kind} {section.name!r} has no option {unknown[0]!r}; "
            + (f"expected {choice(unknown[0], [*known, *beside])}" if known else "it has none")
        )
    needed = [name for name in known if parameters[name].default is inspect.Parameter.empty]
    if missing := [name for name in needed if name not in asked]:
        raise UsageError(f"{kind} {section.name!r} needs the option {missing[0]!r}; it takes {', '.join(known)}")
    options = {name: tuple(v) if isinstance(v, list) else v for name, v in asked.items()} | given
    try:
        return factory(**options)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        came = ", ".join(f"{name} = {value!r}" for name, value in section.options.items())
        raise UsageError(f"{kind} {section.name!r}: {error} (came {came})") from None

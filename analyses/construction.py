"""From a checked configuration to problem, network, operator and optimizer: the tables of names that TOML files use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial

import torch

from analyses.config import RunConfig, Section, UsageError, choice
from solvers import MLP, AutoDiff, FiniteDifference, RandomFeatures, Sine, Torch, TwoLayer
from solvers.points import Points
from solvers.problems import PROBLEMS, Problem

OPERATORS = {"autodiff": AutoDiff, "finite-difference": FiniteDifference}
NETWORKS = {"mlp": MLP, "two-layer": TwoLayer, "random-features": RandomFeatures}
OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "lbfgs": torch.optim.LBFGS,
}
ACTIVATIONS = {
    "tanh": torch.nn.Tanh,
    "sine": Sine,
    "sigmoid": torch.nn.Sigmoid,
    "softplus": torch.nn.Softplus,
    "silu": torch.nn.SiLU,
    "gelu": torch.nn.GELU,
}


def build_problem(config: RunConfig) -> Problem:
    """Return the configured problem.

    Args:
        config: of the run.

    Returns:
        The problem.

    Raises:
        UsageError: unknown name or option, or a value that the problem refuses.
    """
    return _build("problem", PROBLEMS, config.problem)


def build_network(config: RunConfig, problem: Problem) -> torch.nn.Module:
    """Return the configured network for the problem's axes, drawn with the run's seed.

    Args:
        config: of the run.
        problem: gives the number of inputs.

    Returns:
        The network, on the CPU.

    Raises:
        UsageError: unknown name, option or activation.
    """
    options = {"inputs": len(problem.axes)}
    if name := config.network.options.get("activation"):
        if name not in ACTIVATIONS:
            raise UsageError(f"unknown activation {name!r}; expected {choice(str(name), ACTIVATIONS)}")
        options["activation"] = ACTIVATIONS[name]
    if config.network.name == "random-features":
        options.setdefault("seed", config.seed)
    torch.manual_seed(config.seed)
    return _build("network", NETWORKS, config.network, options)


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


def build_optimizer(config: RunConfig) -> Torch:
    """Return the configured optimizer; `decay` and `decay_every` make a staircase of the learning rate.

    Args:
        config: of the run.

    Returns:
        The optimizer.

    Raises:
        UsageError: no optimizer, unknown name or option.
    """
    section = config.optimizer
    if section is None or config.training is None:
        raise UsageError(
            f"network {config.network.name!r} is trained: expected the sections [optimizer] and [training]"
        )
    options = section.options
    decay, every = options.pop("decay", None), options.pop("decay_every", None)
    if (decay is None) != (every is None):
        raise UsageError("keys 'optimizer.decay' and 'optimizer.decay_every' come together, one is missing")
    scheduler = decay and partial(torch.optim.lr_scheduler.StepLR, step_size=every, gamma=decay)
    factory = _named("optimizer", OPTIMIZERS, section)
    try:
        return Torch(factory, scheduler=scheduler, **options)
    except ValueError as error:
        raise UsageError(f"[optimizer] {error}, decay, decay_every") from None


def build_points(config: RunConfig, problem: Problem) -> Points:
    """Return the configured collocation points.

    Args:
        config: of the run.
        problem: gives the domain.

    Returns:
        Points in float64 on the CPU.
    """
    return problem.sample(seed=config.seed, **config.points.model_dump(exclude_none=True))


def _named(kind: str, table: Mapping[str, Callable], section: Section) -> Callable:
    if section.name not in table:
        raise UsageError(f"unknown {kind} {section.name!r}; expected {choice(section.name, table)}")
    return table[section.name]


def _build(kind: str, table: Mapping[str, Callable], section: Section, given: Mapping[str, object] | None = None):
    factory = _named(kind, table, section)
    given = dict(given or {})
    known = [name for name in inspect.signature(factory).parameters if name not in given or name in section.options]
    if unknown := [name for name in section.options if name not in known]:
        raise UsageError(
            f"{kind} {section.name!r} has no option {unknown[0]!r}; "
            + (f"expected {choice(unknown[0], known)}" if known else "it has none")
        )
    options = {name: tuple(v) if isinstance(v, list) else v for name, v in section.options.items()} | given
    try:
        return factory(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{kind} {section.name!r}: {error}") from None

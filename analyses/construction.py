"""From a checked configuration to problem, network, operator and optimizer: the tables of names that TOML files use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace

import torch

from analyses.config import RunConfig, Section, UsageError, choice
from solvers import (
    MLP,
    AutoDiff,
    FiniteDifference,
    LocalFeatures,
    RandomFeatures,
    Sine,
    TangentProp,
    Torch,
    TwoLayer,
)
from solvers.networks import Atan, FourierMLP, Gaussian, ModifiedMLP, ResidualMLP
from solvers.points import Points
from solvers.problems import PROBLEMS, Problem

OPERATORS = {"autodiff": AutoDiff, "finite-difference": FiniteDifference, "tangent-prop": TangentProp}
NETWORKS = {
    "mlp": MLP,
    "two-layer": TwoLayer,
    "random-features": RandomFeatures,
    "local-features": LocalFeatures,
    "modified-mlp": ModifiedMLP,
    "residual-mlp": ResidualMLP,
    "fourier-mlp": FourierMLP,
}
SEEDED = ("random-features", "local-features", "fourier-mlp")
"""Networks with a seed of their own, the run's by default; the others draw from torch's global generator."""
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
    torch.manual_seed(config.seed)
    return _build("network", NETWORKS, config.network, given)


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
    factory = _named("optimizer", OPTIMIZERS, section)
    scheduler = None
    if decay is not None:
        numbers = type(decay) in (int, float) and type(every) is int
        if not (numbers and decay > 0 and every >= 1):
            raise UsageError(f"[optimizer] expected decay > 0 and decay_every >= 1 steps, came {decay!r} and {every!r}")
        scheduler = partial(torch.optim.lr_scheduler.StepLR, step_size=every, gamma=decay)
    try:
        optimizer = Torch(factory, scheduler=scheduler, **options)
        _try_out(optimizer)
    except (TypeError, ValueError, IndexError, RuntimeError, AttributeError, ZeroDivisionError) as error:
        raise UsageError(f"[optimizer] {error}; torch.optim.{factory.__name__}, decay and decay_every") from None
    return optimizer


def _try_out(optimizer: Torch) -> None:
    """Take two steps on a parabola: torch looks at some values only then, and a file would have been made before."""
    state = optimizer.init(torch.ones(2))
    for _ in range(2):
        state, _info = optimizer.step(lambda v: SimpleNamespace(value=v.square().sum(), gradient=2 * v), state)


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
    parameters = inspect.signature(factory).parameters
    known = [name for name in parameters if name not in given or name == "activation"]
    if unknown := [name for name in section.options if name not in known]:
        raise UsageError(
            f"{kind} {section.name!r} has no option {unknown[0]!r}; "
            + (f"expected {choice(unknown[0], known)}" if known else "it has none")
        )
    needed = [name for name in known if parameters[name].default is inspect.Parameter.empty]
    if missing := [name for name in needed if name not in section.options]:
        raise UsageError(f"{kind} {section.name!r} needs the option {missing[0]!r}; it takes {', '.join(known)}")
    options = {name: tuple(v) if isinstance(v, list) else v for name, v in section.options.items()} | given
    try:
        return factory(**options)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        came = ", ".join(f"{name} = {value!r}" for name, value in section.options.items())
        raise UsageError(f"{kind} {section.name!r}: {error} (came {came})") from None

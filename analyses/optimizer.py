"""From a checked configuration to the optimizer, or to several of them in stages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace

import torch

from analyses.config import RunConfig, UsageError, choice, look_up
from solvers import Torch
from solvers.optimizers.lbfgs import LBFGS
from solvers.optimizers.levenberg_marquardt import LevenbergMarquardt
from solvers.optimizers.optimizer import Optimizer
from solvers.optimizers.schedule import Schedule
from solvers.optimizers.ssbfgs import SSBFGS
from solvers.optimizers.ssbroyden import SSBroyden
from solvers.optimizers.until import Below, Evaluations, Stalled, Steps, Stopped, Until

TORCH = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "lbfgs": torch.optim.LBFGS,
}
OURS = {"flat-lbfgs": LBFGS, "levenberg-marquardt": LevenbergMarquardt, "ssbroyden": SSBroyden, "ssbfgs": SSBFGS}
"""Optimizers of `solvers.optimizers`; "lbfgs" is torch's."""

SCHEDULE = "schedule"
UNTIL = {"below": Below, "steps": Steps, "evaluations": Evaluations, "stalled": Stalled}
"""What ends a stage of a schedule, by key; none: the optimizer's own tests."""


def build_optimizer(config: RunConfig) -> Optimizer:
    """Return the configured optimizer; `decay` and `decay_every` make a staircase of a torch optimizer's learning rate.

    Args:
        config: of the run.

    Returns:
        The optimizer.

    Raises:
        UsageError: no optimizer, unknown name or option, a value that it refuses, stages that make no schedule.
    """
    section = config.optimizer
    if section is None or config.training is None:
        raise UsageError(
            f"network {config.network.name!r} is trained: expected the sections [optimizer] and [training]"
        )
    if section.name == SCHEDULE:
        return _schedule(section.options)
    return _single("[optimizer]", section.name, section.options)


def _single(where: str, name: str, options: dict[str, object]) -> Optimizer:
    factory = look_up("optimizer", TORCH | OURS | {SCHEDULE: Schedule}, name)
    if name in TORCH:
        return _torch(where, factory, options)
    if name == SCHEDULE:
        raise UsageError(f"{where} a stage of a schedule is an optimizer, came another schedule: list its stages here")
    try:
        return factory(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where} {error}") from None


def _torch(where: str, factory: type[torch.optim.Optimizer], options: dict[str, object]) -> Torch:
    decay, every = options.pop("decay", None), options.pop("decay_every", None)
    if (decay is None) != (every is None):
        raise UsageError(f"{where} keys 'optimizer.decay' and 'optimizer.decay_every' come together, one is missing")
    scheduler = None
    if decay is not None:
        numbers = type(decay) in (int, float) and type(every) is int
        if not (numbers and decay > 0 and every >= 1):
            raise UsageError(f"{where} expected decay > 0 and decay_every >= 1 steps, came {decay!r} and {every!r}")
        scheduler = partial(torch.optim.lr_scheduler.StepLR, step_size=every, gamma=decay)
    try:
        optimizer = Torch(factory, scheduler=scheduler, **options)
        _try_out(optimizer)
    except (TypeError, ValueError, IndexError, RuntimeError, AttributeError, ZeroDivisionError) as error:
        raise UsageError(f"{where} {error}; torch.optim.{factory.__name__}, decay and decay_every") from None
    return optimizer


def _try_out(optimizer: Torch) -> None:
    """Take two steps on a parabola: torch looks at some values only then, and a file would have been made before."""
    state = optimizer.init(torch.ones(2))
    for _ in range(2):
        state, _info = optimizer.step(lambda v: SimpleNamespace(value=v.square().sum(), gradient=2 * v), state)


def _schedule(options: Mapping[str, object]) -> Schedule:
    stages = options.get("stages")
    if unknown := [name for name in options if name != "stages"]:
        raise UsageError(f"optimizer 'schedule' has no option {unknown[0]!r}; expected [[optimizer.stages]]")
    if not (isinstance(stages, list) and stages and all(isinstance(stage, Mapping) for stage in stages)):
        raise UsageError(
            "optimizer 'schedule' needs its stages, one [[optimizer.stages]] each with the name of an optimizer"
        )
    return Schedule(*(_stage(number, dict(stage)) for number, stage in enumerate(stages, 1)))


def _stage(number: int, options: dict[str, object]) -> tuple[Optimizer, Until]:
    where = f"[[optimizer.stages]] {number}:"
    if "name" not in options:
        raise UsageError(f"{where} expected the name of an optimizer, {choice('', TORCH | OURS)}")
    ends = {key: options.pop(key) for key in UNTIL if key in options}
    if len(ends) > 1:
        raise UsageError(f"{where} expected one end of the stage, {choice('', UNTIL)}, came {' and '.join(ends)}")
    optimizer = _single(where, options.pop("name"), options)
    if not ends:
        return optimizer, Stopped()
    (key, value), *_ = ends.items()
    numbers = value if isinstance(value, list) else [value]
    wanted = 2 if key == "stalled" else 1
    counted = key == "below" or type(numbers[0]) is int
    whole = len(numbers) == wanted and counted and all(type(n) in (int, float) for n in numbers)
    try:
        if not whole:
            expected = {"stalled": "[steps, factor]", "below": "a loss"}.get(key, "a whole number")
            raise ValueError(f"expected {expected}, came {value!r}")
        return optimizer, UNTIL[key](*numbers)
    except ValueError as error:
        raise UsageError(f"{where} key {key!r}: {error}") from None

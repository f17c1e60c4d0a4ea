"""Runtimes of the forward and the backward pass against the number of derivatives: figures 1 to 5 of the paper."""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from analyses.benchmarks.peers import Task
from analyses.reproduce.n_tangentprop_settings import BATCH, METHODS, NESTED, STANDARD, Runtimes, Shape
from solvers.operators import TangentProp
from solvers.points import Points

DTYPE = "float64"
LEAST_S = 0.01
"""A trial repeats its call until it lasts this long."""
LONG_S = 0.1
"""Calls above it are timed in three rounds."""
GROWTH = 3.2
"""Nested derivatives cost about this much more an order, where the last two orders do not tell."""


@dataclass(frozen=True)
class Setting:
    """One point of a figure.

    Args:
        method: its name in `METHODS`.
        shape: hidden layers and their width.
        batch: number of points.
        order: highest derivative; all lower ones are computed too.
    """

    method: str
    shape: Shape
    batch: int
    order: int


@dataclass
class Runtime:
    """What one setting took, in CPU milliseconds, a value a round.

    Args:
        setting: what was timed.
        forward: the network and its derivatives.
        loss: from the derivatives to a number.
        backward: the gradient in all parameters.
        difference: largest deviation of the gradient from that of recurrences in torch alone, over its largest entry;
            NaN but for the standard network.
        skipped: why nothing was timed, or "".
    """

    setting: Setting
    forward: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    backward: list[float] = field(default_factory=list)
    difference: float = float("nan")
    skipped: str = ""

    @property
    def total(self) -> list[float]:
        """Forward, loss and backward together."""
        return [sum(parts) for parts in zip(self.forward, self.loss, self.backward, strict=True)]

    def part(self, name: str) -> list[float]:
        """Return the times of one part.

        Args:
            name: "forward", "backward" or "total".

        Returns:
            Milliseconds, a value a round.
        """
        return getattr(self, name)

    def plain(self) -> dict[str, object]:
        """Return the record as JSON can hold it.

        Returns:
            Field -> value.
        """
        times = {name: [float(f"{ms:.5g}") for ms in self.part(name)] for name in ("forward", "loss", "backward")}
        return vars(self.setting) | times | {"difference": self.difference, "skipped": self.skipped}


def measure_runtimes(size: Runtimes, progress: Callable[[str], None] | None = None) -> list[Runtime]:
    """Time every setting in shuffled rounds, float64, one thread.

    As in the paper, forward and backward pass are timed apart, the order of the trials is random in every round, and
    garbage is collected between rounds, never within a trial. Times are CPU seconds. What is freed after a backward
    pass is not timed. An order is left out where the orders before it predict a trial above the patience.

    Args:
        size: what is timed.
        progress: called with a line before each part.

    Returns:
        One record a setting; the standard network's first.

    Cost: about 45 CPU seconds with `QUICK_RUNTIMES`.
    """
    say = progress or (lambda line: None)
    kept: list[Runtime] = []
    calls: dict[Setting, Step] = {}
    seconds: dict[Setting, float] = {}
    say("runtimes: first calls")
    for settings, patience in _series(size):
        _warm(settings, patience, kept, calls, seconds)
    timed = {record.setting: record for record in kept if not record.skipped}
    rng = random.Random(0)
    for number in range(size.rounds):
        say(f"runtimes: round {number + 1} of {size.rounds}")
        order = [setting for setting in timed if number < 3 or seconds[setting] <= LONG_S]
        rng.shuffle(order)
        gc.collect()
        for setting in order:
            _trial(calls[setting], timed[setting], max(1, round(LEAST_S / seconds[setting])))
    return kept


def _series(size: Runtimes) -> list[tuple[list[Setting], float]]:
    """Return settings that differ in their order alone, with their patience, each setting once."""
    found = [([Setting(m, STANDARD, BATCH, order) for order in size.orders], size.patience) for m in METHODS]
    seen = {setting for settings, _ in found for setting in settings}
    for shape in size.shapes:
        for batch in size.batches:
            for method in METHODS:
                own = [Setting(method, shape, batch, order) for order in size.grid_orders]
                found.append(([setting for setting in own if setting not in seen], size.grid_patience))
    return found


Step = Callable[[], tuple[float, float, float, Sequence[Tensor]]]
"""One trial: seconds forward, of the loss and backward, and the gradient."""


def _warm(settings: Sequence[Setting], patience: float, kept, calls, seconds) -> None:
    """Make each call once, and leave out orders that would take too long."""
    before: list[tuple[int, float]] = []
    for setting in settings:
        record = Runtime(setting, skipped=_beyond(setting, before, patience))
        kept.append(record)
        if record.skipped:
            continue
        calls[setting] = _step(setting)
        *first, gradient = calls[setting]()
        if (setting.shape, setting.batch) == (STANDARD, BATCH):
            record.difference = _difference(gradient, setting)
        # The first call compiles, or has its memory from the system.
        seconds[setting] = min(sum(first), sum(calls[setting]()[:3]))
        before.append((setting.order, seconds[setting]))


def _beyond(setting: Setting, before: Sequence[tuple[int, float]], patience: float) -> str:
    """Return why a setting is out of reach, or ""."""
    if before:
        order, last = before[-1]
        growth = GROWTH if setting.method == NESTED else 2.0
        if len(before) > 1 and last > 0.01:
            seen = (last / before[-2][1]) ** (1 / (order - before[-2][0]))
            growth = min(max(seen, 1.0), 4.0)
        if (predicted := last * growth ** (setting.order - order)) > patience:
            return f"order {setting.order}: predicted {predicted:.2g} s, above {patience:g} s"
    if setting.method == NESTED:
        # Resident for nested graphs were 46, 334 and 3300 copies of all activations at orders 3, 5 and 7.
        predicted = 1.7 * 2.95**setting.order * setting.batch * setting.shape[0] * setting.shape[1] * 8
        if predicted > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 4:
            return f"order {setting.order}: predicted {predicted / 2**30:.0f} GiB"
    return ""


def _task(setting: Setting) -> Task:
    depth, width = setting.shape
    return Task((width,) * depth, setting.batch, DTYPE, setting.order)


def _step(setting: Setting) -> Step:
    task = _task(setting)
    network, parameters, loss_of = task.network, task.parameters, task.loss()
    plan = METHODS[setting.method].plan(Points(task.points, axes="x"), task.partials)
    clock = time.process_time

    def step():
        start = clock()
        jet = plan(network)
        columns = [jet[letters] for letters in task.partials]
        forward = clock()
        value = loss_of(columns)
        loss = clock()
        gradient = torch.autograd.grad(value, parameters)
        return forward - start, loss - forward, clock() - loss, gradient

    return step


def _difference(gradient: Sequence[Tensor], setting: Setting) -> float:
    """Return the largest deviation from the gradient by recurrences in torch alone, over its largest entry."""
    task = _task(setting)
    plan = TangentProp(backend="taylor").plan(Points(task.points, axes="x"), task.partials)
    jet = plan(task.network)
    expected = torch.autograd.grad(task.loss()([jet[letters] for letters in task.partials]), task.parameters)
    own, other = (torch.cat([part.reshape(-1) for part in parts]) for parts in (gradient, expected))
    return float((own - other).abs().max() / other.abs().max())


def _trial(call: Step, record: Runtime, repetitions: int) -> None:
    """Add the mean of a few calls to a record, without garbage collection."""
    gc.disable()
    try:
        times = [call()[:3] for _ in range(repetitions)]
    finally:
        gc.enable()
    for name, values in zip(("forward", "loss", "backward"), zip(*times, strict=True), strict=True):
        getattr(record, name).append(1e3 * sum(values) / repetitions)

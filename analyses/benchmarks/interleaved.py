"""Time several calls in interleaved rounds, so that a machine that drifts or is shared hits all of them alike."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

LEAST_S = 0.02
"""A measurement repeats its call until it lasts this long: far above the clocks' resolution and one scheduler tick."""
ROUNDS = (3, 15)
"""Fewest and most rounds."""
LONG_S = 0.5
SLOW_S = 3.0
"""Calls above `LONG_S` are measured in the fewest rounds, outside the budget, and those above `SLOW_S` once."""


@dataclass
class Timing:
    """Seconds of one call, a value a round; CPU time is quoted, since wall time counts what others do."""

    repetitions: int
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Return medians and all rounds in milliseconds.

        Returns:
            Plain values.

        Example:
            >>> Timing(2, [0.001, 0.003, 0.002], [0.001, 0.004, 0.002]).as_json()["cpu_ms"]
            2.0
        """
        rounds = [[round(1e3 * cpu, 5), round(1e3 * wall, 5)] for cpu, wall in zip(self.cpu, self.wall, strict=True)]
        median = {name: 1e3 * statistics.median(getattr(self, name)) for name in ("cpu", "wall")}
        return {
            "cpu_ms": median["cpu"],
            "wall_ms": median["wall"],
            "repetitions": self.repetitions,
            "rounds_cpu_wall_ms": rounds,
        }


def clock(call: Callable[[], object], repetitions: int = 1) -> tuple[float, float]:
    """Time a call without garbage collection, which takes 0.2 s once torch and JAX are loaded.

    Args:
        call: without arguments; its result is dropped.
        repetitions: calls in one measurement.

    Returns:
        CPU and wall seconds of one call.
    """
    gc.disable()
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(repetitions):
            call()
        return (time.process_time() - cpu) / repetitions, (time.perf_counter() - wall) / repetitions
    finally:
        gc.enable()


def _enough(call: Callable[[], object]) -> tuple[int, float]:
    """Return how often to repeat a call, and the CPU seconds of one, from calls that also warm it up."""
    repetitions = 1
    while True:
        cpu, _ = clock(call, repetitions)
        if cpu * repetitions >= LEAST_S:
            return repetitions, cpu
        repetitions = max(2 * repetitions, math.ceil(LEAST_S / max(cpu, 1e-7)))


def interleave(calls: Mapping[str, Callable[[], object]], budget: float, seed: int = 0) -> dict[str, Timing]:
    """Measure calls in rounds, each in a new random order.

    Args:
        calls: names -> calls, made once before.
        budget: CPU seconds that all rounds together should take; it chooses their number within `ROUNDS`.
        seed: of the order.

    Returns:
        Names -> timings.
    """
    sizes = {name: _enough(call) for name, call in calls.items()}
    costs = {name: repetitions * cpu for name, (repetitions, cpu) in sizes.items()}
    quick = sum(cost for cost in costs.values() if cost <= LONG_S)
    rounds = min(max(int(budget / max(quick, LEAST_S)), ROUNDS[0]), ROUNDS[1])
    wanted = {name: 1 if cost > SLOW_S else ROUNDS[0] if cost > LONG_S else rounds for name, cost in costs.items()}
    timings = {name: Timing(repetitions) for name, (repetitions, _) in sizes.items()}
    order, shuffle = list(calls), random.Random(seed).shuffle
    for index in range(rounds):
        shuffle(order)
        for name in order:
            if index < wanted[name]:
                cpu, wall = clock(calls[name], timings[name].repetitions)
                timings[name].cpu.append(cpu)
                timings[name].wall.append(wall)
    return timings

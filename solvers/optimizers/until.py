"""When a stage of a schedule has done its part."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(eq=False)
class Progress:
    """What a stage has done so far.

    Args:
        steps: made.
        evaluations: of the loss at a new vector, the one that the stage began with included.
        losses: after each of the last steps, the oldest first.
    """

    steps: int = 0
    evaluations: int = 0
    losses: deque[float] = field(default_factory=deque)


class Until(Protocol):
    """A condition that ends a stage."""

    @property
    def window(self) -> int:
        """How many losses it looks at."""
        ...

    def over(self, progress: Progress) -> bool:
        """Return whether the stage ends.

        Args:
            progress: of the stage, after a step.

        Returns:
            True to switch.
        """
        ...


def _require(accepted: bool, condition: Until, expected: str) -> None:
    if not accepted:
        raise ValueError(f"expected {expected}, came {condition!r}")


@dataclass(frozen=True)
class Steps:
    """Until a number of steps has been made.

    Args:
        count: of steps.

    Raises:
        ValueError: fewer than 1.

    Example:
        >>> Steps(3).over(Progress(steps=2)), Steps(3).over(Progress(steps=3))
        (False, True)
    """

    count: int
    window: int = field(default=0, init=False, repr=False)

    def __post_init__(self):
        _require(self.count >= 1, self, "at least one step")

    def over(self, progress: Progress) -> bool:
        """Return whether the steps are made.

        Args:
            progress: of the stage.

        Returns:
            True to switch.
        """
        return progress.steps >= self.count


@dataclass(frozen=True)
class Evaluations:
    """Until the loss has been evaluated a number of times; the step that reaches it is finished.

    Args:
        count: of evaluations at a new vector.

    Raises:
        ValueError: fewer than 1.

    Example:
        >>> Evaluations(200).over(Progress(steps=90, evaluations=203))
        True
    """

    count: int
    window: int = field(default=0, init=False, repr=False)

    def __post_init__(self):
        _require(self.count >= 1, self, "at least one evaluation")

    def over(self, progress: Progress) -> bool:
        """Return whether the evaluations are used up.

        Args:
            progress: of the stage.

        Returns:
            True to switch.
        """
        return progress.evaluations >= self.count


@dataclass(frozen=True)
class Stalled:
    """Until the loss has not fallen by a factor over the last steps.

    Args:
        steps: that are looked back.
        factor: that the loss should have fallen by, above 1.

    Raises:
        ValueError: fewer than 1 step, a factor of 1 or less.

    Example:
        >>> Stalled(2, factor=2.0).over(Progress(losses=deque([1.0, 0.9, 0.8])))
        True
    """

    steps: int
    factor: float

    def __post_init__(self):
        _require(self.steps >= 1 and 1 < self.factor < math.inf, self, "at least one step and a factor above 1")

    @property
    def window(self) -> int:
        """Losses looked at: one more than steps."""
        return self.steps + 1

    def over(self, progress: Progress) -> bool:
        """Return whether the loss stalls.

        Args:
            progress: of the stage.

        Returns:
            True to switch; False before there are enough steps.
        """
        losses = progress.losses
        return len(losses) == self.window and losses[-1] * self.factor > losses[0]


@dataclass(frozen=True)
class Below:
    """Until the loss is below a level.

    Args:
        loss: the level, above 0.

    Raises:
        ValueError: a level that is not positive and finite.

    Example:
        >>> Below(1e-6).over(Progress(losses=deque([1e-5]))), Below(1e-6).over(Progress(losses=deque([1e-7])))
        (False, True)
    """

    loss: float
    window: int = field(default=1, init=False, repr=False)

    def __post_init__(self):
        _require(0 < self.loss < math.inf, self, "a loss above 0")

    def over(self, progress: Progress) -> bool:
        """Return whether the loss is below the level.

        Args:
            progress: of the stage.

        Returns:
            True to switch.
        """
        return bool(progress.losses) and progress.losses[-1] < self.loss


class AnyOf:
    """Until one of several conditions holds.

    Args:
        *conditions: of this module.

    Raises:
        ValueError: no condition, or something that is none.

    Example:
        >>> AnyOf(Below(1e-6), Steps(3)).over(Progress(steps=3, losses=deque([1.0])))
        True
    """

    def __init__(self, *conditions: Until):
        if not conditions or not all(hasattr(condition, "over") for condition in conditions):
            raise ValueError(f"expected conditions such as Steps(200), Below(1e-6), came {conditions!r}")
        self.conditions = conditions
        self.window = max(condition.window for condition in conditions)

    def __repr__(self) -> str:
        return f"AnyOf({', '.join(map(repr, self.conditions))})"

    def over(self, progress: Progress) -> bool:
        """Return whether one of them holds.

        Args:
            progress: of the stage.

        Returns:
            True to switch.
        """
        return any(condition.over(_within(progress, condition.window)) for condition in self.conditions)


def _within(progress: Progress, window: int) -> Progress:
    """Return a progress with the losses that a condition looks at."""
    return Progress(progress.steps, progress.evaluations, deque(list(progress.losses)[-window:] if window else []))


@dataclass(frozen=True)
class Stopped:
    """Until the optimizer itself stops, which ends a stage under any condition.

    Example:
        >>> Stopped().over(Progress(steps=10**6))
        False
    """

    window: int = field(default=0, init=False, repr=False)

    def over(self, progress: Progress) -> bool:
        """Return False: only the optimizer's own reason ends the stage.

        Args:
            progress: of the stage.

        Returns:
            False.
        """
        return False

"""Optimizers one after the other, such as L-BFGS for the start and Levenberg-Marquardt for the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from solvers.optimizers.optimizer import Evaluated, Objective, Optimizer, StepInfo
from solvers.optimizers.until import Progress, Stopped, Until

INNER = "inner."
"""Prefix of the arrays of the present optimizer's state."""


@dataclass(frozen=True)
class StageInfo(StepInfo):
    """What a step of a schedule did.

    Args:
        learning_rate: of the stage's optimizer.
        stopped: why the last stage ended; None in the others, which another one follows.
        step_length: of the stage's optimizer.
        damping: of the stage's optimizer.
        stage: number of the stage that made the step, from 0.
        switched: None, or why the next step is another stage's.
    """

    stage: int = 0
    switched: str | None = None


@dataclass(eq=False)
class ScheduleState:
    """The vector, the stage and its optimizer's own state.

    Args:
        vector: (parameters,) flat buffer.
        stage: number of the present stage, from 0.
        inner: state of its optimizer.
        progress: of the stage.
        seen: version of the vector at the last evaluation, or None.
    """

    vector: Tensor
    stage: int
    inner: Any
    progress: Progress = field(default_factory=Progress)
    seen: int | None = None

    def to_arrays(self) -> dict[str, object]:
        """Return the state as arrays, nested where the present optimizer's are, for a checkpoint.

        Returns:
            Copies, by name; `Schedule.from_arrays` takes them.

        Raises:
            ValueError: the present optimizer's state cannot be written so.
        """
        if not hasattr(self.inner, "to_arrays"):
            raise ValueError(
                f"stage {self.stage}: expected an optimizer whose state has to_arrays, such as LBFGS or Torch, came "
                f"{type(self.inner).__name__}: give it one, or take the checkpoint in another stage"
            )
        counts = np.array(
            [self.stage, self.progress.steps, self.progress.evaluations, self.seen == self.vector._version]
        )
        inner = {INNER + name: values for name, values in self.inner.to_arrays().items()}
        return {"counts": counts, "losses": np.array(self.progress.losses, dtype=np.float64)} | inner


class Schedule:
    """Optimizers in stages: the next one begins where the last one's condition holds, or where it stops by itself.

    Args:
        *stages: an (optimizer, until) each, until one of `Steps`, `Evaluations`, `Stalled`, `Below`, `AnyOf`,
            `Stopped`; an optimizer alone is (optimizer, Stopped()). Where the last one stops, or its condition holds,
            the run ends.

    Raises:
        ValueError: no stage, or one that is neither an optimizer nor such a pair.

    Example:
        >>> from solvers.optimizers.lbfgs import LBFGS
        >>> from solvers.optimizers.levenberg_marquardt import LevenbergMarquardt
        >>> from solvers.optimizers.until import Evaluations
        >>> len(Schedule((LBFGS(), Evaluations(200)), LevenbergMarquardt()).stages)
        2
    """

    def __init__(self, *stages: Optimizer | tuple[Optimizer, Until]):
        self.stages = tuple(_pair(stage) for stage in stages)
        if not self.stages:
            raise ValueError("expected at least one stage: Schedule((LBFGS(), Steps(200)), LevenbergMarquardt())")

    def __repr__(self) -> str:
        return f"Schedule({', '.join(f'({optimizer!r}, {until!r})' for optimizer, until in self.stages)})"

    @property
    def many_evaluations(self) -> bool:
        """Whether a step of any stage may evaluate the loss several times."""
        return any(getattr(optimizer, "many_evaluations", False) for optimizer, _ in self.stages)

    @property
    def records(self) -> tuple[str, ...]:
        """What the series keeps of a step, of any stage."""
        return tuple(dict.fromkeys(name for optimizer, _ in self.stages for name in getattr(optimizer, "records", ())))

    def init(self, vector: Tensor) -> ScheduleState:
        """Return the state at the start of the first stage.

        Args:
            vector: (parameters,) flat buffer; it is updated in place.

        Returns:
            The state.
        """
        return ScheduleState(vector, 0, self.stages[0][0].init(vector))

    def from_arrays(self, arrays: Mapping[str, Any], vector: Tensor) -> ScheduleState:
        """Return the state that `ScheduleState.to_arrays` has written.

        Args:
            arrays: from it.
            vector: (parameters,) flat buffer, which gets the stored values.

        Returns:
            The state.

        Raises:
            ValueError: a stage that this schedule does not have.
        """
        stage, steps, evaluations, seen = np.asarray(arrays["counts"]).tolist()
        if not stage < len(self.stages):
            raise ValueError(
                f"expected one of {len(self.stages)} stages, came stage {stage}: restore with the schedule"
            )
        optimizer = self.stages[stage][0]
        inner = {name.removeprefix(INNER): values for name, values in arrays.items() if name.startswith(INNER)}
        state = optimizer.from_arrays(inner, vector)
        progress = Progress(steps, evaluations, self._losses(stage, np.asarray(arrays["losses"]).tolist()))
        return ScheduleState(vector, stage, state, progress, vector._version if seen else None)

    def _losses(self, stage: int, values: list[float]) -> deque[float]:
        return deque(values, maxlen=max(self.stages[stage][1].window, 1))

    def step(self, objective: Objective, state: ScheduleState) -> tuple[ScheduleState, StageInfo]:
        """Make one step of the present stage, and go to the next stage where this one is over.

        Args:
            objective: vector -> evaluation.
            state: from `init` or the last step.

        Returns:
            The next state and what happened.
        """
        optimizer, until = self.stages[state.stage]
        progress, stage = state.progress, state.stage

        def counted(vector: Tensor) -> Evaluated:
            evaluation = objective(vector)
            if state.seen != vector._version:
                progress.evaluations += 1
                state.seen = vector._version
            return evaluation

        if progress.losses.maxlen is None:
            progress.losses = self._losses(stage, [])
        inner, info = optimizer.step(counted, state.inner)
        state.inner = inner
        progress.steps += 1
        if until.window:
            progress.losses.append(float(counted(state.vector).value.detach()))
        last = stage == len(self.stages) - 1
        ended = info.stopped or (repr(until) if until.over(progress) else None)
        switched = None if last else ended
        if switched:
            following = stage + 1
            state = ScheduleState(state.vector, following, self.stages[following][0].init(state.vector))
        stopped = ended if last else None
        return state, StageInfo(info.learning_rate, stopped, info.step_length, info.damping, stage, switched)


def _pair(stage: Optimizer | tuple[Optimizer, Until]) -> tuple[Optimizer, Until]:
    """Return (optimizer, until), or refuse."""
    optimizer, until = stage if isinstance(stage, tuple) and len(stage) == 2 else (stage, Stopped())
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "step") and hasattr(until, "over")):
        raise ValueError(
            f"expected an optimizer, or a pair of one and Steps, Evaluations, Stalled, Below, AnyOf or Stopped, came "
            f"{stage!r}: write Schedule((LBFGS(), Steps(200)), LevenbergMarquardt())"
        )
    return optimizer, until

"""What an attachment writes of each step: its row of the series, its evaluations, the measurements that are due."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from dynamics.format import Stream
from dynamics.recorder import Recorder
from solvers.attaching.from_loop import FromLoop
from solvers.attaching.guard import Guard
from solvers.attaching.listener import Listener
from solvers.attaching.log import log_of
from solvers.attaching.measurement import Measurement
from solvers.attaching.owned import OwnedParameters, norm
from solvers.attaching.series_rows import SeriesRows
from solvers.attaching.step_under_way import StepUnderWay
from solvers.attaching.terms import Terms
from solvers.attaching.uncompiled import uncompiled
from solvers.attaching.untouched import untouched
from solvers.cadence import Cadence

UNKNOWN = (
    "the loss is not known, since optimizer.step() has no closure that returns it: call watched.terms(pde=loss_pde, "
    "...) (or watched.terms(loss=loss)) before optimizer.step(), or pass terms=; everything else is recorded"
)
EVALUATIONS = "/evaluations is"
TERMS = "the terms of the loss are"


class Writer:
    """Writes the steps of one optimizer.

    Args:
        recorder: open.
        model: trained.
        owned: parameters of the optimizer.
        measurements: beside the steps.
        every: cadence of each.
        asked: of the loop.
        listener: to the loop's own passes, or None.
        many: whether a step evaluates its closure several times.
        guard: of the attachment.
    """

    def __init__(
        self,
        recorder: Recorder,
        model: nn.Module,
        owned: OwnedParameters,
        measurements: Sequence[Measurement],
        every: Mapping[str, Cadence],
        asked: FromLoop,
        listener: Listener | None,
        many: bool,
        guard: Guard,
    ):
        self._recorder, self._model, self.owned, self._guard = recorder, model, owned, guard
        self._measurements, self._every, self._asked, self._listener = measurements, every, asked, listener
        self.log, self.told, self._many = log_of(recorder), Terms(), many
        self.seen, self._shown, self._loss = 0, 0, 0.0
        self._last: tuple[StepUnderWay, float] | None = None
        self._rows: dict[str, Mapping[str, object]] = {}
        self._extra: dict[str, object] = {}
        self._coefficients: Mapping[str, object] | None = None
        self._series = SeriesRows(recorder, guard)
        if many:
            # Now, for a recorder that serves another optimizer first and has fixed its layout when this one begins.
            guard.run(EVALUATIONS, self.step, self._declare_now, Stream("evaluations"))
        else:
            # An L-BFGS may be attached behind this optimizer's last step.
            self.log.declare(recorder, Stream("evaluations"))
        if asked.coefficients is not None:
            guard.run("/coefficients is", self.step, self._declare_now, asked.coefficients.stream)

    @property
    def step(self) -> int:
        """Number of the step that comes next, or is under way."""
        return self.log.step

    def begin(self, closure: bool) -> StepUnderWay:
        """Measure what is due before a step.

        Args:
            closure: whether the optimizer was given one.

        Returns:
            The step.
        """
        self.owned.refresh()
        under_way = StepUnderWay(self.step, self.owned, closure)
        self.told.first_only = closure
        self._shown, self._rows, self._extra = 0, {}, {}
        self._look_up()
        if self._asked.terms is not None and not self.told.names and self._due("terms"):
            self._guard.run(TERMS, self.step, self._ask)
        self._measure(self._due)
        if not closure:
            self._hear_out()
        return under_way

    def see(self, under_way: StepUnderWay, returned: Any, fresh: bool) -> None:
        """Write an evaluation.

        Args:
            under_way: the step.
            returned: by the closure.
            fresh: whether it left a new gradient.
        """
        under_way.see(returned, fresh)
        self.log.evaluations += 1
        if len(under_way.evaluations) == 1:
            self._hear_out()
        self._many = self._many or len(under_way.evaluations) > 1
        if self._many:
            self._guard.run(EVALUATIONS, under_way.number, self._show, under_way)

    def _show(self, under_way: StepUnderWay) -> None:
        """Write the evaluations at once: a step may be long, and its reader or a crash does not wait for its end."""
        self.log.declare(self._recorder, Stream("evaluations"))
        for each in under_way.evaluations[self._shown :]:
            self._recorder.record("evaluations", under_way.number, **vars(each))
        self._shown = len(under_way.evaluations)

    def close(self, under_way: StepUnderWay) -> None:
        """Write a step that was made.

        Args:
            under_way: the step.
        """
        if not under_way.evaluations:
            self.log.evaluations += 1
        told = self._tell(under_way.loss)
        if "loss" not in told and not self.seen and self._asked.terms is None:
            self._guard.say(UNKNOWN)
        row = under_way.row()
        self._last, self._loss = (under_way, row["update_norm"]), float(told.get("loss", self._loss))
        rates = under_way.rates
        self.log.declare_series(self._recorder, list(self.told.names), len(rates), "loss" in told)
        # Another attachment may have written a step within this one.
        number = max(under_way.number, self.step)
        # The step counts before it is written: what cannot be written must not shift the cadences.
        self.log.step, self.seen = number + 1, self.seen + 1
        groups = {"group_learning_rate": rates} if len(rates) > 1 else {}
        evaluations = {"evaluations": float(self.log.evaluations)}
        # The first step's in any case: a file must know of every stream before its layout is fixed.
        self._write(number, {**told, **row, **groups, **evaluations, **self._extra}, forced=self.seen == 1)

    def listen(self) -> None:
        """Listen to the loop's passes where the next step wants it."""
        if self._listener is not None and self._due("compression"):
            self._listener.begin()

    def finish(self) -> None:
        """Write the state after the last step: measurements, and the loss where it is known without a new pass."""
        under_way, update = self._last
        number, self._rows, self._extra = self.step, {}, {}
        self._look_up()
        self.log.step += 1
        # What was told after the last step is of the state that it left.
        if self._asked.terms is not None and not self.told.names:
            self._guard.run(TERMS, number, self._ask)
        self._measure(lambda name: True)
        accepted = under_way.accepted(update) if under_way.loss is not None else None
        row = dict(self._tell(None if accepted is None else accepted.loss))
        # Without its loss a state has a row for its errors: they are what a reader wants of the last one.
        if row or "rel_l2" in self._extra or "max_error" in self._extra:
            state = {"parameter_norm": float(norm(self.owned.vector())), "evaluations": float(self.log.evaluations)}
            row |= {**state, **self._extra, **({} if accepted is None else {"gradient_norm": accepted.gradient_norm})}
        self._write(number, row, forced=True)
        loss = row.get("loss", self._loss)
        if not math.isfinite(loss):
            self._recorder.end("diverged", f"loss is {loss} at step {number if row else number - 1}")

    def _due(self, name: str) -> bool:
        # The first step shows what each stream looks like, also where it is not due.
        return not self.seen or self._every[name].due(self.step)

    def _declare_now(self, stream: Stream) -> None:
        name, committed = stream.name, self._recorder.committed
        if committed and name not in self.log.declared | set(committed) and not os.path.isdir(self._recorder.path):
            raise ValueError(
                f"the layout of {self._recorder.path} is fixed since its first rows: attach before rows are recorded"
            )
        self.log.declare(self._recorder, stream)

    def _look_up(self) -> None:
        """Take in what the loop knows of the state that a row is about."""
        self._coefficients = None
        if self._asked.errors is not None:
            self._extra |= self._guard.run("the errors are", self.step, self._asked.errors.new) or {}
        if self._asked.coefficients is not None:
            self._coefficients = self._guard.run("/coefficients is", self.step, self._asked.coefficients.row)

    def _ask(self) -> None:
        with untouched(self._model, self.owned.parameters):
            self.told.tell(self._asked.terms())

    def _tell(self, loss: float | None) -> Mapping[str, object]:
        told = self._guard.run(TERMS, self.step, self.told.told, self.log.terms or self.told.names, loss)
        return told if told is not None else {} if loss is None else {"loss": loss}

    def _measure(self, due: Callable[[str], bool]) -> None:
        wanted = [each for each in self._measurements if due(each.name)]
        if wanted:
            moment = object()
            with untouched(self._model, self.owned.parameters), uncompiled(self._model):
                for each in wanted:
                    self._guard.run(f"/{each.name} is", self.step, self._take, each, moment)

    def _take(self, measurement: Measurement, moment: object) -> None:
        found = measurement.measure(moment)
        if found and measurement.declare is None:
            self._extra |= found
            self.log.attrs |= measurement.attrs
        elif found:
            self.log.declare(self._recorder, measurement.declare())
            self._rows[measurement.name] = found

    def _hear_out(self) -> None:
        """End listening, once the step's first pass is through."""
        if self._listener is not None and self._due("compression"):
            heard = Measurement("compression", lambda moment: self._listener.measure(), self._listener.declare)
            self._guard.run("/compression is", self.step, self._take, heard, None)

    def _write(self, number: int, series: Mapping[str, object], forced: bool = False) -> None:
        for name, values in self._rows.items():
            if forced or self._every[name].due(number):
                self._guard.run(f"/{name} is", number, self._record, name, number, values)
        if self._coefficients is not None:
            self._guard.run("/coefficients is", number, self._record, "coefficients", number, self._coefficients)
        if series and not self._guard.ended:
            self._series.write(number, series)

    def _record(self, name: str, number: int, values: Mapping[str, object]) -> None:
        self._recorder.record(name, number, **values)

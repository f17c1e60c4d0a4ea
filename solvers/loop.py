"""The training loop: one step at a time, measured before the optimizer moves and recorded after it has."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from dynamics.format import Stream
from dynamics.recorder import Recorder
from solvers.attention import ResidualBasedAttention
from solvers.checkpoint import Checkpoint
from solvers.checkpoints import Checkpoints
from solvers.description import describe, points_arrays, points_labels
from solvers.evaluation import Evaluation
from solvers.identity import stream_identity
from solvers.objective import Objective
from solvers.optimizers import Optimizer, StepInfo
from solvers.probes import Moment, Probe
from solvers.snapshot import restore_moment
from solvers.unheard import unheard


@dataclass(frozen=True)
class Step:
    """The state after `step` updates and what the next update did; when it is yielded, the network has moved on.

    Args:
        step: number of updates so far, from 0.
        loss: weighted loss here.
        terms: unweighted loss of each term.
        info: what the optimizer did from here; `info.stopped` says why it ended.
        status: "running", "complete" or "diverged".
        coefficients: the problem's unknown coefficients here, by name.
        evaluations: of the loss so far.
    """

    step: int
    loss: float
    terms: Mapping[str, float]
    info: StepInfo
    status: str = "running"
    coefficients: Mapping[str, float] = field(default_factory=dict)
    evaluations: int = 0


@dataclass(eq=False)
class Loop:
    """One training in progress: the objective, the optimizer, the attention weights and what has been measured."""

    objective: Objective
    optimizer: Optimizer
    rule: ResidualBasedAttention
    use_attention: bool
    probes: Sequence[Probe]
    seed: int = 0
    recorder: Recorder | None = None
    recording_seconds: float = 0.0
    rel_l2: float = float("nan")
    checkpoints: Checkpoints | None = None
    start: Checkpoint | None = None
    attention_weights: Tensor | None = field(default=None, repr=False)
    streams: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _restored: Any = field(default=None, repr=False)

    def __post_init__(self):
        self.probes = [each for probe in self.probes for each in (probe, *probe.beside(self.objective))]

    def iterate(self, count: int) -> Iterator[Step]:
        """Yield the state before each update and, last, the state after all of them.

        Args:
            count: number of updates, those before a checkpoint that the training goes on from included.

        Yields:
            count + 1 steps, but those before such a checkpoint; fewer where optimizer or divergence ends it.
        """
        first, state, stopped = self._first()
        for number in range(first, count + 1):
            last = number == count or stopped is not None
            # Taken before anything moves, and kept once the loss is known to be finite.
            snapshot = self.checkpoints and self.checkpoints.before(number, state, stopped, last)
            evaluation = self._begin()
            loss, coefficients = float(evaluation.value.detach()), evaluation.coefficients
            status = "diverged" if not math.isfinite(loss) else "complete" if last else "running"
            if number == 0 and self.recorder is not None:
                with unheard(self.objective.network):
                    self._declare(self._moment(0, evaluation, state))
            if snapshot is not None and status != "diverged":
                self.checkpoints.keep(number, snapshot, loss)
            row: dict[str, object] = {}
            if status != "diverged":
                row = self._measure(self._moment(number, evaluation, state), forced=last)
            info = StepInfo()
            if status == "running":
                state, info = self.optimizer.step(self.objective, state)
                self.objective.parameters.clamp()
                # Under attention the next step has another loss, so the optimizer's tests say nothing about it.
                stopped = None if self.use_attention else info.stopped
            self._record(number, evaluation, info, row)
            self._end(status, number, loss, stopped)
            terms = dict(zip(self.objective.terms, evaluation.raw.tolist(), strict=True))
            info = replace(info, stopped=stopped)
            step = Step(number, loss, terms, info, status, coefficients, self.objective.evaluations)
            try:
                yield step
            except GeneratorExit:
                # Left between two steps, by whatever exception or none: nothing is half done.
                if status == "running" and self.checkpoints is not None:
                    self.checkpoints.leave(number + 1, state, stopped)
                raise
            if status != "running":
                return

    def _first(self) -> tuple[int, Any, str | None]:
        """Return the first step, the optimizer's state there, and why it wants to end, or None."""
        if self.start is None:
            state = self.optimizer.init(self.objective.vector)
            if self.checkpoints is not None:
                self.checkpoints.try_out(state)
            return 0, state, None
        start, self.start = self.start, None
        restore_moment(self, start.state)
        return start.step, self._restored, start.state["stopped"]

    def rehearse(self, number: int, state: Any) -> tuple[float, bool, dict[str, Any]]:
        """Begin a step, to see whether it is the one that a checkpoint was taken at; `restore_moment` undoes it.

        Args:
            number: of updates so far.
            state: of the optimizer.

        Returns:
            The loss, whether it drew random numbers, and what the streams are declared as.
        """
        with unheard(self.objective.network):
            before = torch.get_rng_state()
            evaluation = self._begin()
            loss = float(evaluation.value.detach())
            drawn = not torch.equal(before, torch.get_rng_state())
            self.streams = stream_identity(self._declarations(self._moment(number, evaluation, state)))
        return loss, drawn, dict(self.streams)

    def go_on_from(self, checkpoint: Checkpoint, state: Any) -> None:
        """Let `iterate` begin at a checkpoint.

        Args:
            checkpoint: of this training.
            state: of the optimizer, restored from it.
        """
        self.start, self._restored = checkpoint, state

    def _end(self, status: str, number: int, loss: float, stopped: str | None) -> None:
        """Tell the recorder how the run stands, at every step: the caller may leave the loop at any of them."""
        if self.recorder is None:
            return
        reasons = {"complete": stopped or "", "diverged": f"loss is {loss} at step {number}"}
        left = status == "running"
        self.recorder.end("interrupted" if left else status, reasons.get(status, f"left after step {number}"))

    def _begin(self) -> Evaluation:
        evaluation = self.objective.begin_step()
        residual = evaluation.residual.detach()
        if self.attention_weights is None:
            self.attention_weights = self.rule.start(residual)
        self.attention_weights = self.rule.update(self.attention_weights, residual)
        self.objective.attention = self.rule.factor(self.attention_weights) if self.use_attention else None
        if self.use_attention and self.objective.unknowns:
            # Their optimum depends on the weights.
            return self.objective.begin_step()
        return evaluation

    def _moment(self, number: int, evaluation: Evaluation, state: Any) -> Moment:
        return Moment(number, self.objective, evaluation, self.attention_weights, self.optimizer, state)

    def _measure(self, moment: Moment, forced: bool) -> dict[str, object]:
        """Run the probes that are due; return what belongs into this step's row of the series."""
        start = time.perf_counter()
        row: dict[str, object] = {}
        due = [probe for probe in self.probes if forced or probe.every.due(moment.step)]
        if not due:
            return row
        with unheard(self.objective.network):
            for probe in due:
                values = probe.measure(moment)
                if probe.stream == "series":
                    row.update(values)
                elif self.recorder is not None:
                    self.recorder.record(probe.stream, moment.step, **values)
        self.rel_l2 = float(row.get("rel_l2", self.rel_l2))
        self.recording_seconds += time.perf_counter() - start
        return row

    def _declarations(self, moment: Moment) -> list[Stream]:
        """Return the streams of probes and coefficients; those of the series' probes are one."""
        declared = [probe.declare(moment) for probe in self.probes]
        own = [stream for stream in declared if stream.name == "series"]
        extra = [variable for stream in own for variable in stream.variables]
        coords = {"term": self.objective.terms} | {dim: at for stream in own for dim, at in stream.coords.items()}
        attrs = {name: value for stream in own for name, value in stream.attrs.items()}
        found = [Stream("series", extra, coords, attrs)]
        found += [stream for stream in declared if stream.name != "series"]
        if names := [c.name for c in self.objective.problem.coefficients]:
            found.append(Stream("coefficients", coords={"coefficient": names}))
        return found

    def _declare(self, moment: Moment) -> None:
        attrs = {
            "seed": self.seed,
            "dtype": str(self.objective.vector.dtype).removeprefix("torch."),
            "device": str(self.objective.vector.device),
        }
        self.recorder.configure(
            describe(self.objective, self.optimizer, self.rule if self.use_attention else None), attrs
        )
        declared = self._declarations(moment)
        for stream in declared:
            self.recorder.declare(stream)
        self.streams = stream_identity(declared)
        arrays = points_arrays(self.objective.points)
        self.recorder.store("points", **points_labels(self.objective.problem), **arrays)

    def _record(self, number: int, evaluation: Evaluation, info: StepInfo, row: Mapping[str, object]) -> None:
        if self.recorder is None:
            return
        start = time.perf_counter()
        history = self.objective.evaluated()
        moved = len(history) > 0 or self.objective.update_norm() > 0
        self.recorder.record(
            "series",
            number,
            loss=float(evaluation.value.detach()),
            loss_raw=evaluation.raw.cpu().numpy(),
            loss_weight=evaluation.effective_weights.cpu().numpy(),
            learning_rate=info.learning_rate,
            gradient_norm=evaluation.gradient_norm,
            update_norm=self.objective.update_norm() if moved else float("nan"),
            parameter_norm=self.objective.start_norm(),
            evaluations=self.objective.evaluations,
            **{name: getattr(info, name) for name in getattr(self.optimizer, "records", ())},
            **row,
        )
        if self.objective.problem.coefficients:
            self.recorder.record("coefficients", number, value=list(evaluation.coefficients.values()))
        if getattr(self.optimizer, "many_evaluations", False):
            for counted in history:
                self.recorder.record("evaluations", number, **vars(counted))
        self.recording_seconds += time.perf_counter() - start

"""DeepXDE (PyTorch backend): a callback that records our trajectory."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import deepxde as dde
from torch import Tensor

from solvers.attaching.attach import BLOCKS
from solvers.attaching.attachment import Attachment
from solvers.attaching.block_gradients import Residuals
from solvers.attaching.described import plain
from solvers.attaching.guard import Guard
from solvers.attaching.layers import Chosen
from solvers.cadence import Cadence
from solvers.callbacks.deepxde import problem, terms
from solvers.callbacks.deepxde.attached import Wanted, attached, copied
from solvers.callbacks.deepxde.file import ContinuedFile
from solvers.callbacks.deepxde.hooks import Hooks
from solvers.callbacks.deepxde.variables import recordable, variables_of


class TrajectoryCallback(dde.callbacks.Callback):
    """Record the trainings of a DeepXDE model in one trajectory: give the same callback to each `model.train`.

        callback = TrajectoryCallback("run.h5")
        model.compile("adam", lr=1e-3, loss_weights=[1, 100])
        model.train(iterations=5000, callbacks=[callback])
        model.compile("L-BFGS")
        model.train(callbacks=[callback])  # then: pinnscope diagnose run.h5

    The file is closed and complete after each train(); the next one goes on with it, which costs about half a second.
    Steps have DeepXDE's own numbers: the inner iterations of L-BFGS count, each evaluation is a row of /evaluations,
    each 1000 iterations are one of /series. (A last iteration, which DeepXDE does not count when L-BFGS stops, shifts
    the steps that follow by one.) After model.restore() in a new process DeepXDE counts from 0: such a run needs a new
    file.

    Losses are raw, their weights beside them. Of a PDE or TimePDE, residuals, their homogeneity and gradients of blocks
    are measured at a fixed sample of the training points of the first train(), which neither resampling nor refinement
    moves; of other data (operators, integro-differential and fractional equations) they are not. With the metric "l2
    relative error", rel_l2 is what DeepXDE measures, whenever it tests; otherwise, where the problem has a solution,
    rel_l2 and max_error are measured at the sample.

    No number of the training changes. A train() that an exception ends leaves a file that says so. What goes wrong with
    the recording is said once in a warning, and the training goes on.

    Args:
        path: of the file; one that exists is refused.
        names: of the losses, in DeepXDE's order, equations first; None: "pde 1", ..., "bc 1 DirichletBC", ...
        coefficients: names of the external trainable variables; None: "variable 1", ... Those of one number are
            recorded as coefficients.
        residuals: (net, points) -> (n, equations), in place of those of `model.data`.
        points: (n, axes), in place of the sample of at most 2,000; copied.
        every: one cadence of all measurements, or by stream; None: the usual ones, at each step of
            DeepXDE's L-BFGS.
        activations: names of modules, or a filter of names, whose outputs are the hidden layers.
        blocks: of the gradients.
        overwrite: replace an existing file.
        strict: raise what goes wrong with the recording.

    Raises:
        ValueError: another backend of DeepXDE than PyTorch.

    Cost: 2 to 4 passes over the parameters a step; the measurements, at their cadences, about a step each.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        names: Sequence[str] | None = None,
        coefficients: Sequence[str] | None = None,
        residuals: Residuals | None = None,
        points: Tensor | Any = None,
        every: Cadence | dict[str, Cadence] | None = None,
        activations: Chosen = None,
        blocks: int = BLOCKS,
        overwrite: bool = False,
        strict: bool = False,
    ):
        super().__init__()
        backend = dde.backend.backend_name
        if backend != "pytorch":
            raise ValueError(f"expected DeepXDE's backend pytorch, came {backend}: set DDE_BACKEND=pytorch")
        self._names, self._coefficients = names, coefficients
        self._wanted = Wanted(residuals, copied(points), every, activations, blocks, strict)
        self._file = ContinuedFile(path, overwrite=overwrite, strict=strict)
        self._hooks: Hooks | None = None
        self._open: ExitStack | None = None
        self._attached: Attachment | None = None
        self._recorded: list[str] = []
        self._sample: Tensor | None = None
        self._lost = False

    def set_model(self, model: dde.Model) -> None:
        """Take the model; called by DeepXDE.

        Args:
            model: to be trained.

        Raises:
            ValueError: another model than before.
        """
        if self.model is not None and model is not self.model:
            raise ValueError(
                f"{self._file.path}: expected the model that this callback has recorded, came another: make a "
                "TrajectoryCallback with a file of its own for each model"
            )
        super().set_model(model)

    def on_train_begin(self) -> None:
        """Hook into the training that begins; called by DeepXDE.

        Raises:
            ValueError: two such callbacks, or names that are not as many as losses or variables.
        """
        count = sum(isinstance(each, TrajectoryCallback) for each in self.model.callbacks.callbacks)
        if count > 1:
            raise ValueError(f"expected one TrajectoryCallback in callbacks=[...], came {count}: leave one there")
        self._unhook()
        self._hook()

    def _hook(self) -> None:
        self._labels = terms.term_labels(self.model, self._names)
        self._variables = variables_of(self.model, self._coefficients)
        self._hooks = Hooks(self.model, self._tell, self._leave)

    def on_batch_begin(self) -> None:
        """Open the file before the first step, and number each step as DeepXDE does; called by DeepXDE."""
        if self._hooks.optimizer is not self.model.opt:
            # Another callback has compiled the model anew.
            self._unhook() if self._open is None else self._leave(None)
            self._hook()
        if self._open is None and not self._lost:
            self._begin()
        if self._open is not None:
            self._file.number(self.model.train_state.step)

    def on_train_end(self) -> None:
        """Close the file where no loop ran that did; called by DeepXDE."""
        if self._hooks is not None:
            self._leave(None)

    def _begin(self) -> None:
        model, file = self.model, self._file
        groups = max(len(model.opt.param_groups), 1 + bool(self._variables))
        optimizer = f"{type(model.opt).__name__}({plain(model.opt.defaults)})"
        variables, said = recordable(model, self._variables, self._recorded if file.begun else None)
        for line in said:
            self._warn(line)
        if not file.begun:
            # For all trainings: in between, points may be added or drawn anew.
            self._sample = problem.points_of(model.data) if self._wanted.points is None else self._wanted.points
        with ExitStack() as opened:
            try:
                recorder = opened.enter_context(
                    file.opened(problem.described(model), optimizer, model.train_state.step, self._labels, groups)
                )
                self._guard = Guard(recorder, self._wanted.strict)
                given = self._wanted, self._sample, variables
                self._attached = opened.enter_context(attached(recorder, model, *given, self._warn))
            except Exception as error:
                # A file that cannot be begun is the user's mistake; one that cannot be gone on with shall not cost
                # the training.
                if self._wanted.strict or not file.begun:
                    raise
                self._lost = True
                self._warn(f"{file.path} cannot be gone on with, nothing more is recorded ({error})")
                return
            self._recorded = self._recorded if file.begun else list(variables)
            self._open = opened.pop_all()

    def _tell(self, losses: Sequence[Tensor]) -> None:
        """Hand on the raw losses; what goes wrong is the recording's affair."""
        if self._open is not None:
            self._guard.run("the terms of the loss are", self.model.train_state.step, self._told, losses)

    def _told(self, losses: Sequence[Tensor]) -> None:
        losses, weights = terms.told(self.model, self._labels, losses)
        self._attached.terms(weights=weights, **losses)

    def _leave(self, error: BaseException | None) -> None:
        """Close the file behind a training that is through, or that an error ends."""
        tested = None if self._hooks is None else self._hooks.tested
        self._unhook()
        opened = self._open
        if opened is None:
            if error is None and not self._lost:
                self._warn("train() made no step, nothing is recorded; DeepXDE's name of L-BFGS is 'L-BFGS'")
            return
        try:
            self._file.number(self.model.train_state.step)
            self._file.keep()
            if not self._file.recorder.recording:
                # It has said so.
                self._attached.detach(measure=False)
            elif tested is not None:
                self._tell(tested)
        finally:
            self._open = None
            opened.__exit__(*(sys.exc_info() if error is None else (type(error), error, error.__traceback__)))

    def _unhook(self) -> None:
        if self._hooks is not None:
            self._hooks.remove()
        self._hooks = None

    def _warn(self, line: str) -> None:
        warnings.warn(f"TrajectoryCallback: {line}", RuntimeWarning, stacklevel=3)

"""The recording of a Lightning training from its start to its end, and from one fit to the next."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from solvers.callbacks.lightning.file import TrajectoryFile
from solvers.callbacks.lightning.module import Chosen, ModuleTraining
from solvers.callbacks.lightning.optimizers import WatchedOptimizers


@dataclass(frozen=True)
class Asked:
    """What the user asked for.

    Args:
        measured: instead of what a module brings along, as arguments of `solvers.attach`.
        how: further arguments of `solvers.attach`.
        condition: of PINA that is measured, or None.
        terms: names of logged scalars, or what each counts in the loss, or None.

    Example:
        >>> Asked({}, {"strict": True}, None, None).strict
        True
    """

    measured: Mapping[str, Any]
    how: Mapping[str, Any]
    condition: str | None
    terms: Chosen | None

    @property
    def strict(self) -> bool:
        """Whether what goes wrong is raised."""
        return bool(self.how["strict"])


class Recording:
    """What lives between the hooks of a callback.

    Args:
        file: of the trajectory.
        optimizer: number of the recorded one.
        asked: by the user.

    Example:
        >>> file = TrajectoryFile("/tmp/run.h5", False, False)
        >>> Recording(file, 0, Asked({}, {"strict": False}, None, None)).position()
        {}
    """

    def __init__(self, file: TrajectoryFile, optimizer: int, asked: Asked):
        self.file, self._optimizer, self._asked = file, optimizer, asked
        self._module: Any = None
        self._training: ModuleTraining | None = None
        self._watched: WatchedOptimizers | None = None

    def position(self) -> dict[str, Any]:
        """Return the position of now; its rows are on the disk.

        Returns:
            Plain values, none before the first step.
        """
        if self._watched is not None:
            self._watched.guard.run("the position is", self.file.step, self.file.sync)
        return dict(self.file.position)

    def go_on_from(self, position: Mapping[str, Any]) -> None:
        """Take a position, for the next start of whatever module.

        Args:
            position: from `position`.
        """
        self.file.position, self._module = dict(position), None

    def start(self, trainer: Any, module: Any) -> None:
        """Open the file and attach to the optimizers; in the first process alone, and in no development run.

        Args:
            trainer: of Lightning.
            module: trained.
        """
        self.end()
        if trainer.fast_dev_run or not trainer.is_global_zero:
            return
        if self._module not in (None, module):
            # Another module: another run, which does not go on where the one before has ended.
            self.file.position = {}
        self._module = module
        try:
            self._training = self._described(module)
            self.file.open(self._training)
            self._watched = WatchedOptimizers(self.file.recorder, self._training, self._optimizer, self._asked.how)
            self._watched.follow(trainer, self.file)
        except BaseException as error:
            self.end(error)
            raise

    def begin_batch(self, trainer: Any) -> None:
        """Attach to optimizers that have come.

        Args:
            trainer: of Lightning.
        """
        if self._watched is not None:
            self._training.begin()
            self._watched.guard.run("/series is", self.file.step, self._watched.follow, trainer, self.file)

    def take(self, loss: Tensor) -> None:
        """Take in the loss of an evaluation.

        Args:
            loss: of the backward pass that comes.
        """
        if self._watched is not None:
            self._watched.take(loss.detach())

    def end(self, error: BaseException | None = None, stopped: bool = False) -> None:
        """Record the state after the last step, and close the file; nothing happens the second time.

        Args:
            error: that ended the training, or None.
            stopped: whether the trainer was told to stop.
        """
        watched, training, self._watched, self._training = self._watched, self._training, None, None
        if stopped and self.file.recorder is not None:
            self.file.recorder.end("complete", "trainer.should_stop was set")
        if training is not None:
            training.end()
        if watched is not None:
            watched.guard.run("the position is", self.file.step, self.file.sync)
            watched.end(error)
        self.file.close(error)

    def _described(self, module: Any) -> ModuleTraining:
        """Return what is to be recorded of a module; PINA is looked at only where it is loaded already."""
        asked = self._asked
        if "pina" in sys.modules:
            from solvers.callbacks.pina.solver import SolverTraining, is_solver

            if is_solver(module):
                if asked.terms is not None:
                    raise ValueError(
                        f"expected no terms of {type(module).__name__}, whose conditions are its terms, came "
                        f"{list(asked.terms)}: leave terms= out"
                    )
                return SolverTraining(module, self._optimizer, asked.condition, asked.measured, asked.strict)
        if asked.condition is not None:
            raise ValueError(
                f"expected a solver of PINA for condition={asked.condition!r}, came {type(module).__name__}: leave "
                "condition= out, and pass residuals= and points="
            )
        return ModuleTraining(module, asked.terms, asked.measured)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_module": None, "_training": None, "_watched": None}

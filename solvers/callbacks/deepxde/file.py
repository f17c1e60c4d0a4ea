"""One trajectory over several trainings of a model: closed after each, gone on with at the next."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from dynamics.format import Stream
from dynamics.recorder import Recorder
from solvers.attaching.log import Log, log_of


class ContinuedFile:
    """A trajectory that is complete after each training and goes on with the next one.

    The state after the last step of a training is the one before the first step of the next. Its rows close the file,
    and are given up when it goes on: the step is then recorded with its update, under the same number.

    Args:
        path: of the new file.
        overwrite: replace an existing one, once.
        strict: raise when the file cannot be written on.

    Example:
        >>> import os, tempfile
        >>> from dynamics import open_trajectory
        >>> file = ContinuedFile(os.path.join(tempfile.mkdtemp(), "run.h5"), overwrite=False, strict=False)
        >>> for step in (0, 1):
        ...     with file.opened({}, "Adam", step, ["pde"], 1) as recorder:
        ...         recorder.record("series", step, loss=1.0)
        ...         file.number(step + 1)
        ...         file.keep()
        ...         recorder.record("series", step + 1, loss=0.0)
        >>> with open_trajectory(file.path) as trajectory:
        ...     trajectory["series/loss"].values.tolist()
        [1.0, 1.0, 0.0]
    """

    def __init__(self, path: str | os.PathLike, *, overwrite: bool, strict: bool):
        self.path, self._overwrite, self._strict = os.fspath(path), overwrite, strict
        self._rows: dict[str, int] | None = None
        self._log, self._come = Log(), (0, 0)
        self._optimizers: list[str] = []

    @property
    def begun(self) -> bool:
        """Whether there are rows to go on behind."""
        return self._rows is not None

    def opened(
        self, config: Mapping[str, object], optimizer: str, step: int, terms: Sequence[str], groups: int
    ) -> Recorder:
        """Open the file, anew or behind the rows that were kept.

        Args:
            config: of the run, for a new file.
            optimizer: of the training that begins; the configuration names all, in their order.
            step: number of the first row of a new file.
            terms: names of the losses.
            groups: of parameters, the most that an optimizer of this run will have.

        Returns:
            The recorder.

        Raises:
            FileExistsError: the file is there and shall not be replaced.
            OSError: the file cannot be written, or not be gone on with.
        """
        used = [*self._optimizers, *([] if self._optimizers[-1:] == [optimizer] else [optimizer])]
        named = {"optimizer": ", then ".join(used)}
        if self._rows is None:
            self.recorder = Recorder(
                self.path, config={**config, **named}, overwrite=self._overwrite, strict=self._strict
            )
            log = log_of(self.recorder, step)
            # Before the first rows, which fix the layout: an L-BFGS may come with the next compile().
            log.declare(self.recorder, Stream("evaluations"))
            log.declare_series(self.recorder, terms, groups, True)
        else:
            self.recorder = Recorder.reopen(self.path, self._rows, config=named, strict=self._strict)
            log = log_of(self.recorder)
            log.step, log.evaluations = self._come
            log.terms, log.declared = self._log.terms, self._log.declared
        self._optimizers, self._log, self._come = used, log, (log.step, log.evaluations)
        return self.recorder

    def number(self, step: int) -> None:
        """Let the next row have a number, where it is not below those before.

        Args:
            step: the number.
        """
        self._log.step = max(self._log.step, step)

    def keep(self) -> None:
        """Go on behind the present rows when the file is opened again, if there are any new ones."""
        come = (self._log.step, self._log.evaluations)
        if come == self._come:
            return
        self._come = come
        self._rows = self.recorder.sync() if self.recorder.recording else self.recorder.committed

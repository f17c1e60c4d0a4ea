"""How far a recorder has come, shared by all attachments that write to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from dynamics.format import KNOWN, Stream, Variable
from dynamics.recorder import Recorder

SERIES = (
    "loss",
    "learning_rate",
    "gradient_norm",
    "update_norm",
    "parameter_norm",
    "evaluations",
)
GROUP_RATE = Variable("group_learning_rate", ("group",), "learning rate of each parameter group")


@dataclass(eq=False)
class Log:
    """What was declared and recorded so far; a second attachment to the same recorder goes on behind the first.

    Args:
        step: that comes next.
        evaluations: of the loss so far.
        terms: names of the recorded terms.
        declared: streams.
        attrs: of the series.
        optimizers: attached before the first row, as the configuration names them.

    Example:
        >>> Log().step
        0
    """

    step: int = 0
    evaluations: int = 0
    terms: list[str] = field(default_factory=list)
    declared: set[str] = field(default_factory=set)
    attrs: dict[str, object] = field(default_factory=dict)
    optimizers: list[str] = field(default_factory=list)

    def declare(self, recorder: Recorder, stream: Stream) -> None:
        """Declare a stream, once and where that is still possible.

        Args:
            recorder: of this log.
            stream: with its labels.
        """
        if stream.name in self.declared:
            return
        self.declared.add(stream.name)
        try:
            recorder.declare(stream)
        except ValueError:
            # Declared by the user, or too late: then the first row is taken, or refused with what to do.
            pass

    def declare_series(self, recorder: Recorder, terms: Sequence[str], groups: int, loss: bool) -> None:
        """Declare the series.

        Args:
            recorder: of this log.
            terms: names of the loss terms, none where they are not known.
            groups: of parameters; one has no rates of its own.
            loss: whether it is known.
        """
        if self.optimizers and "series" not in self.declared:
            self._configure(recorder)
        self.terms = self.terms or list(terms)
        names = [name for name in SERIES if loss or name != "loss"]
        named = [KNOWN["series"][name] for name in (*names, *(("loss_raw", "loss_weight") if terms else ()))]
        coords: dict[str, object] = {"term": list(terms)} if terms else {}
        if groups > 1:
            named, coords = [*named, GROUP_RATE], {**coords, "group": groups}
        self.declare(recorder, Stream("series", named, coords, self.attrs))

    def _configure(self, recorder: Recorder) -> None:
        try:
            recorder.configure({"optimizer": ", then ".join(self.optimizers)})
        except ValueError:
            # The layout is fixed by rows of the user's own.
            pass


_logs: WeakKeyDictionary[Recorder, Log] = WeakKeyDictionary()


def log_of(recorder: Recorder, first: int = 0) -> Log:
    """Return the log of a recorder.

    Args:
        recorder: open.
        first: number of the first step, for a recorder that had no attachment yet.

    Returns:
        The one log.
    """
    return _logs.setdefault(recorder, Log(step=first))


def opened(recorder: object) -> Recorder:
    """Return an open recorder, or say what is wrong with it.

    Args:
        recorder: what the caller gave.

    Returns:
        It.

    Raises:
        ValueError: no recorder, or one that does not record.
    """
    if not isinstance(recorder, Recorder):
        raise ValueError(f'expected an open Recorder, came {recorder!r}: write `with Recorder("run.h5") as recorder:`')
    if not recorder.recording:
        raise ValueError(f"{recorder.path}: expected an open recorder, came a closed one: attach before close()")
    return recorder

"""What to measure during training, and when: a probe is a stream, its dimensions, a measurement and a cadence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from dynamics.format import KNOWN, Stream, Variable
from solvers.cadence import Cadence, Logarithmic
from solvers.evaluation import Evaluation
from solvers.objective import Objective
from solvers.optimizers import Optimizer


@dataclass(frozen=True)
class Moment:
    """What a probe may look at: the state at the start of a step, before the optimizer moves.

    `attention` holds the residual-based weights whether or not the loss uses them. `state` is the optimizer's own, of
    which a probe may read, and must not change, anything; both are None outside a training.
    """

    step: int
    objective: Objective
    evaluation: Evaluation
    attention: Tensor
    optimizer: Optimizer | None = None
    state: Any = None


@dataclass(frozen=True)
class Labels:
    """Labels (or sizes) of a probe's dimensions and attributes of its group."""

    coords: Mapping[str, Sequence | int] = field(default_factory=dict)
    attrs: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """A measurement at a cadence.

    Args:
        stream: the group that receives it; "series" adds columns to the row of every step.
        dims: variable -> names of its dimensions beside the step.
        measure: moment -> variable -> number or array.
        every: when.
        labels: moment -> labels of the dimensions and attributes, asked once at the first step.
        beside: objective -> further probes that come with this one, such as the same at another cadence.

    Example:
        >>> Probe("series", {"mean": ()}, lambda moment: {"mean": moment.objective.vector.mean()}).stream
        'series'
    """

    stream: str
    dims: Mapping[str, tuple[str, ...]]
    measure: Callable[[Moment], Mapping[str, object]]
    every: Cadence = Logarithmic(30)
    labels: Callable[[Moment], Labels] = lambda moment: Labels()
    beside: Callable[[Objective], Sequence[Probe]] = lambda objective: ()

    def declare(self, moment: Moment) -> Stream:
        """Return the stream that this probe writes.

        Args:
            moment: the first one.

        Returns:
            Its variables, labels and attributes.
        """
        labels = self.labels(moment)
        known = KNOWN.get(self.stream, {})
        own = [Variable(name, dims, name.replace("_", " ")) for name, dims in self.dims.items() if name not in known]
        return Stream(self.stream, own, labels.coords, labels.attrs)


def once(make: Callable[[Moment], Any]) -> Callable[[Moment], Any]:
    """Return `make`, called once an objective: what a probe sets up for one run must not serve the next.

    Args:
        make: moment -> anything.

    Returns:
        The same function, which keeps its last result.
    """
    kept: list[Any] = [None, None]

    def of(moment: Moment) -> Any:
        if kept[0] is not moment.objective:
            kept[:] = moment.objective, make(moment)
        return kept[1]

    return of

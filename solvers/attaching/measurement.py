"""What is measured beside the steps, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dynamics.format import Stream
from solvers.cadence import Cadence, Every, Logarithmic

CADENCES: Mapping[str, Cadence] = {
    "terms": Every(20),
    "parameters": Logarithmic(10, spacing=8),
    "field": Logarithmic(10, spacing=8),
    "compression": Logarithmic(10, spacing=8),
    "activations": Logarithmic(10, spacing=8),
    "residuals": Logarithmic(15, spacing=16),
    "homogeneity": Logarithmic(15, spacing=16),
    "gradients": Logarithmic(15, spacing=16),
}
"""The default cadence of each stream, and of the callable `terms`: even, since it is part of each row's loss. Those of
the residual fall on the same steps, and share one evaluation."""


@dataclass(frozen=True)
class Measurement:
    """One stream of measurements.

    Args:
        name: of the stream.
        measure: moment -> values by variable name, at the present parameters; measurements of one moment, an object of
            its own, are given the same and may share what they compute.
        declare: -> the stream; asked after the first measurement. None: the values join the row of the series.
        attrs: of the series, where the values join it.
    """

    name: str
    measure: Callable[[object], Mapping[str, object]]
    declare: Callable[[], Stream] | None
    attrs: Mapping[str, object] = field(default_factory=dict)


def cadences(every: Cadence | Mapping[str, Cadence] | None) -> dict[str, Cadence]:
    """Return the cadence of each stream.

    Args:
        every: one of all; by stream, the others at their defaults; or None: the defaults.

    Returns:
        By stream.

    Raises:
        ValueError: a stream that is not measured, or what is no cadence.

    Example:
        >>> cadences({"gradients": Every(7)})["gradients"]
        Every(n=7)
    """
    if every is None:
        return dict(CADENCES)
    given = every if isinstance(every, Mapping) else dict.fromkeys(CADENCES, every)
    if unknown := sorted(set(given) - set(CADENCES)):
        raise ValueError(f"expected cadences of {', '.join(CADENCES)}, came one of {unknown[0]!r}: name one of them")
    for name, cadence in given.items():
        if not callable(getattr(cadence, "due", None)):
            raise ValueError(f"expected a cadence for {name!r}, came {cadence!r}: write Every(10) or Logarithmic(30)")
    return {**CADENCES, **given}


def array(values: Tensor) -> np.ndarray:
    """Return a tensor as an array; numpy has no bfloat16, float32 holds its numbers.

    Args:
        values: on any device.

    Returns:
        The array.

    Example:
        >>> array(torch.tensor([1.5], dtype=torch.bfloat16)).dtype
        dtype('float32')
    """
    values = values.detach()
    return (values.float() if values.dtype == torch.bfloat16 else values).cpu().numpy()

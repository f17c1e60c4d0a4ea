"""Rows of space and time taken apart: the same places at each of several times, or each row at its own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from solvers.jet import TIME

WASTE = 2.0
"""Places x times may outnumber the rows by this factor; sparser rows get a stencil at a time of its own each."""


def places_and_times(rows: Tensor, axes: tuple[str, ...]) -> tuple[np.ndarray, Tensor | None, Tensor | None]:
    """Return the places and times that rows are made of.

    Args:
        rows: (n, axes).
        axes: the axis letters.

    Returns:
        Places (k, space axes); times (steps,), None without a time axis or for rows at times of their own, which are
        their own places; and each row's number among places x times, time slowest, None where row i is number i.

    Example:
        >>> rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.5], [1.0, 0.5]])
        >>> places, times, order = places_and_times(rows, ("x", "t"))
        >>> places.ravel().tolist(), times.tolist(), order
        ([0.0, 1.0], [0.0, 0.5], None)
    """
    space = [i for i, axis in enumerate(axes) if axis != TIME]
    places = rows[:, space].cpu().double()
    if TIME not in axes:
        return np.ascontiguousarray(places.numpy()), None, None
    at = rows[:, axes.index(TIME)]
    times, which = torch.unique(at, return_inverse=True)
    if len(rows) % len(times) == 0:
        blocks = places.reshape(len(times), -1, len(space))
        ordered = torch.equal(which, torch.arange(len(times), device=at.device).repeat_interleave(blocks.shape[1]))
        if ordered and torch.equal(blocks, blocks[:1].expand_as(blocks)):
            return np.ascontiguousarray(blocks[0].numpy()), times, None
    distinct, place = np.unique(places.numpy(), axis=0, return_inverse=True)
    if len(distinct) * len(times) > WASTE * len(rows):
        return np.ascontiguousarray(places.numpy()), None, None
    return distinct, times, which * len(distinct) + torch.from_numpy(place.ravel()).to(which)

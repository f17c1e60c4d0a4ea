"""The loss of a step and its terms, as the user's loop tells them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from solvers.attaching.owned import numbers

SAME = 1e-5
"""Relative difference below which terms that came without weights are said to sum to the loss."""


class Terms:
    """What was told of one step: raw losses by name and their weights.

    Within a closure it is told at each evaluation, and the first one counts, that at the step's beginning. Without one,
    what is told several times are the parts of an accumulated gradient, and their mean counts.

    Example:
        >>> terms = Terms()
        >>> terms.tell({"pde": torch.tensor(1.0), "boundary": 3.0}, {"pde": 1.0, "boundary": 10.0})
        >>> terms.told(["pde", "boundary"], None)["loss"]
        31.0
    """

    def __init__(self):
        self._told: list[dict[str, Tensor | float]] = []
        self._weights: dict[str, Tensor | float] = {}
        self.first_only = False

    def tell(self, losses: Mapping[str, Any], weights: Mapping[str, Any] | None = None) -> None:
        """Take in the losses of an evaluation.

        Args:
            losses: raw, by name: scalar tensors or numbers.
            weights: by name; those not named are 1.

        Raises:
            ValueError: a loss that is no scalar, or a weight of no term.
        """
        told = {name: _scalar(name, value) for name, value in losses.items()}
        if unknown := sorted(set(weights or ()) - set(told)):
            raise ValueError(
                f"expected weights of the terms {', '.join(told)}, came one of {unknown[0]!r}: name a loss for it too"
            )
        if self.first_only and self._told:
            return
        self._told.append(told)
        self._weights = {name: _scalar(name, value) for name, value in (weights or {}).items()}

    @property
    def names(self) -> list[str]:
        """Names of the terms that were told, in their order."""
        return list(self._told[0]) if self._told else []

    def told(self, names: list[str], loss: float | None) -> dict[str, object]:
        """Return what the row of the step holds.

        Args:
            names: of the recorded terms.
            loss: that the closure returned, None where that is not known.

        Returns:
            `loss`, where it is known; `loss_raw` and `loss_weight` where terms were told: weights that are not known
            are NaN.

        Raises:
            ValueError: other terms than were told at first.
        """
        known = {} if loss is None else {"loss": loss}
        if not self._told:
            return known
        if other := sorted({name for told in self._told for name in told} - set(names)):
            raise ValueError(
                f"expected the terms told first, {', '.join(names)}, came {other[0]!r}: tell all at the first step"
            )
        rows = [_numbers(told) for told in self._told]
        weights = _numbers(self._weights)
        raw = {name: sum(row.get(name, math.nan) for row in rows) / len(rows) for name in names}
        weight = {name: weights.get(name, 1.0) for name in names}
        total = sum(weight[name] * raw[name] for name in self.names)
        if loss is None:
            known = {"loss": total}
        elif not self._weights and not math.isclose(total, loss, rel_tol=SAME):
            weight = dict.fromkeys(names, math.nan)
        return {**known, "loss_raw": list(raw.values()), "loss_weight": list(weight.values())}


def loss_of(returned: Any) -> Tensor | None:
    """Return the loss that a closure returned.

    Args:
        returned: a tensor of one entry, a number, or a tuple that begins with one of them.

    Returns:
        Scalar; None where it is anything else.

    Example:
        >>> loss_of((torch.tensor([2.0]), "more")).item(), loss_of(None)
        (2.0, None)
    """
    returned = returned[0] if isinstance(returned, tuple | list) and returned else returned
    if isinstance(returned, Tensor):
        usual = returned.numel() == 1 and not returned.is_complex()
        return returned.detach().reshape(()) if usual else None
    return torch.tensor(float(returned), dtype=torch.float64) if _is_number(returned) else None


def _scalar(name: str, value: Any) -> Tensor | float:
    """Return a scalar as it is now: what the loop does to its tensor in place, such as `loss += other`, comes later."""
    scalar = isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex()
    if not scalar and not _is_number(value):
        came = f"shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__
        raise ValueError(f"expected a scalar loss for the term {name!r}, came {came}: take the mean of its squares")
    if not scalar:
        return float(value)
    return value.item() if value.device.type == "cpu" else value.detach().reshape(()).clone()


def _is_number(value: Any) -> bool:
    """Return whether it is a real number, or a NumPy array without axes, as `loss.detach().numpy()` is."""
    array = isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "fiu"
    return array or isinstance(value, int | float | np.number)


def _numbers(told: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Return scalars as floats, waiting for a device once."""
    away = {name: value for name, value in told.items() if isinstance(value, Tensor)}
    return {**told, **dict(zip(away, numbers(*away.values()), strict=True))} if away else dict(told)

"""Attention weights of a user's loop at the fixed points: as recorded, and as they stand in the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

from torch import Tensor

from solvers.attention import INSIDE, OUTSIDE, ResidualBasedAttention

Rule = ResidualBasedAttention | Mapping[str, object] | None


class AttentionAt:
    """The weights of the points, asked for where they are measured.

    Args:
        attention: -> (n,) or (n, 1), the present weights of the points.
        rule: how they come about: a `ResidualBasedAttention`, or what the file shall say, whose "form" (or "inside")
            says how they stand in the loss; None: inside the square.
        points: (n, axes).

    Raises:
        ValueError: no function, another number of weights than points, or another form of the loss.

    Example:
        >>> import torch
        >>> weights = torch.tensor([2.0, 3.0])
        >>> AttentionAt(lambda: weights, None, torch.zeros(2, 1)).of_squares().tolist()
        [4.0, 9.0]
        >>> AttentionAt(lambda: weights, {"form": "mean(lambda r^2)"}, torch.zeros(2, 1)).of_squares().tolist()
        [2.0, 3.0]
    """

    def __init__(self, attention: Callable[[], Tensor], rule: Rule, points: Tensor):
        if not callable(attention):
            raise ValueError(
                f"expected attention as a function of the present weights, came {type(attention).__name__}: "
                "write attention=lambda: weights"
            )
        self._attention, self._points = attention, points
        self.rule = stated(rule)
        self.of(None)

    @property
    def form(self) -> str:
        """The interior loss."""
        return str(self.rule["form"])

    def of(self, moment: object) -> Tensor:
        """Return the weights.

        Args:
            moment: of the measurement.

        Returns:
            (n,), without a graph.

        Raises:
            ValueError: not one a point.
        """
        weights = self._attention()
        if not isinstance(weights, Tensor) or weights.shape not in ((len(self._points),), (len(self._points), 1)):
            came = f"shape {tuple(weights.shape)}" if isinstance(weights, Tensor) else type(weights).__name__
            raise ValueError(
                f"expected attention weights of shape ({len(self._points)},), one for each of points=, came {came}: "
                "return those of the points that were passed, such as weights[index]"
            )
        return weights.detach().reshape(-1)

    def of_squares(self) -> Tensor:
        """Return what the squared residual is multiplied by in the loss.

        Returns:
            (n,): lambda^2 inside the square, lambda outside; on the points' device and in their dtype.
        """
        weights = self.of(None).to(self._points)
        return weights.square() if self.form == INSIDE else weights


def stated(rule: Rule) -> dict[str, object]:
    """Return what a file says of a rule.

    Args:
        rule: of the weights.

    Returns:
        Its fields, "form" among them.

    Raises:
        ValueError: a form that is not known.

    Example:
        >>> stated({"name": "SA-PINN", "inside": False})
        {'name': 'SA-PINN', 'inside': False, 'form': 'mean(lambda r^2)'}
    """
    if isinstance(rule, ResidualBasedAttention):
        return asdict(rule)
    if rule is not None and not isinstance(rule, Mapping):
        raise ValueError(
            f"expected attention_rule as a ResidualBasedAttention or a dict, came {type(rule).__name__}: write "
            f'attention_rule={{"name": ..., "form": "{INSIDE}"}}'
        )
    found = dict(rule or {})
    form = found.get("form", OUTSIDE if found.get("inside") is False else INSIDE)
    if form not in (INSIDE, OUTSIDE):
        raise ValueError(
            f"expected the form {INSIDE!r} or {OUTSIDE!r} of the attention's loss, came {form!r}: where the loss has "
            f"mean(m(lambda) r^2), pass m(lambda) as the attention, with the form {OUTSIDE!r}"
        )
    return {**found, "form": form}

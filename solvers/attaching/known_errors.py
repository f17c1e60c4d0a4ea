"""Errors of the solution that a user's loop computes itself, taken over where they are new."""

from __future__ import annotations

from collections.abc import Callable, Mapping

NAMES = ("rel_l2", "max_error")


class KnownErrors:
    """The errors that the loop knows, each value recorded once: at the first step that begins with it.

    Args:
        errors: -> rel_l2, max_error or both, the latest ones; empty, None or NaN where there is none yet.

    Example:
        >>> latest = {"rel_l2": 0.5}
        >>> known = KnownErrors(lambda: latest)
        >>> known.new(), known.new()
        ({'rel_l2': 0.5}, {})
    """

    def __init__(self, errors: Callable[[], Mapping[str, float] | None]):
        self._errors = errors
        self._last: dict[str, float] = {}

    def new(self) -> dict[str, float]:
        """Return the errors that are others than when last asked.

        Returns:
            Variables of the series.

        Raises:
            ValueError: an error of another name.
        """
        found = self._errors()
        if not found:
            return {}
        if unknown := sorted(set(found) - set(NAMES)):
            raise ValueError(f"expected errors named {' or '.join(NAMES)}, came {unknown[0]!r}: name it so")
        values = {name: value for name, value in found.items() if value is not None}
        values = {name: v.item() if hasattr(v, "item") else float(v) for name, v in values.items()}
        # What is not a number is none, and is unequal to itself.
        fresh = {name: value for name, value in values.items() if value == value and value != self._last.get(name)}
        self._last |= fresh
        return fresh

"""A coefficient as a problem takes it."""

from __future__ import annotations

from numbers import Real


def real_number(name: str, value: object) -> float:
    """Return a coefficient as a float.

    Args:
        name: of the argument.
        value: as the user gave it; infinite and NaN pass, what is allowed is the problem's to say.

    Returns:
        The same number.

    Raises:
        ValueError: a text, an array, a truth value: no number.

    Example:
        >>> real_number("speed", 30)
        30.0
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"expected a number for {name}, came {value!r}: give one such as 0.5, without quotes")
    return float(value)

"""Options of an optimizer, checked by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from numbers import Real


class NamedOptions:
    """Base of frozen dataclasses that refuse an unknown option, naming those that there are, and what is no number.

    Example:
        >>> from solvers.optimizers.lbfgs import LBFGS
        >>> LBFGS(memory=10)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: LBFGS has no option 'memory'; it has history, max_evaluations, ...
    """

    def __new__(cls, *given: object, **options: object):
        """Check the names before the dataclass takes the values.

        Args:
            *given: values by position.
            **options: values by name.

        Returns:
            The object, still without its fields.

        Raises:
            ValueError: an option that the class does not have, something else in place of a number.
        """
        if unknown := sorted(set(options) - {field.name for field in fields(cls)}):
            known = ", ".join(field.name for field in fields(cls))
            raise ValueError(f"{cls.__name__} has no option {unknown[0]!r}; it has {known}")
        numbers = {field.name for field in fields(cls) if isinstance(field.default, (int, float))}
        for name, value in {**dict(zip((field.name for field in fields(cls)), given, strict=False)), **options}.items():
            if name in numbers and (isinstance(value, bool) or not isinstance(value, Real)):
                raise ValueError(f"{cls.__name__}: expected a number, came {name} = {value!r}")
        return super().__new__(cls)

    def _require(self, names: Iterable[str], accepted: bool, expected: str) -> None:
        """Refuse the values of some options, naming them."""
        if not accepted:
            came = ", ".join(f"{name} = {getattr(self, name)!r}" for name in names)
            raise ValueError(f"{type(self).__name__}: expected {expected}, came {came}")

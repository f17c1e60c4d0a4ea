"""The text of a program that is being written: arithmetic on its values appends lines of straight-line source.

A function of such values, run once, leaves its unrolled text. A value that is computed twice is written once, and one
that nothing needs is not written at all.
"""

from __future__ import annotations

import ctypes
import math


class Text:
    """Assignments t0 = ..., t1 = ..., in the order in which they were first asked for, and what is done with them.

    Functions are called by the names that they have in Triton: `tl.abs`, `tl.maximum`, `libdevice.tanh`, ...

    Args:
        bits: of the floating-point type, 32 or 64; literals are rounded to it.

    Example:
        >>> text = Text(bits=64)
        >>> x = text.value("x[0]")
        >>> text.statement("y[0] = {}", (x + 1.0) * (x + 1.0))
        >>> print(*text.lines(), sep="; ")
        t0 = x[0]; t1 = t0 + 1.0; t2 = t1 * t1; y[0] = t2
    """

    def __init__(self, bits: int):
        self.bits = bits
        self._values: dict[str, Value] = {}
        self._statements: dict[Value, list[str]] = {}

    def value(self, source: str, *operands: Value) -> Value:
        """Return the value of an expression.

        Args:
            source: the expression.
            operands: values that occur in it.

        Returns:
            The same value for the same expression.
        """
        known = self._values.get(source)
        if known is None:
            known = self._values[source] = Value(self, f"t{len(self._values)}", source, operands)
        return known

    def statement(self, template: str, value: Value) -> None:
        """Do something with a value, as soon as it is known.

        Args:
            template: of the line, with `{}` where the value's name goes.
            value: which.
        """
        self._statements.setdefault(value, []).append(template.format(value.name))

    def literal(self, number: float) -> str:
        """Return a number as it stands in the text.

        Args:
            number: finite.

        Returns:
            The shortest decimal number that reads as the nearest one of the text's type.
        """
        return repr(ctypes.c_float(number).value if self.bits == 32 else float(number))

    def lines(self) -> list[str]:
        """Return the assignments that some statement needs, each followed by its statements.

        Returns:
            Lines without indentation.
        """
        needed, left = set(), list(self._statements)
        while left:
            value = left.pop()
            if value not in needed:
                needed.add(value)
                left += value.operands
        result = []
        for value in self._values.values():
            if value in needed:
                result += [f"{value.name} = {value.source}", *self._statements.get(value, ())]
        return result


class Value:
    """A value of a text; + - * / with values and numbers, and the functions that activations begin with."""

    __slots__ = ("name", "operands", "source", "text")

    def __init__(self, text: Text, name: str, source: str, operands: tuple[Value, ...]):
        self.text, self.name, self.source, self.operands = text, name, source, operands

    def _binary(self, left: Value | float, sign: str, right: Value | float) -> Value:
        names = [side.name if isinstance(side, Value) else self.text.literal(side) for side in (left, right)]
        return self.text.value(f"{names[0]} {sign} {names[1]}", *(v for v in (left, right) if isinstance(v, Value)))

    def __add__(self, other):
        return self._binary(self, "+", other)

    def __radd__(self, other):
        return self._binary(other, "+", self)

    def __sub__(self, other):
        return self._binary(self, "-", other)

    def __rsub__(self, other):
        return self._binary(other, "-", self)

    def __mul__(self, other):
        return self._binary(self, "*", other)

    def __rmul__(self, other):
        return self._binary(other, "*", self)

    def __truediv__(self, other):
        return self._binary(self, "/", other)

    def __rtruediv__(self, other):
        return self._binary(other, "/", self)

    def __neg__(self):
        return self.text.value(f"-{self.name}", self)

    def _call(self, function: str) -> Value:
        return self.text.value(f"{function}({self.name})", self)

    def exp(self) -> Value:
        """Return the exponential.

        Returns:
            The exponential.
        """
        return self._call("libdevice.exp")

    def tanh(self) -> Value:
        """Return the hyperbolic tangent.

        Returns:
            The hyperbolic tangent.
        """
        return self._call("libdevice.tanh")

    def sigmoid(self) -> Value:
        """Return 1 / (1 + exp(-self)).

        Returns:
            The logistic function.
        """
        return 1.0 / ((-self).exp() + 1.0)

    def softplus(self) -> Value:
        """Return log(1 + exp(self)) = max(self, 0) + log1p(exp(-|self|)).

        Returns:
            The soft maximum of self and 0.
        """
        positive = self.text.value(f"tl.maximum({self.name}, 0.0)", self)
        return positive + (-self._call("tl.abs")).exp()._call("libdevice.log1p")

    def normal_cdf(self) -> Value:
        """Return the cumulated normal density, erfc(-self / sqrt 2) / 2, accurate in both tails.

        Returns:
            The probability.
        """
        return (self * -math.sqrt(0.5))._call("libdevice.erfc") * 0.5

    def atan(self) -> Value:
        """Return the inverse tangent.

        Returns:
            The inverse tangent.
        """
        return self._call("libdevice.atan")

    def sincos(self) -> tuple[Value, Value]:
        """Return sin(self) and cos(self).

        Returns:
            Sine and cosine.
        """
        return self._call("libdevice.sin"), self._call("libdevice.cos")

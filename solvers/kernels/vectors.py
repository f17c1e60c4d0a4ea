"""Vectors of a program that is being written: arithmetic on them appends LLVM instructions.

A kernel is an ordinary Python function of such vectors, run once; what it computed is then compiled for this processor.
Multiplications and additions may contract to one rounding; nothing else is relaxed, so NaN and inf propagate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import torch
from llvmlite import ir

INT = ir.IntType(64)
BITS = {torch.float32: 32, torch.float64: 64}
CONTRACT = ("contract",)


def _parts(digits: str, bits: int, count: int) -> tuple[float, ...]:
    """Split a constant into parts of at most `bits` significant bits each, largest first, so that n * part is exact."""
    left, parts = Fraction(digits), []
    for _ in range(count):
        exponent = math.frexp(float(left))[1] - bits
        scaled = round(left / Fraction(2) ** exponent)
        parts.append(float(scaled * Fraction(2) ** exponent))
        left -= scaled * Fraction(2) ** exponent
    return tuple(parts)


_LOG_2 = "0.693147180559945309417232121458176568075500134"
_HALF_PI = "1.57079632679489661923132169163975144209858469968755"
LOG_2 = {32: _parts(_LOG_2, 16, 2), 64: _parts(_LOG_2, 42, 2)}
HALF_PI = {32: _parts(_HALF_PI, 16, 3), 64: _parts(_HALF_PI, 33, 3)}


@dataclass(frozen=True)
class Format:
    """A floating-point type and how many of them one register holds.

    Args:
        bits: 32 or 64.
        lanes: elements of a vector.
    """

    bits: int
    lanes: int

    @cached_property
    def scalar(self) -> ir.Type:
        """The element's type."""
        return ir.FloatType() if self.bits == 32 else ir.DoubleType()

    @cached_property
    def vector(self) -> ir.Type:
        """The vector's type."""
        return ir.VectorType(self.scalar, self.lanes)

    @cached_property
    def integers(self) -> ir.Type:
        """Vector of integers of the same width, for bit patterns."""
        return ir.VectorType(ir.IntType(self.bits), self.lanes)

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return self.bits // 8

    @property
    def bytes(self) -> int:
        """Bytes of a vector, and its alignment in a tile."""
        return self.size * self.lanes

    @property
    def mantissa(self) -> int:
        """Bits of the fraction."""
        return 23 if self.bits == 32 else 52

    @property
    def bias(self) -> int:
        """Exponent of one."""
        return 127 if self.bits == 32 else 1023


class Vector:
    """A vector value in a program; + - * / with vectors and numbers, and the functions that activations begin with."""

    __slots__ = ("builder", "format", "value")

    def __init__(self, builder: ir.IRBuilder, format: Format, value: ir.Value):
        self.builder, self.format, self.value = builder, format, value

    def _like(self, value: ir.Value) -> Vector:
        return Vector(self.builder, self.format, value)

    def constant(self, number: float) -> Vector:
        """Return a vector of equal numbers.

        Args:
            number: in every lane.

        Returns:
            A constant.
        """
        return self._like(ir.Constant(self.format.vector, [number] * self.format.lanes))

    def _integer(self, number: int) -> ir.Constant:
        return ir.Constant(self.format.integers, [number] * self.format.lanes)

    def _other(self, other: Vector | float) -> ir.Value:
        return other.value if isinstance(other, Vector) else self.constant(float(other)).value

    def __add__(self, other):
        return self._like(self.builder.fadd(self.value, self._other(other), flags=CONTRACT))

    __radd__ = __add__

    def __sub__(self, other):
        return self._like(self.builder.fsub(self.value, self._other(other), flags=CONTRACT))

    def __rsub__(self, other):
        return self._like(self.builder.fsub(self._other(other), self.value, flags=CONTRACT))

    def __mul__(self, other):
        return self._like(self.builder.fmul(self.value, self._other(other), flags=CONTRACT))

    __rmul__ = __mul__

    def __truediv__(self, other):
        return self._like(self.builder.fdiv(self.value, self._other(other)))

    def __rtruediv__(self, other):
        return self._like(self.builder.fdiv(self._other(other), self.value))

    def __neg__(self):
        return self._like(self.builder.fneg(self.value))

    def fma(self, factor: Vector | float, addend: Vector | float) -> Vector:
        """Return self * factor + addend with one rounding.

        Args:
            factor: vector or number.
            addend: vector or number.

        Returns:
            The sum.
        """
        return self._call("llvm.fma", self._other(factor), self._other(addend))

    def _call(self, name: str, *others: ir.Value) -> Vector:
        kind, module = self.format.vector, self.builder.module
        name = f"{name}.v{self.format.lanes}f{self.format.bits}"
        known = module.globals.get(name)
        function = known or ir.Function(module, ir.FunctionType(kind, [kind] * (1 + len(others))), name)
        return self._like(self.builder.call(function, [self.value, *others]))

    def _select(self, condition: ir.Value, yes: Vector | float, no: Vector | float) -> Vector:
        return self._like(self.builder.select(condition, self._other(yes), self._other(no)))

    def at_most(self, limit: float) -> Vector:
        """Return the smaller of self and a limit; NaN stays NaN.

        Args:
            limit: a number.

        Returns:
            min(self, limit).
        """
        return self._select(self.builder.fcmp_ordered(">", self.value, self._other(limit)), limit, self)

    def at_least(self, limit: float) -> Vector:
        """Return the larger of self and a limit; NaN stays NaN.

        Args:
            limit: a number.

        Returns:
            max(self, limit).
        """
        return self._select(self.builder.fcmp_ordered("<", self.value, self._other(limit)), limit, self)

    def magnitude(self) -> Vector:
        """Return |self|.

        Returns:
            The magnitude.
        """
        return self._call("llvm.fabs")

    def _nearest(self, scale: float) -> tuple[Vector, ir.Value]:
        """Round scale * self to an integer, as a vector and as bits: 1.5 2^mantissa more, it stands in the low bits."""
        magic = 1.5 * 2.0**self.format.mantissa
        # Plain instructions: contracted, the sum would be rounded once and the subtraction would not undo it.
        shifted = self.fma(scale, magic)
        whole = self._like(self.builder.fsub(shifted.value, self._other(magic)))
        return whole, self.builder.bitcast(shifted.value, self.format.integers)

    def _power_of_two(self, bits: ir.Value, one: int) -> Vector:
        """Return 2^n, n in the low bits: shifted onto the exponent `one`, the rest of the pattern falls off."""
        exponent = self.builder.shl(bits, self._integer(self.format.mantissa))
        pattern = self.builder.add(exponent, self._integer(one << self.format.mantissa))
        return self._like(self.builder.bitcast(pattern, self.format.vector))

    def _reduced_exponential(self, halved: bool = False) -> tuple[Vector, Vector]:
        """Return 2^n, or half of it, and exp(r) - 1 with self = n log 2 + r, |r| <= log(2) / 2."""
        whole, bits = self._nearest(1 / math.log(2))
        rest = self
        for part in LOG_2[self.format.bits]:
            rest = whole.fma(-part, rest)
        # Taylor terms until r^m / m! falls below half an ulp of r at |r| = 0.347.
        degree = 7 if self.format.bits == 32 else 13
        terms = [1 / math.factorial(m) for m in range(2, degree + 1)]
        return self._power_of_two(bits, self.format.bias - halved), (rest * rest).fma(rest.polynomial(terms), rest)

    def polynomial(self, terms: list[float]) -> Vector:
        """Return sum_m terms[m] self^m by Horner's scheme.

        Args:
            terms: lowest first.

        Returns:
            The sum.
        """
        total = self.constant(terms[-1])
        for term in reversed(terms[:-1]):
            total = total.fma(self, term)
        return total

    def exp(self) -> Vector:
        """Return the exponential: inf where too large, 0 where smaller than about twice the least normal number.

        Returns:
            The exponential.
        """
        # The power is halved and the result doubled: 2^n alone would leave the format below the largest argument.
        low, high = (-86.6, 88.72) if self.format.bits == 32 else (-707.7, 709.78)
        power, minus_one = self.at_most(high).at_least(low)._reduced_exponential(halved=True)
        value = power.fma(minus_one, power) * 2.0
        value = value._select(self.builder.fcmp_ordered(">", self.value, self._other(high)), math.inf, value)
        return value._select(self.builder.fcmp_ordered("<", self.value, self._other(low)), 0.0, value)

    def tanh(self) -> Vector:
        """Return the hyperbolic tangent m / (m + 2) with m = exp(2 self) - 1, which loses nothing near 0.

        Returns:
            The hyperbolic tangent.
        """
        # Beyond, tanh is 1 to the last bit.
        limit = 10.0 if self.format.bits == 32 else 20.0
        power, minus_one = (self.at_most(limit).at_least(-limit) * 2.0)._reduced_exponential()
        minus_one = power.fma(minus_one, power - 1.0)
        return minus_one / (minus_one + 2.0)

    def sigmoid(self) -> Vector:
        """Return 1 / (1 + exp(-self)).

        Returns:
            The logistic function.
        """
        return 1.0 / ((-self).exp() + 1.0)

    def softplus(self) -> Vector:
        """Return log(1 + exp(self)) = max(self, 0) + log1p(exp(-|self|)).

        Returns:
            The soft maximum of self and 0.
        """
        return self.at_least(0.0) + (-self.magnitude()).exp().lanewise("log1p")

    def normal_cdf(self) -> Vector:
        """Return the cumulated normal density, erfc(-self / sqrt 2) / 2, accurate in both tails.

        Returns:
            The probability.
        """
        return (self * -math.sqrt(0.5)).lanewise("erfc") * 0.5

    def atan(self) -> Vector:
        """Return the inverse tangent.

        Returns:
            The inverse tangent.
        """
        return self.lanewise("atan")

    def sincos(self) -> tuple[Vector, Vector]:
        """Return sin(self) and cos(self), by reduction to |r| <= pi/4, or lane by lane where an argument is large.

        Returns:
            Sine and cosine.
        """
        # Up to here n pi/2 is subtracted without loss; farther out the C library does it.
        limit = 2.0**8 if self.format.bits == 32 else 2.0**20
        builder = self.builder
        large = builder.fcmp_ordered(">", self.magnitude().value, self._other(limit))
        mask = ir.IntType(self.format.lanes)
        any_large = builder.icmp_unsigned("!=", builder.bitcast(large, mask), ir.Constant(mask, 0))
        with builder.if_else(any_large, likely=False) as (then, otherwise):
            with then:
                slow, slow_end = (self.lanewise("sin"), self.lanewise("cos")), builder.block
            with otherwise:
                fast, fast_end = self._reduced_sincos(), builder.block
        merged = []
        for slow_value, fast_value in zip(slow, fast, strict=True):
            phi = builder.phi(self.format.vector)
            phi.add_incoming(slow_value.value, slow_end)
            phi.add_incoming(fast_value.value, fast_end)
            merged.append(self._like(phi))
        return merged[0], merged[1]

    def _reduced_sincos(self) -> tuple[Vector, Vector]:
        builder = self.builder
        whole, bits = self._nearest(2 / math.pi)
        rest = self
        for part in HALF_PI[self.format.bits]:
            rest = whole.fma(-part, rest)
        square = rest * rest
        # Taylor terms until they fall below half an ulp at |r| = pi/4.
        last = 9 if self.format.bits == 32 else 15
        odd = [(-1) ** (m // 2) / math.factorial(m) for m in range(3, last + 1, 2)]
        even = [(-1) ** (m // 2) / math.factorial(m) for m in range(4, last + 2, 2)]
        sine = (square * rest).fma(square.polynomial(odd), rest)
        cosine = (square * square).fma(square.polynomial(even), 1.0 - square * 0.5)
        one = self._integer(1)
        swap = builder.icmp_unsigned("!=", builder.and_(bits, one), self._integer(0))
        signs = [bits, builder.add(bits, one)]
        values = [self._select(swap, cosine, sine), self._select(swap, sine, cosine)]
        return tuple(value._flip(sign) for value, sign in zip(values, signs, strict=True))

    def _flip(self, bits: ir.Value) -> Vector:
        """Change the sign where the second lowest bit is set, the quadrant's."""
        sign = self.builder.shl(self.builder.and_(bits, self._integer(2)), self._integer(self.format.bits - 2))
        pattern = self.builder.xor(self.builder.bitcast(self.value, self.format.integers), sign)
        return self._like(self.builder.bitcast(pattern, self.format.vector))

    def lanewise(self, name: str) -> Vector:
        """Return a function of the C library, applied to one lane after another: slow, and accurate.

        Args:
            name: of the double-precision function.

        Returns:
            Its values.
        """
        symbol = name if self.format.bits == 64 else name + "f"
        module, scalar = self.builder.module, self.format.scalar
        function = module.globals.get(symbol) or ir.Function(module, ir.FunctionType(scalar, [scalar]), symbol)
        result = ir.Constant(self.format.vector, ir.Undefined)
        for lane in range(self.format.lanes):
            position = ir.Constant(ir.IntType(32), lane)
            value = self.builder.call(function, [self.builder.extract_element(self.value, position)])
            result = self.builder.insert_element(result, value, position)
        return self._like(result)

"""The functions of expressions that have vector instructions, or the C library's for one lane after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from solvers.kernels.vectors import Vector


def _comparison(sign: str) -> Callable[[Vector, Vector], Vector]:
    def compared(a: Vector, b: Vector) -> Vector:
        return a._select(a.builder.fcmp_ordered(sign, a.value, b.value), 1.0, 0.0)

    return compared


def _select(condition: Vector, yes: Vector, no: Vector) -> Vector:
    decided = condition.builder.fcmp_unordered("!=", condition.value, condition._other(0.0))
    return condition._select(decided, yes, no)


EMITTED: Mapping[str, Callable[..., Vector]] = MappingProxyType(
    {
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b,
        "neg": lambda a: -a,
        "gt": _comparison(">"),
        "ge": _comparison(">="),
        "lt": _comparison("<"),
        "le": _comparison("<="),
        "select": _select,
        "abs": lambda a: a.magnitude(),
        "sqrt": lambda a: a._call("llvm.sqrt"),
        "exp": lambda a: a.exp(),
        "tanh": lambda a: a.tanh(),
        "sigmoid": lambda a: a.sigmoid(),
        **{
            name: lambda a, name=name: a.lanewise(name)
            for name in ("log", "log1p", "expm1", "atan", "erf", "tan", "sinh", "cosh")
        },
    }
)
"""Functions of vectors; those at the end are the C library's, lane by lane."""

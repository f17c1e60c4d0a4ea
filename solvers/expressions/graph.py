"""Scalar expressions as a graph in which nothing occurs twice: what a pointwise residual computes at one point."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

LEAVES = ("constant", "x", "scalar", "stack", "cotangent")
"""Kinds of nodes without operands: ("constant", value), ("x", part, column), ("scalar", number),
("stack", plane, component), ("cotangent", equation)."""

POINTS, SCALARS, JET = 1, 2, 4
"""What a node may depend on, as bits: the points' coordinates, the scalars, the jet (or a cotangent)."""

_DEPENDS = {"constant": 0, "x": POINTS, "scalar": SCALARS, "stack": JET, "cotangent": JET}


def _comparison(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda a, b: function(a, b).to(a.dtype)


FUNCTIONS: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {
        "add": torch.add,
        "sub": torch.sub,
        "mul": torch.mul,
        "div": torch.div,
        "neg": torch.neg,
        "pow": torch.pow,
        "gt": _comparison(torch.gt),
        "ge": _comparison(torch.ge),
        "lt": _comparison(torch.lt),
        "le": _comparison(torch.le),
        "select": lambda condition, yes, no: torch.where(condition != 0, yes, no),
        **{
            name: getattr(torch, name)
            for name in "abs sqrt exp log sin cos tanh sigmoid atan expm1 log1p erf tan sinh cosh floor sign".split()
        },
        "atan2": torch.atan2,
        "hypot": torch.hypot,
    }
)
"""What can stand in a node; comparisons are 1 or 0."""

LARGEST = 8_000
"""Nodes of a graph, at most, which take 1 s to compile."""


class UncoveredError(Exception):
    """Says why a residual cannot be compiled."""


class Graph:
    """Nodes (function, operands...) by number, each once, operands before what is made of them.

    Numbers are folded; a factor that is 0 in the code makes the product 0, whatever the other one is. Rows of points do
    not occur: two points with the same code have the same nodes.

    Example:
        >>> graph = Graph()
        >>> u = graph.leaf("stack", 0, 0)
        >>> graph.apply("mul", graph.one, u) == u, graph.apply("add", u, graph.zero) == u
        (True, True)
    """

    def __init__(self):
        self.nodes: list[tuple] = []
        self.depends: list[int] = []
        self._operands: list[tuple[int, ...]] = []
        self._numbers: dict[tuple, int] = {}
        self.zero, self.one, self.minus_one = (self.constant(value) for value in (0.0, 1.0, -1.0))

    def _append(self, node: tuple, depends: int) -> int:
        if len(self.nodes) == LARGEST:
            raise UncoveredError(f"more than {LARGEST} different expressions at a point")
        self.nodes.append(node)
        self._operands.append(() if node[0] in LEAVES else node[1:])
        self.depends.append(depends)
        return len(self.nodes) - 1

    def leaf(self, kind: str, *index: int) -> int:
        """Return a node without operands.

        Args:
            kind: one of `LEAVES`.
            *index: which.

        Returns:
            Its number.
        """
        node = (kind, *index)
        if node not in self._numbers:
            self._numbers[node] = self._append(node, _DEPENDS[kind])
        return self._numbers[node]

    def constant(self, value: float) -> int:
        """Return a number.

        Args:
            value: any, inf and NaN included.

        Returns:
            Its node.
        """
        # NaN differs from itself, but one object of it is found again.
        return self.leaf("constant", math.nan if value != value else float(value))

    def value(self, node: int) -> float | None:
        """Return the number that a node is.

        Args:
            node: any.

        Returns:
            The number, None for anything else.
        """
        return self.nodes[node][1] if self.nodes[node][0] == "constant" else None

    def operands(self, node: int) -> tuple[int, ...]:
        """Return what a node is made of.

        Args:
            node: any.

        Returns:
            Nodes, none for a leaf.
        """
        return self._operands[node]

    def apply(self, name: str, *operands: int) -> int:
        """Return a function of nodes.

        Args:
            name: in `FUNCTIONS`.
            *operands: nodes.

        Returns:
            The node, which may be an older one.
        """
        key = (name, *operands)
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = self._simplified(name, *operands)
        return found

    def _simplified(self, name: str, *operands: int) -> int:
        values = [self.value(node) for node in operands]
        if None not in values:
            # Torch's own arithmetic: inf and NaN where Python would raise.
            given = [torch.tensor(value, dtype=torch.float64) for value in values]
            return self.constant(float(FUNCTIONS[name](*given)))
        rule = getattr(self, f"_{name}", None)
        found = rule(*operands) if rule else None
        if found is not None:
            return found
        depends = 0
        for node in operands:
            depends |= self.depends[node]
        return self._append((name, *operands), depends)

    def _negated(self, node: int) -> int | None:
        return self.nodes[node][1] if self.nodes[node][0] == "neg" else None

    def _add(self, a: int, b: int) -> int | None:
        if self.zero in (a, b):
            return b if a == self.zero else a
        if (inner := self._negated(b)) is not None:
            return self.apply("sub", a, inner)
        if (inner := self._negated(a)) is not None:
            return self.apply("sub", b, inner)
        return self.apply("add", b, a) if a > b else None

    def _sub(self, a: int, b: int) -> int | None:
        if b == self.zero:
            return a
        if a == self.zero:
            return self.apply("neg", b)
        inner = self._negated(b)
        return None if inner is None else self.apply("add", a, inner)

    def _mul(self, a: int, b: int) -> int | None:
        if self.zero in (a, b):
            return self.zero
        if self.one in (a, b):
            return b if a == self.one else a
        if self.minus_one in (a, b):
            return self.apply("neg", b if a == self.minus_one else a)
        for one, other in ((a, b), (b, a)):
            if (inner := self._negated(one)) is not None:
                return self.apply("neg", self.apply("mul", inner, other))
        return self.apply("mul", b, a) if a > b else None

    def _div(self, a: int, b: int) -> int | None:
        divisor = self.value(b)
        # Not by a number whose reciprocal is no normal one.
        if divisor is not None and 1e-30 < abs(divisor) < 1e30:
            return self.apply("mul", a, self.constant(1 / divisor))
        return None

    def _neg(self, a: int) -> int | None:
        return self._negated(a)

    def _select(self, condition: int, yes: int, no: int) -> int | None:
        decided = self.value(condition)
        return (yes if yes == no else None) if decided is None else yes if decided else no

    def order(self, outputs: Iterable[int]) -> list[int]:
        """Return all that some nodes are made of, operands first, each part as late as it can stand.

        Args:
            outputs: nodes.

        Returns:
            Nodes.
        """
        done, result = set(), []
        for output in outputs:
            left = [output]
            while left:
                node = left[-1]
                missing = [] if node in done else [part for part in self._operands[node] if part not in done]
                if missing:
                    left.extend(reversed(missing))
                    continue
                left.pop()
                if node not in done:
                    done.add(node)
                    result.append(node)
        return result

    def key(self, outputs: Iterable[int]) -> tuple:
        """Return what tells expressions apart, in whatever graph they stand.

        Args:
            outputs: nodes.

        Returns:
            Equal for equal expressions in the same order of computation.
        """
        outputs = list(outputs)
        place, lines = {}, []
        for node in self.order(outputs):
            place[node] = len(lines)
            operands = self.operands(node)
            lines.append((self.nodes[node][0], *(place[part] for part in operands)) if operands else self.nodes[node])
        return tuple(lines), tuple(place[node] for node in outputs)

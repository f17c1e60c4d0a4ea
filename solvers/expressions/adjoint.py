"""Expressions differentiated in reverse: cotangents of the leaves as further nodes of the same graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from solvers.expressions.graph import POINTS, Graph, UncoveredError


def pull_back(graph: Graph, outputs: Sequence[int], cotangents: Sequence[int]) -> dict[int, int]:
    """Return the cotangents of the leaves that stand for the jet and for scalars.

    Args:
        graph: gets the new nodes.
        outputs: nodes.
        cotangents: a node for each output.

    Returns:
        Leaf -> its cotangent; leaves that do not matter are missing.

    Raises:
        UncoveredError: a function without a rule.

    Example:
        >>> graph = Graph()
        >>> u, bar = graph.leaf("stack", 0, 0), graph.leaf("cotangent", 0)
        >>> found = pull_back(graph, [graph.apply("sin", u)], [bar])
        >>> graph.nodes[found[u]] == ("mul", bar, graph.apply("cos", u))
        True
    """
    bars: dict[int, int] = {}

    def receive(node: int, bar: int) -> None:
        # A factor that is 0 in the code is no dependence.
        if bar != graph.zero and graph.depends[node] & ~POINTS:
            bars[node] = graph.apply("add", bars[node], bar) if node in bars else bar

    for output, cotangent in zip(outputs, cotangents, strict=True):
        receive(output, cotangent)
    # Nodes stand behind their operands, so that a node's cotangent is complete when its turn comes.
    for node in sorted(graph.order(outputs), reverse=True):
        if node not in bars or not graph.operands(node):
            continue
        name, *operands = graph.nodes[node]
        rule = RULES.get(name)
        if rule is None:
            raise UncoveredError(f"{name} of the jet has no rule to be differentiated by")
        for operand, bar in zip(operands, rule(graph, bars[node], node, *operands), strict=True):
            receive(operand, bar)
    return {node: bar for node, bar in bars.items() if graph.nodes[node][0] in ("stack", "scalar")}


def _div(graph: Graph, bar: int, y: int, a: int, b: int) -> tuple[int, int]:
    first = graph.apply("div", bar, b)
    return first, graph.apply("neg", graph.apply("mul", first, y))


def _pow(graph: Graph, bar: int, y: int, a: int, b: int) -> tuple[int, int]:
    exponent, base = graph.value(b), graph.value(a)
    if exponent is not None:
        lower = graph.apply("pow", a, graph.constant(exponent - 1))
        return graph.apply("mul", bar, graph.apply("mul", b, lower)), graph.zero
    if base is None or base <= 0:
        raise UncoveredError("a power whose base and exponent both depend on the jet, on scalars or on the points")
    slope = graph.apply("mul", graph.apply("log", a), y)
    return graph.zero, graph.apply("mul", bar, slope)


def _select(graph: Graph, bar: int, y: int, condition: int, yes: int, no: int) -> tuple[int, int, int]:
    first, second = graph.apply("select", condition, bar, graph.zero), graph.apply("select", condition, graph.zero, bar)
    return graph.zero, first, second


def _abs(graph: Graph, bar: int, y: int, a: int) -> tuple[int]:
    sign = graph.apply("sub", graph.apply("gt", a, graph.zero), graph.apply("lt", a, graph.zero))
    return (graph.apply("mul", bar, sign),)


def _unary(slope: Callable[[Graph, int, int], int]) -> Callable[..., tuple[int]]:
    return lambda graph, bar, y, a: (graph.apply("mul", bar, slope(graph, y, a)),)


def _over(slope: Callable[[Graph, int, int], int]) -> Callable[..., tuple[int]]:
    return lambda graph, bar, y, a: (graph.apply("div", bar, slope(graph, y, a)),)


def _one_less(graph: Graph, y: int) -> int:
    return graph.apply("sub", graph.one, y)


def _one_more(graph: Graph, y: int) -> int:
    return graph.apply("add", graph.one, y)


def _square(graph: Graph, y: int) -> int:
    return graph.apply("mul", y, y)


RULES: Mapping[str, Callable[..., tuple[int, ...]]] = MappingProxyType(
    {
        "add": lambda graph, bar, y, a, b: (bar, bar),
        "sub": lambda graph, bar, y, a, b: (bar, graph.apply("neg", bar)),
        "mul": lambda graph, bar, y, a, b: (graph.apply("mul", bar, b), graph.apply("mul", bar, a)),
        "neg": lambda graph, bar, y, a: (graph.apply("neg", bar),),
        "div": _div,
        "pow": _pow,
        "select": _select,
        "abs": _abs,
        **dict.fromkeys(("gt", "ge", "lt", "le"), lambda graph, bar, y, a, b: (graph.zero, graph.zero)),
        "exp": _unary(lambda graph, y, a: y),
        "expm1": _unary(lambda graph, y, a: _one_more(graph, y)),
        "sin": _unary(lambda graph, y, a: graph.apply("cos", a)),
        "cos": _unary(lambda graph, y, a: graph.apply("neg", graph.apply("sin", a))),
        "tanh": _unary(lambda graph, y, a: _one_less(graph, _square(graph, y))),
        "sigmoid": _unary(lambda graph, y, a: graph.apply("mul", y, _one_less(graph, y))),
        "sqrt": _over(lambda graph, y, a: graph.apply("add", y, y)),
        "log": _over(lambda graph, y, a: a),
        "log1p": _over(lambda graph, y, a: _one_more(graph, a)),
        "atan": _over(lambda graph, y, a: _one_more(graph, _square(graph, a))),
    }
)
"""(graph, cotangent, value, operands...) -> a cotangent for each operand."""

"""A residual written down as expressions: run once on a few points, with every operation of torch overheard."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from solvers.expressions.graph import Graph, UncoveredError
from solvers.expressions.operations import COMPARISONS, MOVES, PICKS, RULES, VALUELESS
from solvers.expressions.shadows import BITS, MIXED, Shadows

PointwiseFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(stack (partials, n, components), x (n, columns), scalars (S,)) -> (n, equations)."""


@dataclass(frozen=True)
class Signature:
    """What a pointwise function takes.

    Args:
        partials: planes of the stack.
        components: of each.
        columns: of x.
        scalars: how many.
        dtype: of all.
    """

    partials: int
    components: int
    columns: int
    scalars: int
    dtype: torch.dtype

    def draw(self, points: int, generator: torch.Generator, low: float = -1.0) -> list[Tensor]:
        """Return random arguments.

        Args:
            points: n.
            generator: of the numbers.
            low: the least of them; the largest is 1.2.

        Returns:
            stack, x, scalars; stack and scalars ask for gradients, as they do in training.
        """
        shapes = (self.partials, points, self.components), (points, self.columns), (self.scalars,)
        drawn = [torch.rand(shape, generator=generator, dtype=torch.float64) * (1.2 - low) + low for shape in shapes]
        stack, x, scalars = (values.to(self.dtype) for values in drawn)
        return [stack.requires_grad_(), x, scalars.requires_grad_()]


@dataclass(frozen=True)
class Trace:
    """A pointwise function as expressions.

    Args:
        graph: of the expressions.
        outputs: a node for each equation.
        parts: the points come in so many parts, one after the other, of which a row of the result takes one point each.
    """

    graph: Graph
    outputs: tuple[int, ...]
    parts: int


def trace(function: PointwiseFunction, signature: Signature) -> Trace:
    """Return a function as expressions.

    It is run on two numbers of points with different random values: what it does must not depend on either.

    Args:
        function: plain torch code.
        signature: what it takes.

    Returns:
        Its expressions.

    Raises:
        UncoveredError: points that are mixed, values that are read into Python, an operation without a rule, a tensor
            from elsewhere.

    Cost: two calls of the function, and about 1 us for each number that it computes.

    Example:
        >>> found = trace(lambda stack, x, scalars: stack[1] - stack[0], Signature(2, 1, 1, 0, torch.float64))
        >>> [found.graph.nodes[node][0] for node in found.graph.order(found.outputs)]
        ['stack', 'stack', 'sub']
    """
    graph, parts = Graph(), 1
    first = _run(function, signature, graph, 2, parts)
    if len(first) == 1:
        # A condition that compares two parts of its points, as on the faces of a periodic axis.
        parts = 2
        first = _run(function, signature, graph, 2 * parts, parts)
    second = _run(function, signature, graph, 3 * parts, parts)
    if len(first) != 2 or len(second) != 3:
        raise UncoveredError(f"{len(first)} rows from {2 * parts} points, {len(second)} rows from {3 * parts}")
    expected = _row(first[0], 0)
    for rows in (first, second):
        for index, row in enumerate(rows):
            if _row(row, index) != expected:
                raise UncoveredError("points are not treated alike: their numbers, or values that are drawn or read")
    return Trace(graph, tuple(expected), parts)


def _row(codes: list[int], index: int) -> list[int]:
    """Return the nodes of a row, which must belong to its point."""
    if any(code & MIXED not in (0, index + 1) for code in codes):
        raise UncoveredError("points are mixed")
    return [code >> BITS for code in codes]


def _run(function: PointwiseFunction, signature: Signature, graph: Graph, points: int, parts: int) -> list[list[int]]:
    """Return the codes of each row of the result."""
    arguments = signature.draw(points, torch.Generator().manual_seed(points))
    shadows = Shadows(graph, signature.dtype)
    for tensor, leaf in zip(arguments, (_stack_leaf, _point_leaf, _scalar_leaf), strict=True):
        places = itertools.product(*map(range, tensor.shape))
        codes = [leaf(graph, points // parts, parts, *place) for place in places]
        shadows.enter(tensor, torch.tensor(codes, dtype=torch.int64).view(tensor.shape))
    recorder = _Recorder(shadows)
    try:
        with torch.enable_grad(), recorder:
            result = function(*arguments)
    except UncoveredError:
        raise
    except Exception as error:
        raise UncoveredError(f"{type(error).__name__} at {points} points: {error}") from error
    if recorder.refusal is not None:
        raise recorder.refusal
    if not isinstance(result, Tensor) or result.dim() != 2 or not result.numel() or result.dtype != signature.dtype:
        raise UncoveredError(f"a result that is no {signature.dtype} tensor (n, equations)")
    if not shadows.knows(result):
        raise UncoveredError("a result that was made elsewhere")
    return shadows.codes(result).tolist()


def _stack_leaf(graph: Graph, rows: int, parts: int, plane: int, point: int, component: int) -> int:
    return graph.leaf("stack", plane * parts + point // rows, component) << BITS | point % rows + 1


def _point_leaf(graph: Graph, rows: int, parts: int, point: int, column: int) -> int:
    return graph.leaf("x", point // rows, column) << BITS | point % rows + 1


def _scalar_leaf(graph: Graph, rows: int, parts: int, index: int) -> int:
    return graph.leaf("scalar", index) << BITS


class _Recorder(TorchDispatchMode):
    """Follows every operation on tensors through the shadows.

    Args:
        shadows: of the arguments.
    """

    def __init__(self, shadows: Shadows):
        super().__init__()
        self.shadows = shadows
        self.refusal: UncoveredError | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else torch imports its compiler, for 1.5 s, in order not to compile this class.
        return False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        try:
            return self._follow(function, args, kwargs or {})
        except UncoveredError as refusal:
            # Remembered, for the function might catch it.
            self.refusal = refusal
            raise

    def _follow(self, function: Any, args: tuple, kwargs: dict) -> Any:
        shadows, name = self.shadows, function._schema.name.removeprefix("aten::")
        inputs = list(_tensors((args, kwargs)))
        strange = [tensor for tensor in inputs if not shadows.knows(tensor)]
        # What new_tensor and torch.tensor make arrives by lift_fresh.
        if strange and name != "lift_fresh":
            raise UncoveredError(f"{name} of a tensor that was made elsewhere, and may change")
        if function._schema.is_mutable:
            return self._mutate(function, name, args, kwargs)
        result = function(*args, **kwargs)
        results = list(_tensors(result))
        varies = name not in VALUELESS and not strange and any(shadows.varies(shadows.codes(t)) for t in inputs)
        if varies and not results:
            raise UncoveredError(f"{name} reads values of the jet, of points or of scalars into Python")
        for tensor in results:
            if not shadows.knows(tensor):
                shadows.enter(tensor, self._codes(function, name, args, kwargs, tensor.dtype) if varies else None)
        return result

    def _codes(self, function: Any, name: str, args: tuple, kwargs: dict, dtype: torch.dtype) -> Tensor:
        """Return the codes of a result that varies."""
        shadows = self.shadows
        if dtype != shadows.dtype and not (dtype == torch.bool and name in COMPARISONS | MOVES):
            raise UncoveredError(f"numbers of the jet or of points as {dtype}, not {shadows.dtype}")
        if name in PICKS:
            if any(shadows.varies(shadows.codes(tensor)) for tensor in _tensors((args[1:], kwargs))):
                raise UncoveredError(f"{name} by values of the jet, of points or of scalars")
            return function(shadows.codes(args[0]), *args[1:], **kwargs)
        args, kwargs = tree_map_only(Tensor, shadows.codes, (args, kwargs))
        if name in MOVES:
            return function(*args, **kwargs)
        if name not in RULES:
            raise UncoveredError(f"{function} has no rule")
        return RULES[name](shadows, *args, **kwargs)

    def _mutate(self, function: Any, name: str, args: tuple, kwargs: dict) -> Any:
        into, plain = args[0] if args else None, name.removesuffix("_")
        if plain == name or plain not in RULES or not isinstance(into, Tensor):
            raise UncoveredError(f"{function} in place")
        varies = any(self.shadows.varies(self.shadows.codes(tensor)) for tensor in _tensors((args, kwargs)))
        codes = self._codes(function, plain, args, kwargs, into.dtype) if varies else None
        result = function(*args, **kwargs)
        self.shadows.write(into, codes)
        return result


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor))

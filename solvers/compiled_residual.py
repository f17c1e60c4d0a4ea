"""Residuals as compiled code: a pointwise function of the jet, with its adjoint, in one call each."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from solvers.expressions.adjoint import pull_back
from solvers.expressions.comparison import compare
from solvers.expressions.graph import FUNCTIONS, UncoveredError
from solvers.expressions.trace import PointwiseFunction, Signature, Trace, trace
from solvers.operators.compiled import compiler_available


class CompiledResidual:
    """A residual r(stack, x, scalars) at each point, and its adjoint, compiled; made by `compile_residual`.

    Args:
        found: the residual as expressions.
        signature: what it takes.
    """

    def __init__(self, found: Trace, signature: Signature):
        from solvers.kernels.compiler import Compiled, host
        from solvers.kernels.residual_program import Expressions, ResidualProgram
        from solvers.kernels.vectors import BITS

        self.signature, self.parts, self.equations = signature, found.parts, len(found.outputs)
        graph, planes = found.graph, signature.partials * found.parts
        bars = pull_back(graph, found.outputs, [graph.leaf("cotangent", e) for e in range(self.equations)])
        places = [(plane, component) for plane in range(planes) for component in range(signature.components)]
        expressions = Expressions(
            graph,
            found.outputs,
            {place: bars.get(graph.leaf("stack", *place), graph.zero) for place in places},
            [bars.get(graph.leaf("scalar", index), graph.zero) for index in range(signature.scalars)],
            planes,
            signature.components,
        )
        self._graph, self._columns = graph, expressions.columns()
        address, number = ctypes.c_void_p, ctypes.c_int64
        types = {"forward": (address,) * 4 + (number,), "adjoint": (address,) * 6 + (number,)}
        program = ResidualProgram(expressions, host().format(BITS[signature.dtype]))
        self._compiled = Compiled(program.module, types)
        self._forward, self._adjoint = self._compiled.functions["forward"], self._compiled.functions["adjoint"]

    def __repr__(self) -> str:
        return f"CompiledResidual({self.signature}, equations={self.equations}, parts={self.parts})"

    @torch.no_grad()
    def prepare(self, x: Tensor) -> Tensor:
        """Return all that depends on the points alone, which `forward` and `adjoint` take in the points' place.

        Args:
            x: (n, columns).

        Returns:
            (C, n / parts), a row for each such expression, contiguous.

        Raises:
            ValueError: points of another shape or type.
        """
        fits = x.dim() == 2 and x.shape[1] == self.signature.columns and len(x) % self.parts == 0
        if not fits or x.dtype != self.signature.dtype or not x.is_cpu:
            raise ValueError(
                f"expected points (n, {self.signature.columns}) in {self.signature.dtype}, n a multiple of "
                f"{self.parts}, on the CPU, came {tuple(x.shape)} in {x.dtype} on {x.device}: give those of the plan"
            )
        rows = len(x) // self.parts
        parts, values = x.reshape(self.parts, rows, self.signature.columns), {}
        for node in self._graph.order(self._columns):
            kind, *rest = self._graph.nodes[node]
            if kind == "x":
                values[node] = parts[rest[0], :, rest[1]]
            else:
                values[node] = x.new_tensor(rest[0]) if kind == "constant" else FUNCTIONS[kind](*map(values.get, rest))
        columns = [values[node].to(x.dtype).expand(rows) for node in self._columns]
        return torch.stack(columns) if columns else x.new_empty(0, rows)

    def forward(self, stack: Tensor, constants: Tensor, scalars: Tensor) -> Tensor:
        """Return the residual.

        Args:
            stack: (partials, n, components).
            constants: of the same points, from `prepare`.
            scalars: (S,).

        Returns:
            (n / parts, equations), without a graph.

        Raises:
            ValueError: arguments of other shapes or types.
        """
        rows, stack, scalars = self._checked(stack, constants, scalars)
        out = stack.new_empty((rows, self.equations))
        self._forward(stack.data_ptr(), constants.data_ptr(), scalars.data_ptr(), out.data_ptr(), rows)
        return out

    def adjoint(self, stack: Tensor, constants: Tensor, scalars: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives of sum(cotangent * residual).

        Args:
            stack: (partials, n, components).
            constants: of the same points, from `prepare`.
            scalars: (S,).
            cotangent: (n / parts, equations).

        Returns:
            In the stack (partials, n, components), and in the scalars (S,).

        Raises:
            ValueError: arguments of other shapes or types.
        """
        rows, stack, scalars = self._checked(stack, constants, scalars)
        if cotangent.shape != (rows, self.equations) or cotangent.dtype != stack.dtype or not cotangent.is_cpu:
            raise ValueError(
                f"expected a cotangent {(rows, self.equations)} in {stack.dtype}, came {tuple(cotangent.shape)} in "
                f"{cotangent.dtype}: give one of the residual's shape"
            )
        cotangent = cotangent.contiguous()
        stack_bar, scalar_bar = torch.empty_like(stack), torch.empty_like(scalars)
        addresses = [t.data_ptr() for t in (stack, constants, scalars, cotangent, stack_bar, scalar_bar)]
        self._adjoint(*addresses, rows)
        return stack_bar, scalar_bar

    def _all(self, stack: Tensor, x: Tensor, scalars: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        constants = self.prepare(x)
        return self.forward(stack, constants, scalars), *self.adjoint(stack, constants, scalars, cotangent)

    def _checked(self, stack: Tensor, constants: Tensor, scalars: Tensor) -> tuple[int, Tensor, Tensor]:
        """Return rows, and contiguous arguments: a wrong one would be read as memory that is not there."""
        count, rows = constants.shape
        signature, dtype = self.signature, self.signature.dtype
        if (
            stack.shape != (signature.partials, rows * self.parts, signature.components)
            or scalars.shape != (signature.scalars,)
            or count != len(self._columns)
            or stack.dtype != dtype
            or scalars.dtype != dtype
            or constants.dtype != dtype
            or not constants.is_contiguous()
            or not (stack.is_cpu and scalars.is_cpu and constants.is_cpu)
        ):
            raise ValueError(
                f"expected a stack {(signature.partials, rows * self.parts, signature.components)}, scalars "
                f"({signature.scalars},) in {dtype} on the CPU, and the constants that prepare(x) returned, came "
                f"{tuple(stack.shape)} in {stack.dtype} on {stack.device}, {tuple(scalars.shape)} in {scalars.dtype} "
                f"and {tuple(constants.shape)}: prepare the points of this stack"
            )
        return rows, stack.contiguous(), scalars.contiguous()


KEPT = 256
"""Compiled residuals that are held for the next who asks, at most."""

_COMPILED: dict[tuple, CompiledResidual] = {}
"""By expressions: what was compiled in this process."""


def explain(function: PointwiseFunction, signature: Signature) -> CompiledResidual:
    """Return a compiled residual, or raise what keeps it from being one.

    Args:
        function: as for `compile_residual`.
        signature: what it takes.

    Returns:
        The residual, checked.

    Raises:
        UncoveredError: with the reason.
    """
    if signature.dtype not in (torch.float32, torch.float64):
        raise UncoveredError(f"{signature.dtype} is not compiled")
    if not compiler_available():
        raise UncoveredError("llvmlite is not installed")
    found = trace(function, signature)
    key = signature, found.parts, found.graph.key(found.outputs)
    compiled = _COMPILED.get(key)
    if compiled is None:
        compiled = CompiledResidual(found, signature)
    compare(compiled._all, function, signature, found.parts)
    _COMPILED[key] = compiled
    if len(_COMPILED) > KEPT:
        del _COMPILED[next(iter(_COMPILED))]
    return compiled


def compile_residual(
    function: PointwiseFunction, *, partials: int, components: int, columns: int, scalars: int, dtype: torch.dtype
) -> CompiledResidual | None:
    """Return a residual as compiled code for the CPU, or None where it is not covered and torch must do it.

    The function is run on a few random points, its operations are written down as expressions, differentiated and
    compiled. What comes out was compared with torch, values and derivatives.

    Args:
        function: (stack (partials, n, components), x (n, columns), scalars (S,)) -> (n, equations), plain torch code of
            which row i depends on point i alone; or (n / 2, equations) where row i depends on the points i and
            i + n / 2, as on two faces of a periodic axis. What else it reads, such as numbers of Python, must not
            change.
        partials: planes of the stack.
        components: of the network.
        columns: of x: the axes, and whatever else belongs to a point, such as its normal.
        scalars: S.
        dtype: float32 or float64.

    Returns:
        The same object for equal expressions; None if points are mixed, if values are read into Python, if a tensor
        from outside is used, for operations without a rule, or without llvmlite.

    Cost: 20 to 150 ms, the most where there are hundreds of expressions; less where the same were compiled before.

    Example:
        >>> def residual(stack, x, scalars):
        ...     return stack[1] + scalars[0] * stack[0] ** 2 - torch.sin(x)
        >>> shape = dict(partials=2, components=1, columns=1, scalars=1, dtype=torch.float64)
        >>> compiled = compile_residual(residual, **shape)
        >>> stack, x = torch.tensor([[[3.0]], [[1.0]]], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
        >>> scalars, constants = torch.tensor([2.0], dtype=torch.float64), compiled.prepare(x)
        >>> compiled.forward(stack, constants, scalars).item()
        19.0
        >>> stack_bar, scalars_bar = compiled.adjoint(stack, constants, scalars, torch.ones_like(x))
        >>> stack_bar.flatten().tolist(), scalars_bar.tolist()
        ([12.0, 1.0], [9.0])
        >>> compile_residual(lambda stack, x, scalars: stack[0] - stack[0].mean(), **shape) is None
        True
    """
    try:
        return explain(function, Signature(partials, components, columns, scalars, dtype))
    except UncoveredError:
        return None

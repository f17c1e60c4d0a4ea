"""Products, adjoints of products and linear maps of truncated Taylor series, differentiable as often as wanted.

A stack of coefficients has shape (rows, ...); everything but the rows is elementwise. Products and correlations
differentiate into each other, in both modes.
"""

from __future__ import annotations

import inspect

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.nn import functional

from solvers.layout import Layout
from solvers.series.algebra import Algebra


class Rowwise(Function):
    """A function of stacks of coefficients, whose call costs no more than it must.

    Torch binds arguments to the signature of `forward` at every call, for default values that none here has.
    """

    def __init_subclass__(cls):
        super().__init_subclass__()
        cls.forward.__signature__ = inspect.signature(cls.forward)

    @classmethod
    def apply(cls, *args):
        """Return the function's value, as torch's own `apply` does.

        Args:
            *args: those of `forward`.

        Returns:
            What `forward` returns.
        """
        if torch._C._are_functorch_transforms_active():
            return super().apply(*args)
        return super(Function, cls).apply(*args)


def is_bare() -> bool:
    """Return whether nothing follows the computation: no graph, no transform, no forward mode.

    Returns:
        True where plain arithmetic may replace functions of autograd.
    """
    return (
        not torch.is_grad_enabled()
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
    )


# Everything but the rows is elementwise, so that a batch dimension is one more dimension behind them.
def batched(info, x: Tensor, dim: int | None) -> Tensor:
    """Return a tensor with its batch dimension behind the rows.

    Args:
        info: of torch's vmap.
        x: a stack.
        dim: its batch dimension, or None where it has none.

    Returns:
        (rows, batch, ...).
    """
    if dim is None:
        return x[:, None].expand(-1, info.batch_size, *x.shape[1:])
    return x.movedim(dim, 1)


class _Bilinear(Rowwise):
    @staticmethod
    def setup_context(ctx, inputs, output):
        x, y, ctx.algebra = inputs
        ctx.save_for_backward(x, y)
        ctx.save_for_forward(x, y)


class _Product(_Bilinear):
    @staticmethod
    def vmap(info, in_dims, a, b, algebra):
        return _Product.apply(batched(info, a, in_dims[0]), batched(info, b, in_dims[1]), algebra), 1

    @staticmethod
    def forward(a, b, algebra):
        return algebra.product(a, b)

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        need_a, need_b, _ = ctx.needs_input_grad
        pull = ctx.algebra.correlate if is_bare() else Tracked(ctx.algebra).correlate
        return pull(b, grad) if need_a else None, pull(a, grad) if need_b else None, None

    @staticmethod
    def jvp(ctx, da, db, _):
        a, b = ctx.saved_tensors
        push = Tracked(ctx.algebra).product
        return add(None if da is None else push(da, b), None if db is None else push(a, db))


class _Correlate(_Bilinear):
    @staticmethod
    def vmap(info, in_dims, s, y, algebra):
        return _Correlate.apply(batched(info, s, in_dims[0]), batched(info, y, in_dims[1]), algebra), 1

    @staticmethod
    def forward(s, y, algebra):
        return algebra.correlate(s, y)

    @staticmethod
    def backward(ctx, grad):
        s, y = ctx.saved_tensors
        need_s, need_y, _ = ctx.needs_input_grad
        algebra = ctx.algebra if is_bare() else Tracked(ctx.algebra)
        return algebra.correlate(grad, y) if need_s else None, algebra.product(grad, s) if need_y else None, None

    @staticmethod
    def jvp(ctx, ds, dy, _):
        s, y = ctx.saved_tensors
        push = Tracked(ctx.algebra).correlate
        return add(None if ds is None else push(ds, y), None if dy is None else push(s, dy))


# Torch switches forward mode off inside `jvp`, for all levels but those that a Function enters by itself: what a `jvp`
# calls, sums and scalings included, must be Functions, or nested forward mode loses terms in silence.
class _Add(Rowwise):
    @staticmethod
    def forward(x, y):
        return x + y

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad, grad

    @staticmethod
    def jvp(ctx, dx, dy):
        return add(dx, dy)

    @staticmethod
    def vmap(info, in_dims, x, y):
        return _Add.apply(batched(info, x, in_dims[0]), batched(info, y, in_dims[1])), 1


class _Scale(Rowwise):
    @staticmethod
    def forward(z, factor, constant):
        result = factor * z
        if constant:
            result[0] += constant
        return result

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx, grad):
        return ctx.factor * grad, None, None

    @staticmethod
    def jvp(ctx, dz, *_):
        return scale(dz, ctx.factor)

    @staticmethod
    def vmap(info, in_dims, z, factor, constant):
        return scale(batched(info, z, in_dims[0]), factor, constant), 1


def add(x: Tensor | None, y: Tensor | None) -> Tensor | None:
    """Return x + y, also inside `jvp`.

    Args:
        x: any, or None for zero.
        y: the same shape, or None for zero.

    Returns:
        The sum.
    """
    if x is None or y is None:
        return y if x is None else x
    return _Add.apply(x, y)


def scale(z: Tensor, factor: float, constant: float = 0.0) -> Tensor:
    """Return factor z + constant, also inside `jvp`.

    Args:
        z: a stack.
        factor: for every row.
        constant: for the value.

    Returns:
        The same shape.
    """
    return _Scale.apply(z, factor, constant)


class Tracked:
    """The algebra of a layout, followed by autograd and torch.func.

    Args:
        algebra: that carries it out.
    """

    def __init__(self, algebra: Algebra):
        self.algebra = algebra

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """As `Algebra.product`."""
        return _Product.apply(a, b, self.algebra)

    def correlate(self, s: Tensor, y: Tensor) -> Tensor:
        """As `Algebra.correlate`."""
        return _Correlate.apply(s, y, self.algebra)

    def square(self, z: Tensor, factor: float = 1.0, constant: float = 0.0, linear: float = 0.0) -> Tensor:
        """As `Algebra.square`."""
        result = scale(self.product(z, z), factor, constant)
        return add(result, scale(z, linear)) if linear else result


def _algebra(coefficients: Tensor, layout: Layout | None) -> Algebra:
    return Algebra.single(len(coefficients)) if layout is None else Algebra.of(layout)


def product(a: Tensor, b: Tensor, layout: Layout | None = None) -> Tensor:
    """Return the truncated product of two series, c_k = sum_{j <= k} a_j b_{k-j} along every direction.

    Args:
        a: (rows, ...).
        b: the same shape.
        layout: one direction by default.

    Returns:
        The same shape, for N^2/2 multiplications an entry.

    Example:
        >>> product(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
        tensor([ 3., 10.])
    """
    algebra = _algebra(a, layout)
    return algebra.product(a, b) if is_bare() else _Product.apply(a, b, algebra)


def correlate(s: Tensor, y: Tensor, layout: Layout | None = None) -> Tensor:
    """Return the adjoint of multiplication by a series, r_j = sum_{k >= j} s_{k-j} y_k along every direction.

    Args:
        s: the factor, (rows, ...).
        y: the same shape.
        layout: one direction by default.

    Returns:
        The same shape, for N^2/2 multiplications an entry.

    Example:
        >>> correlate(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
        tensor([11.,  4.])
    """
    algebra = _algebra(s, layout)
    return algebra.correlate(s, y) if is_bare() else _Correlate.apply(s, y, algebra)


class _Affine(Rowwise):
    @staticmethod
    def forward(rows, weight, bias):
        result = functional.linear(rows, weight)
        result[0].add_(bias)
        return result

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])

    @staticmethod
    def backward(ctx, grad):
        rows, weight = ctx.saved_tensors
        need_rows, need_weight, need_bias = ctx.needs_input_grad
        outputs, inputs = weight.shape
        # As matrices; `flatten` and `matmul` of more dimensions are not to be had in batches of backward passes.
        flat = grad.reshape(-1, outputs)
        return (
            torch.mm(flat, weight).reshape(rows.shape) if need_rows else None,
            torch.mm(flat.t(), rows.reshape(-1, inputs)) if need_weight else None,
            grad[0].reshape(-1, outputs).sum(0) if need_bias else None,
        )

    @staticmethod
    def jvp(ctx, drows, dweight, dbias):
        rows, weight = ctx.saved_tensors
        still = weight.new_zeros(len(weight))
        return add(
            None
            if drows is None and dbias is None
            else _Affine.apply(_or_zeros(drows, rows), weight, _or_zeros(dbias, still)),
            None if dweight is None else _Affine.apply(rows, dweight, still),
        )

    @staticmethod
    def vmap(info, in_dims, rows, weight, bias):
        # The forward adds in place, which vmap refuses where only the bias is batched.
        def single(rows, weight, bias):
            result = functional.linear(rows, weight)
            return torch.cat([result[:1] + bias, result[1:]])

        return torch.vmap(single, in_dims, randomness=info.randomness)(rows, weight, bias), 0


def _or_zeros(tangent: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if tangent is None else tangent


def affine(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return y W^T for every row in one matrix product, and add the bias to row 0 alone.

    Args:
        rows: (rows, ..., inputs).
        weight: (outputs, inputs).
        bias: (outputs,) or None.

    Returns:
        (rows, ..., outputs).

    Example:
        >>> affine(torch.ones(2, 1, 3), torch.ones(1, 3), torch.ones(1)).flatten()
        tensor([4., 3.])
    """
    if bias is None or len(rows) == 1:
        return functional.linear(rows, weight, bias)
    return _Affine.apply(rows, weight, bias)

"""Compiled Taylor propagation inside torch: whole chains, and single activations, as nodes of the autograd graph."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.autograd import Function

from solvers.layout import Layout
from solvers.operators.chain import Chain, is_plain
from solvers.operators.combination import Combination
from solvers.series import Series

MAX_ORDER = 12
"""Recurrences are unrolled; above, the registers overflow and compiling takes seconds."""

MAX_ROWS = 64


@lru_cache(maxsize=1)
def compiler_available() -> bool:
    """Return whether kernels can be compiled here, and say so once if not.

    Returns:
        Whether llvmlite is installed.
    """
    if find_spec("llvmlite") is not None:
        return True
    warnings.warn(
        "llvmlite is not installed: TangentProp uses its torch backend 'taylor', which is several times slower on the "
        "CPU; install it with `pip install llvmlite`",
        RuntimeWarning,
        stacklevel=4,
    )
    return False


def within_reach(layout: Layout) -> bool:
    """Return whether a layout is small enough to be unrolled.

    Args:
        layout: of the series.

    Returns:
        Whether order and rows are within limits.
    """
    return layout.order <= MAX_ORDER and layout.rows <= MAX_ROWS


class _Once(Function):
    """Identity on gradients that cannot be differentiated again, and say why when somebody tries."""

    @staticmethod
    def forward(ctx, count, *tensors):
        return tuple(gradient.view_as(gradient) for gradient in tensors[count:])

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError(
            "compiled Taylor propagation can be differentiated once in the parameters, a second time was asked for: "
            "use TangentProp(backend='taylor')"
        )


def _once(cotangents: Sequence[Tensor], gradients: Sequence[Tensor]) -> Sequence[Tensor]:
    return _Once.apply(len(cotangents), *cotangents, *gradients) if torch.is_grad_enabled() else gradients


class _Propagate(Function):
    @staticmethod
    def forward(ctx, kernel, combination, points, directions, *parameters):
        half = len(parameters) // 2
        rows, kept = kernel.forward(points, directions, parameters[:half], parameters[half:], any(ctx.needs_input_grad))
        ctx.kernel, ctx.kept, ctx.combination = kernel, kept, combination
        ctx.parameters, ctx.versions = parameters, [parameter._version for parameter in parameters]
        return combination.partials(rows)

    @staticmethod
    def backward(ctx, *cotangents):
        # As torch's saved tensors, which take longer than a small network, would check.
        if [parameter._version for parameter in ctx.parameters] != ctx.versions:
            raise RuntimeError(
                "a parameter needed for the gradient was modified by an inplace operation since the network was "
                "evaluated: evaluate the plan again before asking for gradients"
            )
        plain = [cotangent.detach() for cotangent in cotangents] if torch.is_grad_enabled() else cotangents
        flat = ctx.kernel.gradients(ctx.kept, ctx.combination.adjoint(plain))
        gradients = torch._C._nn.unflatten_dense_tensors(flat, ctx.parameters)
        return None, None, None, None, *_once(cotangents, gradients)


def propagate(
    chain: Chain, points: Tensor, directions: Tensor, layout: Layout, combination: Combination
) -> tuple[Tensor, ...]:
    """Return the partials of a whole chain, one node of the autograd graph.

    Args:
        chain: the network.
        points: (n, axes), contiguous.
        directions: (directions, axes), contiguous.
        layout: of the series.
        combination: of its rows to partials.

    Returns:
        (n, components) each.
    """
    from solvers.kernels.perceptron import kernel

    parameters = [parameter.contiguous() for parameter in chain.parameters]
    compiled = kernel(chain.activation, layout, points.dtype)
    return _Propagate.apply(compiled, combination, points, directions, *parameters)


class _Activate(Function):
    @staticmethod
    def forward(ctx, kernel, z):
        y = kernel.forward(z)
        ctx.kernel = kernel
        ctx.save_for_backward(y if kernel.activation.slope else z)
        return y

    @staticmethod
    def backward(ctx, cotangent):
        (saved,) = ctx.saved_tensors
        with torch.no_grad():
            gradient = ctx.kernel.backward(saved, cotangent.contiguous())
        return None, *_once((cotangent,), (gradient,))


class CompiledSeries(Series):
    """A series whose activations are compiled, each one pass over memory; everything else is torch's."""

    def _apply(self, name: str, *parameters: float) -> Series:
        from solvers.kernels.recurrences import ACTIVATIONS

        z = self.coefficients
        lanes_at_most = 16
        usable = name in ACTIVATIONS and not parameters and is_plain(z) and z[0].numel() >= lanes_at_most
        if not usable or _is_dual(z):
            return super()._apply(name, *parameters)
        from solvers.kernels.elementwise import elementwise_kernel

        kernel = elementwise_kernel(name, self.layout, z.dtype)
        return self._like(_Activate.apply(kernel, z.contiguous()))


def _is_dual(tensor: Tensor) -> bool:
    return torch.autograd.forward_ad.unpack_dual(tensor).tangent is not None

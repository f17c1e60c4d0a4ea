"""Compiled Taylor propagation inside torch: whole chains, and single activations, as nodes of the autograd graph."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.autograd import Function

from solvers.kernels.linears import Linears
from solvers.layout import Layout
from solvers.operators.chain import Chain, is_plain
from solvers.operators.combination import Combination
from solvers.series import Series

if TYPE_CHECKING:
    from solvers.kernels.elementwise import ElementwiseKernel
    from solvers.kernels.triton_elementwise import TritonKernel

MAX_ORDER = 12
"""Recurrences are unrolled, direction by direction; of several directions, and by Triton, up to this order."""

MAX_SINGLE_ORDER = 24
"""Of one direction on the CPU: compiled in 0.3 to 0.7 s, and not slower a multiplication than lower orders."""

FEWEST = 16
"""Elements of a row that the widest vector holds; a compiled activation reads no shorter row."""

MAX_ROWS = 128
"""A Laplacian in a hundred axes, whose kernel is compiled in 1.5 s."""


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
        stacklevel=5,
    )
    return False


@lru_cache(maxsize=1)
def triton_available() -> bool:
    """Return whether kernels can be compiled for the current CUDA device, and say so once if not.

    Returns:
        Whether Triton is installed, and a first kernel runs.
    """
    if find_spec("triton") is None:
        reason = "Triton is not installed; install it with `pip install triton`"
    else:
        from solvers.kernels.triton_elementwise import triton_kernel

        # Whatever is amiss, a missing C compiler or a GPU that is too old, torch alone still computes the same.
        try:
            triton_kernel("tanh", Layout.single(1), torch.float32).forward(torch.zeros(2, 16, device="cuda"))
            return True
        except Exception as error:
            reason = f"Triton is installed, but a first kernel failed with {type(error).__name__}: {error}"
    warnings.warn(
        f"{reason}. TangentProp uses its torch backend 'taylor', which is several times slower, on CUDA devices",
        RuntimeWarning,
        stacklevel=5,
    )
    return False


def compilable(tensor: Tensor) -> bool:
    """Return whether activations can be compiled for the coefficients in a tensor.

    Args:
        tensor: any.

    Returns:
        False for other devices than CPU and CUDA, for other types than float32 and float64, inside torch.func
        transforms, and where the compiler is missing.
    """
    if is_plain(tensor):
        return compiler_available()
    plain = tensor.dtype in (torch.float32, torch.float64) and torch._C._functorch.peek_interpreter_stack() is None
    return tensor.is_cuda and plain and triton_available()


def highest_order(layout: Layout, points: Tensor) -> int:
    """Return the highest order that is unrolled.

    Args:
        layout: of the series.
        points: a tensor on their device.

    Returns:
        The order.
    """
    return MAX_SINGLE_ORDER if layout.is_single and points.is_cpu else MAX_ORDER


def within_reach(layout: Layout, points: Tensor) -> bool:
    """Return whether a layout is small enough to be unrolled.

    Args:
        layout: of the series.
        points: a tensor on their device.

    Returns:
        Whether order and rows are within limits.
    """
    return layout.order <= highest_order(layout, points) and layout.rows <= MAX_ROWS


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


@contextmanager
def _one_at_a_time(cotangents: Sequence[Tensor]) -> Iterator[None]:
    """Say what is wrong where a batch of cotangents, which has no address in memory, met compiled code."""
    try:
        yield
    except RuntimeError as error:
        functorch = torch._C._functorch
        if any(functorch.is_batchedtensor(c) or functorch.is_legacy_batchedtensor(c) for c in cotangents):
            raise RuntimeError(
                "compiled Taylor propagation takes one cotangent at a time, a batch was given (is_grads_batched or "
                "vmap): use TangentProp(backend='taylor'), or solvers.jacobian.jacobian"
            ) from error
        raise


def _once(cotangents: Sequence[Tensor], gradients: Sequence[Tensor]) -> Sequence[Tensor]:
    return _Once.apply(len(cotangents), *cotangents, *gradients) if torch.is_grad_enabled() else gradients


class _Propagate(Function):
    @staticmethod
    def forward(ctx, kernel, combination, keep, odd, points, directions, *parameters):
        half = len(parameters) // 2
        network = Linears(parameters[:half], parameters[half:])
        rows, kept = kernel.forward(points, directions, network, keep, odd)
        ctx.kernel, ctx.kept, ctx.combination, ctx.parameters = kernel, kept, combination, parameters
        # Tensors of inference mode have no version, and no gradient.
        ctx.versions = [parameter._version for parameter in parameters] if keep else []
        return combination.partials(rows)

    @staticmethod
    def backward(ctx, *cotangents):
        # As torch's saved tensors, which take longer than a small network, would check.
        if [parameter._version for parameter in ctx.parameters] != ctx.versions:
            raise RuntimeError(
                "a parameter needed for the gradient was modified by an inplace operation since the network was "
                "evaluated: evaluate the plan again before asking for gradients"
            )
        if ctx.kept is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time: what the first backward needed has been freed; "
                "specify retain_graph=True there"
            )
        plain = [cotangent.detach() for cotangent in cotangents] if torch.is_grad_enabled() else cotangents
        with _one_at_a_time(cotangents):
            flat = ctx.kernel.gradients(ctx.kept, ctx.combination.adjoint(plain))
        gradients = torch._C._nn.unflatten_dense_tensors(flat, ctx.parameters)
        if not torch._C._autograd._get_current_graph_task_keep_graph():
            ctx.kept = None
        return None, None, None, None, None, None, *_once((*cotangents, *ctx.parameters), gradients)


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
    keep = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters)
    return _Propagate.apply(compiled, combination, keep, chain.odd, points, directions, *parameters)


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
        with torch.no_grad(), _one_at_a_time((cotangent,)):
            gradient = ctx.kernel.backward(saved, cotangent.contiguous())
        return None, *_once((cotangent, saved), (gradient,))


class CompiledSeries(Series):
    """A series whose activations are compiled, each one pass over memory; everything else is torch's."""

    def _apply(self, name: str, *parameters: float) -> Series:
        z = self.coefficients
        kernel = None if parameters or _is_dual(z) else activation_kernel(name, self.layout, z)
        if kernel is None:
            return super()._apply(name, *parameters)
        return self._like(_Activate.apply(kernel, z.contiguous()))


def activation_kernel(name: str, layout: Layout, tensor: Tensor) -> ElementwiseKernel | TritonKernel | None:
    """Return the compiled activation for the coefficients in a tensor.

    Args:
        name: of the series' method.
        layout: of the rows.
        tensor: coefficients, (rows, ...).

    Returns:
        The kernel for the tensor's device and type, or None where torch must do it.
    """
    from solvers.kernels.recurrences import ACTIVATIONS

    if name not in ACTIVATIONS or not compilable(tensor):
        return None
    if tensor.is_cuda:
        from solvers.kernels.triton_elementwise import triton_kernel

        return triton_kernel(name, layout, tensor.dtype)
    from solvers.kernels.elementwise import elementwise_kernel

    return elementwise_kernel(name, layout, tensor.dtype) if tensor[0].numel() >= FEWEST else None


def _is_dual(tensor: Tensor) -> bool:
    return torch.autograd.forward_ad.unpack_dual(tensor).tangent is not None

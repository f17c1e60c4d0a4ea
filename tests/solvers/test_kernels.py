"""The compiled kernels: elementary functions over their whole range, recurrences as tensors, tiles and edges."""

import math
from dataclasses import replace
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import torch
from llvmlite import ir
from torch import nn

from solvers import MLP, Points, TangentProp
from solvers.kernels import perceptron
from solvers.kernels.compiler import Compiled, host
from solvers.kernels.elementwise import elementwise_kernel
from solvers.kernels.linears import Linears
from solvers.kernels.loops import blocks, integer, loop
from solvers.kernels.perceptron import kernel
from solvers.kernels.products import even_chunks
from solvers.kernels.recurrences import ACTIVATIONS
from solvers.kernels.tiles import tile_vectors
from solvers.kernels.vectors import Format
from solvers.layout import Group, Layout
from solvers.networks import Atan, Sine
from solvers.series import Series

EPS = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}
every_dtype = pytest.mark.parametrize("dtype", EPS)
every_activation = pytest.mark.parametrize("name", ACTIVATIONS)

EXACT = {
    "tanh": mpmath.tanh,
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "exp": mpmath.exp,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "gelu": lambda z: z * mpmath.ncdf(z),
    "gaussian": lambda z: mpmath.exp(-z * z),
    "atan": mpmath.atan,
}


def apply(name, z, order=0):
    """f(z + t) to an order, (order + 1, n)."""
    rows = torch.zeros(order + 1, len(z), dtype=z.dtype)
    rows[0] = z
    if order:
        rows[1] = 1
    return elementwise_kernel(name, Layout.single(order), z.dtype).forward(rows)


@every_dtype
@every_activation
def test_values_are_within_a_few_ulp_of_fifty_digits(name, dtype):
    with mpmath.workdps(50):
        small = np.concatenate([[0.0, 1e-30, -1e-8, 3e-4], np.linspace(-6, 6, 301)])
        z = torch.tensor(small, dtype=dtype)
        exact = np.array([float(EXACT[name](mpmath.mpf(v))) for v in z.double().tolist()])
    got = apply(name, z)[0].double().numpy()
    # Relative, but for zeros of sin and cos, where it is absolute.
    scale = np.maximum(np.abs(exact), 1.0 if name in ("sin", "cos") else 1e-30)
    # exp(-z^2) turns the rounding of z^2 into z^2 times as much.
    condition = 1 + z.double().numpy() ** 2 if name in ("gaussian", "gelu") else 1.0
    assert np.max(np.abs(got - exact) / scale / condition) <= 4 * EPS[dtype]


@every_dtype
@every_activation
def test_values_stay_right_far_out(name, dtype):
    far = [v * s for v in (12.0, 30.0, 85.0, 87.5, 88.6, 100.0, 300.0, 700.0, 709.5, 2e3, 1e6) for s in (1, -1)]
    z = torch.tensor(far, dtype=dtype)
    got = apply(name, z)[0].double().numpy()
    largest = float(torch.finfo(dtype).max)
    with mpmath.workdps(400):
        exact = np.array([float(EXACT[name](mpmath.mpf(v))) for v in z.double().tolist()])
    exact = np.where(np.abs(exact) > largest, np.copysign(np.inf, exact), exact)
    # Below the smallest normal numbers zero will do.
    tiny = 1e3 * float(torch.finfo(dtype).tiny) * np.maximum(1.0, np.abs(z.double().numpy()))
    finite = np.isfinite(exact)
    assert (got[~finite] == exact[~finite]).all()
    error = np.abs(got[finite] - exact[finite])
    # The argument of an exponential is rounded: its relative error is that of the argument, times the argument.
    amplified = np.zeros(len(far)) if name in ("sin", "cos") else np.minimum(np.abs(z.double().numpy()), 1e3)
    relative = 8 * EPS[dtype] * np.maximum(1.0, amplified)
    assert (error <= relative[finite] * np.maximum(np.abs(exact[finite]), name in ("sin", "cos")) + tiny[finite]).all()


@every_dtype
@every_activation
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_with_its_element(name, dtype, bad):
    z = torch.linspace(-1, 1, 40, dtype=dtype)
    clean = apply(name, z, 3)
    z[17] = bad
    spoilt = apply(name, z, 3)
    others = torch.arange(40) != 17
    # A large argument sends its neighbours of the same vector through the C library's sine too: other last bits.
    neighbours = 4 * EPS[dtype] if name in ("sin", "cos") and math.isinf(bad) else 0.0
    assert float((spoilt - clean)[:, others].abs().max()) <= neighbours
    if math.isnan(bad):
        assert spoilt[:, 17].isnan().all()
    elif name in ("sin", "cos"):
        assert spoilt[0, 17].isnan()
    elif name in ("tanh", "sigmoid", "atan", "gaussian"):
        assert float(spoilt[0, 17]) == pytest.approx(float(EXACT[name](mpmath.mpf(bad))))


LAYOUTS = {
    "one": Layout.single(5),
    "laplacian": Layout((Group(3, 2, collapsed=True),)),
    "bilaplacian": Layout((Group(3, 4, collapsed=True),)),
    "groups": Layout((Group(2, 2, collapsed=True), Group(1, 1), Group(2, 3))),
    "value": Layout(),
}


@every_dtype
@every_activation
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_activations_and_their_adjoints_equal_the_series_of_torch(name, layout, dtype):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(layout.rows, 37, generator=generator, dtype=torch.float64).to(dtype)
    cotangent = torch.randn(layout.rows, 37, generator=generator, dtype=torch.float64).to(dtype)
    leaf = z.double().requires_grad_(True)
    # Series has no cosine kernel of its own name only: every name here is one of its methods.
    expected = getattr(Series(leaf, layout), name)().coefficients
    (adjoint,) = torch.autograd.grad(expected, leaf, cotangent.double())
    compiled = elementwise_kernel(name, layout, dtype)
    got = compiled.forward(z)
    pulled = compiled.backward(got if compiled.activation.slope else z, cotangent)
    for one, other in ((got, expected), (pulled, adjoint)):
        scale = other.detach().abs().amax()
        assert float((one.double() - other.detach()).abs().max() / scale) <= 20 * EPS[dtype]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 300])
@pytest.mark.parametrize("widths", [(1, 1, 1), (2, 3, 2), (1, 5, 7, 1), (3, 8, 4, 3), (1, 50, 50, 1), (2, 97, 3)])
def test_any_number_of_points_and_any_width(count, widths):
    layout, (axes, *_) = Layout.single(2), widths
    generator = torch.Generator().manual_seed(count)
    weights = [torch.randn(b, a, generator=generator, dtype=torch.float64) for a, b in pairwise(widths)]
    biases = [torch.randn(b, generator=generator, dtype=torch.float64) for b in widths[1:]]
    points = torch.rand(count, axes, generator=generator, dtype=torch.float64)
    direction = torch.rand(1, axes, generator=generator, dtype=torch.float64)
    compiled = kernel("tanh", layout, torch.float64)
    rows, kept = compiled.forward(points, direction, Linears(weights, biases), True)
    parameters = [p.requires_grad_(True) for p in (*weights, *biases)]
    series = Series.along(points, direction, layout)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        series = series.linear(weight, bias).tanh()
    expected = series.linear(weights[-1], biases[-1]).coefficients
    assert torch.allclose(rows, expected, rtol=1e-12, atol=1e-12)
    cotangent = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(expected, parameters, cotangent)
    flat = torch.cat([g.reshape(-1) for g in gradients])
    assert torch.allclose(compiled.gradients(kept, cotangent), flat, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["tanh", "sin"])
def test_kept_and_recomputed_tiles_give_the_same_bits(name, monkeypatch):
    compiled = kernel(name, Layout.single(3), torch.float64)
    torch.manual_seed(0)
    weights, biases = (
        [torch.randn(9, 1), torch.randn(9, 9), torch.randn(1, 9)],
        [torch.randn(9), torch.randn(9), torch.zeros(1)],
    )
    weights, biases = [w.double() for w in weights], [b.double() for b in biases]
    points, direction = torch.rand(200, 1).double(), torch.ones(1, 1).double()
    rows, kept = compiled.forward(points, direction, Linears(weights, biases), True)
    assert kept.room.stride > 0
    cotangent = torch.randn_like(rows)
    assert torch.equal(compiled.gradients(kept, cotangent), compiled.gradients(kept.part(0, 200), cotangent))


@pytest.mark.parametrize("width", [9, 100])
def test_threads_share_the_tiles(width, monkeypatch):
    monkeypatch.setattr(perceptron, "THREAD_WORK", 1)
    torch.manual_seed(0)
    compiled = perceptron.Kernel("sin", Layout.single(3), torch.float64)
    weights = [torch.randn(width, 1).double(), torch.randn(2, width).double()]
    biases = [torch.randn(width).double(), torch.randn(2).double()]
    points, direction = torch.rand(1000, 1).double(), torch.ones(1, 1).double()
    results = {}
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        rows, kept = compiled.forward(points, direction, Linears(weights, biases), True)
        assert kept.room.threads == threads
        results[threads] = rows, compiled.gradients(kept, torch.cos(rows))
    for threads in (2, 5):
        assert torch.equal(results[threads][0], results[1][0])
        assert torch.allclose(results[threads][1], results[1][1], rtol=1e-12, atol=1e-12)


def test_room_is_used_again_once_it_is_given_back():
    compiled = kernel("tanh", Layout.single(2), torch.float64)
    arguments = (
        torch.rand(50, 1).double(),
        torch.ones(1, 1).double(),
        Linears([torch.rand(3, 1).double()], [torch.zeros(3).double()]),
    )
    first = compiled.forward(*arguments, True)
    second = compiled.forward(*arguments, True)
    assert first[1].work.data_ptr() != second[1].work.data_ptr()
    address = second[1].work.data_ptr()
    del second
    assert compiled.forward(*arguments, True)[1].work.data_ptr() == address


@every_dtype
@pytest.mark.parametrize("vector_bytes", [16, 32])
def test_processors_with_narrower_vectors_get_the_same_numbers(vector_bytes, dtype, monkeypatch):
    torch.manual_seed(0)
    layout = Layout((Group(2, 2, collapsed=True), Group(1, 3)))
    weights = [torch.randn(7, 2).to(dtype), torch.randn(10, 7).to(dtype), torch.randn(2, 10).to(dtype)]
    biases = [torch.randn(n).to(dtype) for n in (7, 10, 2)]
    points, directions = torch.rand(77, 2).to(dtype), torch.rand(3, 2).to(dtype)
    results = []
    for processor in (host(), replace(host(), vector_bytes=vector_bytes, registers=16)):
        monkeypatch.setattr(perceptron, "host", lambda processor=processor: processor)
        compiled = perceptron.Kernel("sin", layout, dtype)
        assert compiled.program.format.bytes == processor.vector_bytes
        rows, kept = compiled.forward(points, directions, Linears(weights, biases), True)
        results.append(
            (rows, compiled.gradients(kept, torch.cos(torch.arange(rows.numel()).view(rows.shape)).to(dtype)))
        )
    for one, other in zip(*results, strict=True):
        assert float((one - other).abs().max()) <= 100 * EPS[dtype] * float(other.abs().max())


def test_loops_go_by_whole_blocks_and_then_by_halves():
    module = ir.Module("loops")
    number = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [number, ir.PointerType()]), "count")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    count, out = function.args

    def add(position, amount):
        address = builder.gep(out, [integer(position)], source_etype=number)
        builder.store(builder.add(builder.load(address, typ=number), amount), address)

    blocks(builder, count, 4, lambda index, size: add(size, integer(1)))
    blocks(builder, count, 4, lambda index, size: add(0, builder.mul(index, integer(size))))
    total = loop(builder, integer(0), count, 1, lambda index, s: (builder.add(s, index),), (integer(0),))[0]
    add(5, total)
    builder.ret_void()
    import ctypes

    compiled = Compiled(module, {"count": (ctypes.c_int64, ctypes.c_void_p)})
    for total in (0, 1, 2, 3, 4, 7, 13):
        seen = np.zeros(6, dtype=np.int64)
        compiled.functions["count"](total, seen.ctypes.data)
        assert [seen[4], seen[2], seen[1]] == [total // 4, total % 4 // 2, total % 2]
        assert seen[5] == total * (total - 1) // 2


def test_sizes_of_tiles_and_chunks():
    assert all(even_chunks(total, 6) and sum(even_chunks(total, 6)) == total for total in range(1, 60))
    assert all(max(even_chunks(total, 3)) <= 3 for total in range(1, 60))
    assert all(rows * tile_vectors(rows) <= 20 or tile_vectors(rows) == 1 for rows in range(1, 65))
    assert host().vector_bytes in (16, 32, 64)
    assert Format(32, 16).bytes == Format(64, 8).bytes == 64


@pytest.mark.parametrize("order", [13, 24])
@pytest.mark.parametrize("activation", [nn.Tanh, Sine, nn.GELU, Atan])
def test_one_direction_goes_to_order_twenty_four(activation, order):
    torch.manual_seed(0)
    network = MLP(1, [6, 5], activation=activation).double()
    points, partials = (
        Points(torch.linspace(-1, 1, 11).double()[:, None], axes="x"),
        ["x" * k for k in range(order + 1)],
    )

    def loss(jet):
        return sum((jet["x" * k] / float(math.factorial(k))).square().mean() for k in range(order + 1))

    reference = TangentProp(backend="taylor").plan(points, partials)
    expected, (_, gradient) = reference(network), reference.value_and_grad(network, loss)
    for backend in ("fused", "layerwise"):
        plan = TangentProp(backend=backend).plan(points, partials)
        jet, (_, found) = plan(network), plan.value_and_grad(network, loss)
        assert float((found - gradient).abs().max()) <= 1e-13 * float(gradient.abs().max())
        for letters in partials:
            scale = float(expected[letters].detach().abs().max())
            assert float((jet[letters] - expected[letters]).detach().abs().max()) <= 1e-13 * scale

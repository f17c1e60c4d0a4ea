"""Activations as Triton kernels: their text in plain Python, in Triton's interpreter, compiled, and on a GPU."""

import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import scipy.special
import torch
from torch import nn

from solvers.kernels import triton_elementwise
from solvers.kernels.expressions import Text
from solvers.kernels.recurrences import ACTIVATIONS
from solvers.kernels.rows import activated, pulled_back
from solvers.kernels.triton_elementwise import TritonKernel, block_size, kernel_source
from solvers.layout import Group, Layout
from solvers.operators import TangentProp, compiled
from solvers.points import Points

LAYOUTS = {
    **{f"order{order}": Layout.single(order) for order in range(7)},
    "laplacian": Layout((Group(2, 2, collapsed=True),)),
    "biharmonic": Layout((Group(3, 4, collapsed=True),)),
    "two-groups": Layout((Group(2, 2, collapsed=True), Group(3, 3))),
}
DTYPES = {"float32": torch.float32, "float64": torch.float64}
NUMPY = {
    "exp": np.exp,
    "tanh": np.tanh,
    "log1p": np.log1p,
    "erfc": scipy.special.erfc,
    "atan": np.arctan,
    "sin": np.sin,
    "cos": np.cos,
}
PRECISE = {
    "tanh": mpmath.tanh,
    "sigmoid": lambda t: 1 / (1 + mpmath.exp(-t)),
    "exp": mpmath.exp,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "softplus": lambda t: mpmath.log1p(mpmath.exp(t)),
    "silu": lambda t: t / (1 + mpmath.exp(-t)),
    "gelu": lambda t: t * mpmath.ncdf(t),
    "gaussian": lambda t: mpmath.exp(-t * t),
    "atan": mpmath.atan,
}
every_activation = pytest.mark.parametrize("name", list(ACTIVATIONS))
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


class Numbers:
    """Arrays as elements of a recurrence, with the functions that a recurrence may begin with."""

    def __init__(self, value, functions=None):
        self.value = value
        self.functions = functions or SimpleNamespace(**NUMPY)

    def _like(self, value):
        return Numbers(value, self.functions)

    @staticmethod
    def _of(other):
        return other.value if isinstance(other, Numbers) else other

    def __add__(self, other):
        return self._like(self.value + self._of(other))

    def __sub__(self, other):
        return self._like(self.value - self._of(other))

    def __rsub__(self, other):
        return self._like(self._of(other) - self.value)

    def __mul__(self, other):
        return self._like(self.value * self._of(other))

    def __truediv__(self, other):
        return self._like(self.value / self._of(other))

    def __rtruediv__(self, other):
        return self._like(self._of(other) / self.value)

    def __neg__(self):
        return self._like(-self.value)

    __radd__, __rmul__ = __add__, __mul__

    def tanh(self):
        return self._like(self.functions.tanh(self.value))

    def exp(self):
        return self._like(self.functions.exp(self.value))

    def atan(self):
        return self._like(self.functions.atan(self.value))

    def sigmoid(self):
        return self._like(1 / (1 + self.functions.exp(-self.value)))

    def softplus(self):
        return self._like(self.functions.log1p(self.functions.exp(self.value)))

    def normal_cdf(self):
        return self._like(self.functions.erfc(-self.value / self.functions.sqrt(2)) / 2)

    def sincos(self):
        return self._like(self.functions.sin(self.value)), self._like(self.functions.cos(self.value))


NUMPY["sqrt"] = np.sqrt


def rows_of(layout, elements, seed):
    return np.random.default_rng(seed).standard_normal((layout.rows, elements))


def expected_rows(name, layout, z, bar):
    """Rows of y, and of zbar, from the recurrences on arrays in float64."""
    elements = [Numbers(row) for row in z]
    y = activated(ACTIVATIONS[name], layout, elements)
    saved = y if ACTIVATIONS[name].slope else elements
    back = pulled_back(ACTIVATIONS[name], layout, saved, [Numbers(row) for row in bar])
    return tuple(np.stack([row.value for row in rows]) for rows in (y, back))


# ---- the text alone -------------------------------------------------------------------------------------------------


def ran(name, program, **arrays):
    """Run a kernel's text on the floats of one element."""
    results = {}
    space = {
        "triton": SimpleNamespace(jit=lambda function: function),
        "tl": SimpleNamespace(
            load=lambda address, inside, other: arrays[address[0]][address[1]],
            store=lambda address, value, inside: results.__setitem__(address[1], value),
            program_id=lambda axis: SimpleNamespace(to=lambda dtype: 0),
            arange=lambda first, last: 0,
            cast=lambda value, dtype: value,
            maximum=max,
            abs=abs,
            int64=int,
        ),
        "libdevice": SimpleNamespace(**{n: getattr(math, n) for n in "exp tanh log1p erfc atan sin cos".split()}),
    }

    class Address(tuple):
        def __add__(self, rows):
            return Address((self[0], self[1] + rows))

    exec(kernel_source(name, program[1], torch.float64), space)
    parameters = [*arrays, "y" if program[0] == "forward" else "zbar"]
    space[program[0]](*(Address((parameter, 0)) for parameter in parameters), 1)
    return [results[row] for row in range(program[1].rows)]


@every_activation
@pytest.mark.parametrize("order", range(7))
def test_the_text_expands_as_fifty_digits_do(name, order):
    layout = Layout.single(order)
    z = [-0.7, 1.1, -0.4, 0.9, 0.3, -0.8, 0.5][: order + 1]
    found = ran(name, ("forward", layout), z=z)
    with mpmath.workdps(50):
        precise = PRECISE[name]
        expected = mpmath.taylor(lambda t: precise(mpmath.polyval([mpmath.mpf(c) for c in z[::-1]], t)), 0, order)
        assert max(abs(f - e) for f, e in zip(found, expected, strict=True)) <= 2e-15 * max(map(abs, expected))


@every_activation
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_text_s_backward_is_the_adjoint_of_its_forward(name, layout):
    precise = SimpleNamespace(
        exp=mpmath.exp,
        tanh=mpmath.tanh,
        log1p=mpmath.log1p,
        erfc=mpmath.erfc,
        atan=mpmath.atan,
        sin=mpmath.sin,
        cos=mpmath.cos,
        sqrt=mpmath.sqrt,
    )
    z, bar, tangent = (rows_of(layout, 1, seed)[:, 0] for seed in (1, 2, 3))
    y = ran(name, ("forward", layout), z=z)
    back = ran(name, ("backward", layout), saved=y if ACTIVATIONS[name].slope else z, ybar=bar)
    with mpmath.workdps(50):
        step = mpmath.mpf(10) ** -15
        sides = []
        for sign in (1, -1):
            moved = [
                Numbers(mpmath.mpf(float(a)) + sign * step * float(b), precise) for a, b in zip(z, tangent, strict=True)
            ]
            rows = activated(ACTIVATIONS[name], layout, moved)
            sides.append(mpmath.fsum(float(w) * row.value for w, row in zip(bar, rows, strict=True)))
        expected = (sides[0] - sides[1]) / (2 * step)
    size = float(np.abs(back) @ np.abs(tangent))
    assert abs(float(np.dot(back, tangent)) - float(expected)) <= 1e-13 * max(1.0, size)


@every_activation
def test_every_line_of_the_text_is_needed_and_none_is_written_twice(name):
    text = kernel_source(name, LAYOUTS["biharmonic"], torch.float32)
    for function in text.split("@triton.jit")[1:]:
        assigned = [line.strip().split(" = ") for line in function.splitlines() if line.strip().startswith("t")]
        assigned = [parts for parts in assigned if len(parts) == 2]
        assert len({source for _, source in assigned}) == len(assigned) > 0
        words = function.replace("(", " ").replace(")", " ").replace(",", " ").replace("-", " ").split()
        assert all(words.count(value) > 1 for value, _ in assigned)


def test_the_function_of_the_value_is_computed_once_for_all_directions():
    forward, backward = kernel_source("tanh", LAYOUTS["two-groups"], torch.float64).split("def backward")
    assert forward.count("libdevice.tanh") == 1
    assert "libdevice" not in backward


@pytest.mark.parametrize("bits", [32, 64])
def test_literals_read_as_the_nearest_number_of_the_type(bits):
    literal = Text(bits).literal(1 / 3)
    assert float(literal) == (float(np.float32(1 / 3)) if bits == 32 else 1 / 3)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_a_block_is_one_or_two_elements_a_thread(layout, dtype):
    assert block_size(layout, dtype) in (128, 256)


# ---- Triton's interpreter -------------------------------------------------------------------------------------------


def interpret(path):
    """Run all kernels in Triton's interpreter, which patches Triton for good and gets a process of its own."""
    import triton.language as tl
    from triton.language import extra
    from triton.runtime.interpreter import TensorHandle

    def lifted(function):
        def apply(x):
            values = function(x.handle.data).astype(x.handle.data.dtype)
            return tl.core.tensor(TensorHandle(values, x.handle.dtype), x.type)

        return apply

    # The GPU's mathematical library is the one thing that the interpreter does not have.
    extra.libdevice = SimpleNamespace(**{name: lifted(function) for name, function in NUMPY.items()})
    results = {}
    for case, name, layout, dtype in cases():
        kernel = TritonKernel(name, layout, dtype)
        z, bar = (torch.from_numpy(rows_of(layout, 291, seed)).to(dtype) for seed in (1, 2))
        y = kernel.forward(z)
        results[case + "/y"] = y.numpy()
        saved = y if kernel.activation.slope else z
        results[case + "/zbar"] = kernel.backward(saved.view(-1, 97, 3), bar.view(-1, 97, 3)).view(bar.shape).numpy()
    np.savez(path, **results)


def cases():
    for name in ACTIVATIONS:
        for shape, layout in LAYOUTS.items():
            for kind, dtype in DTYPES.items():
                yield f"{name}/{shape}/{kind}", name, layout, dtype


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    path = tmp_path_factory.mktemp("interpreted") / "rows.npz"
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, __file__, str(path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return np.load(path)


def assert_close(found, expected, dtype, what):
    close = 1e-14 if dtype == "float64" else 1e-5
    limit = close * np.maximum(1, np.abs(expected).max(axis=1, keepdims=True))
    assert (np.abs(found.astype(np.float64) - expected) <= limit).all(), what


@needs_triton
@every_activation
@pytest.mark.parametrize("dtype", DTYPES)
def test_interpreted_kernels_equal_the_recurrences_on_arrays(name, dtype, interpreted):
    for shape, layout in LAYOUTS.items():
        z, bar = (rows_of(layout, 291, seed).astype(dtype).astype(np.float64) for seed in (1, 2))
        for which, expected in zip(("y", "zbar"), expected_rows(name, layout, z, bar), strict=True):
            found = interpreted[f"{name}/{shape}/{dtype}/{which}"]
            assert found.dtype == dtype
            assert_close(found, expected, dtype, (shape, which))


# ---- compiled, without a GPU ----------------------------------------------------------------------------------------


@needs_triton
@every_activation
@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_compile_for_a_gpu(name, dtype, monkeypatch, tmp_path):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = TritonKernel(name, LAYOUTS["laplacian"], DTYPES[dtype])
    for function in kernel.kernels.values():
        signature = {array: f"*fp{dtype[-2:]}" for array in function.arg_names[:-1]} | {"elements": "i32"}
        source = ASTSource(fn=function, signature=signature, constexprs={})
        binary = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=triton_elementwise.OPTIONS)
        assert binary.asm["cubin"]
        wide = "f64" in binary.asm["ptx"]
        assert wide == (dtype == "float64") or name in ("sin", "cos")


@needs_triton
@pytest.mark.parametrize("elements", ["constexpr", "i64"])
def test_one_element_and_billions_of_them_compile(elements, monkeypatch, tmp_path):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    function = TritonKernel("tanh", Layout.single(2), torch.float32).kernels["forward"]
    # Triton makes an argument that equals 1 a constant of the program.
    constants = {"elements": 1} if elements == "constexpr" else {}
    source = ASTSource(fn=function, signature={"z": "*fp32", "y": "*fp32", "elements": elements}, constexprs=constants)
    assert triton.compile(source, target=GPUTarget("cuda", 80, 32), options=triton_elementwise.OPTIONS).asm["cubin"]


# ---- which backend --------------------------------------------------------------------------------------------------


@pytest.fixture
def clean_cache():
    yield compiled.triton_available.cache_clear()
    compiled.triton_available.cache_clear()


def test_without_triton_a_warning_says_so_once(monkeypatch, clean_cache, recwarn):
    monkeypatch.setattr(compiled, "find_spec", lambda name: None)
    with pytest.warns(RuntimeWarning, match=r"Triton is not installed; .*pip install triton.*'taylor'"):
        assert not compiled.triton_available()
    assert not compiled.triton_available()
    assert len(recwarn) == 0


def test_a_first_kernel_that_fails_is_reported(monkeypatch, clean_cache):
    def broken(*_):
        raise OSError("no C compiler")

    monkeypatch.setattr(compiled, "find_spec", lambda name: object())
    monkeypatch.setattr(triton_elementwise, "triton_kernel", broken)
    with pytest.warns(RuntimeWarning, match="a first kernel failed with OSError: no C compiler"):
        assert not compiled.triton_available()


@pytest.mark.parametrize("available", [True, False])
def test_networks_on_cuda_go_layerwise_where_triton_is(available, monkeypatch):
    plan = TangentProp().plan(Points(np.linspace(0, 1, 20)[:, None]), ["xx"])
    monkeypatch.setattr(compiled, "triton_available", lambda: available)
    plan.rows = SimpleNamespace(is_cuda=True, is_cpu=False, dtype=torch.float64, device="cuda:0")
    network = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    assert plan.choose(network) == ("layerwise" if available else "taylor", None)
    plan.requested = "fused"
    with pytest.raises(ValueError, match=r"'fused' expects a chain .* on the CPU .*came Sequential on cuda:0"):
        plan.choose(network)
    plan.requested = "layerwise"
    if not available:
        with pytest.raises(ValueError, match=r"'layerwise' expects .* CUDA device with Triton installed"):
            plan.choose(network)


# ---- on a GPU -------------------------------------------------------------------------------------------------------


def network_of(activation):
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(2, 24), activation(), nn.Linear(24, 24), activation(), nn.Linear(24, 1)).double()


class Sine(nn.Module):
    def forward(self, z):
        return torch.sin(z)


SMOOTH = {"tanh": nn.Tanh, "sin": Sine, "gelu": nn.GELU}
ASKED = {
    **{f"order{order}": ["x" * order] for order in range(1, 10)},
    "laplacian": ["laplacian"],
    "biharmonic": ["bilaplacian"],
}


def plane():
    return Points(np.random.default_rng(5).uniform(-1, 1, (37, 2)), axes="xy").to(dtype=torch.float64)


def partials_and_gradients(plan, network, names):
    jet = plan(network)
    loss = sum((jet[name] ** 2).mean() for name in names)
    gradients = torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)
    return [jet[name].detach() for name in names], [gradient.detach() for gradient in gradients]


@pytest.mark.cuda
@pytest.mark.parametrize("activation", SMOOTH.values(), ids=SMOOTH)
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_cuda_gives_the_partials_and_gradients_of_the_cpu(activation, asked, dtype, cuda):
    network, points = network_of(activation), plane()
    expected = partials_and_gradients(TangentProp().plan(points, asked), network, asked)
    there = network_of(activation).to(device=cuda, dtype=dtype)
    plan = TangentProp().plan(points.to(device=cuda, dtype=dtype), asked)
    found = partials_and_gradients(plan, there, asked)
    assert plan.backend == "layerwise"
    close = 1e-11 if dtype == torch.float64 else 2e-3
    for ours, theirs in zip(found, expected, strict=True):
        size = max(float(tensor.abs().max()) for tensor in theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert float((a.double().cpu() - b).abs().max()) <= close * size


@pytest.mark.cuda
@every_activation
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("elements", [1, 291, 4096])
def test_cuda_kernels_equal_the_recurrences_on_arrays(name, dtype, elements, cuda):
    for shape, layout in LAYOUTS.items():
        kernel = TritonKernel(name, layout, DTYPES[dtype])
        z, bar = (torch.from_numpy(rows_of(layout, elements, seed)).to(DTYPES[dtype]) for seed in (1, 2))
        y = kernel.forward(z.to(cuda))
        back = kernel.backward(y if kernel.activation.slope else z.to(cuda), bar.to(cuda))
        expected = expected_rows(name, layout, z.double().numpy(), bar.double().numpy())
        for found, rows in zip((y, back), expected, strict=True):
            assert_close(found.cpu().numpy(), rows, dtype, shape)


@pytest.mark.cuda
@every_activation
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_functions_lose_nothing_near_zero_nor_far_out(name, dtype, cuda):
    eps = float(torch.finfo(DTYPES[dtype]).eps)
    values = torch.tensor([1e-12, -1e-6, 1e-3, 0.3, -2.0, 5.0, -9.0, 12.0], dtype=DTYPES[dtype])
    found = TritonKernel(name, Layout(), DTYPES[dtype]).forward(values[None].to(cuda))[0].tolist()
    with mpmath.workdps(50):
        for z, y in zip(values.tolist(), found, strict=True):
            expected = PRECISE[name](mpmath.mpf(z))
            # The argument of exp(-z^2) and of erfc is rounded before; its error is magnified by z^2.
            assert abs(y - expected) <= (8 + 2 * z * z) * eps * abs(expected) + torch.finfo(DTYPES[dtype]).tiny


@pytest.mark.cuda
def test_a_step_captured_in_a_graph_replays_with_changed_parameters(cuda):
    network, names = network_of(nn.Tanh).to(cuda), ["laplacian", "x"]
    plan = TangentProp(backend="layerwise").plan(plane().to(device=cuda), names)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            partials_and_gradients(plan, network, names)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = partials_and_gradients(plan, network, names)
    for seed in (1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        graph.replay()
        eager = partials_and_gradients(plan, network, names)
        for ours, theirs in zip(captured, eager, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


if __name__ == "__main__":
    interpret(sys.argv[1])

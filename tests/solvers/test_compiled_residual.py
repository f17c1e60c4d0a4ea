"""Compiled residuals against torch: values and derivatives over all problems, refusals, edges of memory, cost."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import solvers.compiled_residual
import solvers.expressions.graph
import solvers.kernels.compiler
from solvers.affine import Affine, as_affine
from solvers.compiled_residual import CompiledResidual, compile_residual, explain
from solvers.expressions.comparison import compare
from solvers.expressions.graph import Graph, UncoveredError
from solvers.expressions.shadows import BITS, MIXED, Shadows
from solvers.expressions.trace import Signature, trace
from solvers.jet import Jet, single_partials
from solvers.problems import PROBLEMS, residual_derivatives, selfsimilar_burgers
from solvers.series import Series

SIZES = (1, 3, 8, 21)
PAIR = {"partials": 2, "components": 1, "columns": 1, "scalars": 1, "dtype": torch.float64}
EPS = {torch.float32: 1e-4, torch.float64: 1e-12}


def of_problem(problem, condition=None):
    """Return a term of the loss as a function of a stack of partials, and its signature."""
    partials = problem.partials if condition is None else condition.partials
    names, axes = single_partials(partials, problem.axes), len(problem.axes)
    normal = "n" in partials
    unknown = {c.name: Affine.unknown(c.name) for c in problem.coefficients if c.how == "eliminated"}
    trained = [c.name for c in problem.coefficients if c.how != "eliminated"]

    def function(stack, x, scalars):
        n = stack.shape[1]
        counts, normals = ((0, n, 0), x[:, axes:]) if normal else ((n, 0, 0), None)
        jet = Jet(problem.axes, dict(zip(names, stack.unbind(), strict=True)), counts, normals)
        coefficients = dict(zip(trained, scalars.unbind(), strict=True)) | unknown
        if condition is None:
            found = problem.residual(jet, x[:, :axes], coefficients)
        else:
            found = condition.residual(jet, x[:, :axes], normals, coefficients)
        parts = as_affine(found)
        return torch.cat([parts.constant, *parts.slopes.values()], dim=1)

    columns = axes * (1 + normal)
    return function, Signature(len(names), problem.components, columns, len(trained), torch.float64)


def draw(signature, n, seed=3):
    generator = torch.Generator().manual_seed(seed)
    shapes = (signature.partials, n, signature.components), (n, signature.columns), (signature.scalars,)
    return [2 * torch.randn(shape, generator=generator, dtype=torch.float64).to(signature.dtype) for shape in shapes]


def agree(compiled, function, signature, n, seed=3, arguments=None):
    """Assert that values and derivatives are torch's at random numbers, wider spread than those of the own check."""
    stack, x, scalars = draw(signature, n, seed) if arguments is None else arguments
    leaves = [stack.clone().requires_grad_(), scalars.clone().requires_grad_()]
    value = function(leaves[0], x, leaves[1])
    cotangent = torch.linspace(-1.0, 2.0, value.numel(), dtype=value.dtype).view(value.shape)
    bars = torch.autograd.grad((value * cotangent).sum(), leaves, allow_unused=True)
    bars = [torch.zeros_like(leaf) if bar is None else bar for leaf, bar in zip(leaves, bars, strict=True)]
    constants = compiled.prepare(x)
    found = compiled.forward(stack, constants, scalars), *compiled.adjoint(stack, constants, scalars, cotangent)
    for ours, theirs in zip(found, (value.detach(), *bars), strict=True):
        assert ours.shape == theirs.shape
        assert not ours.requires_grad
        assert ours.is_contiguous()
        scale = float(theirs.nan_to_num(0.0, 0.0, 0.0).abs().max()) if theirs.numel() else 0.0
        assert torch.allclose(ours, theirs, rtol=0, atol=EPS[signature.dtype] * scale, equal_nan=True)


def cases():
    problems = {name: make() for name, make in PROBLEMS.items() if name != "selfsimilar-burgers"}
    for k, how in ((0, "eliminated"), (1, "trained"), (6, "bounded")):
        problems[f"profile {k} {how}"] = selfsimilar_burgers(k, how)
    for name, problem in problems.items():
        for number, term in enumerate(("equation", *(condition.name for condition in problem.conditions))):
            yield pytest.param(name, problem, number, id=f"{name} {term}")


@pytest.mark.parametrize(("name", "problem", "number"), list(cases()))
def test_every_term_of_every_problem_has_the_values_and_derivatives_of_torch(name, problem, number):
    condition = problem.conditions[number - 1] if number else None
    function, signature = of_problem(problem, condition)
    compiled = compile_residual(function, **vars(signature))
    if condition is not None and condition.name == "data":
        # What was measured is looked up outside torch.
        assert compiled is None
        return
    assert compiled.parts == (
        2
        if name in ("advection", "allen-cahn", "inverse-allen-cahn", "kdv")
        and "periodic" in getattr(condition, "name", "")
        else 1
    )
    for n in SIZES:
        agree(compiled, function, signature, n * compiled.parts)


@pytest.mark.parametrize("k", [0, 2])
def test_single_precision_is_that_of_torch(k):
    for number in range(3):
        problem = selfsimilar_burgers(k, "trained")
        function, signature = of_problem(problem, problem.conditions[number - 1] if number else None)
        signature = replace(signature, dtype=torch.float32)
        agree(explain(function, signature), function, signature, 21)


def test_twenty_orders_of_a_cubic_are_those_of_torch():
    def cubic(jet, x, coefficients):
        return jet["xx"] + 5 * jet[""] ** 3 - x * jet[""]

    condition = residual_derivatives("all", "interior", cubic, ("", "xx"), range(1, 21))
    names = single_partials(condition.partials, ("x",))

    def function(stack, x, scalars):
        jet = Jet(("x",), dict(zip(names, stack.unbind(), strict=True)), (stack.shape[1], 0, 0))
        return condition.residual(jet, x, None, {})

    signature = Signature(len(names), 1, 1, 0, torch.float64)
    agree(explain(function, signature), function, signature, 11)


def test_components_equations_and_scalars_by_their_closed_forms():
    # r = (a u v, v^2 / b - x u), with u, v the components of one plane; a second plane is not used.
    def function(stack, x, scalars):
        u, v = stack[0].unbind(1)
        return torch.stack([scalars[0] * u * v, v**2 / scalars[1] - x[:, 0] * u], dim=1)

    compiled = compile_residual(function, partials=2, components=2, columns=1, scalars=2, dtype=torch.float64)
    n = 19
    stack, x, _ = draw(Signature(2, 2, 1, 2, torch.float64), n)
    scalars = torch.tensor([3.0, 0.5], dtype=torch.float64)
    (u, v), x_, c = stack[0].unbind(1), x[:, 0], torch.arange(2.0 * n, dtype=torch.float64).view(n, 2)
    constants = compiled.prepare(x)
    expected = torch.stack([3 * u * v, 2 * v**2 - x_ * u], dim=1)
    torch.testing.assert_close(compiled.forward(stack, constants, scalars), expected, rtol=1e-14, atol=1e-14)
    stack_bar, scalar_bar = compiled.adjoint(stack, constants, scalars, c)
    bars = torch.stack([3 * v * c[:, 0] - x_ * c[:, 1], 3 * u * c[:, 0] + 4 * v * c[:, 1]], dim=1)
    torch.testing.assert_close(stack_bar, torch.stack([bars, torch.zeros_like(bars)]), rtol=1e-13, atol=1e-13)
    slopes = torch.stack([(c[:, 0] * u * v).sum(), -(c[:, 1] * v**2 / 0.25).sum()])
    torch.testing.assert_close(scalar_bar, slopes, rtol=1e-13, atol=0)


FUNCTIONS = {
    "exp": lambda u, x, s: torch.exp(u),
    "sin": lambda u, x, s: torch.sin(u) * torch.cos(u + s),
    "tanh": lambda u, x, s: torch.tanh(u) + torch.sigmoid(s * u),
    "sqrt": lambda u, x, s: torch.sqrt(u * u + 1) + torch.log(u * u + s * s + 1),
    "atan": lambda u, x, s: torch.atan(u) + torch.expm1(u) + torch.log1p(u * u),
    "abs": lambda u, x, s: torch.abs(u) + torch.where(u > x, u * u, s * u),
    "powers": lambda u, x, s: u**3 + (u * u + 1) ** -2 + (u * u + 2) ** -0.5 + (u * u + 3).rsqrt() + u**0,
    "of points": lambda u, x, s: (
        u * torch.atan2(x, x + 3) + torch.hypot(x, x) + torch.erf(x) * x.abs() ** 1.5 + x.floor()
    ),
    "conditions on points": lambda u, x, s: (
        u * ((x > 0).to(x) - (x < 1).to(x) + (x >= 0.5) + torch.where(x <= 1, x, s))
    ),
    "of scalars": lambda u, x, s: u * torch.sin(s) + torch.exp(s) / (1 + s * s) + s**2,
    "no jet": lambda u, x, s: s * torch.ones_like(u) + 2 * torch.ones_like(x),
    "numbers": lambda u, x, s: 3 * torch.ones_like(x),
    "divisions": lambda u, x, s: u / (2 + s * s) + s / (u * u + 1) + u / 7 + 3 / (u * u + 1),
    "large numbers": lambda u, x, s: u * 1e200 - u * 1e-200,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions_of_jet_points_and_scalars(name):
    def function(stack, x, scalars):
        return torch.cat([FUNCTIONS[name](stack[0], x, scalars[0]), stack[1]], dim=1)

    signature = Signature(**PAIR)
    for n in SIZES:
        agree(explain(function, signature), function, signature, n)


def in_place(stack, x, scalars):
    result = stack[1] * 2
    result[:, 0] += 3.0
    result.addcmul_(stack[0], x, value=2.0)
    table = x.new_zeros(2, len(x), 1)
    table[0].copy_(result)
    table[1].fill_(4.0)
    return table.sum(0).mul_(scalars[0])


def moved(stack, x, scalars):
    rows = torch.cat([stack.flip(0), x[None]]).movedim(0, 1)
    windows = torch.nn.functional.pad(rows, (0, 0, 1, 0)).unfold(1, 2, 1)
    chosen = rows[:, [2, 0]].flatten(1)
    weights = torch.tensor([[1.0], [2.0], [4.0]], dtype=stack.dtype)
    return torch.cat(
        [windows.sum(-1).flatten(1) @ weights, chosen, rows.mean(1), stack.transpose(0, 1).sum((1, 2))[:, None]], 1
    )


def of_series(stack, x, scalars):
    # The products are functions of autograd, whose forward is plain code.
    # And a sum over a dimension of every row goes through vmap.
    u, y = Series(stack).sum(-1, keepdim=True), Series.variable(x, 1)
    return (u * u * y / (u * u + 1) + (u * scalars[0]).sin()).coefficients.movedim(0, 1).flatten(1)


def without_weight(stack, x, scalars):
    # Other points enter with a factor that is 0 in the code.
    return stack[0] * scalars[0] + 0.0 * stack[1].flip(0) - x


@pytest.mark.parametrize("function", [in_place, moved, of_series, without_weight])
def test_views_changes_in_place_and_custom_functions_are_followed(function):
    signature = Signature(**PAIR)
    for n in SIZES:
        agree(explain(function, signature), function, signature, n)


ELSEWHERE = torch.ones(1, dtype=torch.float64)


def pretends(stack, x, scalars):
    try:
        return stack[0] * float(scalars[0])
    except Exception:
        return stack[0]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda s, x, c: s[0] - s[0].mean(), "points are mixed"),
        (lambda s, x, c: s[0].flip(0), "points are mixed"),
        (lambda s, x, c: s[0] - x[:, 0], "points"),
        (lambda s, x, c: s[0] / len(x), "not treated alike"),
        (lambda s, x, c: s[0] * torch.rand(1, dtype=s.dtype), "not treated alike"),
        (lambda s, x, c: s[0] * torch.arange(len(x), dtype=s.dtype)[:, None], "not treated alike"),
        (lambda s, x, c: s[0] * s.detach().flatten().tolist()[0], "not treated alike"),
        (lambda s, x, c: s[0] if x[0, 0] > 0 else s[1], "into Python"),
        (lambda s, x, c: s[0] * c[0].item(), "into Python"),
        (pretends, "into Python"),
        (lambda s, x, c: s[0] * ELSEWHERE, "made elsewhere"),
        (lambda s, x, c: s[0] * torch.from_numpy(np.sin(x.numpy())), "not treated alike"),
        (lambda s, x, c: ELSEWHERE.expand(len(x), 1), "made elsewhere"),
        (lambda s, x, c: torch.special.i0(s[0]), "no rule"),
        (lambda s, x, c: (2 * s[0]).relu_(), "in place"),
        (lambda s, x, c: s[0][x[:, 0] > 0], "by values"),
        (lambda s, x, c: torch.tan(s[0]), "no rule to be differentiated"),
        (lambda s, x, c: torch.hypot(s[0], s[1]), "no rule to be differentiated"),
        (lambda s, x, c: s[0] ** c[0], "power whose base and exponent"),
        (lambda s, x, c: (s[0] * s[0] + 1) ** 0.3, "pow of the jet"),
        (lambda s, x, c: torch.div(s[0], s[1], rounding_mode="floor"), "rounded"),
        (lambda s, x, c: s[0].detach() * s[1], "differ"),
        (lambda s, x, c: s[0].long().double(), "int64"),
        (lambda s, x, c: s[0] * torch.tensor(2.0 + 1.0j).abs(), "complex"),
        (lambda s, x, c: (s[0].float() * 2).double(), "float32"),
        (lambda s, x, c: s[0] / 0.0, "no finite values"),
        (lambda s, x, c: s[0][:, 0], "no torch.float64 tensor"),
        (lambda s, x, c: 3.0, "no torch.float64 tensor"),
        (lambda s, x, c: s[0][:, :0], "no torch.float64 tensor"),
        (lambda s, x, c: s[5], "IndexError"),
        (lambda s, x, c: s[0].view(len(x) % 9, -1).reshape(-1, 1), "at 9 points"),
        (lambda s, x, c: s[0][:1], "1 rows"),
    ],
)
def test_what_is_not_covered_stays_with_torch_and_says_why(function, reason):
    assert compile_residual(function, **PAIR) is None
    with pytest.raises(UncoveredError, match=reason):
        explain(function, Signature(**PAIR))


def test_a_residual_that_would_take_long_to_compile_stays_with_torch(monkeypatch):
    monkeypatch.setattr(solvers.expressions.graph, "LARGEST", 100)

    def function(stack, x, scalars):
        return sum((torch.sin(k * stack[0]) for k in range(50)), stack[1])

    with pytest.raises(UncoveredError, match="more than 100 different expressions"):
        explain(function, Signature(**PAIR))


def test_other_types_and_a_missing_compiler_leave_it_to_torch(monkeypatch):
    def function(stack, x, scalars):
        return stack[0]

    assert compile_residual(function, **{**PAIR, "dtype": torch.float16}) is None
    monkeypatch.setattr(solvers.compiled_residual, "compiler_available", lambda: False)
    assert compile_residual(function, **PAIR) is None


def test_inf_and_nan_are_those_of_torch():
    def function(stack, x, scalars):
        return torch.cat(
            [stack[0] / stack[1], stack[1] * stack[1] / x, torch.sqrt(stack[0]), torch.exp(stack[1])], dim=1
        )

    signature = Signature(**PAIR)
    special = torch.tensor([0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e308, 800.0, -800.0], dtype=torch.float64)
    grid = torch.cartesian_prod(special, special)
    arguments = grid.T[:, :, None].contiguous(), grid[:, :1].contiguous(), torch.ones(1, dtype=torch.float64)
    compiled, cotangent = explain(function, signature), torch.ones(len(grid), 4, dtype=torch.float64)
    stack = arguments[0].clone().requires_grad_()
    value = function(stack, *arguments[1:])
    (bar,) = torch.autograd.grad((value * cotangent).sum(), stack)
    constants = compiled.prepare(arguments[1])
    ours = compiled.forward(arguments[0], constants, arguments[2])
    torch.testing.assert_close(ours, value.detach(), rtol=1e-14, atol=0, equal_nan=True)
    found, _ = compiled.adjoint(arguments[0], constants, arguments[2], cotangent)
    finite = torch.isfinite(bar)
    torch.testing.assert_close(found[finite], bar[finite], rtol=1e-13, atol=0)
    assert not torch.isfinite(found[~finite]).any()


def test_equal_expressions_are_compiled_once_and_others_anew():
    def times(factor):
        return lambda stack, x, scalars: stack[0] * factor + torch.sin(x)

    first = compile_residual(times(2.0), **PAIR)
    assert compile_residual(times(2.0), **PAIR) is first
    assert compile_residual(times(3.0), **PAIR) is not first
    assert compile_residual(times(2.0), **{**PAIR, "dtype": torch.float32}) is not first


def test_no_more_than_so_many_are_kept(monkeypatch):
    monkeypatch.setattr(solvers.compiled_residual, "_COMPILED", {})
    monkeypatch.setattr(solvers.compiled_residual, "KEPT", 2)
    for factor in (2.0, 3.0, 5.0):
        compile_residual(lambda stack, x, scalars, factor=factor: stack[0] * factor, **PAIR)
    assert len(solvers.compiled_residual._COMPILED) == 2


def test_what_depends_on_points_alone_is_computed_beforehand():
    def function(stack, x, scalars):
        return stack[1] + 4 * torch.sin(3 * x) * stack[0] - torch.exp(x) * torch.cos(x)

    compiled = compile_residual(function, **PAIR)
    x = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    expected = {
        tuple((4 * torch.sin(3 * x)).flatten().tolist()),
        tuple((torch.exp(x) * torch.cos(x)).flatten().tolist()),
    }
    assert {tuple(row) for row in compiled.prepare(x).tolist()} == expected


@pytest.mark.parametrize("n", [1, 7, 8, 9, 17])
def test_nothing_behind_the_last_row_is_touched(n):
    def function(stack, x, scalars):
        return torch.cat([stack[0] * x + scalars[0], stack[1]], dim=1)

    for width in (1, 2):
        compiled = compile_residual(lambda s, x, c, width=width: function(s, x, c)[:, :width], **PAIR)
        stack, x, scalars = draw(Signature(**PAIR), n)
        out = torch.full((n * width + 16,), 77.0, dtype=torch.float64)
        bars = torch.full((2 * n + 16,), 77.0, dtype=torch.float64)
        scalar_bars, cotangent = torch.full((9,), 77.0, dtype=torch.float64), torch.ones(n, width, dtype=torch.float64)
        inputs = stack, compiled.prepare(x), scalars
        compiled._forward(*(t.data_ptr() for t in (*inputs, out)), n)
        compiled._adjoint(*(t.data_ptr() for t in (*inputs, cotangent, bars, scalar_bars)), n)
        assert (out[n * width :] == 77).all()
        assert (bars[2 * n :] == 77).all()
        assert (scalar_bars[1:] == 77).all()
        expected = function(stack, x, scalars)[:, :width]
        torch.testing.assert_close(out[: n * width].view(n, width), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("lanes", [2, 4])
def test_processors_with_narrower_vectors_compute_the_same(lanes, monkeypatch):
    host = solvers.kernels.compiler.host()
    narrow = replace(host, vector_bytes=8 * lanes)
    monkeypatch.setattr(solvers.kernels.compiler, "host", lambda: narrow)
    problem = selfsimilar_burgers(1, "trained")
    function, signature = of_problem(problem, problem.conditions[1])
    compiled = CompiledResidual(trace(function, signature), signature)
    for n in (1, 5, 8):
        agree(compiled, function, signature, n)


def test_no_points_are_no_rows():
    compiled = compile_residual(lambda stack, x, scalars: stack[0] * scalars[0] + torch.sin(x), **PAIR)
    stack, x, scalars = draw(Signature(**PAIR), 0)
    constants = compiled.prepare(x)
    assert compiled.forward(stack, constants, scalars).shape == (0, 1)
    stack_bar, scalar_bar = compiled.adjoint(stack, constants, scalars, x)
    assert stack_bar.shape == stack.shape
    assert scalar_bar.tolist() == [0.0]


def test_arguments_that_are_not_contiguous_are_taken_as_they_are_meant():
    compiled = compile_residual(lambda stack, x, scalars: stack[0] * scalars[0] + stack[1] * x, **PAIR)
    stack, x, scalars = draw(Signature(**PAIR), 10)
    constants, cotangent = compiled.prepare(x), torch.ones(1, 10, dtype=torch.float64).T
    turned = stack.movedim(0, -1).contiguous().movedim(-1, 0)
    assert not turned.is_contiguous()
    assert torch.equal(compiled.forward(turned, constants, scalars), compiled.forward(stack, constants, scalars))
    for ours, expected in zip(
        compiled.adjoint(turned, constants, scalars, cotangent.expand(10, 1)),
        compiled.adjoint(stack, constants, scalars, cotangent.contiguous()),
        strict=True,
    ):
        assert torch.equal(ours, expected)


def test_arguments_of_other_shapes_and_types_are_refused():
    compiled = compile_residual(lambda stack, x, scalars: stack[0] * scalars[0] + torch.sin(x), **PAIR)
    stack, x, scalars = draw(Signature(**PAIR), 6)
    constants, cotangent = compiled.prepare(x), torch.ones(6, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"expected points \(n, 1\).*came \(6, 2\).*give those of the plan"):
        compiled.prepare(x.expand(6, 2))
    with pytest.raises(ValueError, match=r"float32.*give those of the plan"):
        compiled.prepare(x.float())
    wrong = [
        (stack[:, :5], constants, scalars),
        (stack[:1], constants, scalars),
        (stack.float(), constants, scalars),
        (stack, constants.float(), scalars),
        (stack, constants[:0], scalars),
        (stack, constants.expand(1, 6)[:, ::2], scalars),
        (stack, constants, scalars[:0]),
        (stack, constants, scalars.float()),
        (stack.to("meta"), constants, scalars),
    ]
    for arguments in wrong:
        with pytest.raises(ValueError, match="prepare the points of this stack"):
            compiled.forward(*arguments)
        with pytest.raises(ValueError, match="prepare the points of this stack"):
            compiled.adjoint(*arguments, cotangent)
    for other in (cotangent[:5], cotangent.float(), cotangent.to("meta")):
        with pytest.raises(ValueError, match="give one of the residual's shape"):
            compiled.adjoint(stack, constants, scalars, other)


def test_the_comparison_finds_a_twin_that_is_wrong_in_any_of_three():
    def function(stack, x, scalars):
        return stack[0] * scalars[0] + stack[1]

    signature = Signature(**PAIR)
    compiled = explain(function, signature)
    for which in range(3):

        def twin(*arguments, which=which):
            found = list(compiled._all(*arguments))
            found[which] = found[which] * (1 + 1e-10)
            return found

        with pytest.raises(UncoveredError, match="differ"):
            compare(twin, function, signature, 1)
    compare(compiled._all, function, signature, 1)


def test_a_graph_folds_numbers_and_finds_what_it_has():
    graph = Graph()
    u, v = graph.leaf("stack", 0, 0), graph.leaf("stack", 1, 0)
    assert graph.apply("add", u, v) == graph.apply("add", v, u)
    assert graph.apply("mul", u, graph.zero) == graph.zero
    assert graph.apply("sub", graph.zero, graph.apply("neg", u)) == u
    assert graph.apply("mul", graph.minus_one, graph.apply("neg", u)) == u
    assert graph.value(graph.apply("div", graph.one, graph.zero)) == math.inf
    assert graph.constant(math.nan) == graph.constant(float("nan"))
    assert graph.nodes[graph.apply("div", u, graph.constant(4.0))] == ("mul", u, graph.constant(0.25))
    assert graph.nodes[graph.apply("div", u, graph.constant(1e-300))][0] == "div"
    other = Graph()
    other.constant(17.0)
    w, z = other.leaf("stack", 0, 0), other.leaf("stack", 1, 0)
    assert graph.key([graph.apply("sub", u, v)]) == other.key([other.apply("sub", w, z)])
    assert graph.key([graph.apply("sub", u, v)]) != other.key([other.apply("sub", z, w)])


def test_numbers_of_two_points_belong_to_neither():
    graph = Graph()
    shadows = Shadows(graph, torch.float64)
    u = graph.leaf("stack", 0, 0) << BITS
    first, second, none = u | 1, u | 2, graph.leaf("scalar", 0) << BITS
    rows = (
        shadows.apply("add", torch.tensor([first, first, first, none]), torch.tensor([first, second, none, none]))
        & MIXED
    )
    assert rows.tolist() == [1, MIXED, 1, 0]
    assert int(shadows.sum(torch.tensor([first, second]), [], False)) & MIXED == MIXED


def test_tracing_does_not_make_torch_import_its_own_compiler():
    code = (
        "import sys, torch; from solvers.compiled_residual import compile_residual\n"
        "made = compile_residual(lambda s, x, c: s[0] * s[1] + torch.sin(x), partials=2, components=1, columns=1,"
        " scalars=0, dtype=torch.float64)\n"
        "assert made is not None; print([name for name in ('sympy', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

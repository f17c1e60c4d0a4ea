"""Truncated Taylor series: functions to 50 digits, exact algebra, layouts, gradients, modules called with a series."""

import copy
import math
import operator
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

from solvers import functions
from solvers.layout import Group, Layout
from solvers.series import Series
from solvers.series import functions as taylor_functions
from solvers.series import products as taylor_products
from solvers.series.algebra import Algebra

ORDER = 9
F64, F32 = torch.float64, torch.float32

mpmath.mp.dps = 50


def sigmoid(z):
    return 1 / (1 + mpmath.exp(-z))


def gelu_tanh(z):
    return z / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (z + mpmath.mpf(0.044715) * z**3)))


# Function -> the same in mpmath, and whether it is defined for positive values only.
CASES = {
    "exp": (mpmath.exp, False),
    "expm1": (mpmath.expm1, False),
    "log": (mpmath.log, True),
    "log1p": (mpmath.log1p, True),
    "sqrt": (mpmath.sqrt, True),
    "rsqrt": (lambda z: 1 / mpmath.sqrt(z), True),
    "reciprocal": (lambda z: 1 / z, True),
    "sin": (mpmath.sin, False),
    "cos": (mpmath.cos, False),
    "tan": (mpmath.tan, True),
    "sinh": (mpmath.sinh, False),
    "cosh": (mpmath.cosh, False),
    "tanh": (mpmath.tanh, False),
    "sigmoid": (sigmoid, False),
    "softplus": (lambda z: mpmath.log1p(mpmath.exp(z)), False),
    "silu": (lambda z: z * sigmoid(z), False),
    "gelu": (lambda z: z * mpmath.ncdf(z), False),
    "gelu_tanh": (gelu_tanh, False),
    "atan": (mpmath.atan, False),
    "erf": (mpmath.erf, False),
    "gaussian": (lambda z: mpmath.exp(-z * z), False),
    "square": (lambda z: z * z, False),
    "cube": (lambda z: z**3, False),
    "power": (lambda z: z ** mpmath.mpf(1.7), True),
    "inverse_cube": (lambda z: z**-3, True),
    "exponential": (lambda z: mpmath.mpf(2.5) ** z, False),
    "steep": (lambda z: mpmath.log1p(mpmath.exp(3 * z)) / 3, False),
}
SPECIAL = {
    "gelu_tanh": lambda z: z.gelu(approximate="tanh"),
    "cube": lambda z: z**3,
    "power": lambda z: z**1.7,
    "inverse_cube": lambda z: z**-3,
    "exponential": lambda z: 2.5**z,
    "steep": lambda z: z.softplus(beta=3.0),
}


def function_of(name):
    return SPECIAL.get(name) or operator.methodcaller(name)


def inputs_of(positive, dtype, order=ORDER, points=5):
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(order + 1, points, 1, generator=generator, dtype=F64) / 2
    z[0, :, 0] = torch.linspace(0.8, 2.5, points) if positive else torch.linspace(-2.6, 2.9, points)
    return z.to(dtype)


def exact(function, z):
    columns = z.flatten(1).T.tolist()
    rows = [mpmath.taylor(lambda t, c=c: function(mpmath.polyval(c[::-1], t)), 0, len(z) - 1) for c in columns]
    return torch.tensor([[float(value) for value in row] for row in rows], dtype=F64).T.reshape(z.shape)


def error(result, expected):
    """Largest deviation of any order, in units of the largest coefficient of that order over the points."""
    result, expected = result.detach().to(F64).flatten(1), expected.flatten(1)
    scale = expected.abs().amax(1).clamp(min=1e-300)
    return ((result - expected).abs().amax(1) / scale).max().item()


@pytest.mark.parametrize("name", CASES)
def test_functions_agree_with_fifty_digits(name):
    reference, positive = CASES[name]
    for dtype, bound in ((F64, 1e-14), (F32, 2e-6)):
        z = inputs_of(positive, dtype)
        result = function_of(name)(Series(z))
        assert result.dtype == dtype
        assert error(result.coefficients, exact(reference, z.to(F64))) < bound


@pytest.mark.parametrize("name", sorted({"tanh", "sigmoid", "softplus", "gelu", "silu", "erf", "atan", "gaussian"}))
def test_order_zero_is_right_far_out(name):
    z = torch.tensor([-700.0, -45.0, -21.0, 0.0, 21.0, 45.0, 700.0], dtype=F64)
    coefficients = torch.stack([z, torch.ones_like(z), torch.zeros_like(z), torch.zeros_like(z)])
    result = function_of(name)(Series(coefficients))
    expected = torch.tensor([float(CASES[name][0](mpmath.mpf(value))) for value in z.tolist()], dtype=F64)
    # Rounding of the argument alone is z^2 eps/2 in the tail of a normal distribution.
    torch.testing.assert_close(result.value, expected, rtol=1e-13, atol=1e-300)
    assert result.coefficients.isfinite().all()


@pytest.mark.parametrize("name", ["tanh", "sin", "cos", "sigmoid", "gelu", "silu"])
def test_order_thirty_stays_finite_in_single_precision(name):
    x = Series.variable(torch.linspace(-3, 3, 7)[:, None], 30)
    assert function_of(name)(2 * x).coefficients.isfinite().all()
    assert function_of(name)(2 * x).coefficients[25:].any()


def test_plain_values_are_torch_s_own():
    z = torch.linspace(-4, 4, 9)
    for name in ("exp", "expm1", "sin", "cos", "tanh", "sigmoid", "atan", "erf"):
        assert torch.equal(function_of(name)(Series(z[None])).value, getattr(torch, name)(z))


rational = st.lists(st.integers(-4, 4).map(lambda k: k / 2), min_size=4, max_size=4)


def scalar(coefficients):
    return Series(torch.tensor(coefficients, dtype=F64)[:, None])


@given(a=rational, b=rational, n=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_products_and_powers_of_dyadic_numbers_are_exact(a, b, n):
    def times(p, q):
        return [sum((p[j] * q[k - j] for j in range(k + 1)), Fraction(0)) for k in range(4)]

    fa, fb = [Fraction(v) for v in a], [Fraction(v) for v in b]
    assert (scalar(a) * scalar(b)).coefficients.flatten().tolist() == times(fa, fb)
    power = [Fraction(1), *[Fraction(0)] * 3]
    for _ in range(n):
        power = times(power, fa)
    assert (scalar(a) ** n).coefficients.flatten().tolist() == power
    assert (scalar(a) ** float(n)).coefficients.flatten().tolist() == power
    assert (scalar(a) + scalar(b) - 2 * scalar(a)).coefficients.flatten().tolist() == [
        y - x for x, y in zip(fa, fb, strict=True)
    ]


@given(a=rational, b=rational, lead=st.sampled_from([-2.0, -0.5, 1.0, 4.0]))
@settings(max_examples=40, deadline=None)
def test_quotients_undo_products(a, b, lead):
    divisor = scalar([lead, *b[1:]])
    quotient = scalar(a) / divisor
    back = (quotient * divisor).coefficients.flatten()
    torch.testing.assert_close(back, torch.tensor(a, dtype=F64), rtol=0, atol=1e-12 * quotient.coefficients.abs().max())
    torch.testing.assert_close(
        (divisor**-2).coefficients, (1 / (divisor * divisor)).coefficients, rtol=1e-11, atol=1e-9
    )


def test_powers_of_zero_and_of_negative_values():
    x = Series.variable(torch.zeros(1, 1, dtype=F64), 4)
    for n in range(6):
        assert (x**n).coefficients.flatten().tolist() == [float(k == n) for k in range(5)]
    x = Series.variable(torch.full((1, 1), -2.0, dtype=F64), 3)
    torch.testing.assert_close((x**-1).derivatives().flatten(), torch.tensor([-1 / 2, -1 / 4, -2 / 8, -6 / 16]).to(F64))
    torch.testing.assert_close((x**-2).derivatives().flatten(), torch.tensor([1 / 4, 2 / 8, 6 / 16, 24 / 32]).to(F64))
    assert (x**0.5).coefficients.isnan().all()
    square = x ** torch.tensor(2)
    assert square.coefficients.flatten().tolist() == [4.0, -4.0, 1.0, 0.0]


def test_exponents_that_are_tensors_or_series():
    x = Series.variable(torch.tensor([[1.5], [2.0]], dtype=F64), 4)
    p = torch.tensor([[0.3], [2.2]], dtype=F64, requires_grad=True)
    result = x**p
    for i, exponent in enumerate(p.flatten().tolist()):
        torch.testing.assert_close(result[i].coefficients, (x**exponent)[i].coefficients)
    torch.testing.assert_close((x**x).coefficients, (x * x.log()).exp().coefficients)
    torch.testing.assert_close((p**x).coefficients, (x * p.log()).exp().coefficients)
    (slope,) = torch.autograd.grad(result.value.sum(), p)
    torch.testing.assert_close(slope, x.value.log() * x.value**p)


# Layouts.

LAYOUTS = {
    "two": Layout((Group(2, 3),)),
    "collapsed": Layout((Group(3, 2, collapsed=True),)),
    "collapsed four": Layout((Group(3, 4, collapsed=True),)),
    "one collapsed": Layout((Group(1, 3, collapsed=True),)),
    "mixed": Layout((Group(2, 3, collapsed=True), Group(1, 1), Group(2, 2))),
    "value": Layout(),
}


def expected_rows(layout, by_direction):
    """Rows of a layout, put together from one series a direction."""
    rows, first = [by_direction(0, 0).value], 0
    for group in layout.groups:
        series = [by_direction(first + v, group.order) for v in range(group.directions)]
        for k in range(1, group.order + 1):
            order = [s.coefficients[k] for s in series]
            rows += [sum(order)] if group.collapsed and k == group.order else order
        first += group.directions
    return torch.stack(rows)


EXPRESSIONS = [
    lambda x: (x[:, :1] * x[:, 1:]).tanh() * x,
    lambda x: x.sin() / (2 + x.cos()) ** 2,
    lambda x: torch.cat([x.exp(), x.square().sum(-1, keepdim=True)], -1).sigmoid(),
    lambda x: (1 + x * x).log() ** 1.5 - x.gelu(),
    lambda x: (x @ torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=F64)).softmax(-1),
]


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_layout_is_its_directions_one_at_a_time(name, expression):
    layout = LAYOUTS[name]
    points = torch.randn(4, 2, dtype=F64)
    directions = torch.randn(layout.directions(), 2, dtype=F64)
    result = expression(Series.along(points, directions, layout))
    assert result.layout == layout

    def single(direction, order):
        return expression(Series.variable(points, order, directions[direction] if order else (1.0, 0.0)))

    expected = expected_rows(layout, single)
    torch.testing.assert_close(result.coefficients, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["collapsed four", "mixed"])
def test_gradients_of_a_layout_are_those_of_its_directions(name):
    layout = LAYOUTS[name]
    points, directions = torch.randn(3, 2, dtype=F64), torch.randn(layout.directions(), 2, dtype=F64)
    weight = torch.randn(2, 2, dtype=F64, requires_grad=True)
    probe = torch.randn(layout.rows, 3, 2, dtype=F64)

    def network(x):
        return x.linear(weight).tanh().linear(weight).sin()

    rows = expected_rows(layout, lambda v, n: network(Series.variable(points, n, directions[v])))
    (expected,) = torch.autograd.grad((rows * probe).sum(), weight)
    loss = (network(Series.along(points, directions, layout)).coefficients * probe).sum()
    (result,) = torch.autograd.grad(loss, weight)
    torch.testing.assert_close(result, expected, rtol=1e-11, atol=1e-11)


def test_laplacian_by_a_collapsed_layout():
    layout = Layout((Group(3, 2, collapsed=True),))
    points = torch.randn(5, 3, dtype=F64)
    x = Series.along(points, torch.eye(3, dtype=F64), layout)
    u = x.sin().sum(-1) * (x[:, 0] * x[:, 1]).exp()
    hessian = torch.func.vmap(torch.func.hessian(lambda p: p.sin().sum() * (p[0] * p[1]).exp()))(points)
    torch.testing.assert_close(u.derivatives()[-1], hessian.diagonal(dim1=1, dim2=2).sum(1))


# Gradients.


@pytest.mark.parametrize("name", taylor_functions.FUNCTIONS)
def test_first_and_second_gradients_of_functions(name):
    z = (torch.rand(4, 2, dtype=F64) / 2 + 0.7).requires_grad_()
    parameters = (1.7,) if name == "power" else ()

    def function(z):
        return taylor_functions.apply(name, z, *parameters)

    assert gradcheck(function, (z,))
    assert gradgradcheck(function, (z,))


@pytest.mark.parametrize(
    "function",
    [
        taylor_products.product,
        taylor_products.correlate,
        lambda a, b: (Series(a) / (3 + Series(b))).coefficients,
        lambda a, b: (Series(a)[:, :1] * Series(b) + Series(b) ** 2).coefficients,
        lambda a, b: (Series(a).compose(Series(b))).coefficients,
    ],
)
def test_first_and_second_gradients_of_products(function):
    a, b = torch.randn(2, 4, 2, 2, dtype=F64).requires_grad_().unbind()
    assert gradcheck(function, (a, b))
    assert gradgradcheck(function, (a, b))


@pytest.mark.parametrize("name", [*LAYOUTS, "long"])
def test_products_and_adjoints_in_any_layout(name):
    layout = LAYOUTS.get(name, Layout.single(13))
    algebra = Algebra.of(layout)
    a, b, y = torch.randn(3, layout.rows, 4, dtype=F64).unbind()
    torch.testing.assert_close(algebra.product(a, b), algebra.product(b, a))
    torch.testing.assert_close((algebra.product(a, b) * y).sum(0), (algebra.correlate(a, y) * b).sum(0))
    constant = torch.cat([torch.full_like(a[:1], 0.25), torch.zeros_like(a[1:])])
    expected = constant + 3 * a - 2 * algebra.product(a, a)
    torch.testing.assert_close(algebra.square(a, -2.0, 0.25, 3.0), expected)
    if name == "long":
        short = Algebra.single(6)
        torch.testing.assert_close(algebra.product(a, b)[:6], short.product(a[:6], b[:6]))


@pytest.mark.parametrize("name", ["collapsed four", "mixed"])
def test_gradients_and_tangents_of_functions_and_products_in_any_layout(name):
    layout = LAYOUTS[name]
    z, w, v = (torch.rand(3, layout.rows, 2, dtype=F64) / 2 + 0.7).unbind()
    z.requires_grad_()
    for function in ("tanh", "sigmoid", "sin", "reciprocal", "sqrt", "log", "gelu"):

        def apply(z, function=function):
            return taylor_functions.apply(function, z, layout=layout)

        assert gradcheck(apply, (z,))
        assert gradgradcheck(apply, (z,), atol=1e-4)
        pushed = torch.func.jvp(lambda z, f=apply: torch.func.jvp(f, (z,), (v,))[1], (z.detach(),), (v,))[1]
        pulled = torch.autograd.functional.jvp(
            lambda z, f=apply: torch.autograd.functional.jvp(f, (z,), (v,), create_graph=True)[1], (z,), (v,)
        )[1]
        torch.testing.assert_close(pushed, pulled, rtol=1e-9, atol=1e-9)
    for multiply in (taylor_products.product, taylor_products.correlate):
        assert gradcheck(lambda z, w, f=multiply: f(z, w, layout), (z, w.requires_grad_()))
        assert gradgradcheck(lambda z, w, f=multiply: f(z, w, layout), (z, w))
        with torch.no_grad():
            bare = multiply(z, w, layout)
        assert torch.equal(bare, multiply(z, w, layout))


@pytest.mark.parametrize("name", LAYOUTS)
def test_backward_passes_in_batches_are_those_one_at_a_time(name):
    layout = LAYOUTS[name]
    c = (torch.rand(layout.rows, 2, 2, dtype=F64) / 2 + 0.7).requires_grad_()
    w, b = torch.randn(2, 2, dtype=F64, requires_grad=True), torch.randn(2, dtype=F64, requires_grad=True)
    z = Series(c, layout)
    result = (z.linear(w, b).tanh() * z.sin() + z.gelu() / z).sigmoid().coefficients
    probes = torch.randn(3, *result.shape, dtype=F64)
    together = torch.autograd.grad(result, (c, w, b), probes, is_grads_batched=True, retain_graph=True)
    for i, probe in enumerate(probes):
        alone = torch.autograd.grad(result, (c, w, b), probe, retain_graph=True)
        for mine, theirs in zip(together, alone, strict=True):
            torch.testing.assert_close(mine[i], theirs)


def affine(rows, weight, bias=None):
    return taylor_products.affine(rows, weight, bias)


@pytest.mark.parametrize("bias", [True, False])
def test_first_and_second_gradients_of_the_linear_map(bias):
    c, w, b = (torch.randn(*shape, dtype=F64, requires_grad=True) for shape in ((3, 4, 2), (5, 2), (5,)))
    operands = (c, w, b)[: 2 + bias]
    assert gradcheck(affine, operands)
    assert gradgradcheck(affine, operands)
    assert gradcheck(lambda c, *p: affine(c[:, 0], *p), operands)


def network_of(c, w, b):
    z = Series(c).linear(w, b)
    return (z.tanh() * z.sin() + z.gelu() / (2 + z.cos())).linear(w.T).coefficients


def test_forward_mode_agrees_with_reverse_mode_also_when_nested():
    shapes = ((4, 3, 2), (5, 2), (5,))
    operands, tangents = ([torch.randn(*shape, dtype=F64) for shape in shapes] for _ in range(2))

    def reverse(*operands):
        return torch.autograd.functional.jvp(network_of, operands, tuple(tangents), create_graph=True)[1]

    def forward(*operands):
        return torch.func.jvp(network_of, operands, tuple(tangents))[1]

    torch.testing.assert_close(forward(*operands), reverse(*operands))
    second = torch.func.jvp(forward, tuple(operands), tuple(tangents))[1]
    expected = torch.autograd.functional.jvp(reverse, tuple(operands), tuple(tangents))[1]
    torch.testing.assert_close(second, expected, rtol=1e-9, atol=1e-9)
    mixed = torch.func.grad(lambda w: forward(operands[0], w, operands[2]).sum())(operands[1])
    w = operands[1].clone().requires_grad_()
    torch.testing.assert_close(mixed, torch.autograd.grad(reverse(operands[0], w, operands[2]).sum(), w)[0])


@pytest.mark.parametrize("name", taylor_functions.FUNCTIONS)
def test_second_forward_derivatives_of_functions(name):
    z, v = torch.rand(3, 2, dtype=F64) / 2 + 0.7, torch.randn(3, 2, dtype=F64)
    parameters = (1.7,) if name == "power" else ()

    def forward(z):
        return torch.func.jvp(lambda z: taylor_functions.apply(name, z, *parameters), (z,), (v,))[1]

    second = torch.func.jvp(forward, (z,), (v,))[1]
    h = 1e-5
    torch.testing.assert_close(second, (forward(z + h * v) - forward(z - h * v)) / (2 * h), rtol=1e-6, atol=1e-6)


def test_one_operand_of_a_product_may_be_constant_for_forward_mode():
    a, b, v = torch.randn(3, 4, 2, dtype=F64).unbind()
    for function in (taylor_products.product, taylor_products.correlate):
        for tangent, first in ((lambda f, a: f(a, b), True), (lambda f, x: f(a, x), False)):
            result = torch.func.jvp(lambda x, t=tangent, f=function: t(f, x), (a if first else b,), (v,))[1]
            torch.testing.assert_close(result, function(v, b) if first else function(a, v))


def test_batches_by_vmap():
    c, w, b = torch.randn(3, 4, 5, 2, dtype=F64), torch.randn(6, 2, dtype=F64), torch.randn(3, 6, dtype=F64)
    for in_dims, operands in (
        ((0, None, 0), (c, w, b)),
        ((None, None, 0), (c[0], w, b)),
        ((1, None, None), (c, w, b[0])),
    ):
        result = torch.func.vmap(network_of, in_dims)(*operands)
        for i, row in enumerate(result):
            one = [t.select(d, i) if d is not None else t for t, d in zip(operands, in_dims, strict=True)]
            torch.testing.assert_close(row, network_of(*one))
    per_sample = torch.func.vmap(torch.func.grad(lambda c: network_of(c, w, b[0]).square().sum()))(c)
    for i in range(3):
        one = c[i].clone().requires_grad_()
        torch.testing.assert_close(per_sample[i], torch.autograd.grad(network_of(one, w, b[0]).square().sum(), one)[0])


# Expressions at random.

leaves = st.one_of(st.just(lambda x: x), st.integers(-3, 3).map(lambda c: lambda x: 0 * x + c / 2))
unary = [functions.sin, functions.cos, functions.tanh, lambda u: u * u, lambda u: -u, lambda u: functions.exp(-u * u)]
unary += [
    lambda u: functions.sqrt(2 + functions.sin(u)),
    lambda u: functions.log(2 + u * u),
    lambda u: (1 + u * u) ** -1.5,
]
binary = [operator.add, operator.sub, operator.mul, lambda a, b: a / (2 + b * b), lambda a, b: 1 - a * b / 2]
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(unary), inner).map(lambda t: lambda x: t[0](t[1](x))),
        st.tuples(st.sampled_from(binary), inner, inner).map(lambda t: lambda x: t[0](t[1](x), t[2](x))),
    ),
    max_leaves=5,
)


def nested(function, points, order, direction):
    """Derivatives along a direction by nested automatic differentiation."""
    t = torch.zeros(len(points), 1, dtype=points.dtype, requires_grad=True)
    value = function(points + t * direction)
    columns = value.reshape(len(points), -1).unbind(1)
    rows = [value]
    for _ in range(order):
        columns = [
            torch.autograd.grad(c.sum(), t, create_graph=True, materialize_grads=True, allow_unused=True)[0]
            if c.requires_grad
            else torch.zeros_like(t)
            for c in columns
        ]
        rows.append(torch.cat(columns, 1).view_as(value))
        columns = [c.flatten() for c in columns]
    return torch.stack(rows)


@given(tree=trees)
@settings(max_examples=40, deadline=None)
def test_random_expressions_agree_with_nested_differentiation(tree):
    points = torch.linspace(-1, 1, 5, dtype=F64)[:, None]
    expected = nested(tree, points, 3, torch.ones(1, dtype=F64)).detach()
    result = tree(Series.variable(points, 3)).derivatives()
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max() + 1))


# NaN and infinity.


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", CASES)
def test_what_is_not_finite_stays_in_its_point(name, bad):
    z = inputs_of(CASES[name][1], F64, order=4)
    clean = function_of(name)(Series(z)).coefficients
    for row in (0, 2):
        spoilt = z.clone()
        spoilt[row, 2] = bad
        result = function_of(name)(Series(spoilt)).coefficients
        others = [0, 1, 3, 4]
        assert torch.equal(result[:, others], clean[:, others])
    if math.isnan(bad):
        spoilt = z.clone()
        spoilt[0, 2] = bad
        assert function_of(name)(Series(spoilt)).coefficients[0, 2].isnan().all()


def test_a_point_that_is_not_finite_stays_alone_in_a_network():
    network = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 1))
    points = torch.randn(6, 2)
    clean = network(Series.variable(points, 3, (1.0, 0.5))).coefficients
    points[4, 1] = math.nan
    spoilt = network(Series.variable(points, 3, (1.0, 0.5))).coefficients
    assert spoilt[:, 4].isnan().all()
    others = [0, 1, 2, 3, 5]
    torch.testing.assert_close(spoilt[:, others], clean[:, others], rtol=1e-6, atol=1e-7)


# Along one direction.


def test_the_derivative_of_a_series_is_a_series():
    x = Series.variable(torch.randn(4, 1, dtype=F64), 5)
    slope = x.sin().d()
    assert slope.order == 4
    torch.testing.assert_close(slope.coefficients, x.truncate(4).cos().coefficients)
    torch.testing.assert_close(x.tanh().d().d().derivatives(), x.tanh().derivatives()[2:])


def test_a_residual_is_a_series():
    """u u' of u = sin has the derivatives of sin(2x)/2, with no further differentiation."""
    x = Series.variable(torch.randn(4, 1, dtype=F64), 6)
    u = x.sin()
    residual = u * u.d()
    assert residual.order == 5
    torch.testing.assert_close(residual.derivatives(), ((2 * x).sin() / 2).derivatives()[:6])


def test_composition():
    x = Series.variable(torch.randn(4, 1, dtype=F64), 6)
    inner = x.sin() * 2 + x * x
    outer = Series.variable(inner.value, 6).tanh()
    torch.testing.assert_close(outer.compose(inner).coefficients, inner.tanh().coefficients)
    assert outer.truncate(3).compose(inner).order == 3
    assert outer.compose(inner.truncate(2)).order == 2
    assert torch.equal(outer.compose(inner.truncate(0)).value, outer.value)


def test_series_of_different_orders_meet_at_the_lower():
    x = Series.variable(torch.randn(4, 1, dtype=F64), 5)
    for combine in (operator.add, operator.sub, operator.mul, operator.truediv):
        result = combine(x.exp(), x.truncate(2).cos())
        assert result.order == 2
        torch.testing.assert_close(result.coefficients, combine(x.exp(), x.cos()).coefficients[:3])


def test_the_elementary_functions_take_a_series():
    x = Series.variable(torch.rand(3, 1, dtype=F64) + 0.5, 3)
    for name in ("sin", "cos", "exp", "log", "sqrt", "tanh"):
        assert torch.equal(getattr(functions, name)(x).coefficients, getattr(x, name)().coefficients)


# Shapes.


def test_a_series_looks_like_one_row():
    z = Series(torch.randn(4, 5, 2))
    assert (z.order, z.shape, z.ndim, z.dim(), z.size(), z.size(-1), len(z)) == (3, (5, 2), 2, 2, (5, 2), 2, 5)
    assert (z.dtype, z.device, z.requires_grad) == (torch.float32, torch.device("cpu"), False)
    assert isinstance(z.shape, torch.Size)
    assert torch.equal(z.value, z.coefficients[0])
    assert repr(z) == "Series(order=3, rows=4, shape=(5, 2))"
    assert torch.equal(z.derivatives()[3], 6 * z.coefficients[3])
    assert z.new_zeros(3).shape == (3,) and torch.zeros_like(z).shape == (5, 2) and z.numel() == 10


@pytest.mark.parametrize("layout", [Layout.single(3), Layout((Group(2, 2, collapsed=True),)), Layout()])
@pytest.mark.parametrize(
    "index",
    [
        np.s_[3:5],
        np.s_[:, :1],
        np.s_[:, 0],
        np.s_[..., 0],
        np.s_[2],
        np.s_[-1, ..., None],
        np.s_[torch.tensor([4, 0, 0])],
        np.s_[:, torch.tensor([1, 0])],
        np.s_[torch.tensor([True, False, True, False, True])],
        np.s_[[0, 3]],
        np.s_[torch.tensor([1, 2]), :, torch.tensor([0, 1])],
        np.s_[torch.tensor([1, 2]), torch.tensor([0, 1])],
        np.s_[None],
    ],
)
def test_indices_are_those_of_one_row(layout, index):
    z = Series(torch.randn(layout.rows, 5, 2, 3), layout)
    result = z[index]
    assert type(result) is Series and result.layout == layout
    assert torch.equal(result.coefficients, torch.stack([row[index] for row in z.coefficients]))


MAPS = [
    lambda z: z.sum(),
    lambda z: z.sum(1),
    lambda z: z.sum(-1, keepdim=True),
    lambda z: torch.sum(z, 0),
    lambda z: torch.sum(input=z, dim=(0, 2)),
    lambda z: z.mean((1, 2)),
    lambda z: torch.mean(z, dim=-1),
    lambda z: z.reshape(5, 6),
    lambda z: torch.reshape(z, (-1,)),
    lambda z: z.view(5, -1),
    lambda z: z.flatten(1),
    lambda z: torch.flatten(z),
    lambda z: nn.Flatten()(z),
    lambda z: z.unflatten(1, (1, 2)),
    lambda z: z.unsqueeze(0),
    lambda z: torch.unsqueeze(z, -1),
    lambda z: z[:, :1].squeeze(1),
    lambda z: z[:, :1].squeeze(),
    lambda z: z.transpose(0, 2),
    lambda z: torch.transpose(z, -1, -2),
    lambda z: z.permute(2, 0, 1),
    lambda z: z[0].T,
    lambda z: z[:, :1].expand(-1, 4, -1),
    lambda z: torch.broadcast_to(z[:1], (5, 2, 3)),
    lambda z: torch.cumsum(z, 0),
    lambda z: torch.split(z, 2)[1],
    lambda z: z.unbind(-1)[2],
    lambda z: list(z)[3],
    lambda z: torch.chunk(z, 3, -1)[0],
    lambda z: z.clone().contiguous(),
    lambda z: torch.flip(z, (0,)),
    lambda z: z.to(torch.float64),
    lambda z: -z,
    lambda z: +z,
    lambda z: 3 * z / 2,
    lambda z: z * torch.arange(3.0),
    lambda z: torch.arange(3.0) * z,
    lambda z: z[:, 0] * torch.ones(4, 5, 3),
    lambda z: z[0, 0] / torch.full((4, 1), 2.0),
    lambda z: torch.ones(5, 2, 3).mul(z),
    lambda z: z.mul(2.0).neg(),
    lambda z: z @ torch.ones(3, 4),
    lambda z: z @ torch.ones(3),
    lambda z: z[0, 0] @ torch.ones(3, 4),
    lambda z: z[0, 0] @ torch.ones(2, 3, 4),
    lambda z: z[0, 0] @ torch.ones(3),
    lambda z: z[:, 0] @ torch.ones(2, 3, 4),
    lambda z: torch.matmul(z, torch.ones(5, 3, 4)),
    lambda z: torch.ones(4, 2) @ z,
    lambda z: torch.ones(2) @ z,
    lambda z: torch.ones(4, 3) @ z[0, 0],
    lambda z: torch.ones(3) @ z[0, 0],
    lambda z: torch.ones(7, 4, 5) @ z[:, 0],
    lambda z: z[:, 0].matmul(torch.ones(3, 4)),
    lambda z: functional.linear(z, torch.ones(4, 3)),
    lambda z: functional.linear(z[:, 0, 0], torch.ones(2, 5)),
    lambda z: torch.cat([z, 2 * z], -1),
    lambda z: torch.stack([z, z], 1),
    lambda z: torch.einsum("nij,jk->nki", z, torch.ones(3, 4)),
    lambda z: torch.einsum("jk,nij", [torch.ones(3, 4), z]),
]


@pytest.mark.parametrize("layout", [Layout.single(3), Layout((Group(2, 3, collapsed=True), Group(1, 1))), Layout()])
@pytest.mark.parametrize("function", MAPS)
def test_linear_maps_act_on_every_row(layout, function):
    z = Series(torch.randn(layout.rows, 5, 2, 3), layout)
    result = function(z)
    assert type(result) is Series and result.layout == layout
    expected = torch.stack([function(row) for row in z.coefficients])
    torch.testing.assert_close(result.coefficients, expected)


def test_constants_enter_the_value_alone():
    z = Series(torch.randn(3, 5, 2))
    for c in (1.5, 2, torch.tensor(3.0), torch.randn(2), torch.randn(5, 1), torch.randn(4, 5, 2), torch.randn(4, 1, 1)):
        cases = [(z + c, z.value + c, 1), (c + z, z.value + c, 1), (z - c, z.value - c, 1), (c - z, c - z.value, -1)]
        for result, value, sign in cases:
            assert torch.equal(result.value, value)
            for k in (1, 2):
                assert torch.equal(result.coefficients[k], sign * z.coefficients[k].expand(value.shape))
    joined = torch.cat([z, torch.ones(5, 1), z], dim=-1)
    assert torch.equal(joined.coefficients[:, :, 2], torch.tensor([1.0, 0, 0])[:, None].expand(3, 5))
    assert torch.equal(joined[:, 3:].coefficients, z.coefficients)
    joined = torch.stack([torch.ones(5, 2), z], dim=1)
    assert torch.equal(joined[:, 1].coefficients, z.coefficients) and not joined[:, 0].coefficients[1:].any()
    torch.testing.assert_close((z - 2 * torch.sub(z, z, alpha=0.5)).coefficients, torch.zeros(3, 5, 2))


def test_products_broadcast_over_the_shape():
    a, b = Series(torch.randn(3, 3)), Series(torch.randn(3, 3, 3))
    full = a * b
    for i in range(3):
        torch.testing.assert_close(full[i].coefficients, (a * b[i]).coefficients)
    torch.testing.assert_close((b / (4 + a * a))[1].coefficients, (b[1] / (4 + a * a)).coefficients)
    torch.testing.assert_close((b + a)[1].coefficients, (b[1] + a).coefficients)
    torch.testing.assert_close((a + b)[1].coefficients, (a + b[1]).coefficients)
    assert (a[:, None] * b[0][None]).shape == (3, 3)


def test_matrices_of_series_multiply():
    x = Series.variable(torch.randn(3, 1, dtype=F64), 3)
    a, b = torch.randn(1, 4, dtype=F64), torch.randn(1, 5, dtype=F64)
    result = (x @ a).sin().T @ (x @ b).tanh()
    expected = sum((x[i] @ a).sin()[:, None] * (x[i] @ b).tanh()[None] for i in range(3))
    torch.testing.assert_close(result.coefficients, expected.coefficients)


def test_series_of_one_shape_dimension():
    x = Series(torch.stack([torch.randn(6, dtype=F64), torch.ones(6, dtype=F64), torch.zeros(6, dtype=F64)]))
    torch.testing.assert_close((x.tanh() * x).coefficients, (x[:, None].tanh() * x[:, None]).coefficients[..., 0])


# Modules and functions written for tensors.


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(2, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        h = h + functional.gelu(self.second(h))
        h += 0.5
        return self.last(h) * (1 - x[:, :1] ** 2) + x


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.u, self.v, self.z, self.out = nn.Linear(2, 5), nn.Linear(2, 5), nn.Linear(2, 5), nn.Linear(5, 1)

    def forward(self, x):
        u, v, h = self.u(x).sigmoid(), functional.silu(self.v(x)), torch.sigmoid(self.z(x))
        h = (1 - h) * u + h * v
        return self.out(torch.add(h, h * u, alpha=2.0))


class Fourier(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 2))
        self.bias = nn.Parameter(torch.randn(4))
        self.out = nn.Linear(10, 3)

    def forward(self, x):
        z = x @ self.weight.T + self.bias
        features = torch.cat([torch.sin(z), torch.cos(z), x], dim=-1)
        pair = torch.stack([self.out(features), torch.ones(len(x), 3).to(x.dtype)], dim=0)
        return pair.sum(0)


class Written(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.w = (nn.Parameter(torch.randn(*s)) for s in ((7, 2), (7,), (7, 1)))

    def forward(self, x):
        h = torch.addmm(self.b, x, self.a.T)
        r = torch.rsqrt(1 + torch.square(h)) + torch.log1p(torch.exp(-h)) - torch.expm1(-h * h) + torch.atan(h)
        r = torch.div(torch.mul(r, h), torch.reciprocal(torch.sqrt(2 + torch.cos(h))))
        return torch.matmul(torch.sub(r, torch.pow(h, 3)), self.w).squeeze(-1) * 2.0**-1


class LayerNorm(nn.LayerNorm):
    def forward(self, x):
        if isinstance(x, Series):
            return super().forward(x)
        # torch's own is wrong in silence from the third nested derivative on (pytorch issue 175754).
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + self.eps).sqrt() * self.weight + self.bias


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.out = nn.Linear(2, 6), LayerNorm(6), nn.Linear(6, 1)
        self.double()
        nn.init.normal_(self.norm.weight)

    def forward(self, x):
        tokens = self.norm(self.embed(x)).reshape(-1, 3, 2)
        scores = functional.softmax(tokens @ tokens.transpose(-1, -2), dim=-1)
        return self.out((scores @ tokens).flatten(1))


NETWORKS = {
    "plain": lambda: nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)),
    "all activations": lambda: nn.Sequential(
        nn.Linear(2, 4),
        nn.SiLU(),
        nn.GELU(),
        nn.GELU("tanh"),
        nn.Softplus(2.0),
        nn.Sigmoid(),
        nn.Mish(),
        nn.LogSigmoid(),
        nn.Tanhshrink(),
        nn.Softmax(-1),
        nn.Identity(),
        nn.Linear(4, 2, bias=False),
    ),
    "residual": Residual,
    "gated": Gated,
    "fourier": Fourier,
    "written": Written,
    "attention": Attention,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_module_called_with_a_series_gives_all_derivatives(name):
    network = NETWORKS[name]().double()
    points, direction = torch.randn(4, 2, dtype=F64), torch.tensor([0.8, -0.6], dtype=F64)
    result = network(Series.variable(points, 4, direction)).derivatives()
    expected = nested(network, points, 4, direction)
    largest = [float(rows.detach().abs().max()) + 1 for rows in expected]
    for k in range(5):
        torch.testing.assert_close(result[k], expected[k], rtol=1e-9, atol=1e-11 * largest[k])
    probe = torch.randn_like(result)
    parameters = list(network.parameters())
    gradients = [
        torch.autograd.grad((rows * probe).sum(), parameters, allow_unused=True) for rows in (result, expected)
    ]
    for mine, theirs in zip(*gradients, strict=True):
        mine, theirs = (torch.zeros(1, dtype=F64) if g is None else g for g in (mine, theirs))
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9 * float(theirs.abs().max() + 1e-6))


def test_reflected_operators_of_tensors():
    x = Series.variable(torch.rand(3, 1, dtype=F64) + 1, 3)
    t = torch.rand(3, 1, dtype=F64) + 1
    one = torch.eye(3, dtype=F64)
    pairs = [(t + x, x + t), (t - x, -(x - t)), (t * x, x * t), (t / x, t * x**-1), (t**x, (x * t.log()).exp())]
    pairs += [(one @ x, x), (torch.sub(t, x), t - x), (torch.rsub(x, t), t - x), (torch.true_divide(t, x), t / x)]
    pairs += [(torch.pow(2.0, x), 2.0**x), (2 / x, 2 * x.reciprocal()), (np.float64(2) * x, x + x), (1 - x, -(x - 1))]
    pairs += [(x.pow(2), x * x), (x.add(t), x + t), (x.arctan(), x.atan()), (torch.special.expit(x), x.sigmoid())]
    for result, expected in pairs:
        assert type(result) is Series
        torch.testing.assert_close(result.coefficients, expected.coefficients)


class Recording(Series):
    """What a subclass may rely on: its state travels, and functions and linear maps go through one method each."""

    def _apply(self, name, *parameters):
        self.log.append(name)
        return super()._apply(name, *parameters)

    def linear(self, weight, bias=None):
        self.log.append("linear")
        return super().linear(weight, bias)


def test_subclasses_keep_their_state_and_see_every_function_and_linear_map():
    x = Recording.variable(torch.rand(3, 2), 2, (1.0, 0.0))
    x.log = []
    layer = nn.Linear(2, 2)
    y = torch.cat([torch.tanh(layer(x)) @ torch.eye(2), 1 / (1 + x.exp()), x**1.5], -1)[:, 1:].sum(-1) * x[:, 0]
    assert type(y) is Recording and y.log is x.log
    assert x.log == ["linear", "tanh", "linear", "exp", "reciprocal", "power"]
    assert type(copy.copy(y)) is Recording


# Refusals.


@pytest.mark.parametrize(
    ("attempt", "name"),
    [
        (bool, "__bool__"),
        (float, "__float__"),
        (abs, "__abs__"),
        (functional.relu6, "relu6"),
        (nn.ReLU(inplace=True), "relu"),
        (nn.SiLU(inplace=True), "silu"),
        (torch.abs, "abs"),
        (torch.max, "max"),
        (lambda z: z.item(), "item"),
        (lambda z: z.add_(1.0), "add_"),
        (lambda z: torch.ones(4, 2).mul_(z), "mul_"),
        (lambda z: operator.setitem(z, 0, 1.0), "__setitem__"),
        (lambda z: z > 0, "__gt__"),
        (lambda z: torch.ones(4, 2) < z, "__gt__"),
        (lambda z: z == 0, "__eq__"),
        (lambda z: 0 in z, "__eq__"),
        (lambda z: z != 0, "__ne__"),
        (lambda z: torch.where(torch.ones(4, 2) > 0, z, z), "where"),
        (lambda z: torch.div(z, 2, rounding_mode="floor"), "rounding_mode"),
        (lambda z: z % 2, "__mod__"),
        (lambda z: torch.linalg.norm(z), "norm"),
        (lambda z: torch.einsum("ni,ni->n", z, z), "einsum"),
        (lambda z: functional.linear(torch.ones(4, 2), z, torch.ones(4)), "linear"),
        (lambda z: torch.tanh(z, out=torch.empty(4, 2)), "tanh"),
    ],
)
def test_what_a_series_cannot_do_is_refused_by_name(attempt, name):
    z = Series.variable(torch.rand(4, 2), 2, (1.0, 1.0))
    with pytest.raises(TypeError, match=r"expected .*depend on the data.*register_rule\(ModuleType, rule\)") as caught:
        attempt(z)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("function", "slope"),
    [(torch.relu, 0.0), (nn.ReLU(), 0.0), (lambda z: z.relu(), 0.0), (nn.LeakyReLU(0.2), 0.2)],
)
def test_relu_reaches_the_first_order_and_no_further(function, slope):
    z = Series(torch.tensor([[-2.0, 0.0, 3.0, math.nan, -math.inf], [1.0, 2.0, 4.0, 5.0, 6.0]]))
    expected = torch.tensor(
        [[-2 * slope, 0, 3, math.nan, -math.inf if slope else 0], [slope, 2 * slope, 4, 5, 6 * slope]]
    )
    assert torch.equal(function(z).coefficients.nan_to_num(9.0), expected.nan_to_num(9.0))
    directions, points = torch.eye(2, dtype=F64), torch.randn(5, 2, dtype=F64)
    both = function(Series.along(points, directions, Layout((Group(2, 1),))).sin()).coefficients
    for k, direction in enumerate(directions):
        assert torch.equal(both[1 + k], nested(lambda x: function(x.sin()), points, 1, direction)[1])
    assert torch.equal(function(Series(z.coefficients[:1])).coefficients[0, :3], function(z.value[:3]))
    with pytest.raises(
        TypeError, match=r"derivatives of order 2, came .*relu: .*zero almost everywhere.*use tanh, silu"
    ):
        function(Series(torch.randn(3, 4)))


def test_foreign_operands_are_refused_by_python():
    z = Series.variable(torch.rand(4, 1), 2)
    for combine in (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.matmul):
        for other in ("a", None, np.ones((4, 1))):
            with pytest.raises(TypeError, match=r"unsupported operand|ufuncs|can't multiply"):
                combine(z, other)
    with pytest.raises(AttributeError, match="no attribute 'unheard_of'"):
        z.unheard_of  # noqa: B018
    assert not hasattr(z, "__deepcopy__") and copy.deepcopy(z).order == 2
    assert len({z, z}) == 1


TWO = Layout((Group(2, 2),))


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda z, w: z.truncate(0).d(), "expected a series of order 1 or above, came order 0"),
        (lambda z, w: w.d(), r"expected one direction for d\(\), came Layout"),
        (lambda z, w: w.truncate(1), "expected one direction for truncate"),
        (lambda z, w: z.compose(w), "expected one direction for compose"),
        (lambda z, w: w.compose(z), "expected one direction for compose"),
        (lambda z, w: z.truncate(3), "expected an order from 0 to 2, came 3"),
        (lambda z, w: z.truncate(-1), "expected an order from 0 to 2, came -1"),
        (lambda z, w: z + w, "expected series of the same layout, came .* and .*Series.along"),
        (lambda z, w: w * z, "expected series of the same layout"),
        (lambda z, w: torch.cat([z, w]), "expected series of the same layout"),
        (lambda z, w: Series(torch.ones(4, 3, 1), TWO), "expected 5 rows for .*, came 4"),
        (lambda z, w: Series(torch.ones(4, 3, dtype=torch.int64)), "expected floating-point coefficients"),
        (lambda z, w: Series(torch.tensor(1.0)), "expected floating-point coefficients"),
        (lambda z, w: Series.variable(torch.ones(3, 2), 2), r"expected a direction for points of 2 .*direction=\(v_1"),
        (lambda z, w: Series.variable(torch.ones(3, 2), 2, (1.0,)), r"expected directions of shape \(1, 2\)"),
        (lambda z, w: Series.variable(torch.ones(3), 2), r"expected points of shape \(n, d\), came \(3,\)"),
        (lambda z, w: Series.along(torch.ones(3, 2), torch.ones(3, 2), TWO), r"shape \(2, 2\) .*came \(3, 2\)"),
        (lambda z, w: z[:, 0] @ z, "expected two series of matrices"),
    ],
)
def test_mistakes_are_named(attempt, message):
    z = Series.variable(torch.rand(3, 1), 2)
    w = Series.along(torch.rand(3, 1), torch.ones(2, 1), TWO)
    with pytest.raises(ValueError, match=message):
        attempt(z, w)


def test_an_index_out_of_range_is_refused():
    z = Series.variable(torch.rand(3, 1), 2)
    for attempt in (lambda: z[3], lambda: z.sum(2), lambda: z.unsqueeze(-4), lambda: z.transpose(0, 2)):
        with pytest.raises(IndexError):
            attempt()


def test_lines_start_where_they_should():
    points = torch.randn(3, 2)
    x = Series.variable(points, 0, (1.0, 0.0))
    assert x.order == 0 and torch.equal(x.coefficients, points[None])
    assert torch.equal(Series.variable(points, 0).coefficients, points[None])
    x = Series.variable(points, 2, torch.tensor([1.0, -2.0], dtype=torch.float64))
    assert x.dtype == torch.float32
    assert torch.equal(x.coefficients[1], torch.tensor([1.0, -2.0]).expand(3, 2)) and not x.coefficients[2].any()
    layout = LAYOUTS["mixed"]
    directions = torch.randn(5, 2)
    x = Series.along(points, directions, layout)
    for g, first in enumerate((0, 2, 3)):
        for v in range(layout.groups[g].directions):
            assert torch.equal(x.coefficients[layout.row(g, v, 1)], directions[first + v].expand(3, 2))
    assert torch.count_nonzero(x.coefficients.flatten(1).abs().amax(1)) == 6


def test_series_on_an_accelerator(cuda):
    z = inputs_of(True, F64)
    for name in CASES:
        here = function_of(name)(Series(z))
        there = function_of(name)(Series(z).to(cuda))
        torch.testing.assert_close(there.coefficients.cpu(), here.coefficients, rtol=1e-12, atol=1e-12)

"""Compiled stencil weights: beside LU and 80-bit arithmetic, in closed form; lanes, threads, and what is refused."""

from dataclasses import replace
from math import comb

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from solvers.kernels import stencil_program, stencils
from solvers.kernels.compiler import host
from solvers.kernels.stencils import compiled_weights, stencil_kernel
from solvers.polyharmonic import monomials
from solvers.stencils.twin import batched_weights

CASES = [(1, 3), (2, 2), (2, 3), (2, 4), (2, 5), (2, 6), (3, 2), (3, 3), (3, 4)]


def laplacian(d):
    return {tuple(2 * (axis == a) for axis in range(d)): 1.0 for a in range(d)}


def lattice(d, jitter=0.35, seed=0):
    per_axis = {1: 60, 2: 22, 3: 9}[d]
    grid = np.stack(np.meshgrid(*[np.arange(float(per_axis))] * d, indexing="ij"), axis=-1).reshape(-1, d)
    return (grid + np.random.default_rng(seed).uniform(-jitter, jitter, grid.shape)) / per_axis


def problem(d, order, count=48, seed=0):
    """Nodes, targets at corners, sides and inside, their stencils, m and powers for the Laplacian."""
    degree = order + 1
    exponent = max(5, degree - (degree + 1) % 2)
    nodes = lattice(d, seed=seed)
    size = 2 * comb(degree + d, d) + 1
    chosen = np.concatenate([[0, 1, len(nodes) - 1], np.random.default_rng(seed).permutation(len(nodes))])[:count]
    index = cKDTree(nodes).query(nodes[chosen], size)[1].astype(np.int32)
    return nodes, nodes[chosen], index, exponent, monomials(d, degree)


def slow_laplacian(nodes, targets, index, exponent, powers, dtype=np.float64):
    """Weights of the Laplacian by elimination with row pivots, from Delta r^m = m (m + d - 2) r^(m - 2)."""
    d, q = powers.shape[1], len(powers)
    rows = []
    for target, stencil in zip(targets.astype(dtype), index, strict=True):
        y = nodes[stencil].astype(dtype) - target
        radius = np.sqrt((y**2).sum(axis=1).max())
        y = y / radius
        n = len(y)
        system = np.zeros((n + q, n + q + 1), dtype=dtype)
        system[:n, :n] = np.sqrt(((y[:, None] - y) ** 2).sum(axis=-1)) ** exponent
        system[:n, n:-1] = np.prod(y[:, None, :] ** powers, axis=-1)
        system[n:, :n] = system[:n, n:-1].T
        system[:n, -1] = exponent * (exponent + d - 2) * np.sqrt((y**2).sum(axis=1)) ** (exponent - 2)
        system[n:, -1] = [2.0 * (sorted(power) == [0] * (d - 1) + [2]) for power in powers.tolist()]
        for column in range(n + q):
            pivot = column + np.abs(system[column:, column]).argmax()
            system[[column, pivot]] = system[[pivot, column]]
            system[column + 1 :] -= np.outer(system[column + 1 :, column] / system[column, column], system[column])
        for column in reversed(range(n + q)):
            system[column, -1] /= system[column, column]
            system[:column, -1] -= system[:column, column] * system[column, -1]
        rows.append(system[:n, -1] / radius**2)
    return np.array(rows)


def difference(found, exact):
    """Largest difference of a row, relative to its largest weight."""
    return float((np.abs(found - exact).max(axis=-1) / np.abs(exact).max(axis=-1)).max())


@pytest.mark.parametrize(("d", "order"), CASES)
def test_the_laplacian_agrees_with_elimination_with_pivots(d, order):
    given = problem(d, order, count=6)
    weights, solved = compiled_weights(*given, [laplacian(d)])
    assert solved.all()
    assert difference(weights[0], slow_laplacian(*given)) < 1e-8


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 2e-19, reason="no 80-bit numbers on this machine")
@pytest.mark.parametrize(("d", "order", "bound"), [(2, 3, 2e-10), (2, 5, 1e-9), (2, 6, 5e-9), (3, 4, 5e-10)])
def test_errors_beside_80_bit_arithmetic(d, order, bound):
    given = problem(d, order, count=4)
    weights, _ = compiled_weights(*given, [laplacian(d)])
    assert difference(weights[0], slow_laplacian(*given, dtype=np.longdouble)) < bound


@pytest.mark.parametrize(("d", "order"), [(1, 3), (2, 4), (2, 6), (3, 3)])
def test_several_operators_off_the_nodes_agree_with_lu(d, order):
    nodes, targets, index, exponent, powers = problem(d, order)
    unit = np.eye(d, dtype=int).tolist()
    operators = [
        laplacian(d),
        {(0,) * d: 1.0},
        {tuple(unit[0]): 2.0, (0,) * d: -3.0, tuple(2 * np.array(unit[-1])): 0.5},
        {tuple(np.array(unit[0]) + unit[-1]): 1.0, tuple(3 * np.array(unit[-1])): 1e-3},
    ]
    targets = targets + np.random.default_rng(1).uniform(-0.01, 0.01, targets.shape)
    weights, solved = compiled_weights(nodes, targets, index, exponent, powers, operators)
    assert solved.all() and weights.shape == (4, *index.shape)
    exact = batched_weights(nodes, targets, index, exponent, powers, operators)
    for found, expected in zip(weights, exact, strict=True):
        assert difference(found, expected) < 1e-8
    alone, _ = compiled_weights(nodes, targets, index, exponent, powers, operators[-1:])
    assert difference(weights[-1], alone[0]) < 1e-9


@pytest.mark.parametrize(("d", "order"), CASES)
def test_polynomials_are_differentiated_exactly(d, order):
    nodes, targets, index, exponent, powers = problem(d, order)
    weights, _ = compiled_weights(nodes, targets, index, exponent, powers, [laplacian(d)])
    offsets = nodes[index] - targets[:, None]
    radius = np.sqrt((offsets**2).sum(axis=-1).max(axis=1))[:, None, None]
    values = np.prod((offsets / radius)[:, :, None, :] ** powers, axis=-1)
    moments = np.einsum("in,inq->iq", weights[0], values) * radius[:, 0] ** 2
    exact = [2.0 * (sorted(power) == [0] * (d - 1) + [2]) for power in powers.tolist()]
    assert np.abs(moments - exact).max() < 1e-9


@pytest.mark.parametrize(
    ("offsets", "alpha", "exact"),
    [
        ([-1, 0, 1], 2, [1, -2, 1]),
        ([-2, -1, 0, 1, 2], 1, [1 / 12, -2 / 3, 0, 2 / 3, -1 / 12]),
        ([-2, -1, 0, 1, 2], 4, [1, -4, 6, -4, 1]),
        ([0, 1, 2, 3], 3, [-1, 3, -3, 1]),
    ],
)
def test_as_many_nodes_as_monomials_give_finite_differences(offsets, alpha, exact):
    x, h = np.array(offsets, dtype=float)[:, None], 0.125
    index = np.arange(len(x))[None]
    weights, solved = compiled_weights(h * x, np.zeros((1, 1)), index, 5, monomials(1, len(x) - 1), [{(alpha,): 1.0}])
    assert solved.all()
    assert np.abs(weights[0, 0] * h**alpha - exact).max() < 1e-10


def test_a_row_does_not_depend_on_the_others_or_on_threads():
    nodes, targets, index, exponent, powers = problem(2, 3, count=48)
    together, _ = compiled_weights(nodes, targets, index, exponent, powers, [laplacian(2)])
    for count in (1, 3, 8, 13, 17):
        part, solved = compiled_weights(nodes, targets[:count], index[:count], exponent, powers, [laplacian(2)])
        assert np.array_equal(part, together[:, :count]) and solved.shape == (count,)
    torch.set_num_threads(3)
    try:
        assert np.array_equal(compiled_weights(nodes, targets, index, exponent, powers, [laplacian(2)])[0], together)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("vector_bytes", "registers", "d", "order"), [(32, 16, 2, 4), (16, 16, 2, 4), (16, 32, 2, 2), (32, 16, 2, 6)]
)
def test_narrower_vectors_give_the_same(monkeypatch, vector_bytes, registers, d, order):
    narrow = replace(host(), vector_bytes=min(vector_bytes, host().vector_bytes), registers=registers)
    given = problem(d, order, count=11)
    wide, _ = compiled_weights(*given, [laplacian(d)])
    monkeypatch.setattr(stencils, "host", lambda: narrow)
    monkeypatch.setattr(stencils, "stencil_kernel", stencil_kernel.__wrapped__)
    weights, solved = compiled_weights(*given, [laplacian(d)])
    assert solved.all() and difference(weights, wide) < 1e-8


def test_weights_scale_with_the_nodes_and_do_not_move_with_them():
    nodes, targets, index, exponent, powers = problem(2, 4)
    plain, _ = compiled_weights(nodes, targets, index, exponent, powers, [laplacian(2)])
    moved, _ = compiled_weights(nodes * 1e-3 + 0.5, targets * 1e-3 + 0.5, index, exponent, powers, [laplacian(2)])
    # The sum keeps the nodes to 1e-16 of 0.5, 1e-13 of their distances.
    assert difference(moved[0] * 1e-6, plain[0]) < 1e-8


@pytest.mark.parametrize("fault", ["coincident", "collinear", "nan", "one point"])
def test_a_singular_stencil_is_not_solved_and_spoils_no_other(fault):
    nodes, targets, index, exponent, powers = problem(2, 3, count=16)
    good, _ = compiled_weights(nodes, targets, index, exponent, powers, [laplacian(2)])
    extra = {
        "coincident": np.concatenate([nodes[index[5, :-1]], nodes[index[5, :1]]]),
        "collinear": nodes[index[5]] * [1.0, 0.0],
        "nan": np.concatenate([nodes[index[5, :-1]], [[np.nan, 0.0]]]),
        "one point": np.repeat(nodes[index[5, :1]], index.shape[1], axis=0),
    }[fault]
    index = index.copy()
    index[5] = len(nodes) + np.arange(index.shape[1])
    weights, solved = compiled_weights(
        np.concatenate([nodes, extra]), targets, index, exponent, powers, [{(0, 0): 1.0}, laplacian(2)]
    )
    others = np.arange(16) != 5
    assert solved.tolist() == others.tolist()
    assert difference(weights[1, others], good[0, others]) < 1e-9


def test_pivots_of_the_wrong_sign_are_seen(monkeypatch):
    """With too small a shift the weights come out right, by an elimination that is not to be trusted."""
    given = problem(2, 3, count=8)
    exact, _ = compiled_weights(*given, [laplacian(2)])
    monkeypatch.setattr(stencils, "SHIFT", {5: (1e-3, 1e-3, 1e-3)})
    monkeypatch.setattr(stencils, "stencil_kernel", stencil_kernel.__wrapped__)
    weights, solved = compiled_weights(*given, [laplacian(2)])
    assert not solved.any() and difference(weights, exact) < 1e-6


def test_errors_of_moments_are_seen(monkeypatch):
    monkeypatch.setattr(stencil_program, "MOMENTS", 1e-18)
    monkeypatch.setattr(stencils, "stencil_kernel", stencil_kernel.__wrapped__)
    assert not compiled_weights(*problem(2, 3, count=8), [laplacian(2)])[1].any()


@pytest.mark.parametrize(("exponent", "degree"), [(11, 5), (5, 1), (7, 2)])
def test_what_no_program_is_made_for_is_left_to_the_caller(exponent, degree):
    nodes, targets, index, _, _ = problem(2, 3, count=5)
    weights, solved = compiled_weights(nodes, targets, index, exponent, monomials(2, degree), [{(1, 0): 1.0}])
    assert not solved.any() and np.isnan(weights).all()


@pytest.mark.parametrize(("exponent", "degree"), [(1, 0), (3, 1), (3, 4), (5, 2), (7, 3), (9, 9)])
def test_other_exponents_and_degrees_agree_with_lu(exponent, degree):
    nodes, targets, _, _, powers = *problem(2, 3)[:4], monomials(2, degree)
    index = cKDTree(nodes).query(targets, 2 * len(powers) + 1)[1]
    operator = {(0, 0): 1.0} if exponent == 1 else {(1, 0): 1.0, (0, 0): 2.0} if degree < 2 else laplacian(2)
    weights, solved = compiled_weights(nodes, targets, index, exponent, powers, [operator])
    exact = batched_weights(nodes, targets, index, exponent, powers, [operator])
    assert solved.all() and difference(weights[0], exact[0]) < (1e-8 if degree < 9 else 1e-6)


def test_no_targets_give_no_weights():
    nodes, targets, index, exponent, powers = problem(2, 2, count=3)
    weights, solved = compiled_weights(nodes, targets[:0], index[:0], exponent, powers, [laplacian(2)])
    assert weights.shape == (1, 0, index.shape[1]) and solved.shape == (0,)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"nodes": np.zeros((5, 3))}, r"nodes: expected shape \(number, 2\) as of the monomials, came \(5, 3\)"),
        ({"targets": np.zeros(2)}, r"targets: expected shape \(number, 2\)"),
        ({"index": np.zeros((2, 21))}, r"index: expected shape \(3, n\), a row for each target"),
        ({"index": np.full((3, 21), 484)}, "search the stencils in these nodes"),
        ({"index": np.full((3, 21), -1)}, "came -1 to -1"),
        ({"operators": []}, "add alpha -> 1.0"),
        ({"operators": [{}]}, "add alpha -> 1.0"),
        ({"operators": [{(2,): 1.0}]}, "expected multi-indices of 2 numbers >= 0"),
        ({"operators": [{(-1, 0): 1.0}]}, "expected multi-indices of 2 numbers >= 0"),
    ],
)
def test_what_would_be_read_beyond_an_array_is_refused(change, expected):
    names = ("nodes", "targets", "index", "exponent", "powers")
    given = dict(zip(names, problem(2, 2, count=3), strict=True)) | {"operators": [laplacian(2)]}
    with pytest.raises(ValueError, match=expected):
        compiled_weights(**(given | change))

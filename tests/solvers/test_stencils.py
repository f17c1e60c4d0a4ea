"""Stencil weights: fifty-digit arithmetic, polynomials, orders, invariances, the disk, every refusal."""

import warnings
from itertools import product
from math import factorial, prod

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import null_space
from scipy.sparse import csr_matrix

from solvers.polyharmonic import monomials, radial_partial
from solvers.stencils import Recipe, cache, stencil_weights, weights
from solvers.stencils.moments import moment_error
from solvers.stencils.neighbours import nearest
from solvers.stencils.twin import batched_weights, unchecked_weights

LAPLACIAN = {(2, 0): 1.0, (0, 2): 1.0}


def jittered(dimension, side, seed=0):
    """A lattice of spacing 1 / side whose nodes are moved by up to 0.3 spacings."""
    lattice = np.stack(np.meshgrid(*[np.arange(side)] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    return (lattice + np.random.default_rng(seed).uniform(-0.3, 0.3, lattice.shape)) / side


def hexagonal(spacing):
    """A lattice of equilateral triangles, clipped by the unit circle."""
    i, j = np.meshgrid(np.arange(-60, 61), np.arange(-60, 61))
    x = np.stack([(i + 0.5 * j) * spacing, j * (spacing * np.sqrt(0.75))], axis=-1).reshape(-1, 2)
    return x[(x**2).sum(axis=1) < 1]


def multi_indices(dimension, order):
    return [alpha for alpha in product(range(order + 1), repeat=dimension) if sum(alpha) <= order]


def oracle(x, target, exponent, powers, alphas):
    """The weights of one stencil by LU in 50 digits, neither shifted into another unit nor rounded, (K, n)."""
    with mpmath.workdps(50):
        size, total = len(x), len(x) + len(powers)
        y = [[mpmath.mpf(a) - mpmath.mpf(b) for a, b in zip(row, target, strict=True)] for row in x.tolist()]
        saddle, right = mpmath.zeros(total), mpmath.zeros(total, len(alphas))
        for i, j in product(range(size), repeat=2):
            saddle[i, j] = mpmath.norm([a - b for a, b in zip(y[i], y[j], strict=True)]) ** exponent
        for i, k in product(range(size), range(len(powers))):
            value = mpmath.fprod(a ** int(e) for a, e in zip(y[i], powers[k], strict=True))
            saddle[i, size + k] = saddle[size + k, i] = value
        for column, alpha in enumerate(alphas):
            for i in range(size):
                right[i, column] = spline_partial([-a for a in y[i]], alpha, exponent)
            for k, power in enumerate(powers.tolist()):
                right[size + k, column] = prod(map(factorial, alpha)) if tuple(power) == alpha else 0
        lu, permutation = mpmath.mp.LU_decomp(saddle)
        columns = []
        for column in range(len(alphas)):
            solution = mpmath.mp.U_solve(lu, mpmath.mp.L_solve(lu, right[:, column], permutation))
            columns.append([float(solution[i]) for i in range(size)])
        return np.array(columns)


def spline_partial(y, alpha, exponent):
    r = mpmath.norm(y)
    if r == 0:
        return 0
    return sum(
        c * mpmath.fprod(a**b for a, b in zip(y, beta, strict=True)) * r**k
        for c, beta, k in radial_partial(alpha, exponent)
    )


ORACLES = {}
"""Fifty digits are slow: both solvers are held against the same."""


def relative(got, expected):
    """The largest difference in units of the row's largest weight."""
    return float((np.abs(got - expected).max(axis=-1) / np.abs(expected).max(axis=-1)).max())


@pytest.fixture(params=["twin", "compiled"])
def solver(request, monkeypatch):
    """Runs a test with each solver; without a compiled one the second is skipped."""
    if request.param == "twin":
        monkeypatch.setattr(weights, "_compiled", lambda: None)
    elif weights._compiled() is None:
        pytest.skip("solvers.kernels.stencils is not there")
    return request.param


@pytest.mark.parametrize(
    ("recipe", "side", "place"),
    [
        (Recipe.of(3, 4, 1), 30, "inside"),
        (Recipe.of(3, 4, 1), 30, "corner"),
        (Recipe.of(2, 4, 2, size=30), 12, "inside"),
        (Recipe.of(2, 4, 2, size=30), 12, "corner"),
        (Recipe.of(1, 4, 3, size=45), 6, "inside"),
        (Recipe(dimension=2, degree=4, exponent=7, size=31), 12, "inside"),
        (Recipe(dimension=2, degree=4, exponent=7, size=31), 12, "corner"),
    ],
)
def test_every_partial_to_order_4_agrees_with_fifty_digits(recipe, side, place, solver):
    x = jittered(recipe.dimension, side) + 3.0
    middle = np.full(recipe.dimension, 3.5)
    target = x[[np.argmin(((x - middle) ** 2).sum(axis=1)) if place == "inside" else 0]] + (place == "corner") * 1e-3
    alphas = multi_indices(recipe.dimension, 4)
    index, got = stencil_weights(x, target, recipe, [{alpha: 1.0} for alpha in alphas])
    key = recipe, place, tuple(index[0].tolist())
    if key not in ORACLES:
        powers = monomials(recipe.dimension, recipe.degree)
        ORACLES[key] = oracle(x[index[0]], target[0], recipe.exponent, powers, alphas)
    expected = ORACLES[key]
    assert relative(got[:, 0], expected) < (1e-9 if solver == "twin" else 1e-8)


@pytest.mark.parametrize(("dimension", "order", "side"), [(1, 6, 40), (2, 2, 12), (2, 5, 12), (3, 3, 5)])
def test_polynomials_are_differentiated_exactly_in_every_row(dimension, order, side, solver):
    x = jittered(dimension, side)
    recipe = Recipe.of(order, 2, dimension)
    alphas = multi_indices(dimension, 2)
    index, got = stencil_weights(x, x, recipe, [{alpha: 1.0} for alpha in alphas])
    offsets = x[index] - x[:, None]
    radius = np.linalg.norm(offsets, axis=2).max(axis=1)
    for power in monomials(dimension, recipe.degree):
        values = np.prod((offsets / radius[:, None, None]) ** power, axis=2)
        for alpha, row in zip(alphas, got, strict=True):
            derivative = (row * values).sum(axis=1) * radius ** sum(alpha)
            exact = prod(map(factorial, alpha)) if tuple(power) == alpha else 0.0
            assert np.abs(derivative - exact).max() < 1e-9


@pytest.mark.parametrize(
    ("dimension", "order", "sides"),
    [(2, 2, (20, 40)), (2, 3, (20, 40)), (2, 4, (20, 40)), (2, 5, (16, 32)), (3, 2, (8, 16))],
)
def test_the_laplacian_of_a_smooth_function_has_the_order_of_the_recipe(dimension, order, sides):
    errors = []
    for side in sides:
        x = jittered(dimension, side)
        inside = x[np.abs(x - 0.5).max(axis=1) < 0.25]
        operator = {tuple(2 * row): 1.0 for row in np.eye(dimension, dtype=int)}
        index, got = stencil_weights(x, inside, Recipe.of(order, 2, dimension), [operator])
        wave = np.arange(1.0, dimension + 1)
        computed = (got[0] * np.sin(x[index] @ wave)).sum(axis=1)
        errors.append(np.sqrt(np.mean((computed + wave @ wave * np.sin(inside @ wave)) ** 2)))
    assert np.log2(errors[0] / errors[1]) > order - 0.3


def test_interpolation_off_the_nodes_has_its_order_and_is_exact_on_them():
    errors = []
    recipe = Recipe.of(4, 0, 2)
    for side in (15, 30):
        x = jittered(2, side)
        targets = np.random.default_rng(1).uniform(0.25, 0.75, (200, 2))
        index, got = stencil_weights(x, targets, recipe, [{(0, 0): 1.0}])
        computed = (got[0] * np.exp(x[index].sum(axis=2))).sum(axis=1)
        errors.append(np.abs(computed - np.exp(targets.sum(axis=1))).max())
    assert np.log2(errors[0] / errors[1]) > 3.7
    index, got = stencil_weights(x, x[:50], recipe, [{(0, 0): 1.0}])
    assert np.abs(got[0] - (index == np.arange(50)[:, None])).max() < 1e-10


def test_several_operators_of_one_factorisation_are_those_of_one_each_and_combine_linearly(solver):
    x = jittered(2, 12)
    recipe = Recipe.of(3, 2, 2)
    partials = [{(2, 0): 1.0}, {(1, 1): 1.0}, {(0, 0): 1.0}]
    _, together = stencil_weights(x, x, recipe, partials)
    for operator, row in zip(partials, together, strict=True):
        assert relative(row, stencil_weights(x, x, recipe, [operator])[1][0]) < 1e-12
    mixed = {(2, 0): 2.0, (1, 1): -0.5, (0, 0): -1000.0}
    combined = np.einsum("k,kij->ij", list(mixed.values()), together)
    assert relative(stencil_weights(x, x, recipe, [mixed])[1][0], combined) < 1e-10


@settings(max_examples=15, deadline=None)
@given(
    scale=st.floats(1e-6, 1e6),
    shift=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    alpha=st.sampled_from(multi_indices(2, 3)),
)
def test_weights_do_not_know_where_nodes_are_and_scale_with_their_spacing(scale, shift, alpha):
    x = jittered(2, 9, seed=4)
    recipe = Recipe.of(2, 3, 2)
    index = nearest(x, x[:20], recipe.size)
    _, own = stencil_weights(x, x[:20], recipe, [{alpha: 1.0}], index)
    moved = (x + np.array(shift)) * scale
    _, other = stencil_weights(moved, moved[:20], recipe, [{alpha: 1.0}], index)
    assert relative(other[0] * scale ** sum(alpha), own[0]) < 1e-9


def test_recipes_follow_the_formula_and_stay_unisolvent():
    assert Recipe.of(3, 2, 2) == Recipe(2, 4, 5, 31)
    assert Recipe.of(6, 2, 2) == Recipe(2, 7, 7, 73)
    assert Recipe.of(4, 2, 3) == Recipe(3, 5, 5, 113)
    assert Recipe.of(7, 2, 1) == Recipe(1, 8, 7, 19)
    assert [Recipe.of(order, 0, 2).exponent for order in (1, 2, 3, 4, 8, 9)] == [1, 3, 5, 5, 7, 7]
    assert Recipe.of(3, 2, 2, exponent=7, size=20) == Recipe(2, 4, 7, 20)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_neighbours_are_the_nearest_by_rising_distance(dimension):
    x = jittered(dimension, {1: 300, 2: 20, 3: 8}[dimension])
    targets = np.random.default_rng(2).uniform(0, 1, (50, dimension))
    distance = np.linalg.norm(targets[:, None] - x, axis=2)
    found = nearest(x, targets, 17)
    assert found.dtype == np.int32
    assert np.array_equal(found, np.argsort(distance, axis=1)[:, :17])
    assert np.array_equal(nearest(x, targets, 1)[:, 0], distance.argmin(axis=1))


def test_neighbours_do_not_depend_on_how_many_targets_are_asked_at_once():
    x = hexagonal(0.02)
    assert len(x) > 8192
    assert np.array_equal(nearest(x, x, 9)[8000:8300], nearest(x, x[8000:8300], 9))


def test_rows_that_the_kernel_gives_up_are_solved_again(monkeypatch):
    x = jittered(2, 10)
    recipe = Recipe.of(2, 2, 2)
    monkeypatch.setattr(weights, "_compiled", lambda: None)
    _, expected = stencil_weights(x, x, recipe, [LAPLACIAN])

    def sloppy(nodes, targets, index, exponent, powers, operators):
        rows = unchecked_weights(nodes, targets, index, exponent, powers, operators)
        offsets = nodes[index[3]] - targets[3]
        unseen = null_space(np.prod(offsets[:, None] ** powers, axis=2).T)[:, 0]
        rows[0, 3] += unseen * np.abs(rows[0, 3]).max()
        rows[0, 4] = np.nan
        return rows, ~np.isin(np.arange(len(targets)), [3, 4])

    monkeypatch.setattr(weights, "_compiled", lambda: sloppy)
    _, got = stencil_weights(x, x, recipe, [LAPLACIAN])
    assert relative(got, expected) < 1e-11


def test_without_a_compiler_numpy_finds_the_same_weights_and_says_so_once(monkeypatch, recwarn):
    x, recipe = jittered(2, 10), Recipe.of(2, 2, 2)
    _, expected = stencil_weights(x, x, recipe, [LAPLACIAN])
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    weights._compiled.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="llvmlite is not installed.*pip install llvmlite") as told:
            _, got = stencil_weights(x, x, recipe, [LAPLACIAN])
        assert [warning.filename for warning in told] == [__file__]
        stencil_weights(x, x, recipe, [LAPLACIAN])
        assert len(recwarn) == 0
    finally:
        weights._compiled.cache_clear()
    assert 0 < relative(got, expected) < 1e-10


def test_single_precision_and_integers_are_converted_exactly():
    x = jittered(2, 8).astype(np.float32)
    recipe = Recipe.of(2, 1, 2)
    _, single = stencil_weights(x, x, recipe, [{(1, 0): 1.0}])
    _, double = stencil_weights(x.astype(float), x.astype(float), recipe, [{(1, 0): 1.0}])
    assert single.dtype == np.float64 and np.array_equal(single, double)
    _, whole = stencil_weights(np.arange(9)[:, None], [[4]], Recipe.of(2, 2, 1), [{(2,): 1.0}])
    assert abs(whole.sum()) < 1e-12


def test_no_targets_have_no_weights():
    index, got = stencil_weights(jittered(2, 8), np.empty((0, 2)), Recipe.of(2, 1, 2), [{(1, 0): 1.0}])
    assert index.shape == (0, 13) and got.shape == (1, 0, 13)


LINE = np.stack([np.linspace(0, 1, 60), np.zeros(60)], axis=1)
CIRCLE = np.stack([np.cos(np.arange(60.0) / 9.6), np.sin(np.arange(60.0) / 9.6)], axis=1)


@pytest.mark.parametrize(
    "x", [LINE, CIRCLE, LINE + 1e-9 * jittered(2, 8)[:60]], ids=["line", "circle", "almost a line"]
)
def test_a_singular_stencil_is_named_with_its_place_and_what_to_change(x, solver):
    expected = (
        r"stencil of boundary node 0 at \([^)]+\) is singular, and those of 59 other targets: its 13 nodes do not "
        r"determine polynomials of degree 2.*more nodes.*lower order, ghost nodes.*coincident"
    )
    with pytest.raises(ValueError, match=expected):
        stencil_weights(x, x, Recipe.of(1, 2, 2), [LAPLACIAN], label="boundary node {}".format)


def test_one_singular_stencil_among_good_ones_is_found(solver):
    x = np.concatenate([hexagonal(0.1), LINE / 50 + [9.0, 0.0]])
    target = np.concatenate([x[:70], x[-1:]])
    with pytest.raises(ValueError, match=r"target 70 at \(9.02, 0\) is singular: its 13 nodes"):
        stencil_weights(x, target, Recipe.of(1, 2, 2), [LAPLACIAN])


def test_the_twin_refuses_an_exactly_singular_system_and_no_other():
    x = np.concatenate([jittered(2, 6), np.stack([np.arange(8.0), np.zeros(8)], axis=1) + 5])
    index = np.concatenate([nearest(x, x[:5], 8), np.arange(36, 44)[None]])
    powers = monomials(2, 2)
    rows = unchecked_weights(x, x[[0, 1, 2, 3, 4, 40]], index, 5, powers, [LAPLACIAN])
    assert np.isfinite(rows[:, :5]).all() and np.isnan(rows[:, 5]).all()
    with pytest.raises(ValueError, match=r"of 1 stencils are singular, the first that of target 5: use more nodes"):
        batched_weights(x, x[[0, 1, 2, 3, 4, 40]], index, 5, powers, [LAPLACIAN])


def test_the_moments_see_an_error_in_any_one_weight():
    x = jittered(2, 10)
    recipe = Recipe.of(3, 2, 2)
    index, got = stencil_weights(x, x[:40], recipe, [LAPLACIAN, {(1, 0): 1.0}])
    arguments = (x, x[:40], index, recipe.degree, [LAPLACIAN, {(1, 0): 1.0}])
    assert moment_error(*arguments, got).max() < 1e-11
    for operator, place in product(range(2), range(recipe.size)):
        wrong = got.copy()
        wrong[operator, 7, place] += 1e-4 * np.abs(got[operator, 7]).max()
        assert np.flatnonzero(moment_error(*arguments, wrong) > 1e-8).tolist() == [7]


RECIPE = Recipe.of(2, 2, 2)
NODES = jittered(2, 8)
TWICE = np.concatenate([NODES, NODES[[5]]])
NEARLY = np.concatenate([NODES, NODES[[5]] + 1e-11])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            (TWICE, NODES, RECIPE, [LAPLACIAN]),
            r"node 5 and node 64 coincide at \(.*1 such pairs.*remove one of each pair",
        ),
        ((NEARLY, NODES, RECIPE, [LAPLACIAN]), r"node 5 and node 64 coincide.*move it by a good part"),
        (
            (NODES[:20], NODES, RECIPE, [LAPLACIAN]),
            "21 nodes is larger than the set of 20.*largest order that fits is 1 ",
        ),
        ((NODES[:12], NODES, RECIPE, [LAPLACIAN]), "larger than the set of 12 nodes: no order fits.*more nodes"),
        (
            (NODES, NODES, RECIPE, [{(4, 0): 1.0}]),
            r"degree 3 have no derivative \(4, 0\).*Recipe.of\(order, derivative=4",
        ),
        (
            (NODES, NODES, Recipe(2, 3, 3, 21), [{(2, 1): 1.0}]),
            r"r\^3 has no continuous derivative \(2, 1\).*exponent of 5 or more",
        ),
        ((NODES, NODES, RECIPE, []), "at least one operator.*came none"),
        ((NODES, NODES, RECIPE, [{}]), r"\{alpha: finite coefficient, ...\}, came \{\}"),
        ((NODES, NODES, RECIPE, [{(1, 0): np.inf}]), "finite coefficient.*inf"),
        ((NODES, NODES, RECIPE, [{(1,): 1.0}]), r"2 numbers of derivatives >= 0, one an axis, came \(1,\)"),
        ((NODES, NODES, RECIPE, [{(-1, 1): 1.0}]), r"numbers of derivatives >= 0.*came \(-1, 1\)"),
        ((NODES, NODES[:, :1], RECIPE, [LAPLACIAN]), r"targets: expected real numbers of shape \(n, 2\).*\(64, 1\)"),
        ((NODES * 1j, NODES, RECIPE, [LAPLACIAN]), "nodes: expected real numbers.*complex128"),
        (
            (np.where(NODES > 0.8, np.nan, NODES), NODES, RECIPE, [LAPLACIAN]),
            r"nodes: expected finite coordinates.*at row 7 .*more such rows: remove them",
        ),
        ((NODES, NODES, RECIPE, [LAPLACIAN], np.zeros((64, 21))), r"index: expected integers of shape \(64, n\)"),
        ((NODES, NODES, RECIPE, [LAPLACIAN], np.zeros((64, 9), int)), "10 nodes or more.*came 9: use more nodes"),
        ((NODES, NODES[:1], RECIPE, [LAPLACIAN], np.arange(60, 80)[None]), "expected 0 to 63, came 60 to 79"),
        ((NODES, NODES, RECIPE, [LAPLACIAN], np.zeros((64, 21), int)), "once in a stencil, came one twice in row 0"),
    ],
)
def test_what_has_no_weights_is_refused(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        stencil_weights(*arguments)


def test_an_order_that_the_message_says_fits_does_fit():
    x = jittered(2, 8)[:20]
    stencil_weights(x, x, Recipe.of(1, 2, 2), [LAPLACIAN])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Recipe(2, 3, 4, 21), r"odd exponent.*came 4: use 5"),
        (lambda: Recipe(2, 1, 5, 21), r"polynomials of degree 2 or more.*came degree 1: raise it.*exponent <= 3"),
        (lambda: Recipe(2, 3, 5, 9), r"polynomials of degree 3 in 2-D \(10\), came 9: 21 are usual"),
        (lambda: Recipe(0, 3, 5, 9), "at least one coordinate"),
        (lambda: Recipe.of(0, 2, 2), "order >= 1, derivative >= 0"),
        (lambda: Recipe.of(2, -1, 2), "came order=2, derivative=-1"),
        (lambda: nearest(NODES, NODES, 65), "expected 1 to 64 neighbours, as many as there are nodes, came 65"),
    ],
)
def test_recipes_that_make_no_stencil_are_refused(make, expected):
    with pytest.raises(ValueError, match=expected):
        make()


def test_many_copies_of_one_node_are_refused_without_listing_all_pairs():
    x = np.concatenate([NODES, np.zeros((50_000, 2))])
    with pytest.raises(ValueError, match=r"node 64 and node 65 coincide at \(0, 0\) \(49999 such pairs at least\)"):
        nearest(x, NODES, 5)


def kept(directory):
    return stencil_weights(NODES, NODES[:9], RECIPE, [LAPLACIAN], cache=directory)


def test_kept_weights_come_back_bit_for_bit_and_unsolved(tmp_path, monkeypatch):
    index, first = kept(tmp_path / "made" / "here")
    monkeypatch.setattr(weights, "_solved", None)
    again, second = kept(tmp_path / "made" / "here")
    assert np.array_equal(index, again) and np.array_equal(first, second)
    assert (again.dtype, second.dtype) == (np.int32, np.float64)
    (file,) = (tmp_path / "made" / "here").iterdir()
    with np.load(file, allow_pickle=False) as arrays:
        assert set(arrays.files) == {"key", "digest", "index", "weights"}


def test_a_key_is_of_all_that_weights_depend_on():
    index = nearest(NODES, NODES, 21)
    moved = NODES.copy()
    moved[0, 0] = np.nextafter(moved[0, 0], 1)
    changes = [
        (NODES, NODES, RECIPE, [LAPLACIAN], None),
        (moved, NODES, RECIPE, [LAPLACIAN], None),
        (NODES, moved, RECIPE, [LAPLACIAN], None),
        (NODES, NODES[:-1], RECIPE, [LAPLACIAN], None),
        (NODES[:-1], NODES, RECIPE, [LAPLACIAN], None),
        (NODES, NODES, Recipe.of(2, 2, 2, size=22), [LAPLACIAN], None),
        (NODES, NODES, Recipe.of(2, 2, 2, exponent=7), [LAPLACIAN], None),
        (NODES, NODES, RECIPE, [LAPLACIAN, LAPLACIAN], None),
        (NODES, NODES, RECIPE, [{(2, 0): 1.0, (0, 2): 1.0 + 1e-15}], None),
        (NODES, NODES, RECIPE, [{(2, 0): 1.0}, {(0, 2): 1.0}], None),
        (NODES, NODES, RECIPE, [LAPLACIAN], index),
        (NODES, NODES, RECIPE, [LAPLACIAN], index[:, ::-1]),
    ]
    assert len({cache.weights_key(*change) for change in changes}) == len(changes)
    turned = {(0, 2): 1.0, (2, 0): 1.0}
    assert cache.weights_key(*changes[0]) == cache.weights_key(NODES, NODES, RECIPE, [turned])


def flipped(data, where):
    return data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-7],
        lambda data: b"",
        lambda data: b"not an archive at all",
        lambda data: flipped(data, data.index(b"index.npy") + 200),
        lambda data: flipped(data, data.index(b"weights.npy") + 200),
        lambda data: data.replace(b"weights.npy", b"wrights.npy"),
    ],
)
def test_a_damaged_file_is_told_by_name_and_built_anew(tmp_path, damage):
    index, first = kept(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(UserWarning, match=f"{file.name} are unusable and will be rebuilt"):
        again, second = kept(tmp_path)
    assert np.array_equal(index, again) and np.array_equal(first, second)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept(tmp_path)


def test_no_damaged_byte_changes_what_comes_back(tmp_path):
    index, first = kept(tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    key = file.stem.removeprefix("stencils-")
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for where in range(0, len(whole), 23):
            file.write_bytes(flipped(whole, where))
            found = cache.load(tmp_path, key)
            refused += found is None
            assert found is None or (np.array_equal(found[0], index) and np.array_equal(found[1], first))
    # The rest are time stamps and padding.
    assert refused > 0.6 * len(whole) / 23


def test_a_whole_file_of_other_contents_is_not_believed(tmp_path):
    index, first = kept(tmp_path)
    (file,) = tmp_path.iterdir()
    key = file.stem.removeprefix("stencils-")
    other = cache.store(tmp_path, "0" * 64, index, first)
    other.replace(file)
    with pytest.warns(UserWarning, match="belongs to other nodes"):
        assert cache.load(tmp_path, key) is None
    with np.load(cache.store(tmp_path, key, index, first)) as arrays:
        contents = dict(arrays)
    np.savez(file, **(contents | {"weights": contents["weights"] * (1 + 1e-9)}))
    with pytest.warns(UserWarning, match="checksum does not fit"):
        assert cache.load(tmp_path, key) is None
    np.savez(file, **(contents | {"weights": contents["weights"].reshape(1, 9, 3, 7)}))
    with pytest.warns(UserWarning, match="checksum does not fit"):
        assert cache.load(tmp_path, key) is None


def test_an_interrupted_write_leaves_neither_a_file_nor_a_temporary_one(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path)
    assert list(tmp_path.iterdir()) == []


def matrix(index, rows, columns):
    return csr_matrix(
        (rows.ravel(), index.ravel(), np.arange(0, index.size + 1, index.shape[1])), (len(index), columns)
    )


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_the_published_routines_make_the_same_centred_rows(shared, order, solver):
    file = shared / "reference" / "rbf_fd_disk" / f"authors_p{order}_n582.npz"
    if not file.exists():
        pytest.skip(f"no {file.name} among the reference files")
    with np.load(file, allow_pickle=False) as arrays:
        data = dict(arrays)
    theirs = {
        name: csr_matrix((data[name + "_data"], data[name + "_indices"], data[name + "_indptr"]), data[name + "_shape"])
        for name in ("L1", "B1")
    }
    x = np.concatenate([data["Xi"], data["Xb"], data["Xg"]])
    centred = data["cen"].ravel().astype(int) - 1
    assert len(centred) > 200
    index, got = stencil_weights(x, x[centred], Recipe.of(order, 2, 2), [LAPLACIAN])
    assert distance(matrix(index, got[0], len(x)), theirs["L1"][centred]) < 1e-8
    index, got = stencil_weights(x, data["Xb"], Recipe.of(order, 1, 2), [{(1, 0): 1.0}, {(0, 1): 1.0}, {(0, 0): 1.0}])
    robin = data["n"][:, :1] * got[0] + data["n"][:, 1:] * got[1] + got[2]
    assert distance(matrix(index, robin, len(x)), theirs["B1"]) < 1e-8


def distance(ours, theirs):
    return float((abs(ours - theirs).max(axis=1).toarray() / abs(theirs).max(axis=1).toarray()).max())


@pytest.mark.parametrize(("dimension", "side"), [(2, 16), (3, 7)])
def test_another_package_makes_the_same_weights(dimension, side):
    fd = pytest.importorskip("rbf.pde.fd", reason="treverhines-rbf is not installed")
    x = jittered(dimension, side)
    recipe = Recipe.of(3, 2, dimension)
    pure = [tuple(2 * row) for row in np.eye(dimension, dtype=int)]
    index, got = stencil_weights(x, x, recipe, [dict.fromkeys(pure, 1.0)])
    theirs = fd.weight_matrix(x, x, recipe.size, pure, phi=f"phs{recipe.exponent}", order=recipe.degree)
    assert distance(matrix(index, got[0], len(x)), csr_matrix(theirs)) < 1e-8

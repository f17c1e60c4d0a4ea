"""Which directions to differentiate along, and how the Taylor coefficients along them combine to partials."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement, product

import numpy as np

from solvers.jet import NORMAL, TIME, axes_of, canonical, parse_partial
from solvers.layout import Group, Layout

MAX_PURE_ORDER = 30
"""Highest order of a partial in one axis."""

MAX_MIXED_ORDER = 6
"""Highest order of a partial in several axes."""

MAX_MIXED_AXES = 3
"""Most axes that one partial may mix."""

_EXACT = 1e-12
"""Largest residual of a representation that counts as exact, relative to the target."""

AUTODIFF_ORDER = 10
"""What nested differentiation reaches, where directions do not."""

_RANK = 1e-10
"""Singular values below this fraction of the largest are zero: the direction sets in use stay above 1e-2."""

Monomial = tuple[int, ...]
"""A single derivative as sorted axis indices, u_xxy = (0, 0, 1)."""

Form = Mapping[Monomial, float]
"""A sum of single derivatives of one order."""


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions of a Taylor series and the rows' weights that give each partial.

    Row r holds c_k(v) = (v . grad)^k u / k!, or its sum over v for the last row of a collapsed group, and
    partial = sum_r w_r row_r. The amplification is A = sum_r |w_r| |v_r|^k / k!: a partial is wrong by at most A times
    the largest error of a k-th derivative along a unit direction. It is 1 for a derivative along its own axis.

    Args:
        layout: how the rows are stacked.
        vectors: (directions, axes) float64, those of all groups in turn; not all of unit length.
        combinations: canonical partial -> (rows,) float64, k! included.
        amplifications: canonical partial -> A.

    Example:
        >>> chosen = choose_directions(("xx+yy",), ("x", "y"))
        >>> chosen.layout.rows, chosen.combinations["xx+yy"].tolist()
        (4, [0.0, 0.0, 0.0, 2.0])
    """

    layout: Layout
    vectors: np.ndarray
    combinations: Mapping[str, np.ndarray]
    amplifications: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class _Pool:
    """Directions to choose from, (n, axes), and the highest order that each may have, (n,)."""

    vectors: np.ndarray
    orders: np.ndarray


@lru_cache
def choose_directions(partials: tuple[str, ...], axes: tuple[str, ...]) -> Directions:
    """Choose few directions whose Taylor coefficients give all of the partials.

    Every order k is a linear system: (v . grad)^k = sum_a k!/a! v^a D^a over the multi-indices |a| = k. Sums of pure
    second derivatives, and bilaplacians in 2 and 3 axes, keep one collapsed row if that is cheaper than single
    derivatives; a pure derivative needs its axis alone; mixed ones take equispaced angles in 2 axes and directions on
    the half sphere in 3, of which those that are not needed are dropped.

    Args:
        partials: as a user writes them; "n" stands for all first derivatives in space.
        axes: the axis letters of the domain.

    Returns:
        Keys of the combinations are "", the canonical name of every collapsed sum, and the single derivatives of
        everything else.

    Raises:
        ValueError: no partial, or an order or a number of mixed axes out of reach.

    The rows are what a network evaluation costs. Choosing takes about 1 ms without mixed partials, 10 ms with
    second-order ones and 0.1 s with all of order 6 in 3 axes; results are cached. Equal-weight formulas for powers of
    the Laplacian are spherical designs (Delsarte, Goethals & Seidel 1977).

    Example:
        >>> chosen = choose_directions(("t", "laplacian"), ("x", "y", "t"))
        >>> chosen.layout.rows, sorted(chosen.combinations)
        (5, ['', 't', 'xx+yy'])
    """
    singles, sums = _requests(partials, axes)
    best = None
    for collapsed in _subsets(list(sums)):
        split = {letters for name in sums if name not in collapsed for letters in sums[name]}
        wanted = {letters: {_monomial(letters, axes): 1.0} for letters in _by_axes(singles | split, axes)}
        forms = {name: {_monomial(letters, axes): c for letters, c in sums[name].items()} for name in collapsed}
        groups = _collapsed_groups(forms, wanted, len(axes))
        if groups is None:
            continue
        for pool in _pools(wanted, len(axes)):
            chosen = _choose(groups, pool, wanted | forms)
            if chosen and (best is None or _cost(chosen) < _cost(best)):
                best = chosen
    return best


def _requests(partials: Iterable[str], axes: tuple[str, ...]) -> tuple[set[str], dict[str, Mapping[str, float]]]:
    """Return the single derivatives asked for, and the sums that could be collapsed."""
    singles, sums = {""}, {}
    for name in partials:
        parts = dict.fromkeys((a for a in axes if a != TIME), 1.0) if name == NORMAL else parse_partial(name, axes)
        for letters in parts:
            _check_reach(letters, name, axes)
        terms = {letters: c for letters, c in parts.items() if c}
        if _equal_weight_vectors({_monomial(letters, axes): c for letters, c in terms.items()}, len(axes)) is None:
            singles |= set(parts)
        else:
            sums[canonical(terms)] = terms
    return singles, sums


def _check_reach(letters: str, name: str, axes: tuple[str, ...]) -> None:
    """Refuse a single derivative for which there are no directions."""
    monomial = _monomial(letters, axes)
    order, mixed = len(monomial), len(set(monomial))
    if mixed > MAX_MIXED_AXES:
        problem = f"at most {MAX_MIXED_AXES} axes in one partial, came {mixed}"
    elif mixed > 1 and order > MAX_MIXED_ORDER:
        problem = f"a mixed partial of order {MAX_MIXED_ORDER} at most, came {order}"
    elif order > MAX_PURE_ORDER:
        problem = f"a partial of order {MAX_PURE_ORDER} at most, came {order}"
    else:
        return
    nested = order <= AUTODIFF_ORDER
    advice = "use AutoDiff()" if nested else "ask for a lower order, no operator here reaches this one"
    raise ValueError(f"expected {problem} ({letters!r} in {name!r}): {advice}")


def _monomial(letters: str, axes: tuple[str, ...]) -> Monomial:
    return tuple(sorted(axes_of(letters, axes)))


def _by_axes(names: Iterable[str], axes: tuple[str, ...]) -> list[str]:
    return sorted(names, key=lambda letters: (len(_monomial(letters, axes)), _monomial(letters, axes)))


def _subsets(names: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield the choices of sums to collapse; of many, all or none."""
    if len(names) > 3:
        yield from (tuple(names), ())
        return
    for keep in product((True, False), repeat=len(names)):
        yield tuple(name for name, kept in zip(names, keep, strict=True) if kept)


# Collapsed sums


def _equal_weight_vectors(form: Form, d: int) -> np.ndarray | None:
    """Return (K, d) vectors with form = weight sum_v (v . grad)^k, or None where no such set is known."""
    if {len(monomial) for monomial in form} == {2}:
        return _laplacian_vectors(form, d)
    if {len(monomial) for monomial in form} == {4}:
        return _bilaplacian_vectors(form, d)
    return None


def _laplacian_vectors(form: Form, d: int) -> np.ndarray | None:
    """Sums c_i D_i^2 with c_i of one sign: v_i = |c_i|^1/2 e_i, scaled so that the longest is 1."""
    one_sign = len({c > 0 for c in form.values()}) == 1
    if not one_sign or len(form) < 2 or any(i != j for i, j in form):
        return None
    largest = max(map(abs, form.values()))
    vectors = np.zeros((len(form), d))
    for k, ((i, _), c) in enumerate(sorted(form.items())):
        vectors[k, i] = math.sqrt(abs(c) / largest)
    return vectors


def _bilaplacian_vectors(form: Form, d: int) -> np.ndarray | None:
    """Scaled (sum_i a_i D_i^2)^2: a design for a = 1, its coordinates scaled by a_i^1/2.

    Three lines at 60 degrees have Lap^2 = 8/9 sum_v D_v^4, the six axes of the icosahedron Lap^2 = 5/6 sum_v D_v^4.
    """
    support = sorted({i for monomial in form for i in monomial})
    diagonal = [form.get((i,) * 4, 0.0) for i in support]
    sign = math.copysign(1.0, diagonal[0])
    if len(support) not in (2, 3) or any(sign * c <= 0 for c in diagonal):
        return None
    a = [math.sqrt(abs(c)) for c in diagonal]
    square = {
        (i, i, j, j): sign * a[m] * a[n] * (1 if i == j else 2)
        for (m, i), (n, j) in combinations_with_replacement(enumerate(support), 2)
    }
    if set(square) != set(form) or any(abs(c - form[monomial]) > 1e-14 * abs(c) for monomial, c in square.items()):
        return None
    design = _equispaced(3) if len(support) == 2 else _icosahedron()
    return _embed(design * np.sqrt(np.array(a) / max(a)), support, d)


def _collapsed_groups(
    forms: Mapping[str, Form], wanted: Mapping[str, Form], d: int
) -> list[tuple[np.ndarray, int]] | None:
    """Return (vectors, order) of the collapsed groups; None where a group would be of one direction.

    Axes whose pure second derivative is wanted anyway are left out of a Laplacian: their own row gives their part.
    """
    pure = {next(iter(form)) for form in wanted.values()}
    groups: dict[tuple, tuple[np.ndarray, int]] = {}
    for form in forms.values():
        order = len(next(iter(form)))
        rest = {monomial: c for monomial, c in form.items() if order == 4 or monomial not in pure}
        vectors = _equal_weight_vectors(rest, d) if rest else None
        if vectors is None:
            return None
        groups.setdefault((order, *vectors.round(12).ravel()), (vectors, order))
    return list(groups.values())


# Candidate directions


def _equispaced(count: int, offset: float = 0.0) -> np.ndarray:
    """Return (count, 2) unit vectors at angles pi (j + offset) / count; q + 1 of them have condition C(q, q/2)^1/2."""
    angles = np.pi * (np.arange(count) + offset) / count
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # cos(pi/2) is 6e-17, which would count as a second axis of a direction along the first.
    return np.where(abs(vectors) < 1e-15, 0.0, vectors)


def _icosahedron() -> np.ndarray:
    """Return the (6, 3) axes through opposite vertices."""
    golden = (1 + math.sqrt(5)) / 2
    vectors = [np.roll((0.0, 1.0, sign * golden), shift) for shift in range(3) for sign in (1, -1)]
    return np.array(vectors) / math.hypot(1.0, golden)


@lru_cache
def _lattice(coordinates: tuple[int, ...]) -> np.ndarray:
    """Return the lines through points of {coordinates}^3: by their symmetry few of them do for one monomial."""
    # Of v and -v the lexicographically positive one; multiples of a shorter point are the same line.
    points = [p for p in product(coordinates, repeat=3) if p > (0, 0, 0) and math.gcd(*p) == 1]
    vectors = np.array(sorted(points, key=lambda p: (sum(c * c for c in p), p)), dtype=float)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@lru_cache
def _sphere(order: int) -> np.ndarray:
    """Return C(order + 2, 2) directions of the half sphere that span the forms of that order, well conditioned.

    Columns of the largest volume among 403 candidates: pivoting starts, and exchanges end at a set in which every
    candidate has coefficients of 1 at most. Condition 1.7, 2.4, 4.0, 5.3, 9.4 for orders 2 .. 6.
    """
    k = np.arange(400) + 0.5
    z, turn = k / 400, k * np.pi * (3 - math.sqrt(5))
    spiral = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], axis=1)
    candidates = np.vstack([np.eye(3), spiral])
    columns = _columns(candidates, list(combinations_with_replacement(range(3), order)))
    rest, chosen = columns.copy(), []
    for _ in range(len(columns)):
        chosen.append(int(np.argmax((rest**2).sum(axis=0))))
        unit = rest[:, chosen[-1]] / np.linalg.norm(rest[:, chosen[-1]])
        rest -= np.outer(unit, unit @ rest)
    while True:
        coefficients = np.linalg.solve(columns[:, chosen], columns)
        leaves, enters = np.unravel_index(np.argmax(abs(coefficients)), coefficients.shape)
        if abs(coefficients[leaves, enters]) < 1.001:
            return candidates[sorted(chosen)]
        chosen[leaves] = int(enters)


def _embed(vectors: np.ndarray, support: Sequence[int], d: int) -> np.ndarray:
    result = np.zeros((len(vectors), d))
    result[:, list(support)] = vectors
    return result


def _candidates(axes: int, order: int, style: str) -> np.ndarray:
    """Return directions in 2 or 3 axes among which are enough for partials of an order.

    D_x^a D_y^b alone needs a + b directions: those at the zeros of Im (x + iy)^(a+b) for even b, of Re for odd b, since
    these polynomials have no x^a y^b (apolarity). All partials of the order need a + b + 1.
    """
    if axes == 3:
        # The four diagonals of the cube do for xyz, and for xy, xz and yz together.
        return _sphere(order) if style == "all" else _lattice((-2, -1, 0, 1, 2) if style == "even" else (-1, 1))
    return {"all": _equispaced(order + 1), "even": _equispaced(order), "odd": _equispaced(order, 0.5)}[style]


def _pools(wanted: Mapping[str, Form], d: int) -> Iterator[_Pool]:
    """Yield sets of directions from which to choose, each enough for the wanted single derivatives."""
    monomials = [monomial for form in wanted.values() for monomial in form if monomial]
    pure = Counter()
    for monomial in monomials:
        if len(set(monomial)) == 1:
            pure[monomial[0]] = max(pure[monomial[0]], len(monomial))
    blocks = _blocks([monomial for monomial in monomials if len(set(monomial)) > 1])
    if not any(blocks):
        yield _pool([(np.eye(d)[[axis]], order) for axis, order in sorted(pure.items())], d)
        return
    for block in blocks:
        reach = {axis: max((q for support, q in block.items() if axis in support), default=0) for axis in pure}
        for style, with_axes in (("all", False), ("all", True), ("even", True), ("odd", True)):
            parts = [(np.eye(d)[[i]], n) for i, n in sorted(pure.items()) if with_axes or n > reach[i]]
            parts += [(_embed(_candidates(len(s), q, style), s, d), q) for s, q in block.items()]
            yield _pool(parts, d)


def _blocks(mixed: Sequence[Monomial]) -> list[dict[Monomial, int]]:
    """Return the ways to divide mixed partials into sets of axes: each its own, the largest ones, or one of all."""
    each: dict[Monomial, int] = {}
    for monomial in sorted(mixed):
        support = tuple(sorted(set(monomial)))
        each[support] = max(each.get(support, 0), len(monomial))
    largest = [s for s in each if not any(set(s) < set(other) for other in each)]
    ways = [each, {s: max(q for other, q in each.items() if set(other) <= set(s)) for s in largest}]
    union = tuple(sorted({i for support in each for i in support}))
    if 0 < len(union) <= MAX_MIXED_AXES:
        ways.append({union: max(each.values())})
    return [way for i, way in enumerate(ways) if way not in ways[:i]]


def _pool(parts: Sequence[tuple[np.ndarray, int]], d: int) -> _Pool:
    """Return the parts' directions, each once and with its highest order."""
    merged: dict[tuple, tuple[np.ndarray, int]] = {}
    for vectors, order in parts:
        for vector in vectors:
            leading = vector[np.flatnonzero(vector)[0]]
            key = tuple((vector * np.sign(leading)).round(12) + 0.0)
            first, highest = merged.get(key, (vector, 0))
            merged[key] = (first, max(highest, order))
    vectors = np.array([vector for vector, _ in merged.values()]).reshape(-1, d)
    return _Pool(vectors, np.array([order for _, order in merged.values()], dtype=int))


# Choice among candidates


def _choose(groups: Sequence[tuple[np.ndarray, int]], pool: _Pool, wanted: Mapping[str, Form]) -> Directions | None:
    """Return the directions that are needed of a pool beside collapsed groups, or None where these cannot do it."""
    orders = _needed_orders(groups, pool, list(wanted.values()))
    if orders is None:
        return None
    layout = [Group(len(vectors), order, collapsed=True) for vectors, order in groups]
    stacked = [vectors for vectors, _ in groups]
    for order in sorted(set(orders[orders > 0].tolist())):
        layout.append(Group(int((orders == order).sum()), order))
        stacked.append(pool.vectors[orders == order])
    vectors = np.vstack([*stacked, np.zeros((0, pool.vectors.shape[1]))])
    return _combine(Layout(tuple(layout)), vectors, wanted)


def _needed_orders(groups: Sequence[tuple[np.ndarray, int]], pool: _Pool, forms: Sequence[Form]) -> np.ndarray | None:
    """Return the lowest order of every direction of the pool, 0 to drop it, from which all forms still follow.

    A direction that is kept for one order has all lower ones for nothing, so the highest order chooses first.
    """
    orders = np.zeros(len(pool.vectors), dtype=int)
    for order in sorted({len(monomial) for form in forms for monomial in form} - {0}, reverse=True):
        here = [form for form in forms if len(next(iter(form))) == order]
        optional = np.flatnonzero((pool.orders >= order) & (orders == 0))
        above = [vectors for vectors, highest in groups if highest >= order]
        monomials = _monomials(np.vstack([*above, pool.vectors[orders > 0], pool.vectors[optional]]), here)
        free = [_columns(pool.vectors[orders > 0], monomials)]
        for vectors, highest in groups:
            if highest >= order:
                columns = _columns(vectors, monomials)
                free.append(columns.sum(axis=1, keepdims=True) if highest == order else columns)
        kept = _fewest(np.hstack(free), _columns(pool.vectors[optional], monomials), _targets(here, monomials))
        if kept is None:
            return None
        orders[optional[kept]] = order
    return orders


def _fewest(free: np.ndarray, optional: np.ndarray, targets: np.ndarray) -> list[int] | None:
    """Return optional columns that with the free ones give the targets: the least used is dropped until none can be.

    Args:
        free: (m, f) columns that are there anyway.
        optional: (m, n) columns that cost.
        targets: (m, p).

    Returns:
        Indices into the optional columns, or None where all together do not give the targets.
    """
    if _solve(free, targets)[1]:
        return []
    kept, needed = list(range(optional.shape[1])), set()
    while True:
        columns = np.hstack([free, optional[:, kept]])
        weights, exact = _solve(columns, targets)
        if not exact:
            return None
        use = abs(weights[free.shape[1] :]).max(axis=1)
        if (use < _EXACT).any():
            kept = [k for k, used in zip(kept, use, strict=True) if used >= _EXACT]
            continue
        if np.linalg.matrix_rank(columns, tol=_RANK) == columns.shape[1]:
            return kept
        for position in np.argsort(use.round(10), kind="stable"):
            others = kept[:position] + kept[position + 1 :]
            if kept[position] in needed:
                continue
            if _solve(np.hstack([free, optional[:, others]]), targets)[1]:
                kept = others
                break
            # What cannot be dropped now cannot be dropped from fewer.
            needed.add(kept[position])
        else:
            return kept


def _cost(chosen: Directions) -> tuple[int, float]:
    return chosen.layout.rows, round(max(chosen.amplifications.values()), 9)


# Linear algebra of forms


@lru_cache(maxsize=4096)
def _multinomial_root(monomial: Monomial) -> float:
    """Return (k!/a!)^1/2, which makes the basis of forms orthonormal under rotations (Bombieri's product)."""
    repeats = Counter(monomial).values()
    return math.sqrt(math.factorial(len(monomial)) / math.prod(map(math.factorial, repeats)))


def _monomials(vectors: np.ndarray, forms: Sequence[Form]) -> list[Monomial]:
    """Return the monomials of one order that occur in (v . grad)^k or in the forms."""
    found = {monomial for form in forms for monomial in form}
    order = len(next(iter(found)))
    for support in {tuple(np.flatnonzero(vector).tolist()) for vector in vectors}:
        found |= set(combinations_with_replacement(support, order))
    return sorted(found)


def _columns(vectors: np.ndarray, monomials: Sequence[Monomial]) -> np.ndarray:
    """Return (v . grad)^k as (monomials, directions) coordinates (k!/a!)^1/2 v^a."""
    roots = np.array([_multinomial_root(monomial) for monomial in monomials])
    return (roots * vectors[:, np.array(monomials)].prod(axis=2)).T


def _targets(forms: Sequence[Form], monomials: Sequence[Monomial]) -> np.ndarray:
    """Return forms in the same coordinates, (monomials, forms)."""
    place = {monomial: i for i, monomial in enumerate(monomials)}
    targets = np.zeros((len(monomials), len(forms)))
    for column, form in enumerate(forms):
        for monomial, c in form.items():
            targets[place[monomial], column] = c / _multinomial_root(monomial)
    return targets


def _solve(columns: np.ndarray, targets: np.ndarray, tolerance: float = _EXACT) -> tuple[np.ndarray, bool]:
    """Return the least weights W with columns W = targets, and whether that holds."""
    if not columns.shape[1]:
        return np.zeros((0, targets.shape[1])), False
    weights = np.linalg.lstsq(columns, targets, rcond=_RANK)[0]
    residual = abs(columns @ weights - targets).max(axis=0)
    return weights, bool((residual <= tolerance * abs(targets).max(axis=0)).all())


def _combine(layout: Layout, vectors: np.ndarray, wanted: Mapping[str, Form]) -> Directions:
    """Return the directions with the weights of every wanted form."""
    combinations, amplifications = {}, {}
    value = np.zeros(layout.rows)
    value[0] = 1.0
    for order in sorted({len(next(iter(form))) for form in wanted.values()}):
        names = [name for name, form in wanted.items() if len(next(iter(form))) == order]
        if order == 0:
            combinations[""], amplifications[""] = value, 1.0
            continue
        rows, columns, lengths, targets = _system(layout, vectors, order, [wanted[name] for name in names])
        for name, target in zip(names, targets.T, strict=True):
            weights = _weights(columns, target)
            amplifications[name] = float(abs(weights) @ lengths)
            combinations[name] = np.zeros(layout.rows)
            combinations[name][rows] = weights * math.factorial(order)
    for array in (vectors, *combinations.values()):
        array.setflags(write=False)
    return Directions(layout, vectors, combinations, amplifications)


def _system(
    layout: Layout, vectors: np.ndarray, order: int, forms: Sequence[Form]
) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of an order, their columns, their largest values sum |v|^k on unit forms, and the targets."""
    rows: dict[int, list[int]] = {}
    first = 0
    for index, group in enumerate(layout.groups):
        if group.order >= order:
            for direction in range(group.directions):
                rows.setdefault(layout.row(index, direction, order), []).append(first + direction)
        first += group.directions
    used = sorted(direction for members in rows.values() for direction in members)
    monomials = _monomials(vectors[used], forms)
    columns = _columns(vectors, monomials)
    lengths = np.linalg.norm(vectors, axis=1) ** order
    summed = np.stack([columns[:, members].sum(axis=1) for members in rows.values()], axis=1)
    return list(rows), summed, np.array([lengths[m].sum() for m in rows.values()]), _targets(forms, monomials)


def _weights(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return weights w with columns w = target, exact to round-off and zero where they need not be otherwise.

    Args:
        columns: (m, rows).
        target: (m,).

    Returns:
        (rows,); one weight alone where one column is parallel, since no other choice amplifies less.

    Raises:
        ArithmeticError: the residual is above 1e-13, which no chosen set of directions reaches.
    """
    sizes, size = np.linalg.norm(columns, axis=0), np.linalg.norm(target)
    weights = np.zeros(len(sizes))
    cosines = columns.T @ target / (sizes * size)
    best = int(np.argmax(abs(cosines)))
    if abs(cosines[best]) > 1 - 1e-14:
        weights[best] = columns[:, best] @ target / (columns[:, best] @ columns[:, best])
        return weights
    units, used = columns / sizes, np.arange(len(sizes))
    for _ in range(2):
        # The second pass solves without the weights that are round-off of zero.
        part = np.linalg.lstsq(units[:, used], target / size, rcond=_RANK)[0]
        used, part = used[abs(part) > 1e-13], part[abs(part) > 1e-13]
    part += np.linalg.lstsq(units[:, used], target / size - units[:, used] @ part, rcond=_RANK)[0]
    residual = abs(units[:, used] @ part - target / size).max()
    if residual > 1e-13:
        raise ArithmeticError(f"expected a residual below 1e-13, came {residual:.1e}: report the partials")
    weights[used] = part * size / sizes[used]
    return weights

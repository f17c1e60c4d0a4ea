"""Claims about runtimes against the number of derivatives, widths, depths and batches: figures 1 to 5 of the paper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.reproduce.claims import Claim
from analyses.reproduce.dt_pinn_rows import Cells, settled
from analyses.reproduce.n_tangentprop_gains import by_order, gains
from analyses.reproduce.n_tangentprop_runtimes import Runtime
from analyses.reproduce.n_tangentprop_settings import BATCH, FUSED, NESTED, PARTITIONS, STANDARD, Shape, named

FIRST = 3
"""Order from which growth is fitted: below, what every call costs hides it."""
OURS = (FUSED, PARTITIONS)
QUASILINEAR = 1.5
"""Exponent of n up to which a runtime is called quasilinear."""
EXACT = 1e-10


def runtime_claims(records: Sequence[Runtime]) -> list[Claim]:
    """Judge the claims of figures 1 to 5.

    Args:
        records: what was timed.

    Returns:
        Rows; their intervals are over timing rounds.
    """
    return [_same_gradient(records), *_growth(records), *_passes(records), *_grid(records)]


def growth(records: Sequence[Runtime], part: str) -> list[tuple[float, float, float]]:
    """Fit an exponential a g^n and a power law a n^p to times of orders 3 and above, round by round.

    Args:
        records: of one method and network, lowest order first.
        part: "forward", "backward" or "total".

    Returns:
        g, p, and the root mean square misfit of the power law over that of the exponential in log time, a round each;
        empty below three orders.

    Example:
        >>> from analyses.reproduce.n_tangentprop_runtimes import Runtime, Setting
        >>> made = [Runtime(Setting("m", (3, 24), 256, n), [3.0**n], [0.0], [0.0]) for n in range(3, 9)]
        >>> factor, _, misfit = growth(made, "total")[0]
        >>> round(factor, 6), misfit > 1e6
        (3.0, True)
    """
    fitted = [record for record in records if record.setting.order >= FIRST]
    if len(fitted) < 3:
        return []
    orders = np.array([record.setting.order for record in fitted], float)
    found = []
    for times in zip(*(record.part(part) for record in fitted), strict=False):
        logs = np.log(times)
        exponential, power = np.polyfit(orders, logs, 1), np.polyfit(np.log(orders), logs, 1)
        misfits = [np.sqrt(np.mean((logs - line) ** 2)) for line in _lines(orders, exponential, power)]
        found.append((float(np.exp(exponential[0])), float(power[0]), float(misfits[1] / max(misfits[0], 1e-12))))
    return found


def _lines(orders: np.ndarray, exponential: np.ndarray, power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.polyval(exponential, orders), np.polyval(power, np.log(orders))


def _where(records: Sequence[Runtime], *methods: str) -> str:
    orders = [record.setting.order for method in methods for record in by_order(records, method)]
    reach = f"orders {min(orders)} to {max(orders)}" if orders else "no order"
    return f"{named(STANDARD)} tanh, {BATCH} points, float64, {reach}"


def _same_gradient(records: Sequence[Runtime]) -> Claim:
    cells = {
        f"{method}, {named(STANDARD)}": [record.difference for record in by_order(records, method)]
        for method in (NESTED, *OURS)
    }
    return settled(
        "same-gradient",
        "n-TangentProp is exact: every method gives the same gradient",
        _where(records, NESTED, *OURS),
        "largest deviation of the gradient over its largest entry, a value an order",
        cells,
        most=EXACT,
    )


def _growth(records: Sequence[Runtime]) -> list[Claim]:
    nested = growth(by_order(records, NESTED), "total")
    rows = [
        settled(
            "exponential",
            "the runtime of nested autodiff grows exponentially with the order",
            _where(records, NESTED),
            f"misfit of a power law over that of an exponential, orders {FIRST} and above, total",
            {"": [misfit for _, _, misfit in nested]},
            least=1.0,
            note=f"a factor {_middle(nested, 0)} an order; the power law would be n^{_middle(nested, 1)}",
        )
    ]
    for method in OURS:
        fits = growth(by_order(records, method), "total")
        note = f"a factor {_middle(fits, 0)} an order as an exponential, whose misfit is 1/{_middle(fits, 2)} of it"
        if method == PARTITIONS:
            note += (
                "; the paper's bound O(n p(n)) itself grows faster than any power, p(n) = 3 partitions at n = 3 and 30 "
                "at n = 9"
            )
        rows.append(
            settled(
                f"quasilinear-{'fused' if method == FUSED else 'sums'}",
                f"the runtime of n-TangentProp grows quasilinearly with the order ({_name(method)})",
                _where(records, method),
                f"p of n^p, orders {FIRST} and above, total",
                {"": [exponent for _, exponent, _ in fits]},
                most=QUASILINEAR,
                note=note,
            )
        )
    return rows


def _name(method: str) -> str:
    return "our recurrences, compiled" if method == FUSED else "the paper's algorithm in torch"


def _middle(fits: Sequence[tuple[float, float, float]], column: int) -> str:
    return f"{np.median([fit[column] for fit in fits]):.2g}" if fits else "unknown"


def _gain_cells(records: Sequence[Runtime], method: str, part: str, orders: Sequence[int]) -> Cells:
    found = gains(records, method, part)
    return {f"n = {order}": found[order] for order in orders if order in found}


def _passes(records: Sequence[Runtime]) -> list[Claim]:
    rows = []
    for method in OURS:
        short, name = ("fused" if method == FUSED else "sums"), _name(method)
        forward, backward = gains(records, method, "forward"), gains(records, method, "backward")
        compared = {
            f"n = {n}": [a / b for a, b in zip(forward[n], backward[n], strict=True)] for n in forward if n >= FIRST
        }
        where = _where(records, NESTED, method)
        rows += [
            settled(
                f"forward-{short}",
                f"n-TangentProp gains more in the forward than in the backward pass ({name})",
                where,
                "gain forward over gain backward",
                compared,
                least=1.0,
            ),
            settled(
                f"low-backward-{short}",
                f"for few derivatives autodiff is faster in the backward pass ({name})",
                where,
                "time of nested autodiff over n-TangentProp, backward",
                _gain_cells(records, method, "backward", (1, 2)),
                most=1.0,
            ),
            settled(
                f"low-total-{short}",
                f"for few derivatives autodiff is faster in all ({name})",
                where,
                "time of nested autodiff over n-TangentProp, total",
                _gain_cells(records, method, "total", (1, 2)),
                most=1.0,
            ),
        ]
    return rows


def _grid(records: Sequence[Runtime]) -> list[Claim]:
    shapes = sorted({record.setting.shape for record in records})
    batches = sorted({record.setting.batch for record in records})
    pairs = [(min(own), max(own)) for own in _by_depth(shapes)]
    rows = []
    for method in OURS:
        short, name = ("fused" if method == FUSED else "sums"), _name(method)
        first = f"batch {batches[-1]:,} over batch {batches[0]:,}" if batches else "no batch"
        rows += [
            settled(
                f"batch-{short}",
                f"the gain falls as the batch grows ({name})",
                f"networks {_listed(shapes)}, batches {', '.join(f'{b:,}' for b in batches)}",
                f"gain at {first}, total",
                _between(records, method, [(shape, batches[0], shape, batches[-1]) for shape in shapes if batches]),
                most=1.0,
            ),
            settled(
                f"width-{short}",
                f"the gain falls as the width grows ({name})",
                f"networks {_listed(shapes)}, batches {', '.join(f'{b:,}' for b in batches)}",
                "gain at the largest over that at the least width, total",
                _between(records, method, [(a, batch, b, batch) for a, b in pairs for batch in batches]),
                most=1.0,
            ),
            settled(
                f"three-{short}",
                f"with three derivatives or more n-TangentProp is faster on 3x24 for every batch ({name})",
                f"{named(STANDARD)}, batches {', '.join(f'{b:,}' for b in batches)}",
                "time of nested autodiff over n-TangentProp, total",
                {
                    f"batch {batch:,}, n = {n}": values
                    for batch in batches
                    for n, values in gains(records, method, "total", STANDARD, batch).items()
                    if n >= 3
                },
                least=1.0,
            ),
        ]
    return rows


def _by_depth(shapes: Sequence[Shape]) -> list[list[Shape]]:
    return [[shape for shape in shapes if shape[0] == depth] for depth in sorted({depth for depth, _ in shapes})]


def _listed(shapes: Sequence[Shape]) -> str:
    return ", ".join(map(named, shapes)) if len(shapes) <= 6 else f"{named(shapes[0])} to {named(shapes[-1])}"


def _between(
    records: Sequence[Runtime], method: str, pairs: Sequence[tuple[Shape, int, Shape, int]]
) -> dict[str, list[float]]:
    """Return gains of second over first settings, for the orders that both have."""
    found = {}
    for shape, batch, other, others in pairs:
        before, after = (gains(records, method, "total", *place) for place in ((shape, batch), (other, others)))
        where = named(shape) if shape == other else f"depth {shape[0]}, batch {batch:,}"
        for n in before.keys() & after.keys():
            found[f"{where}, n = {n}"] = [b / a for a, b in zip(before[n], after[n], strict=False)]
    return dict(sorted(found.items()))

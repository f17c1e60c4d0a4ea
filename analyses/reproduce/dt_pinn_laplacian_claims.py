"""Claims about one Laplacian: figure 1 of the paper, and what it leaves out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.reproduce.claims import Claim
from analyses.reproduce.dt_pinn_laplacian import NETWORK, ORDERS, Laplacian, product_name
from analyses.reproduce.dt_pinn_rows import Cells, settled
from analyses.reproduce.dt_pinn_settings import AUTODIFF, DISCRETE, TAYLOR, Arm

BEST = Arm(DISCRETE, 64, ORDERS[-1]).label
SINGLE, DOUBLE, TAYLOR_64 = Arm(AUTODIFF, 32).label, Arm(AUTODIFF, 64).label, Arm(TAYLOR, 64).label
PRODUCT = product_name(ORDERS[-1])


def laplacian_claims(depths: Sequence[Laplacian], nodes: int) -> list[Claim]:
    """Judge the claims of figure 1.

    Args:
        depths: what was measured, one a depth.
        nodes: their number.

    Returns:
        Rows.
    """
    depths = sorted(depths, key=lambda each: each.depth)
    where = f"random networks of width 50, depths {depths[0].depth} to {depths[-1].depth}, {nodes:,} nodes"
    return [*_accuracy(depths, where), *_costs(depths, where)]


def _by_depth(depths: Sequence[Laplacian], value) -> Cells:
    return {f"depth {each.depth}": value(each) for each in depths}


def _accuracy(depths: Sequence[Laplacian], where: str) -> list[Claim]:
    def ratio(each: Laplacian, order: int = 5) -> list[float]:
        own = each.errors[Arm(DISCRETE, 64, order).label]
        return [fine / coarse for fine, coarse in zip(own, each.errors[SINGLE], strict=True)]

    def decades(each: Laplacian) -> list[float]:
        errors = np.log10([each.errors[Arm(DISCRETE, 64, order).label] for order in ORDERS])
        return list(-np.diff(errors, axis=0).mean(axis=0))

    def noise(each: Laplacian) -> list[float]:
        return [value / each.predicted[5] for value in each.noise[5]]

    ratios = _by_depth(depths, ratio)
    return [
        settled(
            "most-accurate",
            "fp32 autodiff is more accurate than RBF-FD of any order",
            where,
            "error of RBF-FD p = 5, fp64, over that of fp32 autodiff",
            ratios,
            least=1.0,
        ),
        settled(
            "as-accurate",
            "RBF-FD of order 5 is as accurate as fp32 autodiff",
            where,
            "error of RBF-FD p = 5, fp64, over that of fp32 autodiff",
            ratios,
            most=10.0,
            note=f"below 1 RBF-FD is the more accurate; {_by_order(depths)}",
        ),
        settled(
            "only-order-5",
            "RBF-FD of order 4 is less accurate than fp32 autodiff",
            where,
            "error of RBF-FD p = 4, fp64, over that of fp32 autodiff",
            _by_depth(depths, lambda each: ratio(each, 4)),
            least=1.0,
        ),
        settled(
            "two-decades",
            "each order makes RBF-FD more accurate by about two decades",
            where,
            "decades an order, mean from p = 2 to 5",
            _by_depth(depths, decades),
            least=1.5,
            most=2.5,
        ),
        settled(
            "noise",
            "ours: rounding u to fp32 costs RBF-FD what its weights predict",
            where,
            "change by fp32, p = 5, over the plan's estimate",
            _by_depth(depths, noise),
            least=0.1,
            most=10.0,
            note=_noise_note(depths),
        ),
    ]


def _by_order(depths: Sequence[Laplacian]) -> str:
    def middle(label: str) -> str:
        return f"{np.median([value for each in depths for value in each.errors[label]]):.1e}"

    listed = ", ".join(f"p = {order}: {middle(Arm(DISCRETE, 64, order).label)}" for order in ORDERS)
    return f"medians over depths and seeds {listed}, fp32 autodiff: {middle(SINGLE)}"


def _noise_note(depths: Sequence[Laplacian]) -> str:
    coarse = [value for each in depths for value in each.errors[Arm(DISCRETE, 32, 5).label]]
    return (
        f"the estimate is eps times the largest sum of |w| over a row, {depths[0].predicted[5]:.1g} per unit of u; the "
        f"Laplacian then has a relative error of {np.median(coarse):.1g}, whatever the order"
    )


def _costs(depths: Sequence[Laplacian], where: str) -> list[Claim]:
    def grows(name: str) -> Cells:
        return {"": _rounds(depths[-1].forward[name], depths[0].forward[name])}

    def times(of: str, over: str, both: bool = False) -> Cells:
        kind = (lambda each: each.both) if both else (lambda each: each.forward)
        return _by_depth(depths, lambda each: _rounds(kind(each)[of], kind(each)[over]))

    deep = f"time at depth {depths[-1].depth} over that at depth {depths[0].depth}"
    network = np.median(_rounds(depths[-1].forward[NETWORK], depths[0].forward[NETWORK]))
    return [
        settled(
            "independent",
            "the cost of the RBF-FD Laplacian does not depend on the depth",
            where,
            f"{deep}, product p = 5 alone",
            grows(PRODUCT),
            least=0.67,
            most=1.5,
            note=f"the network's own evaluation, which the product needs, costs {network:.2g} times as much",
        ),
        settled(
            "slowly",
            "the cost of autodiff grows slowly with the depth",
            where,
            f"{deep}, fp32 autodiff",
            grows(SINGLE),
            most=2.0,
            note=f"in proportion to the hidden layers: {depths[-1].depth / depths[0].depth:.2g}",
        ),
        settled(
            "fp64-slower",
            "fp64 autodiff is significantly slower than fp32 autodiff",
            where,
            "time of fp64 over fp32 autodiff, forward",
            times(DOUBLE, SINGLE),
            least=1.5,
        ),
        settled(
            "cheaper",
            "the RBF-FD Laplacian is cheaper than fp32 autodiff",
            where,
            "time of fp32 autodiff over that of the product p = 5 alone, forward",
            times(SINGLE, PRODUCT),
            least=1.0,
        ),
        settled(
            "cheaper-whole",
            "ours: so it is with the network's evaluation, forward and backward",
            where,
            "time of fp32 autodiff over RBF-FD p = 5, fp64, with the network, both ways",
            times(SINGLE, BEST, both=True),
            least=1.0,
        ),
        settled(
            "cheaper-taylor",
            "ours: so it is against exact derivatives by Taylor coefficients",
            where,
            "time of Taylor mode over RBF-FD p = 5 with the network, both fp64, both ways",
            times(TAYLOR_64, BEST, both=True),
            least=1.0,
        ),
    ]


def _rounds(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return ratios round by round; slow calls are timed in fewer rounds."""
    return [value / other for value, other in zip(values, others, strict=False)]

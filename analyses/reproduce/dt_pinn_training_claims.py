"""Claims about training on the Poisson and heat equations: figures 2 to 5 of the paper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.reproduce import dt_pinn_speeds as speeds
from analyses.reproduce.claims import Claim
from analyses.reproduce.dt_pinn_epoch_claims import epoch_claims, precision_claims
from analyses.reproduce.dt_pinn_ground import Floor
from analyses.reproduce.dt_pinn_pairs import TITLES, cells, high_orders, node_counts, still_falling, where_measured
from analyses.reproduce.dt_pinn_rows import settled
from analyses.reproduce.dt_pinn_settings import DISCRETE, TAYLOR_64, VANILLA, Arm
from analyses.reproduce.dt_pinn_training import Trained, lowest

NEAR = 3.0
"""Times the discretisation floor, within which a run is said to have reached it."""

SPEEDUP = "seconds to its lowest error, fp32 vanilla over fp64 DT, equal iterations"
SAME = "seconds to the same error, fp32 vanilla over fp64 DT"
TO_TAYLOR = "seconds to the same error, exact fp64 Taylor mode over fp64 DT"


def training_claims(runs: Sequence[Trained], floors: Sequence[Floor]) -> list[Claim]:
    """Judge the claims of figures 2 to 5.

    Args:
        runs: all trainings.
        floors: direct solves of the same discretisations.

    Returns:
        Rows.
    """
    return [
        *_linear(runs),
        *precision_claims(runs),
        *epoch_claims(runs),
        *_common(runs, "nonlinear", least=1.0),
        _less_for_nonlinear(runs),
        *_common(runs, "heat", least=2.0),
        *(_above_floor(runs, floors, study) for study in TITLES),
    ]


def _linear(runs: Sequence[Trained]) -> list[Claim]:
    study, where = "linear", where_measured(runs, "linear")
    smallest, second = node_counts(runs, study)[:1], [Arm(DISCRETE, 64, 2)]
    low_order = cells(runs, study, second, VANILLA, speeds.accuracy, smallest)
    return [
        *_common(runs, study, least=2.0),
        settled(
            "p2-accuracy",
            "DT-PINNs of order 2 are less accurate for small N",
            where,
            "lowest error of p = 2 over that of fp32 vanilla, equal seconds",
            low_order,
            least=2.0,
        ),
        settled(
            "p2-speedup",
            "DT-PINNs of order 2 train 20 times faster, or more, for small N",
            where,
            SPEEDUP,
            cells(runs, study, second, VANILLA, speeds.speedup, smallest),
            least=20.0,
        ),
    ]


def _common(runs: Sequence[Trained], study: str, least: float) -> list[Claim]:
    """Return the rows that every study has: accuracy, speedup by the paper's measure, at one error, and to Taylor."""
    where, arms = where_measured(runs, study), high_orders(runs, study)
    faster = "train faster than" if least == 1 else f"train {least:g} times faster than"
    share = still_falling(runs, study, arms, VANILLA)
    return [
        settled(
            f"{study}-accuracy",
            "fp64 DT-PINNs of order 3 and more are as accurate as fp32 vanilla-PINNs",
            where,
            "lowest error, fp64 DT over fp32 vanilla, equal seconds",
            cells(runs, study, arms, VANILLA, speeds.accuracy),
            most=2.0,
        ),
        settled(
            f"{study}-speedup",
            f"fp64 DT-PINNs of order 3 and more {faster} fp32 vanilla-PINNs",
            where,
            SPEEDUP,
            cells(runs, study, arms, VANILLA, speeds.speedup),
            least=least,
            note=f"in {share:.0%} of the runs the lowest error is among the last: this is then the ratio of costs",
        ),
        settled(
            f"{study}-same-error",
            f"fp64 DT-PINNs {faster} fp32 vanilla-PINNs to the same error",
            where,
            SAME,
            cells(runs, study, arms, VANILLA, speeds.speedup_same_error),
            least=least,
        ),
        settled(
            f"{study}-taylor",
            f"ours: they also {faster} exact derivatives by Taylor coefficients",
            where,
            TO_TAYLOR,
            cells(runs, study, arms, TAYLOR_64, speeds.speedup_same_error),
            least=least,
        ),
    ]


def _less_for_nonlinear(runs: Sequence[Trained]) -> Claim:
    shared = [count for count in node_counts(runs, "linear") if count in node_counts(runs, "nonlinear")]
    arms = [arm for arm in high_orders(runs, "linear") if arm in high_orders(runs, "nonlinear")]
    both = [cells(runs, study, arms, VANILLA, speeds.speedup, shared) for study in ("linear", "nonlinear")]
    found = {
        label: [linear / nonlinear for linear, nonlinear in zip(both[0][label], both[1][label], strict=False)]
        for label in both[0].keys() & both[1].keys()
    }
    return settled(
        "nonlinear-less",
        "the speedup is smaller for the nonlinear equation than for the linear one",
        f"{TITLES['linear']} and {TITLES['nonlinear']}",
        "speedup, linear over nonlinear",
        dict(sorted(found.items())),
        least=1.0,
    )


def _above_floor(runs: Sequence[Trained], floors: Sequence[Floor], study: str) -> Claim:
    known = {(floor.study, floor.count, floor.order): floor for floor in floors}
    found: dict[str, list[float]] = {}
    for run in runs:
        place = (study, run.count, run.arm.order)
        if run.study == study and run.arm.precision == 64 and place in known:
            ratio = run.errors[lowest(run)] / known[place].rel_l2
            found.setdefault(f"N = {run.count:,}, p = {run.arm.order}", []).append(ratio)
    seconds = [floor.seconds for floor in floors if floor.study == study]
    near = sum(float(np.median(ratios)) < NEAR for ratios in found.values())
    note = f"within a factor {NEAR:g} of it in {near} of {len(found)} settings, the others would have to go on"
    if seconds:
        note += f"; the direct solve takes {min(seconds):.2g} to {max(seconds):.2g} s, stencils included"
    return settled(
        f"{study}-floor",
        "ours: no DT-PINN is more accurate than the direct solve of its discretisation",
        where_measured(runs, study),
        "lowest error over the discretisation floor, fp64 DT",
        found,
        least=0.8,
        note=note,
    )

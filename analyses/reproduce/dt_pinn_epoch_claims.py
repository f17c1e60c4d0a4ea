"""Claims about precision and epochs: figure 3 of the paper, and what it says beside figure 2."""

from __future__ import annotations

from collections.abc import Sequence

from analyses.reproduce import dt_pinn_speeds as speeds
from analyses.reproduce.claims import Claim
from analyses.reproduce.dt_pinn_pairs import cells, high_orders, node_counts, still_falling, where_measured
from analyses.reproduce.dt_pinn_rows import Cells, settled
from analyses.reproduce.dt_pinn_settings import DISCRETE, VANILLA, VANILLA_64, Arm
from analyses.reproduce.dt_pinn_training import Trained

FEWER = 0.9
"""Ratio of iterations from which on they are no fewer."""


def precision_claims(runs: Sequence[Trained]) -> list[Claim]:
    """Judge what single precision does to both kinds of PINNs.

    Args:
        runs: all trainings.

    Returns:
        Rows.
    """
    study, where, single = "linear", where_measured(runs, "linear"), high_orders(runs, "linear", 32)

    def beside(measure: speeds.Measure) -> Cells:
        found: dict[str, Sequence[float]] = {}
        for arm in single:
            found |= cells(runs, study, [arm], Arm(DISCRETE, 64, arm.order), measure)
        return found

    return [
        settled(
            "vanilla64-same",
            "fp64 vanilla-PINNs reach almost the same errors as fp32 ones",
            where,
            "lowest error, fp64 over fp32 vanilla, equal iterations",
            cells(runs, study, [VANILLA_64], VANILLA, speeds.accuracy_per_iteration),
            least=0.5,
            most=2.0,
        ),
        settled(
            "vanilla64-slower",
            "fp64 vanilla-PINNs are far slower than fp32 ones",
            where,
            "seconds an evaluation, fp64 over fp32 vanilla",
            cells(runs, study, [VANILLA_64], VANILLA, speeds.cost),
            least=2.0,
            note="a consumer GPU computes 32 times slower in fp64, a CPU twice",
        ),
        settled(
            "fp32-accuracy",
            "fp32 DT-PINNs are less accurate than fp64 ones",
            where,
            "lowest error, fp32 over fp64 DT of the same order",
            beside(speeds.accuracy),
            least=2.0,
        ),
        settled(
            "fp32-speed",
            "fp32 DT-PINNs are no faster than fp64 ones",
            where,
            "seconds to the same error, fp64 over fp32 DT",
            beside(speeds.speedup_same_error),
            most=1.1,
        ),
    ]


def epoch_claims(runs: Sequence[Trained]) -> list[Claim]:
    """Judge the claims about epochs, which are iterations of L-BFGS here.

    Args:
        runs: all trainings.

    Returns:
        Rows.
    """
    study, where, arms = "linear", where_measured(runs, "linear"), high_orders(runs, "linear")
    share = still_falling(runs, study, arms, VANILLA)
    doubt = f"in {share:.0%} of the runs the error was still falling" if share > 0.5 else ""
    return [
        settled(
            "epochs",
            "DT-PINNs reach their lowest error in fewer epochs than vanilla-PINNs",
            where,
            "iterations to the lowest error, fp64 DT over fp32 vanilla, equal iterations",
            cells(runs, study, arms, VANILLA, speeds.epochs),
            most=FEWER,
            doubt=doubt,
        ),
        settled(
            "epochs-same-error",
            "DT-PINNs reach the same error in fewer epochs than vanilla-PINNs",
            where,
            "iterations to the same error, fp64 DT over fp32 vanilla",
            cells(runs, study, arms, VANILLA, speeds.epochs_same_error),
            most=FEWER,
        ),
        _with_nodes(runs, 64, "fp64 DT-PINNs take fewer epochs as N grows", "epochs-nodes64", most=FEWER),
        _with_nodes(runs, 32, "fp32 DT-PINNs do not take fewer epochs as N grows", "epochs-nodes32", least=FEWER),
    ]


def _with_nodes(runs: Sequence[Trained], precision: int, claim: str, key: str, **limits: float) -> Claim:
    """Compare the largest with the smallest number of nodes; runs that still improve at their end cannot tell."""
    study, found, falling = "linear", {}, []
    counts = node_counts(runs, study)
    for arm in high_orders(runs, study, precision):
        own = {(run.count, run.seed): run for run in runs if run.study == study and run.arm == arm}
        seeds = sorted({seed for _, seed in own})
        pairs = [(own.get((counts[-1], seed)), own.get((counts[0], seed))) for seed in seeds]
        pairs = [pair for pair in pairs if None not in pair and pair[0] is not pair[1]]
        found[f"p = {arm.order}"] = [speeds.epochs(*pair) for pair in pairs]
        falling += [speeds.still_falling([pair]) for pair in pairs]
    share = sum(falling) / len(falling) if falling else 0.0
    return settled(
        key,
        claim,
        where_measured(runs, study),
        f"iterations to the lowest error, N = {counts[-1]:,} over N = {counts[0]:,}" if counts else "no run",
        found,
        doubt=f"in {share:.0%} of the runs the error was still falling" if share > 0.5 else "",
        **limits,
    )

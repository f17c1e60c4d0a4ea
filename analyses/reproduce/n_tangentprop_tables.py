"""Tables of the reproduction of n-TangentProp: profiles, and the price of their training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from analyses.reproduce.n_tangentprop_end_to_end import EndToEnd
from analyses.reproduce.n_tangentprop_profiles import Found, Protocol
from analyses.reproduce.n_tangentprop_published import LAMBDA_ERRORS, SECONDS
from analyses.reproduce.n_tangentprop_replay import PLAIN, Replay
from analyses.reproduce.n_tangentprop_settings import FUSED, NESTED
from analyses.terminal import table


def show_profiles(found: Sequence[Found], runs: Sequence[Protocol], steps: tuple[int, int]) -> None:
    """Print what both ways reached, beside the published numbers.

    Args:
        found: by the default loss.
        runs: by the published protocol.
        steps: of Adam and of L-BFGS.
    """
    rows = []
    for k in sorted({each.k for each in found} | {each.run.k for each in runs}):
        rows.append((str(k), "as published", *_published(k)))
        own = [each for each in found if each.k == k]
        starts = f"{sum(each.accepted for each in own)}/{len(own)} accepted"
        rows.append((str(k), "ours", *_cells(own, ("lam_error", "u_error", "evaluations", "seconds")), starts))
        others = [each.run for each in runs if each.run.k == k]
        if others:
            name = f"{steps[0]:,} + {steps[1]:,} steps"
            start = next(each.start_error for each in runs if each.run.k == k)
            ended = f"lambda began {start:.1e} off"
            rows.append((str(k), name, *_cells(others, ("lam_error", "u_error", "evaluations", "seconds")), ended))
    header = ("k", "what", "|lambda error|", "max |U error|", "evaluations", "s", "")
    title = (
        "Self-similar profiles, medians [least, most] over seeds, CPU seconds. As published: A6000, wall seconds. "
        f"{steps[0]:,} + {steps[1]:,} steps: the published loss with correct derivatives by Adam, then L-BFGS"
    )
    table(title, header, rows)


_FORMS: dict[str, Callable[[float], str]] = {
    "lam_error": "{:.1e}".format,
    "u_error": "{:.1e}".format,
    "evaluations": "{:,.0f}".format,
    "seconds": "{:.1f}".format,
}


def _published(k: int) -> tuple[str, ...]:
    if k >= len(LAMBDA_ERRORS):
        return "none", "", "", "", ""
    return f"{LAMBDA_ERRORS[k]:.1e}", "", "", f"{SECONDS[0]:,.0f} to {SECONDS[1]:,.0f}", ""


def _cells(items: Sequence[object], names: Sequence[str]) -> list[str]:
    cells = []
    for name in names:
        values, form = [getattr(item, name) for item in items], _FORMS[name]
        ends = f" [{form(min(values))}, {form(max(values))}]" if len(values) > 1 else ""
        cells.append(form(float(np.median(values))) + ends if values else "")
    return cells


def show_end_to_end(replays: Sequence[Replay], ends: Sequence[EndToEnd]) -> None:
    """Print what the operators cost, in replays and with an optimizer around them.

    Args:
        replays: of recorded runs.
        ends: from `end_to_end`.
    """
    rows = []
    for found in replays:
        columns = (found.nested, found.fused, found.plain_residual)
        times = [f"{1e3 * float(np.median(column)):.3g}" for column in columns]
        ratios = f"{found.ratio:.3g} ({found.plain_ratio:.3g})"
        worst = f"{max(found.rounding):.0e} ({max(found.gradient_differences):.0e})"
        rows.append((str(found.k), str(len(found.steps)), *times, ratios, worst))
    ours = (f"{NESTED} [ms]", f"{FUSED} [ms]", f"{PLAIN} [ms]")
    header = ("k", "vectors", *ours, "ratio of sums (residual in torch)", "gradients differ by (relative to it)")
    table("Replay: loss and gradient of the published loss at recorded parameters, CPU time", header, rows)
    pairs = {(each.k, each.optimizer, each.operator): each for each in ends}
    lines = []
    for k, optimizer in dict.fromkeys((each.k, each.optimizer) for each in ends):
        nested, fused = (pairs[k, optimizer, operator] for operator in (NESTED, FUSED))
        ratio, own = f"{nested.seconds / fused.seconds:.3g}", f"{nested.share:.1%}, {fused.share:.1%}"
        counts = f"{nested.evaluations}, {fused.evaluations}"
        lines.append((str(k), f"{optimizer}, {fused.steps} steps", counts, ratio, own))
    header = ("k", "what", "evaluations", "ratio of all CPU time", "the optimizer's own share")
    table(f"End to end from the same weights: {NESTED}, {FUSED}", header, lines)

"""Rows over several settings: what each setting says, seed by seed, and what they say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from analyses.reproduce.claims import FAILS, HOLDS, SEEDS, SETTINGS, UNDECIDED, Claim, median_interval

FEWEST = 3
"""Values below which a setting decides nothing."""

SHOWN = 6
"""Settings that a reason lists; all of them are in the JSON."""

Cells = Mapping[str, Sequence[float]]
"""Setting -> a value a seed (or timing round); NaN where it cannot tell."""


@dataclass(frozen=True)
class Cell:
    """One setting.

    Args:
        setting: its label.
        median: over seeds.
        low: lower end of its 95 % interval.
        high: upper end.
        known: number of seeds that can tell.
        verdict: holds where the whole interval is in range, does not hold where all of it is out, else undecided.
    """

    setting: str
    median: float
    low: float
    high: float
    known: int
    verdict: str

    @classmethod
    def of(cls, setting: str, values: Sequence[float], least: float, most: float) -> Cell:
        """Judge a setting.

        Args:
            setting: its label.
            values: one a seed.
            least: lower end of the range in which the claim holds.
            most: upper end.

        Returns:
            The cell.
        """
        values = np.asarray(values, float)
        known = int(np.sum(~np.isnan(values)))
        median, low, high = median_interval(values)
        verdict = UNDECIDED
        if known >= FEWEST and least <= low and high <= most:
            verdict = HOLDS
        elif known >= FEWEST and (high < least or low > most):
            verdict = FAILS
        return cls(setting, median, low, high, known, verdict)


def settled(
    key: str,
    claim: str,
    where: str,
    quantity: str,
    cells: Cells,
    *,
    least: float = -np.inf,
    most: float = np.inf,
    note: str = "",
    doubt: str = "",
) -> Claim:
    """Return a row: it holds where every setting holds, does not where at least half of the settings do not.

    Args:
        key: short name.
        claim: one sentence.
        where: it was measured.
        quantity: what was measured.
        cells: setting -> values.
        least: lower end of the range in which the claim holds.
        most: upper end.
        note: what a reader must know.
        doubt: why the row can decide nothing, or "".

    Returns:
        The row; its interval is that of the seeds where there is one setting, else least and largest setting.
    """
    found = [Cell.of(setting, values, least, most) for setting, values in cells.items()]
    verdicts = [cell.verdict for cell in found]
    failed, held = verdicts.count(FAILS), verdicts.count(HOLDS)
    verdict = UNDECIDED
    if found and not doubt:
        verdict = HOLDS if held == len(found) else FAILS if 2 * failed >= len(found) else UNDECIDED
    medians = [cell.median for cell in found if not np.isnan(cell.median)]
    middle = float(np.median(medians)) if medians else float("nan")
    low, high = (found[0].low, found[0].high) if len(found) == 1 else _ends(medians)
    said = [_range(least, most), doubt, _listed(found), note]
    return Claim(
        claim,
        where,
        quantity,
        middle,
        low,
        high,
        max((cell.known for cell in found), default=0),
        verdict,
        "; ".join(part for part in said if part),
        interval=SEEDS if len(found) == 1 else SETTINGS,
        key={"claim": key, "cells": [asdict(cell) for cell in found]},
    )


def _ends(medians: Sequence[float]) -> tuple[float, float]:
    return (min(medians), max(medians)) if medians else (float("nan"), float("nan"))


def _range(least: float, most: float) -> str:
    if np.isinf(least):
        return f"holds at {most:g} or less"
    return f"holds at {least:g} or more" if np.isinf(most) else f"holds from {least:g} to {most:g}"


def _listed(found: Sequence[Cell]) -> str:
    if not found:
        return "nothing was measured"
    few = [cell.setting for cell in found if cell.known < FEWEST]
    lacking = f"; in {len(few)} of {len(found)} settings fewer than {FEWEST} seeds can tell" if few else ""
    if len(found) > SHOWN:
        counts = ", ".join(f"{v} in {n}" for v in (HOLDS, FAILS, UNDECIDED) if (n := _count(found, v)))
        ordered = sorted(found, key=lambda cell: cell.median)
        return f"of {len(found)} settings: {counts}; least {_said(ordered[0])}, largest {_said(ordered[-1])}{lacking}"
    return ", ".join(map(_said, found)) + lacking


def _count(found: Sequence[Cell], verdict: str) -> int:
    return sum(cell.verdict == verdict for cell in found)


def _said(cell: Cell) -> str:
    label = f"{cell.setting}: " if cell.setting else ""
    return f"{label}{cell.median:.3g} [{cell.low:.3g}, {cell.high:.3g}]"

"""What becomes of the claims about training speed, from the records of `training_speed.measure_training`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.reproduce.claims import (
    FAILS,
    HOLDS,
    NOISE,
    SETTINGS,
    UNDECIDED,
    VERDICTS,
    Claim,
    median_interval,
    rank_interval,
)
from analyses.reproduce.training_speed import CUTS, paired

Records = Sequence[dict[str, Any]]

ORDERED = "networks with the larger truncated entropy train faster"
FASTER = "networks train faster under AD, and where they do its truncated entropy is larger"
DEEPER = "AD gains more training speed in deeper networks"

ORDERED_AT = (1e-4, 1e-8, 1e-12)
"""Cuts at which H is held against speed: above most floors in float32, between the two precisions, and in float64."""

SETTING = ("network", "problem", "dtype", "optimizer")

SUMMARISED = {ORDERED: "Spearman's rho of H(a) and decades of loss"}
"""The quantity of a summary, where it is not that of its rows."""

LEAST_GAIN = 0.01
"""Decades of loss: a difference of 2 % in the last loss, below which a gain of training speed is called none."""

LEAST_ENTROPY = 1e-3
"""A smaller difference of H is no difference."""


@dataclass(frozen=True)
class Pair:
    """One cell of differences beside the exact cell of the same starts, by seed.

    Args:
        gain: (seeds,) decades of its own loss that AD loses more than FD over the run.
        entropy: (seeds, cuts) H of AD minus H of FD, mean over start, middle and end.
        floor: largest of both cells' floors over sigma_1, median over seeds: round-off of SVD and entries.
    """

    gain: np.ndarray
    entropy: np.ndarray
    floor: float

    @classmethod
    def of(cls, exact: Records, central: Records) -> Pair:
        """Pair two cells.

        Args:
            exact: records of the exact cell.
            central: records of the cell of differences.

        Returns:
            Their differences.
        """
        speeds = [paired(cell, decades) for cell in (exact, central)]
        entropies = [
            np.stack([paired(cell, lambda record, k=k: entropy(record, k)) for k in range(len(CUTS))], axis=1)
            for cell in (exact, central)
        ]
        floor = max(float(np.nanmedian(paired(cell, relative_floor))) for cell in (exact, central))
        with np.errstate(invalid="ignore"):
            gain = speeds[0] - speeds[1]
        return cls(gain, entropies[0] - entropies[1], floor)

    def cuts(self, above: bool) -> tuple[list[float], list[float]]:
        """Return the cuts at which AD's H is larger than FD's, and those at which it is smaller.

        Args:
            above: those at or above the floor, or those below it.

        Returns:
            Two lists; cuts whose interval reaches within 1e-3 of 0 are in neither.
        """
        chosen = [k for k, cut in enumerate(CUTS) if (cut >= self.floor) == above]
        intervals = {CUTS[k]: median_interval(self.entropy[:, k]) for k in chosen}
        larger = [cut for cut, (_, low, _) in intervals.items() if low > LEAST_ENTROPY]
        return larger, [cut for cut, (_, _, high) in intervals.items() if high < -LEAST_ENTROPY]


def decades(record: dict[str, Any]) -> float:
    """Return how many decades a run's own loss fell; minus infinity where it diverged.

    Args:
        record: of one seed.

    Returns:
        A number.
    """
    return -np.inf if record["status"] == "diverged" else record["decades"]


def entropy(record: dict[str, Any], cut: int) -> float | None:
    """Return H at a cut, the mean over the moments of a run.

    Args:
        record: of one seed.
        cut: its position in `CUTS`.

    Returns:
        In [0, 1]; None where a moment has no spectrum.
    """
    spectra = list(record["spectra"].values())
    return None if None in spectra else float(np.mean([spectrum["entropy"][cut] for spectrum in spectra]))


def relative_floor(record: dict[str, Any]) -> float | None:
    """Return the largest floor of a run's spectra over sigma_1: round-off of SVD and entries.

    Args:
        record: of one seed.

    Returns:
        A pure number; None where a moment has no spectrum.
    """
    spectra = list(record["spectra"].values())
    if None in spectra:
        return None
    return max((spectrum["floor"] + spectrum["entry_floor"]) / spectrum["sigma_1"] for spectrum in spectra)


def training_claims(records: Records) -> list[Claim]:
    """Judge three claims, a row a setting: H orders training speed, AD is faster than FD, more so in deep networks.

    Speed is the number of decades that a run's own loss falls. All intervals are 95 %, by bootstrap over seeds.

    * Ordering: Spearman's rho of H(a) and speed over all seeds and operators of a setting, a = 1e-4, 1e-8 and 1e-12.
      It holds where the interval lies above 0 and a lies above all floors, "only below the noise floor" where the
      interval lies above 0 and a does not, not otherwise; with fewer than eight seeds it is undecided.
    * AD faster: paired by seed; a diverged run is infinitely slow. It holds where the interval of the median gain lies
      above 0.01 decades, H of AD and FD differ at some cut above both floors (interval beyond 1e-3), and AD's is larger
      at all of these; "only below the noise floor" where they differ at cuts below the floors only, AD's larger at all;
      not otherwise. A null result is a row that does not hold.
    * Deeper: the gain at depth 6, and that gain minus the one at depth 2 of the same seeds, must both have intervals
      above 0.01 decades; H at depth 6 decides between the verdicts as before.

    Args:
        records: of `measure_training`.

    Returns:
        Rows, with `key` their settings. Cells that the operator refused have none.

    Example:
        >>> training_claims([])
        []
    """
    ran = [record for record in records if record["status"] != "refused"]
    return [*_ordering(ran), *_gains(ran), *_depths(ran)]


def training_summary(rows: Sequence[Claim]) -> list[Claim]:
    """Return one row for each kind of setting: the median over settings, and the least and largest of them.

    A claim holds where it does in at least half of its settings, "only below the noise floor" where that half needs the
    settings which say so, and not otherwise.

    Args:
        rows: of `training_claims`.

    Returns:
        Rows whose interval is that over settings.

    Example:
        >>> training_summary([])
        []
    """
    groups = {
        (FASTER, "all networks, h = 0.1"): lambda key: key["step"] == 0.1,
        (FASTER, "all networks, h = 0.01 and 0.001"): lambda key: key["step"] < 0.1,
        (ORDERED, "all networks, cuts above the floors"): lambda key: key["above_floor"],
        (ORDERED, "all networks, cuts below a floor"): lambda key: not key["above_floor"],
        (DEEPER, "depth 6 against depth 2"): lambda key: True,
    }
    found = []
    for (claim, setting), belongs in groups.items():
        own = [row for row in rows if row.claim == claim and belongs(row.key)]
        if not own:
            continue
        counts = {verdict: sum(row.verdict == verdict for row in own) for verdict in VERDICTS}
        if counts[UNDECIDED]:
            verdict = UNDECIDED
        else:
            verdict = HOLDS if 2 * counts[HOLDS] >= len(own) else FAILS
        if verdict == FAILS and 2 * (counts[HOLDS] + counts[NOISE]) >= len(own):
            verdict = NOISE
        values = [row.measured for row in own]
        reason = f"of {len(own)} settings: " + ", ".join(f"{name} in {n}" for name, n in counts.items() if n)
        name = SUMMARISED.get(claim, own[0].quantity)
        bounds = (float(np.median(values)), min(values), max(values))
        found.append(Claim(claim, setting, name, *bounds, own[0].seeds, verdict, reason, SETTINGS))
    return found


def _by(records: Iterable[dict[str, Any]], *fields: str) -> dict[tuple, list[dict[str, Any]]]:
    groups = defaultdict(list)
    for record in records:
        groups[tuple(record[name] for name in fields)].append(record)
    return dict(groups)


def _ordering(records: Records) -> Iterable[Claim]:
    for key, group in _by(records, *SETTING).items():
        cells = list(_by(group, "step").values())
        floor = max(float(np.nanmedian(paired(cell, relative_floor))) for cell in cells)
        speed = np.stack([paired(cell, lambda record: record["decades"]) for cell in cells], axis=1)
        for cut in ORDERED_AT:
            at = CUTS.index(cut)
            of = np.stack([paired(cell, lambda record, at=at: entropy(record, at)) for cell in cells], axis=1)
            found, low, high = rank_interval(of, speed)
            above = cut >= floor
            verdict = HOLDS if above else NOISE
            if not low > 0:
                verdict = UNDECIDED if np.isnan(low) else FAILS
            place = "above" if above else "below"
            reason = f"rho = {found:.2f} [{low:.2f}, {high:.2f}]; a lies {place} the highest floor, {floor:.1e}"
            name = f"Spearman's rho of H({cut:g}) and decades of loss"
            where = dict(zip(SETTING, key, strict=True)) | {"cut": cut, "above_floor": above}
            yield Claim(ORDERED, ", ".join(key), name, found, low, high, len(speed), verdict, reason, key=where)


def pairs(records: Records) -> dict[tuple[str, str, str, str, float], Pair]:
    """Pair every cell of differences with the exact cell of the same starts.

    Args:
        records: of runs that were not refused.

    Returns:
        (network, problem, dtype, optimizer, step) -> differences.
    """
    cells = _by(records, *SETTING, "step")
    found = {}
    for (*setting, step), central in cells.items():
        exact = cells.get((*setting, None))
        if step is not None and exact is not None:
            found[(*setting, step)] = Pair.of(exact, central)
    return found


def _gains(records: Records) -> Iterable[Claim]:
    for (*setting, step), pair in pairs(records).items():
        gain = median_interval(pair.gain)
        verdict, reason = _verdict(gain, pair)
        name = "decades of loss that AD gains on FD"
        where = dict(zip(SETTING, setting, strict=True)) | {"step": step}
        text = f"{', '.join(setting)}, h = {step:g}"
        yield Claim(FASTER, text, name, *gain, int((~np.isnan(pair.gain)).sum()), verdict, reason, key=where)


def _depths(records: Records) -> Iterable[Claim]:
    found = pairs(records)
    for (network, *rest), deep in found.items():
        shallow = found.get(("depth-2", *rest))
        if network != "depth-6" or shallow is None:
            continue
        difference, gain = median_interval(deep.gain - shallow.gain), median_interval(deep.gain)
        verdict, reason = _verdict(gain, deep)
        if verdict != FAILS and not difference[1] > LEAST_GAIN:
            verdict, reason = FAILS, f"the gain at depth 6 exceeds that at depth 2 by {_text(difference)} decades"
        setting = f"{', '.join(rest[:-1])}, h = {rest[-1]:g}"
        name = "gain of AD on FD at depth 6 minus that at depth 2, decades"
        yield Claim(DEEPER, setting, name, *difference, len(deep.gain), verdict, reason)


def _verdict(gain: tuple[float, float, float], pair: Pair) -> tuple[str, str]:
    """Return the verdict on a gain of speed, and the number that decides."""
    _, low, high = gain
    if np.isnan(low):
        return UNDECIDED, "no seed ended in either"
    if not low > LEAST_GAIN:
        which = "AD is slower" if high < -LEAST_GAIN else f"no gain above {LEAST_GAIN:g} decades"
        return FAILS, f"{which}: {_text(gain)}"
    start = f"AD gains {_text(gain)} decades"
    for cuts, where, verdict in ((pair.cuts(True), "above", HOLDS), (pair.cuts(False), "only below", NOISE)):
        larger, smaller = cuts
        if smaller:
            return FAILS, f"{start}, but its H is smaller at a = {smaller[0]:g}, {where} the floor {pair.floor:.1e}"
        if larger:
            return verdict, f"{start}, and its H is larger at a = {larger[0]:g}, {where} the floor {pair.floor:.1e}"
    return FAILS, f"{start}, but its H is larger at no cut"


def _text(interval: tuple[float, float, float]) -> str:
    return "{:.3f} [{:.3f}, {:.3f}]".format(*interval)

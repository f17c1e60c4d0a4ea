"""What the runs of the Poisson benchmark amount to: tables with every seed, ratios, and what was to be reached."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from analyses.benchmarks.rbf_fd_poisson import THRESHOLDS
from analyses.terminal import say, table

JUDGED = "1e-4"
BASELINES = ("vanilla L-BFGS", "vanilla32 L-BFGS", "vanilla LM")
HEADLINE = "p=5 hybrid"
"""The row that the ratios are judged by, chosen before it was measured: default order, the issue's schedule."""
RATIOS = ((BASELINES[0], 4.0), (BASELINES[1], 2.5))
ERRORS = (("must", "p=5", 1e-5), ("must", "p=6", 5e-6), ("goal", "p=5", 3e-6), ("goal", "p=6", 1e-6))

Found = dict[str, object]


def names(found: Found) -> list[str]:
    """Return the rows that were run, vanilla first.

    Args:
        found: of `rbf_fd_poisson.measure`.

    Returns:
        Names.
    """
    ran = dict.fromkeys(own["row"] for own in found["runs"])
    return sorted(ran, key=lambda name: (not name.startswith("vanilla"), name.startswith("p="), name))


def by_seed(found: Found, name: str, value: Callable[[Found], float]) -> dict[int, float]:
    """Return a number of every run of a row.

    Args:
        found: of `rbf_fd_poisson.measure`.
        name: of the row.
        value: of a run.

    Returns:
        Seed -> number, seeds ascending.
    """
    runs = [own for own in found["runs"] if own["row"] == name]
    return {own["seed"]: value(own) for own in sorted(runs, key=lambda own: own["seed"])}


def seconds_to(threshold: str) -> Callable[[Found], float]:
    """Return the function that reads a run's seconds to a threshold.

    Args:
        threshold: of `THRESHOLDS`.

    Returns:
        Run -> seconds, infinite where it was not reached.
    """

    def read(own: Found) -> float:
        seconds = own["seconds_to"][threshold]
        return math.inf if seconds is None else seconds

    return read


def best(own: Found) -> float:
    """Return the lowest error of a run.

    Args:
        own: the run.

    Returns:
        Relative l2 error.
    """
    return own["best"]


def ratios(found: Found, baseline: str, name: str) -> dict[int, tuple[float, str]]:
    """Return how much sooner a row reaches 1e-4 than a baseline, seed by seed.

    Args:
        found: of `rbf_fd_poisson.measure`.
        baseline: row that is slower, it is hoped.
        name: of the row.

    Returns:
        Seed -> ratio and its sign: "" for a number; ">" where the baseline did not arrive within the budget, which the
        ratio is then taken from; 0 where the row itself did not, be the baseline there or not. Seeds that both have.
    """
    theirs, own = (by_seed(found, row, seconds_to(JUDGED)) for row in (baseline, name))
    pairs = {}
    for seed in sorted(theirs.keys() & own.keys()):
        arrived = math.isfinite(theirs[seed])
        late = theirs[seed] if arrived else found["budget"]
        pairs[seed] = (0.0, "") if math.isinf(own[seed]) else (late / own[seed], "" if arrived else ">")
    return pairs


def _row_of_seeds(values: dict[int, float], seeds: Sequence[int], text: Callable[[float], str]) -> list[str]:
    cells = [text(values[seed]) if seed in values else "" for seed in seeds]
    return [*cells, text(statistics.median(values.values()))]


def _seconds(value: float) -> str:
    return "-" if math.isinf(value) else f"{value:.1f}"


def _sci(value: float) -> str:
    return f"{value:.1e}"


def show(found: Found) -> None:
    """Print, for every row, all seeds and their median: seconds to each threshold, best errors, ratios at 1e-4.

    Args:
        found: of `rbf_fd_poisson.measure`.
    """
    seeds = sorted({own["seed"] for own in found["runs"]})
    heads = ("", *(f"seed {seed}" for seed in seeds), "median")
    for threshold in THRESHOLDS:
        rows = {name: by_seed(found, name, seconds_to(threshold)) for name in names(found)}
        reached = {name: values for name, values in rows.items() if any(map(math.isfinite, values.values()))}
        lines = [(name, *_row_of_seeds(values, seeds, _seconds)) for name, values in reached.items()]
        if lines:
            table(f"CPU seconds of training to a relative error of {threshold}; - where not within it", heads, lines)
        else:
            say(f"no run reached a relative error of {threshold}")
    floors = found["floors"]
    lines = []
    for name in names(found):
        floor = floors.get(name.split()[0])
        cells = _row_of_seeds(by_seed(found, name, best), seeds, _sci)
        lines.append((name, *cells, "" if floor is None else _sci(floor["rel_l2"])))
    title = f"best relative error within {found['budget']:g} CPU s; floor: the direct solution of the discretisation"
    table(title, (*heads, "floor"), lines)
    _show_ratios(found, seeds, heads)
    solved = ", ".join(f"{order} {floor['seconds']:.3f} s" for order, floor in floors.items())
    say(f"the direct sparse solves, which need no network: {solved}")


def _show_ratios(found: Found, seeds: Sequence[int], heads: Sequence[str]) -> None:
    lines = []
    for baseline in BASELINES:
        for name in names(found):
            own = ratios(found, baseline, name)
            if name.startswith("p=") and any(ratio for ratio, _ in own.values()):
                cells = [f"{own[seed][1]}{own[seed][0]:.1f}" if seed in own else "" for seed in seeds]
                lines.append((f"{baseline} / {name}", *cells, _median_ratio(own)))
    if lines:
        table(f"seconds to {JUDGED}: ratios; > where the slower one had not arrived, 0 where the faster", heads, lines)


def _median_ratio(own: dict[int, tuple[float, str]]) -> str:
    median = statistics.median(ratio for ratio, _ in own.values())
    # A bound on any ratio at or below the median leaves a bound on the median; above it changes nothing.
    bound = any(sign and ratio <= median for ratio, sign in own.values())
    return f"{'>' if bound else ''}{median:.1f}"


def summary(found: Found) -> list[tuple[str, str, str]]:
    """Compare with what must be reached, and with the goals.

    Args:
        found: of `rbf_fd_poisson.measure`.

    Returns:
        What, measured, verdict.
    """
    lines = []
    for baseline, least in RATIOS:
        own = ratios(found, baseline, HEADLINE)
        what = f"must: time to {JUDGED}, {baseline} / {HEADLINE} >= {least:g}"
        if not own:
            lines.append((what, "-", "not measured"))
            continue
        median = statistics.median(ratio for ratio, _ in own.values())
        lines.append((what, f"{_median_ratio(own)} ({len(own)} seeds)", _verdict(median >= least)))
    for kind, order, most in ERRORS:
        for name in names(found):
            if name.split()[0] != order or name.endswith("L-BFGS"):
                continue
            values = by_seed(found, name, best)
            median = statistics.median(values.values())
            what = f"{kind}: best in {found['budget']:g} s, {name}, median <= {most:.0e}"
            lines.append((what, f"{median:.1e} ({len(values)} seeds)", _verdict(median <= most)))
    return lines


def _verdict(reached: bool) -> str:
    return "reached" if reached else "not reached"

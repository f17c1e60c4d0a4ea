"""What can be run by name: the benchmark problems with what their short form reaches, and the other cases."""

from __future__ import annotations

import math

from analyses.benchmarks.problems import RESULTS, kept
from analyses.config import case_names, load
from analyses.construction import build_problem
from analyses.terminal import brief_error, say, table
from solvers.problems import PROBLEMS


def show() -> None:
    """Print the benchmark problems as a table, and the other cases below."""
    table(
        "problems: pinnscope run NAME, CPU-sized; --full takes the papers' sizes",
        ("name", "equation", "domain", "floor", "error", "time"),
        [_row(name) for name in benchmarks()],
        whole=("name", "floor", "error", "time"),
    )
    say("error: relative L2 of the short form with its own operator")
    say(f"time: of a CPU, as in analyses/benchmarks/{RESULTS.name}")
    say()
    others = [(name, load(name).title) for name in case_names() if name not in benchmarks()]
    table("other cases", ("name", "what it runs"), others)


def benchmarks() -> list[str]:
    """Return the cases that are named as their problem is, in the order of the problems.

    Returns:
        Names.

    Example:
        >>> "kdv" in benchmarks()
        True
    """
    cases = case_names()
    return [name for name in PROBLEMS if name in cases]


def _row(name: str) -> tuple[str, ...]:
    config = load(name)
    problem = build_problem(config)
    found = kept().get((name, config.operator.name))
    error, seconds = (found["rel_l2"], found["seconds"]) if found else (math.nan, math.nan)
    return (
        name,
        problem.equation,
        problem.domain_text,
        f"{problem.solution_floor:.0e}",
        "-" if found is None else brief_error(error, problem.solution_floor, 0),
        "-" if found is None else f"{seconds:.0f} s",
    )

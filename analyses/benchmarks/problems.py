"""Every benchmark problem in its short form, under every operator that applies: error, time, why not.

python -m analyses.benchmarks.problems [NAME ...] [--operator NAME] [--missing] [--quick] [--json FILE]
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Annotated, Optional

import typer

from analyses.benchmarks.machine import describe_machine
from analyses.config import UsageError, case_names, choice, load
from analyses.construction import OPERATORS, build_problem
from analyses.run import run
from analyses.terminal import brief_error, keep, parts, say, table
from dynamics import open_trajectory
from solvers.problems import PROBLEMS

RESULTS = Path(__file__).with_suffix(".json")
QUICK_STEPS = 3
Row = dict[str, object]


def kept(path: Path = RESULTS) -> dict[tuple[str, str], Row]:
    """Return the results that were measured before.

    Args:
        path: of the JSON.

    Returns:
        (problem, operator) -> row; empty where there is no file.

    Example:
        >>> kept(Path("nowhere.json"))
        {}
    """
    if not path.is_file():
        return {}
    return {(row["problem"], row["operator"]): row for row in json.loads(path.read_text())["rows"]}


def measure(name: str, operator: str, folder: Path, *, quick: bool = False) -> Row:
    """Run the short form of a problem.

    Args:
        name: of the problem and its case.
        operator: by name.
        folder: for the trajectory.
        quick: three steps only.

    Returns:
        problem, operator, status, rel_l2, max_error, seconds of CPU time with reading the recipe and the reference; or
        `refused`, why the operator does not apply.
    """
    row: Row = {"problem": name, "operator": operator}
    try:
        config = load(name).override(operator=operator)
        if quick and config.training:
            config.training.steps = QUICK_STEPS
        start = time.process_time()
        with redirect_stdout(StringIO()):
            outcome = run(config, folder / f"{name}-{operator}.h5", overwrite=True, progress=False)
    except UsageError as error:
        return row | {"refused": str(error)}
    row |= {"seconds": time.process_time() - start, "status": outcome.status}
    with open_trajectory(outcome.path) as tree:
        for key in ("rel_l2", "max_error"):
            values = tree["series"][key].dropna("step") if key in tree["series"] else []
            row[key] = float(values[-1]) if len(values) else math.nan
    return row


def main(
    names: Annotated[Optional[list[str]], typer.Argument(help="Problems; all by default.")] = None,  # noqa: UP045
    operator: Annotated[Optional[str], typer.Option(help="Only this one.")] = None,  # noqa: UP045
    missing: Annotated[bool, typer.Option("--missing", help="Only what FILE has not.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Three steps each.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", metavar="FILE", help="Kept up to date.")] = None,  # noqa: UP045
) -> None:
    """Measure, print a table and keep it."""
    known = [name for name in PROBLEMS if name in case_names()]
    for name in names or []:
        if name not in known:
            raise typer.BadParameter(f"unknown problem {name!r}; expected {choice(name, known)}")
    if operator is not None and operator not in OPERATORS:
        raise typer.BadParameter(f"unknown operator {operator!r}; expected {choice(operator, OPERATORS)}")
    rows = {} if json_file is None else kept(json_file)
    todo = [(name, one) for name in names or known for one in ([operator] if operator else OPERATORS)]
    todo = [pair for pair in todo if not missing or pair not in rows]
    with tempfile.TemporaryDirectory() as folder, parts(len(todo)) as begin:
        for name, one in todo:
            begin(f"{name} {one}")
            rows[name, one] = measure(name, one, Path(folder), quick=quick)
            if json_file is not None:
                order = {pair: row for pair, row in sorted(rows.items(), key=lambda item: known.index(item[0][0]))}
                keep({"machine": describe_machine(), "quick": quick, "rows": list(order.values())}, json_file)
    show(rows)


def show(rows: Mapping[tuple[str, str], Row]) -> None:
    """Print what was measured, a line a problem.

    Args:
        rows: (problem, operator) -> row.
    """
    problems = list(dict.fromkeys(name for name, _ in rows))
    floors = {name: build_problem(load(name)).solution_floor for name in problems}
    say("relative L2 error and CPU seconds")
    table(
        "",
        ("problem", *OPERATORS),
        [(name, *(_cell(rows.get((name, one)), floors[name]) for one in OPERATORS)) for name in problems],
    )


def _cell(row: Row | None, floor: float) -> str:
    if row is None or "refused" in row:
        return "" if row is None else "does not apply"
    return f"{brief_error(float(row['rel_l2']), floor, 1)}, {row['seconds']:.0f} s"


if __name__ == "__main__":
    typer.run(main)

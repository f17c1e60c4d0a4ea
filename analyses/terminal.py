"""What the commands print: lines, tables that fit a terminal, and errors against their floors."""

from __future__ import annotations

import json
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

WIDTH = 80


def say(line: str = "") -> None:
    """Print a line to standard output at once.

    Args:
        line: the text.
    """
    print(line, flush=True)


def complain(line: str) -> None:
    """Print one line to standard error, as the program's own.

    Args:
        line: what was expected, what came and what to do.
    """
    print(f"pinnscope: {' '.join(str(line).split())}", file=sys.stderr, flush=True)


def facts(named: Mapping[str, str]) -> None:
    """Print names and what is said of them, indented, wrapped to 80 columns.

    Args:
        named: name -> text; empty texts are left out.
    """
    column = 4 + max(map(len, named), default=0)
    for name, text in named.items():
        if text:
            lead = f"  {name}".ljust(column)
            say(textwrap.fill(text, WIDTH, initial_indent=lead, subsequent_indent=" " * column, break_on_hyphens=False))


def json_text(value: object, indent: int | None = 2) -> str:
    """Return a value as JSON that every reader takes: NaN and infinities, for which JSON has no number, become null.

    Args:
        value: dicts, lists, text and numbers.
        indent: spaces a level; None puts everything on one line.

    Returns:
        Text.

    Example:
        >>> json_text([1.5, float("nan")]).split()
        ['[', '1.5,', 'null', ']']
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def keep(results: object, path: Path | None) -> None:
    """Write results as JSON and say so, where a path is given.

    Args:
        results: dicts, lists, text and numbers.
        path: of the file, or None.
    """
    if path is not None:
        path.write_text(json_text(results) + "\n")
        say(f"wrote {path}")


def error_text(error: float, floor: float) -> str:
    """Return an error as text, never below what its reference can tell.

    Args:
        error: measured.
        floor: relative error of the reference itself.

    Returns:
        The number, "<= floor" within three floors, "unknown" for NaN.

    Example:
        >>> error_text(2e-7, 1e-7), error_text(0.0123, 1e-7)
        ("<= 1.0e-07 (at the reference's floor)", '1.23e-02')
    """
    told = brief_error(error, floor)
    return f"{told} (at the reference's floor)" if told.startswith("<=") else told


def brief_error(error: float, floor: float, digits: int = 2) -> str:
    """Return an error as `error_text` does, without saying what the floor is.

    Args:
        error: measured.
        floor: error of the reference itself.
        digits: of the number, behind the point.

    Returns:
        The number, "<= floor" within three floors, "unknown" for NaN.

    Example:
        >>> brief_error(2e-7, 1e-7), brief_error(4e-7, 1e-7)
        ('<= 1.0e-07', '4.00e-07')
    """
    from dynamics.errors import FLOORS

    if math.isnan(error):
        return "unknown"
    return f"<= {floor:.1e}" if error <= FLOORS * floor else f"{error:.{digits}e}"


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], whole: Sequence[str] = ()) -> None:
    """Print a table that wraps its cells to the terminal's width.

    Args:
        title: above it.
        header: column names.
        rows: cells as text.
        whole: names of columns that are never wrapped.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    say(title)
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        drawn.add_column(name, overflow="fold", no_wrap=name in whole)
    for row in rows:
        drawn.add_row(*row)
    Console(soft_wrap=False, highlight=False).print(drawn)


@contextmanager
def parts(total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar of the parts of a long piece of work, on a terminal; elsewhere nothing.

    Args:
        total: how many there will be.

    Yields:
        begin(what), to be called before each part.

    Example:
        >>> with parts(2) as begin:
        ...     begin("the first")
    """
    if not sys.stderr.isatty():
        yield lambda what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task, begun = bar.add_task("", total=total), 0

        def begin(what: str) -> None:
            nonlocal begun
            bar.update(task, completed=begun, description=what)
            begun += 1

        yield begin

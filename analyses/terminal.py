"""What the commands print: lines, tables that fit a terminal, and errors against their floors."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence


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
    if math.isnan(error):
        return "unknown"
    if error <= 3 * floor:
        return f"<= {floor:.1e} (at the reference's floor)"
    return f"{error:.2e}"


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table that wraps its cells to the terminal's width.

    Args:
        title: above it.
        header: column names.
        rows: cells as text.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    say(title)
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        drawn.add_column(name, overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    Console(soft_wrap=False, highlight=False).print(drawn)

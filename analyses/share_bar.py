"""A bar for one long piece of work that can tell which share of it is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LARGE = 50_000_000


@contextmanager
def share_bar(what: str, size: int) -> Iterator[Callable[[float], None]]:
    """Show a bar of the share that is done, on a terminal and for large files; elsewhere nothing.

    Args:
        what: is being done.
        size: of the file in bytes.

    Yields:
        tell(share), share from 0 to 1.

    Example:
        >>> with share_bar("recovering", 10) as tell:
        ...     tell(0.5)
    """
    if size < LARGE or not sys.stderr.isatty():
        yield lambda share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(bar_width=24), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share: bar.update(task, completed=share)

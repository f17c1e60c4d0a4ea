"""One progress bar for everything long; silent where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(total: int, title: str, shown: bool = True) -> Iterator[Callable[[int, float], None]]:
    """Show a bar on the terminal's error stream while the block runs.

    Args:
        total: number of steps.
        title: at the bar's left.
        shown: False, or an error stream that is no terminal: nothing is drawn.

    Yields:
        advance(step, loss), cheap to call every step: it draws ten times a second.
    """
    if not shown or not sys.stderr.isatty():
        yield lambda step, loss: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TextColumn("{task.completed:>6.0f}/{task.total:.0f}  loss {task.fields[loss]:.2e}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as bar:
        task, drawn = bar.add_task(title, total=total, loss=float("nan")), 0.0

        def advance(step: int, loss: float) -> None:
            nonlocal drawn
            now = time.perf_counter()
            if now - drawn > 0.1 or step == total:
                bar.update(task, completed=step, loss=loss, refresh=True)
                drawn = now

        yield advance

"""One picture of a watched run: a frame of at most 24 lines of 80 columns, or one line."""

from __future__ import annotations

import math
import os

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from analyses.pace import duration
from analyses.sparkline import LEVELS, PLAIN_LEVELS, sparkline
from analyses.watched import Curve, Watched

WIDTH, CURVES = 80, 11
NAME, VALUE, SPARK = 16, 12, 44
INSIDE = WIDTH - 4
COLOURS = {"running": "cyan", "complete": "green", "interrupted": "yellow", "diverged": "red", "failed": "red"}


def frame(watched: Watched, phase: str, now: float, *, unicode: bool = True) -> RenderableType:
    """Return the picture of a run.

    Args:
        watched: the run.
        phase: what is known of its phases, in words.
        now: of the clock that the run was watched with.
        unicode: whether the terminal can draw blocks.

    Returns:
        For rich to print.
    """
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=NAME, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=VALUE, justify="right", no_wrap=True)
    grid.add_column(width=SPARK, no_wrap=True)
    curves = watched.curves()
    for curve in _shown(curves):
        line = sparkline(curve.step, curve.value, SPARK, logarithmic=curve.logarithmic, levels=_levels(unicode))
        grid.add_row(Text(plain(curve.name)), Text(number(curve)), Text(line, style="cyan"))
    hidden = len(curves) - len(_shown(curves))
    lines: list[RenderableType] = [*_head(watched, now, unicode), Text(), grid]
    if hidden > 0:
        lines.append(Text(f"and {hidden} more", style="dim"))
    if phase:
        lines += [Text(), Text(plain(f"phase  {phase}", 2 * INSIDE - 16))]
    title = plain(watched.title or os.path.basename(watched.path), WIDTH - 12)
    return Panel(Group(*lines), title=Text(title, style="bold"), title_align="left", width=WIDTH, padding=(0, 1))


def line(watched: Watched, now: float) -> str:
    """Return the run in one line, for logs.

    Args:
        watched: the run.
        now: of the clock that the run was watched with.

    Returns:
        Text without a line break.

    Example:
        >>> line(Watched("no_such_run.h5"), 0.0)
        'no_such_run.h5: waiting, no file yet'
    """
    news = watched.news
    parts = [_status(watched)]
    if len(watched.steps):
        parts.append(_progress(watched))
        parts += [f"{curve.name.strip()} {number(curve)}" for curve in watched.curves()[:1]]
        parts += [f"{c.name} {number(c)}" for c in watched.curves() if c.name == "rel_l2"]
        if not news.ended:
            parts += [f"{_rate(watched.rate)}", f"{duration(watched.left)} left"]
    parts += [text for text in (watched.event, watched.writer(now)) if text]
    return plain(f"{watched.path}: " + ", ".join(parts), 4 * WIDTH)


def number(curve: Curve) -> str:
    """Return the last value of a curve as text.

    Args:
        curve: of the run.

    Returns:
        Three digits for what is drawn over a logarithm, seven for what is not.
    """
    return "-" if math.isnan(curve.last) else f"{curve.last:.2e}" if curve.logarithmic else f"{curve.last:.7g}"


def plain(text: str, longest: int = NAME) -> str:
    r"""Return text from a file as a terminal may show it: nothing in it moves the cursor or sets a colour.

    Args:
        text: any.
        longest: characters to keep.

    Returns:
        One line.

    Example:
        >>> plain("loss\x1b[31m", 20), plain("a" * 9, 4)
        ('loss [31m', 'aaa…')
    """
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _levels(unicode: bool) -> str:
    return LEVELS if unicode else PLAIN_LEVELS


def _shown(curves: list[Curve]) -> list[Curve]:
    return curves if len(curves) <= CURVES else curves[: CURVES - 1]


def _head(watched: Watched, now: float, unicode: bool) -> list[RenderableType]:
    news = watched.news
    status = Text(plain(_status(watched), INSIDE), style=COLOURS.get(news.status, "dim"))
    lines: list[RenderableType] = [status]
    if len(watched.steps):
        rate = "" if news.ended else f"   {_rate(watched.rate)}   {duration(watched.left)} left"
        lines.append(Text(f"{_progress(watched)}   {duration(watched.elapsed)} elapsed{rate}"))
        if watched.total:
            lines.append(_bar(min(1.0, int(watched.steps[-1]) / watched.total), unicode))
        quiet = watched.quiet(now)
        if not news.ended and quiet < math.inf:
            lines.append(Text(f"last row {quiet:.1f} s ago", style="dim"))
    for text in (watched.writer(now), watched.event):
        if text:
            lines.append(
                Text(plain(text, 2 * INSIDE - 16), style="yellow" if "no row" in text or "dead" in text else "dim")
            )
    return lines


def _bar(share: float, unicode: bool) -> Text:
    done, open_ = ("━", "─") if unicode else ("#", ".")
    full = round(share * INSIDE)
    return Text.assemble((done * full, "cyan"), (open_ * (INSIDE - full), "dim"))


def _status(watched: Watched) -> str:
    news = watched.news
    if news.state == "waiting":
        return "waiting"
    status = "left unclosed" if news.state == "left" else news.status
    return f"{status} ({news.reason})" if news.reason else status


def _progress(watched: Watched) -> str:
    step = int(watched.steps[-1])
    if not watched.total:
        return f"step {step:,}"
    return f"step {step:,} of {watched.total:,} ({min(1.0, step / watched.total):.0%})"


def _rate(rate: float) -> str:
    return f"{rate:.3g} steps/s" if math.isfinite(rate) else "- steps/s"

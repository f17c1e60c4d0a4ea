"""Watch a run while it trains: a live view in a terminal, one line a poll elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.live import Live

from analyses.terminal import say
from analyses.watch_frame import WIDTH, frame, line
from analyses.watched import NAMES, Watched, file_age
from dynamics.file.lock import holder
from dynamics.file.opening import TrajectoryError
from dynamics.segments.segment_following import follower

ANALYSIS = 5.0
"""Least seconds between two analyses of the phases, which read the file as a whole."""
PATIENCE = 5


class Watcher:
    """Polls a run and keeps what is shown of it.

    Args:
        path: the trajectory; it need not exist yet.
        clock: seconds, never going back.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic):
        self.watched, self.phase = Watched(path), ""
        self._names, self._clock = NAMES, clock
        self._follower = follower(path, self._names)
        self._failures, self._analysis_due, self._analysed = 0, 0.0, -1

    def poll(self, patience: int = PATIENCE) -> bool:
        """Read what is new.

        Args:
            patience: polls that may fail one after the other, this one included, before the error is raised.

        Returns:
            Whether the run has ended.

        Raises:
            TrajectoryError: the file cannot be read, in several polls one after the other.
        """
        while True:
            try:
                news = self._follower.poll()
            except TrajectoryError:
                # Perhaps it is being copied into place.
                self._failures += 1
                if self._failures >= patience:
                    raise
                return False
            self._failures = 0
            if self._names is NAMES and "step" in news.rows.get("series", ()) and "loss" not in news.rows["series"]:
                # Another program's run: whatever it records is shown.
                self._names = (*NAMES, "series")
                self._follower = follower(self.watched.path, self._names)
                continue
            attributes, labels = dict(self._follower.attributes), self._follower.labels
            self.watched.take(news, attributes, labels, self._clock(), file_age(self.watched.path))
            if not news.more:
                return news.ended

    def analyse(self) -> None:
        """Find the phases so far, where the run records what they are told by and something new has come."""
        rows = len(self.watched.rows.get("gradients", {}).get("step", ()))
        now = self._clock()
        if rows < 2 or rows == self._analysed or (now < self._analysis_due and not self.watched.news.ended):
            return
        self.phase = phase_so_far(self.watched.path) or self.phase
        # A long run's analysis takes longer: it is given a twentieth of the time.
        self._analysis_due = now + max(ANALYSIS, 20 * (self._clock() - now))
        self._analysed = rows

    def now(self) -> float:
        """Return the time of the watcher's clock."""
        return self._clock()


def watch(path: Path, *, interval: float = 0.5, once: bool = False) -> None:
    """Show a run until it ends.

    Args:
        path: the trajectory; it need not exist yet, except with `once`.
        interval: seconds between polls.
        once: show one frame and return.

    Raises:
        TrajectoryError: the file cannot be read, or with `once` is not there.
    """
    watcher = Watcher(str(path))
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    unicode = not console.options.ascii_only

    def view():
        return frame(watcher.watched, watcher.phase, watcher.now(), unicode=unicode)

    if once:
        watcher.poll(patience=1)
        if watcher.watched.news.state == "waiting" and holder(str(path)) is None:
            came = "nothing recorded in it, and nobody at work on it" if path.exists() else "no file: check the path"
            raise TrajectoryError(f"{path}: expected a trajectory, came {came}")
        watcher.analyse()
        console.print(view())
        return
    try:
        if console.is_terminal:
            _live(watcher, view, console, interval)
        else:
            _lines(watcher, interval)
    except KeyboardInterrupt:
        return


def phase_so_far(path: str) -> str:
    """Say in which phase a run is.

    Args:
        path: of a trajectory.

    Returns:
        Phase, its onset and the SNR; empty where the file does not tell.
    """
    import numpy as np

    from dynamics import detect_phases, gradient_snr, open_trajectory

    try:
        with open_trajectory(path) as trajectory:
            snr = gradient_snr(trajectory).snr_median.values
            known = snr[np.isfinite(snr)]
            said = f"SNR {known[-1]:.2g} (running median)" if len(known) else ""
            if "homogeneity" not in trajectory:
                return said
            found = detect_phases(trajectory)
    except (ValueError, OSError, RuntimeError, KeyError):
        return ""
    label = str(found.phase_at_step.values[-1]) if found.sizes["step"] else ""
    if not label:
        return ", ".join(filter(None, ("not told yet", said)))
    onset, share = (float(found[name].sel(phase=label)) for name in ("onset", "probability"))
    return f"{label.replace('_', ' ')} since step {onset:.0f} ({share:.0%} of the rules), {said}"


def _live(watcher: Watcher, view: Callable, console: Console, interval: float) -> None:
    with Live(get_renderable=view, console=console, auto_refresh=False, transient=False) as live:
        while True:
            ended = watcher.poll()
            live.refresh()
            watcher.analyse()
            live.refresh()
            if ended:
                return
            time.sleep(interval)


def _lines(watcher: Watcher, interval: float) -> None:
    while True:
        ended = watcher.poll()
        say(line(watcher.watched, watcher.now()))
        if ended:
            return
        time.sleep(interval)

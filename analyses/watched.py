"""What is known of a run that is watched: its rows so far, how it goes, who writes it."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analyses.info import checkpoints
from analyses.pace import elapsed, pace
from dynamics.file.lock import Holder, holder
from dynamics.following.news import News

NAMES = (
    "series/loss",
    "series/loss_raw",
    "series/rel_l2",
    "series/learning_rate",
    "gradients/mean_norm_total",
    "gradients/std_norm_total",
    "coefficients/value",
)
"""What a watcher reads."""

QUIET = 10.0
"""Seconds without a row after which they are counted aloud."""


@dataclass(frozen=True)
class Curve:
    """One line of the view.

    Args:
        name: of the quantity.
        step: (n,) where it was recorded.
        value: (n,).
        logarithmic: how it is drawn.
    """

    name: str
    step: np.ndarray
    value: np.ndarray
    logarithmic: bool = True

    @property
    def last(self) -> float:
        """The last value that was recorded, NaN where there is none."""
        known = self.value[~np.isnan(self.value)]
        return float(known[-1]) if len(known) else math.nan


@dataclass(eq=False)
class Watched:
    """A run as far as it was followed.

    Args:
        path: the trajectory.
        news: of the last poll.
        rows: gathered by stream and variable.
        labels: of variables by stream.
        config: the run's configuration.
        heard: when the last rows came, by the clock that `take` is given; None before the first.
        events: what happened to the file, in words.
    """

    path: str
    news: News = field(default_factory=lambda: News("waiting"))
    rows: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    labels: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    heard: float | None = None
    event: str = ""

    def take(self, news: News, attributes: dict, labels: dict, now: float, age: float = 0.0) -> None:
        """Take in what a poll found.

        Args:
            news: from the follower.
            attributes: of the root of the file.
            labels: from the follower.
            now: of any clock in seconds that never goes back.
            age: seconds since the file was last written, as far as the system's clock tells.
        """
        self.news, self.labels = news, labels
        news.add_to(self.rows)
        self.config = _config(attributes) or self.config
        if news.rows:
            # Of rows that were there before anybody watched, the file's own time tells; later on, when they came.
            self.heard = now - max(0.0, age) if self.heard is None else now
        if "series" in news.went_back:
            had, kept = news.went_back["series"]
            self.event = f"went back from row {had:,} to row {kept:,}" if kept else "another run took its place"

    @property
    def steps(self) -> np.ndarray:
        """The steps of the series."""
        return self.rows.get("series", {}).get("step", np.empty(0, np.int64))

    @property
    def times(self) -> np.ndarray:
        """The run's own time at these steps."""
        return self.rows.get("series", {}).get("time", np.empty(0))

    @property
    def total(self) -> int | None:
        """The number of steps that the run is to take."""
        steps = self.config.get("steps")
        return steps if isinstance(steps, int) and not isinstance(steps, bool) and steps > 0 else None

    @property
    def title(self) -> str:
        """What the run is, in its own words."""
        case, problem = (self.config.get(name) for name in ("case", "problem"))
        for section, name in ((case, "title"), (problem, "name")):
            if isinstance(section, dict) and isinstance(section.get(name), str) and section[name]:
                return section[name]
        return ""

    @property
    def rate(self) -> float:
        """Steps per second, NaN where unknown."""
        return pace(self.steps, self.times)

    @property
    def elapsed(self) -> float:
        """Seconds that the run has taken."""
        return elapsed(self.times)

    @property
    def left(self) -> float:
        """Seconds that the run will take on, NaN where unknown."""
        if self.total is None or not len(self.steps) or self.news.ended:
            return math.nan
        rate = self.rate
        return max(0, self.total - int(self.steps[-1])) / rate if rate > 0 else math.nan

    def quiet(self, now: float) -> float:
        """Return the seconds since the last rows came.

        Args:
            now: of the clock that `take` is given.

        Returns:
            Seconds, not negative; NaN before the first.
        """
        return math.nan if self.heard is None else max(0.0, now - self.heard)

    def writer(self, now: float) -> str:
        """Say who writes the file, and whether anybody still does.

        Args:
            now: of the clock that `take` is given.

        Returns:
            One sentence; empty for a file that was closed.
        """
        if self.news.state == "closed":
            return ""
        found, quiet = holder(self.path), self.quiet(now)
        if self.news.state == "waiting":
            return f"{found} has begun, no rows yet" if found else "no file yet"
        silence = f"no row for {quiet:.0f} s" if quiet >= QUIET else ""
        return _state_of(found, silence, self.path, self.news.state == "left")

    def curves(self) -> list[Curve]:
        """Return the quantities to draw, in the order of the view."""
        series, gradients = self.rows.get("series", {}), self.rows.get("gradients", {})
        found = [*self._of("series", "loss"), *self._of("series", "loss_raw", "  ")]
        found += [*self._of("series", "rel_l2"), *self._of("series", "learning_rate")]
        if {"mean_norm_total", "std_norm_total"} <= set(gradients):
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = gradients["mean_norm_total"] / gradients["std_norm_total"]
            found.append(Curve("gradient SNR", gradients["step"], ratio))
        known = {"step", "time", *(name.split("/")[1] for name in NAMES)}
        for name in sorted(set(series) - known):
            found += self._of("series", name)
        found += self._of("coefficients", "value", logarithmic=False)
        return [curve for curve in found if not np.isnan(curve.value).all()]

    def _of(self, stream: str, name: str, indent: str = "", logarithmic: bool = True) -> list[Curve]:
        values = self.rows.get(stream, {}).get(name)
        if values is None:
            return []
        step = self.rows[stream]["step"]
        if values.ndim == 1:
            return [Curve(name, step, values, logarithmic)]
        if values.ndim > 2:
            return []
        labels = self.labels.get(stream, {}).get(name) or [f"{name}[{column}]" for column in range(values.shape[1])]
        return [
            Curve(indent + label, step, values[:, column], logarithmic)
            for column, label in enumerate(labels[: values.shape[1]])
        ]


def file_age(path: str) -> float:
    """Return the seconds since a file was written, by the system's clock.

    Args:
        path: of the file.

    Returns:
        Seconds, not negative though that clock may have been set back; 0 where there is no file.
    """
    try:
        return max(0.0, time.time() - os.path.getmtime(path))
    except OSError:
        return 0.0


def _state_of(found: Holder | None, silence: str, path: str, left: bool) -> str:
    what = f"{silence}: " if silence else ""
    if found is None:
        nobody = f"{what}nobody holds its lock"
        return f"{nobody}; it was left unclosed: {_advice(path)}" if left else nobody if silence else ""
    if found.alive is False:
        return f"{what}{found} is dead, killed before it closed the file: {_advice(path)}"
    if found.alive is None:
        return f"{what}written by {found}" + (", stalled or dead, which cannot be told from here" if silence else "")
    return f"{what}{found} is alive" + (", stalled or in a long step" if silence else "")


def _advice(path: str) -> str:
    steps = checkpoints(Path(path))
    on = f"go on from step {steps[-1]:,} with --resume, or " if steps else ""
    return f"{on}pinnscope recover {path}" + (" -o NEW.h5" if os.path.isdir(path) else "")


def _config(attributes: dict) -> dict:
    try:
        config = json.loads(attributes.get("config", "{}"))
    except (ValueError, TypeError):
        return {}
    return config if isinstance(config, dict) else {}

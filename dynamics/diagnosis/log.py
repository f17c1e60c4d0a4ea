"""What the rules of a diagnosis read: a trajectory as plain arrays, each None where it was not recorded."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import xarray as xr

from dynamics.configuration import section
from dynamics.diagnosis.late import LEAST_LATE, end_by_evaluations, usual
from dynamics.diagnosis.search import Search, last_search
from dynamics.diagnosis.terms import Terms, scales
from dynamics.trajectory import TrajectoryError, require

EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}

LOSSES = {"loss_raw": "unweighted loss", "loss_weighted": "loss"}
"""Where the terms are, and what their sum is: weighted ones by weights that are not known, which do not change."""


class Log:
    """A trajectory as the rules read it.

    Args:
        tree: any trajectory, with whatever was recorded.

    Example:
        >>> tree = xr.DataTree.from_dict({"series": xr.Dataset({"loss": ("step", [2.0, 1.0])}, {"step": [0, 1]})})
        >>> Log(tree).column("loss").tolist(), Log(tree).column("rel_l2") is None
        ([2.0, 1.0], True)
    """

    def __init__(self, tree: xr.DataTree):
        self.tree = tree

    def array(self, name: str) -> np.ndarray | None:
        """Return a variable as float64, the index first.

        Args:
            name: "stream/variable".

        Returns:
            Its values, or None where it was not recorded.
        """
        try:
            return np.asarray(require(self.tree, name)[name].values, np.float64)
        except TrajectoryError:
            return None

    def column(self, name: str) -> np.ndarray | None:
        """Return a scalar of the series that is finite somewhere.

        Args:
            name: of the variable.

        Returns:
            (rows,) float64, NaN where it was not measured, or None.
        """
        values = self.array(f"series/{name}")
        return values if values is not None and values.ndim == 1 and np.isfinite(values).any() else None

    def last(self, name: str) -> tuple[int, float] | None:
        """Return the last finite value of a scalar of the series.

        Args:
            name: of the variable.

        Returns:
            Step and value, or None.
        """
        values = self.column(name)
        if values is None:
            return None
        row = int(np.flatnonzero(np.isfinite(values))[-1])
        return int(self.steps[row]), float(values[row])

    def labels(self, name: str, dim: str) -> list[str]:
        """Return the labels of a variable's dimension.

        Args:
            name: "stream/variable", recorded.
            dim: of its dimensions.

        Returns:
            Text; numbers from 0 where there are no labels.
        """
        variable = self.tree[name]
        if dim not in variable.coords:
            return [str(place) for place in range(variable.sizes[dim])]
        return [text(value) for value in variable[dim].values]

    @cached_property
    def steps(self) -> np.ndarray:
        """Steps of the series, (rows,); row numbers where none were recorded."""
        if "series" not in self.tree:
            return np.empty(0, int)
        series = self.tree["series"]
        return series["step"].values if "step" in series.coords else np.arange(series.sizes.get("step", 0))

    @property
    def last_step(self) -> int:
        """The last recorded step, -1 in an empty run."""
        return int(self.steps[-1]) if len(self.steps) else -1

    @property
    def status(self) -> str:
        """How the run stands, "" where that is not known."""
        return self._root("status")

    @property
    def reason(self) -> str:
        """Why the run ended, as it says or as its last search tells; "" where that is not known."""
        return self._root("stop_reason") or (self.search.ended() if self.search is not None else "")

    def _root(self, name: str) -> str:
        if name in self.tree.attrs:
            return text(self.tree.attrs[name])
        return text(self.tree.dataset[name].values) if name in self.tree.dataset else ""

    @property
    def precision(self) -> tuple[str, float] | None:
        """Name and unit round-off of the training's precision, None where it is not known."""
        name = str(self.tree.attrs.get("dtype", "")).removeprefix("torch.")
        return (name, EPSILON[name]) if name in EPSILON else None

    def section(self, name: str) -> dict:
        """Return one section of the recorded configuration.

        Args:
            name: such as "problem".

        Returns:
            The section, {} where it is absent.
        """
        return section(self.tree, name)

    @property
    def attached(self) -> bool:
        """Whether the run is of a loop that is not ours: `solvers.attach` knows of no operator."""
        return bool(self.section("optimizer")) and not self.section("operator")

    @cached_property
    def terms(self) -> Terms | None:
        """The loss term by term; as one where only the whole was recorded; None where it was not."""
        found = next((name for name in LOSSES if self._has_terms(f"series/{name}")), None)
        if found is None:
            loss = self.column("loss")
            return None if loss is None else self._sized(["loss"], loss[:, None], "loss")
        variable = self.tree[f"series/{found}"]
        raw = self.array(f"series/{found}")
        raw = raw if variable.dims[1] == "term" else raw.T
        return self._sized(self.labels(f"series/{found}", "term"), raw, LOSSES[found])

    def _has_terms(self, name: str) -> bool:
        raw = self.array(name)
        return raw is not None and raw.ndim == 2 and len(raw) > 0 and "term" in self.tree[name].coords

    def _sized(self, names: list[str], raw: np.ndarray, total: str) -> Terms:
        weight = self.array("series/loss_weight")
        weight = weight if weight is not None and weight.shape == raw.shape else np.full(raw.shape, np.nan)
        scale, sized = scales(raw, self.field)
        known, wrong = (self._reference(name, names) for name in ("scale", "residual"))
        given = np.isfinite(known) & (known > 0)
        # Terms that the loop tells before each step are not known after the last one.
        end = self.end + int(len(raw) >= LEAST_LATE and not np.isfinite(raw[-1]).any())
        return Terms(names, raw, weight, np.where(given, known, scale), wrong, sized | given, end, total)

    @property
    def field(self) -> float:
        """Largest mean square of the solution's first output in the run, NaN where it was not recorded."""
        mean, spread = self.column("field_mean"), self.column("field_std")
        return float("nan") if mean is None or spread is None else float(np.nanmax(mean**2 + spread**2))

    @cached_property
    def end(self) -> int:
        """Rows of the series that are the end of the run."""
        spent = self.array("series/evaluations")
        known = spent is not None and spent.ndim == 1 and len(spent) == len(self.steps)
        return end_by_evaluations(spent) if known else usual(len(self.steps))

    @cached_property
    def searched(self) -> np.ndarray:
        """Which rows of the series are of an optimizer that chooses its steps by a search, (rows,)."""
        step = self.array("evaluations/step")
        if step is None or self.array("evaluations/loss") is None:
            return np.full(len(self.steps), self.array("evaluations/loss") is not None)
        return np.isin(self.steps, step)

    @cached_property
    def search(self) -> Search | None:
        """The last step of such an optimizer, None where the run did not end with one or it was not recorded."""
        step, loss, gradient = (self.array(f"evaluations/{name}") for name in ("step", "loss", "gradient_norm"))
        if step is None or loss is None or not self.searched[-2:].any():
            return None
        return last_search(
            step, loss, gradient, str(self.section("optimizer").get("name", "")) if self.attached else ""
        )

    def _reference(self, name: str, terms: list[str]) -> np.ndarray:
        values = self.array(f"reference/{name}")
        if values is None or not len(values) or values.shape[1:] != (len(terms),):
            return np.full(len(terms), np.nan)
        return values[0]


def text(value) -> str:
    """Return a label or attribute as text.

    Args:
        value: bytes, text, or an array of one of them.

    Returns:
        Text.

    Example:
        >>> text(np.bytes_(b"interior"))
        'interior'
    """
    value = np.asarray(value).item()
    return value.decode() if isinstance(value, bytes) else str(value)

"""Unknown coefficients of an inverse problem, as a trajectory tells of them: values, bounds, the truth, their error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

from dynamics.configuration import section


@dataclass(frozen=True, eq=False)
class KnownCoefficient:
    """One unknown coefficient over the steps of a run, and what the file knows of it.

    Args:
        name: of the coefficient.
        step: (rows,) of the optimizer.
        value: (rows,) at these steps.
        low: lower bound, -inf where there is none.
        high: upper bound, inf where there is none.
        exact: its true value, NaN where not known.
        standard_error: what the data allow, NaN where not known.
        how: "trained", "bounded" or "eliminated"; "" where not known.

    Example:
        >>> one = KnownCoefficient("nu", np.arange(3), np.array([5.0, 2.0, 1.5]), exact=1.0, standard_error=0.25)
        >>> one.last, one.error.tolist(), one.errors_off
        (1.5, [4.0, 1.0, 0.5], 2.0)
    """

    name: str
    step: np.ndarray
    value: np.ndarray
    low: float = -math.inf
    high: float = math.inf
    exact: float = math.nan
    standard_error: float = math.nan
    how: str = ""

    @property
    def last(self) -> float:
        """The last finite value, NaN where there is none."""
        known = self.value[np.isfinite(self.value)]
        return float(known[-1]) if len(known) else math.nan

    @property
    def error(self) -> np.ndarray:
        """Distance from the true value, (rows,); NaN where that is not known."""
        return np.abs(self.value - self.exact)

    @property
    def errors_off(self) -> float:
        """How many standard errors the last value is off; NaN where truth or standard error are not known."""
        return abs(self.last - self.exact) / self.standard_error if self.standard_error > 0 else math.nan


def known_coefficients(trajectory: xr.DataTree) -> list[KnownCoefficient]:
    """Return the unknown coefficients of a run.

    Args:
        trajectory: any; what it says of them stands in its configuration, under problem.coefficients and
            problem.settings.standard_error.

    Returns:
        In the order of the file; none where none were recorded.

    Example:
        >>> value = xr.DataArray([[2.0], [1.0]], dims=("step", "coefficient"), coords={"coefficient": ["nu"]})
        >>> tree = xr.DataTree.from_dict({"coefficients": xr.Dataset({"value": value})})
        >>> tree.attrs["config"] = {"problem": {"coefficients": {"nu": {"low": 0.0, "high": None}}}}
        >>> [(c.name, c.last, c.low, c.high) for c in known_coefficients(tree)]
        [('nu', 1.0, 0.0, inf)]
    """
    if "coefficients" not in trajectory or "value" not in trajectory["coefficients"].data_vars:
        return []
    group = trajectory["coefficients"].dataset
    if set(group["value"].dims) != {"step", "coefficient"}:
        return []
    value = group["value"].transpose("step", "coefficient")
    values = np.asarray(value.values, np.float64)
    step = group["step"].values if "step" in group.coords else np.arange(len(values))
    names = value["coefficient"].values if "coefficient" in value.coords else range(values.shape[1])
    problem = section(trajectory, "problem")
    told, errors = _mapping(problem, "coefficients"), _mapping(_mapping(problem, "settings"), "standard_error")
    found = []
    for column, label in enumerate(names):
        name = label.decode(errors="replace") if isinstance(label, bytes) else str(label)
        known = _mapping(told, name)
        found.append(
            KnownCoefficient(
                name,
                step,
                values[:, column],
                _number(known, "low", -math.inf),
                _number(known, "high", math.inf),
                _number(known, "exact", math.nan),
                _number(errors, name, math.nan),
                str(known.get("how", "")),
            )
        )
    return found


def _mapping(found: dict, name: str) -> dict:
    inside = found.get(name)
    return inside if isinstance(inside, dict) else {}


def _number(found: dict, name: str, otherwise: float) -> float:
    value = found.get(name)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else otherwise

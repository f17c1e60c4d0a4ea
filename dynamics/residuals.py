"""What a run reached: the residual that it minimised, the exact one, and the error. They can disagree by decades."""

from __future__ import annotations

import numpy as np
import xarray as xr

from dynamics.configuration import section

OWN, EXACT, ERROR = "own residual", "exact residual", "relative L2 error"


def residual_curves(trajectory: xr.DataTree) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    r"""Return what a run reached, at the steps where it was measured.

    $$ r_{own} = \sqrt{L_{interior}}, \quad r_{exact} = \sqrt{L_{exact}} $$

    The own residual is what the run minimised, with its own derivatives; the exact one is the same network under
    exact derivatives. Runs with exact operators record no second one: the two are the same number.

    Args:
        trajectory: with `/series`.

    Returns:
        "own residual", "exact residual" and "relative L2 error", each (steps, values); those not recorded are left
        out.

    Example:
        >>> columns = {"exact_loss": ("step", [4.0]), "loss_raw": (("step", "term"), [[9.0]])}
        >>> series = xr.Dataset(columns, {"step": [0], "term": ["interior"]})
        >>> curves = residual_curves(xr.DataTree.from_dict({"series": series}))
        >>> {name: float(values[-1]) for name, (_, values) in curves.items()}
        {'own residual': 3.0, 'exact residual': 2.0}
    """
    series = trajectory["series"].to_dataset() if "series" in trajectory else xr.Dataset()
    found = {}
    if "loss_raw" in series and "interior" in series["term"].values:
        found[OWN] = np.sqrt(series["loss_raw"].sel(term="interior").values)
    if "exact_loss" in series:
        found[EXACT] = np.sqrt(series["exact_loss"].values)
    elif is_exact(trajectory) and OWN in found:
        found[EXACT] = found[OWN]
    if "rel_l2" in series:
        found[ERROR] = series["rel_l2"].values
    steps = series["step"].values if "step" in series.coords else np.arange(series.sizes.get("step", 0))
    known = {name: np.isfinite(values) for name, values in found.items()}
    return {name: (steps[known[name]], found[name][known[name]]) for name in found if known[name].any()}


def is_exact(trajectory: xr.DataTree) -> bool:
    """Tell whether a run's derivatives are exact, so that its own residual is the exact one.

    Args:
        trajectory: any.

    Returns:
        What its configuration says of the operator; False where it says nothing.

    Example:
        >>> is_exact(xr.DataTree(xr.Dataset(attrs={"config": {"operator": {"name": "AutoDiff", "exact": True}}})))
        True
    """
    return bool(section(trajectory, "operator").get("exact"))

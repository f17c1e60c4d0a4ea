"""What a trajectory lacks for which analyzer, in the words of the analyzers themselves."""

from __future__ import annotations

import xarray as xr

import dynamics
from dynamics.trajectory import TrajectoryError

ANALYZERS = (
    "convergence",
    "gradient_snr",
    "residual_homogeneity",
    "detect_phases",
    "information_compression",
    "attention_statistics",
    "singular_spectrum",
    "oscillation",
    "learning_rate_equilibrium",
)
PARTS = {"detect_phases": ("gradient_snr", "residual_homogeneity")}
"""Analyzers that stop at the first of the others that has nothing to read."""

FEW = 3


def missing(trajectory: xr.DataTree) -> dict[str, str]:
    """Say for each analyzer what it would need and does not find in a trajectory.

    Each is asked with the first rows of the trajectory; what it refuses it names.

    Args:
        trajectory: any.

    Returns:
        The reason by name of the analyzer; analyzers that have what they need are not in it. Under "diagnose", which
        takes any trajectory, the rules that would have nothing to look at.

    Cost: 10 ms; the first call imports the analyzers.

    Example:
        >>> tree = xr.DataTree.from_dict({"series": xr.Dataset({"loss": ("step", [1.0])}, {"step": [0]})})
        >>> missing(tree)["gradient_snr"]
        'needs gradients/mean_norm_total, gradients/std_norm_total'
    """
    from dynamics.diagnosis.judged import not_judged

    head = xr.DataTree.from_dict(
        {
            node.path: node.to_dataset(inherit=False).isel(
                {d: slice(FEW) for d in ("step", "evaluation") if d in node.sizes}
            )
            for node in trajectory.subtree
        }
    )
    reasons = {name: reason for name in ANALYZERS if (reason := _refusal(name, head))}
    for name, parts in PARTS.items():
        if name in reasons:
            reasons[name] = "; ".join(dict.fromkeys(reasons[part] for part in parts if part in reasons))
    silent = not_judged(trajectory)
    if silent:
        reasons["diagnose"] = "cannot judge " + ", ".join(f"{what} ({why})" for what, why in silent.items())
    return reasons


def _refusal(name: str, head: xr.DataTree) -> str:
    try:
        getattr(dynamics, name)(head)
    except TrajectoryError as error:
        said = str(error).partition(";")[0].removeprefix("expected ")
        return f"needs {said}"
    except ValueError:
        # Too few rows to compute anything of: the variables are there.
        return ""
    return ""

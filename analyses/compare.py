"""Compare two trajectories of one problem: what was reached, and what their spectra hold above their floors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from analyses.comparable import differences
from analyses.config import UsageError
from analyses.terminal import error_text, say, table
from analyses.verdict import verdict
from dynamics import detect_phases, effective_rank, open_trajectory
from dynamics.configuration import section, solution_floor
from dynamics.cuts import DECADES, cut_curves
from dynamics.residuals import residual_curves
from dynamics.spectrum_at import STATES, spectrum_at, states

BELOW = " *"


def compare_files(first: Path, second: Path, *, figure: Path | None = None, anyway: bool = False) -> dict[str, object]:
    """Print two trajectories side by side, with a verdict, and draw them over each other where asked.

    Args:
        first: a trajectory.
        second: another.
        figure: path of a new PNG, or None.
        anyway: compare runs of different problems, points or precisions too; the differences are printed.

    Returns:
        The numbers of the table, name -> (first, second), "verdict", and "differences".

    Raises:
        UsageError: problems, points or precisions differ and `anyway` is False.
        TrajectoryError: a file that cannot be read.
    """
    with open_trajectory(first) as a, open_trajectory(second) as b:
        differing = differences(a, b)
        if differing and not anyway:
            raise UsageError(
                f"the runs do not compare, their numbers mean different things ({'; '.join(differing)}): "
                "repeat one of them with the other's settings, or pass --anyway"
            )
        spectra = [spectrum_at(tree).compute() if "spectra" in tree else None for tree in (a, b)]
        rows = {name: (measure(a), measure(b)) for name, measure in MEASURES.items()}
        rows |= {name: tuple("" if s is None else of(s) for s in spectra) for name, of in SPECTRAL.items()}
        rows = {name: pair for name, pair in rows.items() if any(pair)}
        labels = _labels(a, b, first, second)
        line = verdict(a, b, labels)
        if figure is not None:
            from dynamics.comparison_plots import comparison_figure

            comparison_figure(a, b, labels).savefig(figure, dpi=110)
    for difference in differing:
        say(f"they differ: {difference}")
    cells = [(name, *(text or "-" for text in pair)) for name, pair in rows.items()]
    table(f"{first} and {second}", ("", *labels), cells)
    if any(text.endswith(BELOW) for pair in rows.values() for text in pair):
        say("* the cut lies below this spectrum's floor: K counts round-off")
    say(f"verdict: {line}")
    if figure is not None:
        say(f"wrote {figure}")
    return {**rows, "verdict": line, "differences": differing}


def _labels(a: xr.DataTree, b: xr.DataTree, first: Path, second: Path) -> tuple[str, str]:
    names = [str(section(tree, "operator").get("name", path.stem)) for tree, path in ((a, first), (b, second))]
    candidates = (names, [first.stem, second.stem], [str(first), str(second)])
    return tuple(next((pair for pair in candidates if pair[0] != pair[1]), ("first", "second")))


def _reached(name: str) -> Callable[[xr.DataTree], str]:
    def measure(tree: xr.DataTree) -> str:
        _, values = residual_curves(tree).get(name, ((), ()))
        if not len(values):
            return ""
        return error_text(values[-1], solution_floor(tree)) if "error" in name else f"{values[-1]:.2e}"

    return measure


def _largest_error(tree: xr.DataTree) -> str:
    values = tree["series/max_error"].values if "max_error" in tree.get("series", {}) else np.array([])
    known = values[np.isfinite(values)]
    return f"{known[-1]:.2e}" if len(known) else ""


def _onset(tree: xr.DataTree) -> str:
    if "gradients" not in tree or "homogeneity" not in tree:
        return ""
    onset = float(detect_phases(tree)["onset"].sel(phase="total_diffusion"))
    return "not seen" if np.isnan(onset) else f"step {onset:.0f}"


def _floor(name: str) -> Callable[[xr.Dataset], str]:
    def measure(spectrum: xr.Dataset) -> str:
        floor = float(spectrum[name] / spectrum["singular_value"].max())
        return f"{floor:.1e}" if np.isfinite(floor) else "unknown"

    return measure


def _states(spectrum: xr.Dataset) -> str:
    found = states(spectrum)
    return ", ".join(str((found == name).sum()) for name in STATES[::-1])


def _cut(a: float) -> Callable[[xr.Dataset], str]:
    def measure(spectrum: xr.Dataset) -> str:
        curves = cut_curves(spectrum, a).isel(a=0)
        return f"{int(curves['kept'])}, {float(curves['entropy']):.4f}{'' if curves['above_floor'] else BELOW}"

    return measure


MEASURES: dict[str, Callable[[xr.DataTree], str]] = {
    "own residual, rms": _reached("own residual"),
    "exact residual, rms": _reached("exact residual"),
    "relative L2 error": _reached("relative L2 error"),
    "largest error": _largest_error,
    "total diffusion": _onset,
}
"""Of whole runs, "" where they did not record it."""

SPECTRAL: dict[str, Callable[[xr.Dataset], str]] = {
    "spectrum of step": lambda spectrum: f"{int(spectrum['step'])}",
    "round-off of the SVD / sigma_1": _floor("svd_floor"),
    "round-off of the entries / sigma_1": _floor("entry_floor"),
    "trusted, marginal, noise": _states,
    "effective rank": lambda spectrum: f"{float(effective_rank(spectrum['singular_value'].values)):.3f}",
    **{f"K, H at a = {a:.0e}": _cut(a) for a in DECADES},
}
"""Of their last spectra."""

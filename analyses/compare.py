"""Compare two trajectories of one problem: what was reached, and what their spectra hold above their floors."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from analyses.comparable import also_differ, differences, same_problem, variant
from analyses.config import UsageError
from analyses.terminal import WIDTH, brief_error, error_text, json_text, say, table
from analyses.verdict import verdict
from dynamics import detect_phases, effective_rank, open_trajectory
from dynamics.configuration import section, solution_floor
from dynamics.entropy import entropy_curve
from dynamics.errors import LARGEST, WAVES, in_waves, last_errors
from dynamics.residuals import ERROR, EXACT, OWN, residual_curves
from dynamics.spectrum_at import STATES, spectrum_at, states

BELOW = " *"
Run = dict[str, Any]
"""What is said of one run, in numbers; None where it was not recorded."""


def compare_files(
    first: Path, second: Path, *, figure: Path | None = None, anyway: bool = False, as_json: bool = False
) -> dict[str, object]:
    """Print two trajectories side by side, with a verdict, and draw them over each other where asked.

    Args:
        first: a trajectory.
        second: another.
        figure: path of a new PNG, or None.
        anyway: compare runs of different problems, points or precisions too; the differences are printed.
        as_json: print JSON instead of a table.

    Returns:
        The rows of the table, name -> (first, second), and what the JSON holds: "runs" (the same in numbers),
        "verdict", "differences" and "also_differ".

    Raises:
        UsageError: problems, points or precisions differ and `anyway` is False.
        TrajectoryError: a file that cannot be read.
    """
    with open_trajectory(first) as a, open_trajectory(second) as b:
        differing, also = differences(a, b), also_differ(a, b)
        if differing and not anyway:
            told = "" if same_problem(a, b) else f"{first} is {variant(a)}; {second} is {variant(b)}; "
            raise UsageError(
                f"the runs do not compare, their numbers mean different things ({told}{'; '.join(differing)}): "
                "repeat one of them with the other's settings, or pass --anyway"
            )
        labels = _labels(a, b, first, second)
        runs = [_measured(tree, path, label) for tree, path, label in zip((a, b), (first, second), labels, strict=True)]
        line = verdict(a, b, labels)
        if figure is not None:
            from dynamics.comparison_plots import comparison_figure

            comparison_figure(a, b, labels).savefig(figure, dpi=110)
    told = {"runs": runs, "verdict": line, "differences": differing, "also_differ": also}
    rows = _rows(runs)
    if as_json:
        say(json_text(told))
        return rows | told
    for difference in differing:
        say(f"they differ: {difference}")
    for difference in also:
        say(f"they also differ: {difference}")
    _print(f"{first} and {second}", labels, rows)
    if hint := _unrecorded(runs):
        say(textwrap.fill(hint, WIDTH))
    say(f"verdict: {line}")
    if figure is not None:
        say(f"wrote {figure}")
    return rows | told


def _labels(a: xr.DataTree, b: xr.DataTree, first: Path, second: Path) -> tuple[str, str]:
    names = [str(section(tree, "operator").get("name", path.stem)) for tree, path in ((a, first), (b, second))]
    candidates = (names, [first.stem, second.stem], [str(first), str(second)])
    return tuple(next((pair for pair in candidates if pair[0] != pair[1]), ("first", "second")))


def _measured(tree: xr.DataTree, path: Path, label: str) -> Run:
    reached = {name: float(values[-1]) for name, (_, values) in residual_curves(tree).items()}
    errors = last_errors(tree)
    bands = {band: errors[in_waves(band)][0] for band in WAVES if in_waves(band) in errors}
    return {
        "path": str(path),
        "label": label,
        "status": str(tree.attrs.get("status", "")),
        "series": "series" in tree,
        "own_residual": reached.get(OWN),
        "exact_residual": reached.get(EXACT),
        "relative_l2_error": reached.get(ERROR),
        "largest_error": errors[LARGEST][0] if LARGEST in errors else None,
        "largest_error_floor": errors[LARGEST][1] if LARGEST in errors else None,
        "error_bands": bands or None,
        "solution_floor": solution_floor(tree),
        **_onset(tree),
        "spectrum": _spectrum(spectrum_at(tree).compute()) if "spectra" in tree else None,
    }


def _onset(tree: xr.DataTree) -> dict[str, float | None]:
    """Where total diffusion begins, with its interval; NaN where not seen, None where its signals were not recorded."""
    names = {"total_diffusion": "onset", "total_diffusion_low": "onset_low", "total_diffusion_high": "onset_high"}
    if "gradients" not in tree or "homogeneity" not in tree:
        return dict.fromkeys(names)
    found = detect_phases(tree).sel(phase="total_diffusion")
    return {name: float(found[end]) for name, end in names.items()}


def _spectrum(spectrum: xr.Dataset) -> Run:
    found, curves = states(spectrum), entropy_curve(spectrum)
    largest = float(spectrum["singular_value"].max())
    cuts = zip(*(curves[name].values.tolist() for name in ("a", "kept", "entropy", "above_floor")), strict=True)
    return {
        "step": int(spectrum["step"]),
        "largest": largest,
        "svd_floor": float(spectrum["svd_floor"]) / largest,
        "entry_floor": float(spectrum["entry_floor"]) / largest,
        **{name: int((found == name).sum()) for name in STATES[::-1]},
        "effective_rank": float(effective_rank(spectrum["singular_value"].values)),
        "cuts": [dict(zip(("a", "kept", "entropy", "above_floor"), cut, strict=True)) for cut in cuts],
    }


def _rows(runs: list[Run]) -> dict[str, tuple[str, str]]:
    """The table: numbers as text, "" where there is none, rows that neither run has left out."""
    rows = {name: tuple(of(run) for run in runs) for name, of in MEASURES.items()}
    spectra = [run["spectrum"] for run in runs]
    rows |= {name: tuple("" if s is None else of(s) for s in spectra) for name, of in SPECTRAL.items()}
    cuts = next(([cut["a"] for cut in s["cuts"]] for s in spectra if s is not None), [])
    for row, a in enumerate(cuts):
        rows[f"K, H at a = {a:.0e}"] = tuple("" if s is None else _cut(s["cuts"][row]) for s in spectra)
    return {name: pair for name, pair in rows.items() if any(pair)}


def _print(title: str, labels: tuple[str, str], rows: dict[str, tuple[str, str]]) -> None:
    table(title, ("", *labels), [(name, *(text or "-" for text in pair)) for name, pair in rows.items()])
    if any(text.endswith(BELOW) for pair in rows.values() for text in pair):
        say("* the cut lies below this spectrum's floor: K counts round-off")


def _unrecorded(runs: list[Run]) -> str:
    """Which probe would have measured the exact residual that a run lacks; the verdict names that of the error."""
    lacking = [run["label"] for run in runs if run["series"] and run["exact_residual"] is None]
    if not lacking:
        return ""
    return f"no exact residual of {' and '.join(lacking)}: the probe solvers.probes.exact_loss measures it"


def _number(name: str, form: str = ".2e") -> Callable[[Run], str]:
    return lambda run: "" if run[name] is None else f"{run[name]:{form}}"


def _error(run: Run) -> str:
    error = run["relative_l2_error"]
    return "" if error is None else error_text(error, run["solution_floor"])


def _largest(run: Run) -> str:
    error = run["largest_error"]
    return "" if error is None else brief_error(error, run["largest_error_floor"])


def _band(band: str) -> Callable[[Run], str]:
    return lambda run: brief_error(run["error_bands"][band], run["solution_floor"]) if run["error_bands"] else ""


def _diffusion(run: Run) -> str:
    onset, high = run["total_diffusion"], run["total_diffusion_high"]
    if onset is None or np.isnan(onset):
        return "" if onset is None else "not seen"
    until = f"to {high:.0f}" if np.isfinite(high) else "or later"
    return f"step {onset:.0f} ({run['total_diffusion_low']:.0f} {until})"


def _floor(name: str) -> Callable[[Run], str]:
    return lambda spectrum: f"{spectrum[name]:.1e}" if np.isfinite(spectrum[name]) else "unknown"


def _cut(cut: dict[str, Any]) -> str:
    return f"{cut['kept']}, {cut['entropy']:.4f}{'' if cut['above_floor'] else BELOW}"


MEASURES: dict[str, Callable[[Run], str]] = {
    "status": lambda run: run["status"],
    "own residual, rms": _number("own_residual"),
    "exact residual, rms": _number("exact_residual"),
    "relative L2 error": _error,
    LARGEST: _largest,
    **{in_waves(band): _band(band) for band in WAVES},
    "total diffusion": _diffusion,
}
"""Of whole runs, "" where they did not record it."""

SPECTRAL: dict[str, Callable[[Run], str]] = {
    "spectrum of step": _number("step", "d"),
    "round-off of the SVD / sigma_1": _floor("svd_floor"),
    "round-off of the entries / sigma_1": _floor("entry_floor"),
    "trusted, marginal, noise": lambda spectrum: ", ".join(str(spectrum[name]) for name in STATES[::-1]),
    "effective rank": _number("effective_rank", ".3f"),
}
"""Of spectra; K and H at each cut follow."""

"""Compare two trajectories of one problem: what was reached, and what their spectra hold above their floors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from analyses.config import UsageError
from analyses.terminal import error_text, say, table
from dynamics import detect_phases, effective_rank, open_trajectory, singular_spectrum, truncated_entropy

CUTS = (1e-4, 1e-8, 1e-10, 1e-12, 1e-14)
BELOW = " *"


def compare_files(first: Path, second: Path, *, figure: Path | None = None, anyway: bool = False) -> dict[str, object]:
    """Print two trajectories side by side, with a verdict, and draw them over each other where asked.

    Args:
        first: a trajectory.
        second: another.
        figure: path of a new PNG, or None.
        anyway: compare runs of different problems too.

    Returns:
        The numbers of the table, name -> (first, second), and the verdict.

    Raises:
        UsageError: the problems differ and `anyway` is False.
        TrajectoryError: a file that cannot be read.
    """
    with open_trajectory(first) as a, open_trajectory(second) as b:
        _same_problem(a, b, anyway)
        rows = {name: (measure(a), measure(b)) for name, measure in MEASURES.items()}
        rows = {name: pair for name, pair in rows.items() if any(text for text in pair)}
        labels = _labels(a, b, first, second)
        verdict = _verdict(a, b, labels)
        if figure is not None:
            from dynamics.plots import comparison_figure

            comparison_figure(a, b, labels).savefig(figure, dpi=110)
    table(
        f"{first} and {second}", ("", *labels), [(name, *(text or "-" for text in pair)) for name, pair in rows.items()]
    )
    if any(text.endswith(BELOW) for pair in rows.values() for text in pair):
        say("* the cut lies below this spectrum's floor: K counts round-off")
    say(f"verdict: {verdict}")
    if figure is not None:
        say(f"wrote {figure}")
    return {**rows, "verdict": verdict}


def _config(tree: xr.DataTree) -> dict:
    return json.loads(tree.attrs["config"])


def _same_problem(a: xr.DataTree, b: xr.DataTree, anyway: bool) -> None:
    problems = [_config(tree).get("problem", {}) for tree in (a, b)]
    keys = sorted({*problems[0], *problems[1]})
    differing = [
        f"{key}: {problems[0].get(key)} / {problems[1].get(key)}"
        for key in keys
        if str(problems[0].get(key)) != str(problems[1].get(key))
    ]
    if differing and not anyway:
        raise UsageError(
            f"the runs are of different problems ({'; '.join(differing)}): their numbers do not compare; pass --anyway"
        )


def _labels(a: xr.DataTree, b: xr.DataTree, first: Path, second: Path) -> tuple[str, str]:
    names = [str(_config(tree).get("operator", {}).get("name", path.stem)) for tree, path in ((a, first), (b, second))]
    candidates = (names, [first.stem, second.stem], [str(first), str(second)])
    return tuple(next((pair for pair in candidates if pair[0] != pair[1]), ("first", "second")))


def _last(tree: xr.DataTree, name: str) -> float:
    series = tree["series"].dataset if "series" in tree else xr.Dataset()
    values = series[name].values if name in series else np.array([])
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else float("nan")


def _scalar(name: str) -> Callable[[xr.DataTree], str]:
    def measure(tree: xr.DataTree) -> str:
        value = _last(tree, name)
        return "" if np.isnan(value) else f"{value:.2e}"

    return measure


def _interior(tree: xr.DataTree) -> float:
    series = tree["series"].dataset if "series" in tree else xr.Dataset()
    if "loss_raw" not in series or "interior" not in series["term"].values:
        return float("nan")
    return float(series["loss_raw"].sel(term="interior")[-1]) ** 0.5


def _exact(tree: xr.DataTree) -> float:
    exact = _last(tree, "exact_loss") ** 0.5
    return _interior(tree) if np.isnan(exact) else exact


def _number(measure: Callable[[xr.DataTree], float]) -> Callable[[xr.DataTree], str]:
    return lambda tree: "" if np.isnan(value := measure(tree)) else f"{value:.2e}"


def _error(tree: xr.DataTree) -> str:
    error = _last(tree, "rel_l2")
    floor = _config(tree).get("problem", {}).get("solution_floor")
    return "" if np.isnan(error) else error_text(error, floor if floor is not None else 0.0)


def _onset(tree: xr.DataTree) -> str:
    if "gradients" not in tree or "homogeneity" not in tree:
        return ""
    onset = float(detect_phases(tree)["onset"].sel(phase="total_diffusion"))
    return "not seen" if np.isnan(onset) else f"step {onset:.0f}"


def _spectrum(tree: xr.DataTree) -> xr.Dataset | None:
    return singular_spectrum(tree).isel(step=-1) if "spectra" in tree else None


def _cut(a: float) -> Callable[[xr.DataTree], str]:
    def measure(tree: xr.DataTree) -> str:
        spectrum = _spectrum(tree)
        if spectrum is None:
            return ""
        values = spectrum["singular_value"].values
        entropy, kept = truncated_entropy(values, a)
        below = a * values[0] < float(spectrum["floor"])
        return f"{int(kept)}, {float(entropy):.4f}{BELOW if below else ''}"

    return measure


def _of_spectrum(value: Callable[[xr.Dataset], str]) -> Callable[[xr.DataTree], str]:
    return lambda tree: "" if (spectrum := _spectrum(tree)) is None else value(spectrum)


MEASURES: dict[str, Callable[[xr.DataTree], str]] = {
    "own residual, rms": _number(_interior),
    "exact residual, rms": _number(_exact),
    "relative L2 error": _error,
    "largest error": _scalar("max_error"),
    "total diffusion": _onset,
    "floor / sigma_1": _of_spectrum(lambda s: f"{float(s['floor'] / s['singular_value'][0]):.1e}"),
    "trusted values": _of_spectrum(lambda s: f"{int(s['trusted'].sum())} of {s.sizes['index']}"),
    "effective rank": _of_spectrum(lambda s: f"{float(effective_rank(s['singular_value'].values)):.3f}"),
    **{f"K, H at a = {a:.0e}": _cut(a) for a in CUTS},
}


def _verdict(a: xr.DataTree, b: xr.DataTree, labels: tuple[str, str]) -> str:
    errors = [_last(tree, "rel_l2") for tree in (a, b)]
    floors = [_config(tree).get("problem", {}).get("solution_floor") or 0.0 for tree in (a, b)]
    parts = []
    if not np.isnan(errors).any():
        if max(errors) <= 3 * max(floors):
            parts.append("both are at the reference's floor")
        elif max(errors) < 1.1 * min(errors):
            parts.append("both are equally accurate")
        else:
            better, worse = (0, 1) if errors[0] <= errors[1] else (1, 0)
            factor = errors[worse] / max(errors[better], floors[better])
            parts.append(f"{labels[better]} is more accurate, by a factor of {factor:.1g}")
    if all("spectra" in tree for tree in (a, b)):
        parts.append(_spectral_verdict([_spectrum(a), _spectrum(b)], labels))
    return "; ".join(parts) or "no common measure of success was recorded"


def _spectral_verdict(spectra: list[xr.Dataset], labels: tuple[str, str]) -> str:
    """Say at which cut the kept counts part, and whether that is above the higher floor."""
    relative = [s["relative"].values for s in spectra]
    floors = [float(s["floor"] / s["singular_value"][0]) for s in spectra]
    cuts = np.logspace(0, -16, 161)
    counts = np.array([[(values >= cut).sum() for cut in cuts] for values in relative])
    apart = np.flatnonzero(np.abs(counts[0] - counts[1]) > 1 + 0.05 * counts.min(axis=0))
    if not len(apart):
        return "their spectra keep the same counts at every cut"
    at, noisier = cuts[apart[0]], int(np.argmax(floors))
    if at <= 3 * max(floors):
        return (
            f"their spectra agree down to a = {at:.0e}; below it {labels[noisier]} keeps "
            f"{'more' if counts[noisier, apart[0]] > counts[1 - noisier, apart[0]] else 'fewer'} singular values, "
            f"which are round-off of its entries (floor {floors[noisier]:.0e})"
        )
    return f"their spectra part at a = {at:.0e}, above both floors: that difference is not round-off"

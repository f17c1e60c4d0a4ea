"""Show one recorded spectrum: its floors, what can be trusted, K(a) and H(a), as a table, a figure, CSV or JSON."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import xarray as xr

from analyses.terminal import facts, json_text, say, table
from dynamics import effective_rank, open_trajectory
from dynamics.entropy import entropy_curve, relative_floor
from dynamics.spectrum_at import STATES, spectrum_at, states

COLUMNS = ("index", "singular_value", "relative", "floor", "state", "truncation", "exact")


def show_spectrum(
    path: Path,
    *,
    step: int | None = None,
    all_rows: bool = False,
    figure: Path | None = None,
    values: Path | None = None,
    as_json: bool = False,
) -> dict[str, object]:
    """Print a recorded spectrum with its floors, K(a) and H(a), and, where asked, draw it and write its values.

    Args:
        path: the trajectory.
        step: the spectrum recorded nearest to it is taken; None is the last.
        all_rows: take the spectrum of all rows of the matrix, where the run recorded one.
        figure: path of a new figure, or None.
        values: path of a new CSV file, one line a singular value, or None.
        as_json: print JSON instead of a table.

    Returns:
        What the JSON holds: facts, floors relative to the largest value, counts, the cuts and the values.

    Raises:
        TrajectoryError: a file that cannot be read, or without spectra.
        ValueError: the step is negative, out of range, or has no spectrum.
    """
    stream = "spectra_all" if all_rows else "spectra"
    with open_trajectory(path) as trajectory:
        spectrum = spectrum_at(trajectory, step, stream=stream).compute()
        last = int(trajectory[stream]["step"][-1]) if "step" in trajectory[stream].coords else int(spectrum["step"])
        if figure is not None:
            from dynamics.spectrum_plots import spectrum_figure

            spectrum_figure(trajectory, step, stream=stream).savefig(figure, dpi=110)
    told = _facts(path, spectrum) | {"cuts": _cuts(spectrum), "values": _values(spectrum)}
    if values is not None:
        _write(values, told["values"])
    if as_json:
        say(json_text(told))
        return told
    say(f"{path}: {told['matrix'] or 'spectrum'}, step {told['step']}{_why(told['step'], step, last)}")
    _print(told)
    for written in (figure, values):
        if written is not None:
            say(f"wrote {written}")
    return told


def _facts(path: Path, spectrum: xr.Dataset) -> dict[str, object]:
    attrs, largest = spectrum.attrs, float(spectrum["singular_value"].max())
    state = states(spectrum)
    size = [int(attrs[name]) if name in attrs else None for name in ("rows", "columns")]
    return {
        "path": str(path),
        "step": int(spectrum["step"]),
        **{name: str(attrs.get(name, "")) for name in ("matrix", "driver", "dtype", "floor_origin")},
        "rows": size[0],
        "columns": size[1],
        "seconds": float(spectrum["seconds"]) if "seconds" in spectrum else float("nan"),
        "largest": largest,
        "svd_floor": float(spectrum["svd_floor"]) / largest,
        "entry_floor": float(spectrum["entry_floor"]) / largest,
        "relative_floor": relative_floor(spectrum),
        "effective_rank": float(effective_rank(spectrum["singular_value"].values)),
        **{name: int((state == name).sum()) for name in STATES[::-1]},
    }


def _cuts(spectrum: xr.Dataset) -> list[dict[str, object]]:
    curves = entropy_curve(spectrum)
    return [
        {"a": float(a)} | {str(name): curves[name].values[row].item() for name in curves.data_vars}
        for row, a in enumerate(curves["a"].values)
    ]


def _values(spectrum: xr.Dataset) -> list[dict[str, object]]:
    count = spectrum.sizes["index"]
    unknown = np.full(count, np.nan)
    sources = ("singular_value", "relative", "floor", "", "truncation", "exact_singular_value")
    columns = [spectrum[name].values if name in spectrum else unknown for name in sources]
    columns[3] = states(spectrum)
    rows = zip(range(1, count + 1), *(column.tolist() for column in columns), strict=True)
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    """Numbers in full: what is read back is the double that was computed; unknown ones are empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: "" if value != value else value for key, value in row.items()})


def _why(step: int, asked: int | None, last: int) -> str:
    if asked is None:
        return "" if step == last else f" (the last with a spectrum; at step {last} it is NaN or zero)"
    return "" if step == asked else f" (the recorded step nearest to {asked})"


def _print(told: dict[str, object]) -> None:
    size = f"{told['rows']} x {told['columns']}" if told["rows"] else ""
    seconds = "" if np.isnan(told["seconds"]) else f"{told['seconds']:.2g} s"
    driver = f"driver {told['driver']}" if told["driver"] else ""
    entries = "unknown" if np.isnan(told["entry_floor"]) else f"{told['entry_floor']:.1e}"
    count = len(told["values"])
    facts(
        {
            "matrix": ", ".join(part for part in (size, told["dtype"], driver, seconds) if part),
            "sigma_1": f"{told['largest']:.6g}",
            "floors": f"SVD {told['svd_floor']:.1e}, entries {entries} of sigma_1; larger: {told['floor_origin']}",
            "values": ", ".join(f"{told[name]} {name}" for name in STATES[::-1]) + f", of {count}",
            "effective rank": f"{told['effective_rank']:.3f}",
            "truncation": _truncation(told["values"]),
        }
    )
    cuts = told["cuts"]
    exact = "exact_kept" in cuts[0]
    header = ("cut a", "K(a)", "H(a)", "", *(("K exact", "H exact", "") if exact else ()))
    table("", header, [_line(cut, exact) for cut in cuts])
    below = [cut["a"] for cut in cuts if not cut["above_floor"]]
    if below and not math.isfinite(told["relative_floor"]):
        say("warning: the round-off of the entries is not known: nothing can be trusted")
    elif below:
        say(
            f"warning: cuts from a = {below[0]:.0e} on lie below the floor {told['relative_floor']:.1e}:\n"
            "K(a) and H(a) there count round-off, not the matrix"
        )


def _line(cut: dict[str, object], exact: bool) -> tuple[str, ...]:
    cells = [f"{cut['a']:.0e}"]
    for prefix in ("", "exact_")[: 1 + exact]:
        cells += [str(cut[f"{prefix}kept"]), f"{cut[f'{prefix}entropy']:.4f}"]
        cells.append("" if cut[f"{prefix}above_floor"] else "below floor")
    return tuple(cells)


def _truncation(rows: list[dict[str, object]]) -> str:
    """Where the differences' truncation changes a value by more than 1 %, which no precision can mend."""
    known = [row for row in rows if row["truncation"] == row["truncation"]]
    if not known:
        return ""
    off = [row for row in known if row["truncation"] > 0.01 * row["singular_value"] and row["state"] != "noise"]
    largest = max(row["truncation"] / rows[0]["singular_value"] for row in known)
    told = f"changes values by up to {largest:.1e} of sigma_1"
    return told + (
        f"; {len(off)} value{'s'[: len(off) - 1]} above the floor, from index {off[0]['index']} on, by over 1 %"
        if off
        else ""
    )

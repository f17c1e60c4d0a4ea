"""The whole report: what was run, what was found, then every section whose streams were recorded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from dynamics.diagnosis import Finding, diagnose
from dynamics.diagnosis.log import Log
from dynamics.plots import PHASE_COLORS, phases_seen
from dynamics.report.configured import configuration
from dynamics.report.course import Run, recorded
from dynamics.report.facts import heading, provenance, reached, summary
from dynamics.report.page import contents, described, escaped, grouped_table, page, paragraph, section, table
from dynamics.report.sections import SECTIONS, Section


def section_count() -> int:
    """Return how often `report_html` calls `begin`.

    Returns:
        The number of sections, findings included.

    Example:
        >>> section_count() > 5
        True
    """
    return 1 + len(SECTIONS)


def report_html(trajectory: xr.DataTree, name: str = "", begin: Callable[[str], None] = lambda what: None) -> str:
    """Write a report of a run: one HTML document that needs no network, no script and no other file.

    Findings come first, then what was reached, then the curves with the phases of training shaded; sections whose
    streams were not recorded are named at the end, with what would record them. The same trajectory gives the same
    text.

    Args:
        trajectory: any, also of a run that is still going or was killed.
        name: of the file, for the reader.
        begin: called with the name of each section before it is made.

    Returns:
        HTML.

    Source: ours.

    Cost: that of `diagnose` and of a figure a section, some 2 s for a run of thousands of steps.

    Example:
        >>> series = xr.Dataset({"loss": ("step", [1.0, 0.5])}, {"step": [0, 1]})
        >>> html = report_html(xr.DataTree.from_dict({"series": series}), "run.h5")
        >>> html.count("<h1>"), "<script" in html, html.count("<svg")
        (1, False, 1)
    """
    begin("findings")
    run = Run(trajectory, phases_seen(trajectory))
    parts = {"findings": ("Findings", _findings(diagnose(trajectory)))}
    if phases := _phases(run.phases):
        parts["phases"] = ("Phases of training", phases)
    if rows := reached(trajectory):
        told = table(["quantity", "last (step)", "least (step)"], rows, "At the end of the file, and at its best.")
        parts["numbers"] = ("What was reached", told)
    missing = []
    for made in SECTIONS:
        begin(made.heading.lower())
        written, why = _attempt(made, run)
        if written:
            parts[made.name] = (made.heading, written)
        elif why:
            missing.append(f"{made.heading}: {why}")
    if config := configuration(trajectory):
        parts["configuration"] = ("Configuration", grouped_table(config, "As recorded in the file."))
    parts["made"] = ("How it was made", described(provenance(trajectory, name)))
    if missing:
        parts["missing"] = ("Not shown", _list(missing))
    headings = {key: title for key, (title, _) in parts.items()}
    head = f"<h1>{escaped(heading(trajectory))}</h1>{described(summary(trajectory))}{contents(headings)}"
    body = "\n".join(section(key, title, html) for key, (title, html) in parts.items())
    return page(f"{heading(trajectory)} - PINNscope", head, body)


def _attempt(made: Section, run: Run) -> tuple[str, str]:
    """Write a section, or say why there is none where that is worth a word."""
    if not recorded(run.trajectory, made.needs):
        how = made.attach if Log(run.trajectory).attached else made.record
        return "", f"not recorded; {how}" if how else ""
    try:
        return made.write(run), ""
    except ValueError as error:
        return "", str(error)


def _findings(findings: tuple[Finding, ...]) -> str:
    if not findings:
        return paragraph("No finding applies to what was recorded.")
    items = []
    for found in findings:
        advice = f'<p class="advice"><b>Try:</b> {escaped(found.advice)}</p>' if found.advice else ""
        lead = f'<span class="badge">{escaped(found.severity)}: {escaped(found.name.replace("_", " "))}.</span>'
        items.append(f'<li class="{escaped(found.severity)}"><p>{lead} {escaped(found.message)}</p>{advice}</li>')
    return f'<ul class="findings">{"".join(items)}</ul>'


def _phases(found: xr.Dataset | None) -> str:
    if found is None or not np.isfinite(found["onset"].values).any():
        return ""
    seen = found.isel(phase=np.isfinite(found["onset"].values))
    header, columns = ["phase", "onset, step"], [[f"{onset:.0f}" for onset in seen["onset"].values]]
    if {"onset_low", "onset_high"} <= set(seen) and not np.isnan(seen["onset_low"].values).all():
        header.append("interval")
        columns.append(list(map(_interval, seen["onset_low"].values, seen["onset_high"].values)))
    if "probability" in seen:
        header.append("share")
        columns.append([f"{value:.2g}" if np.isfinite(value) else "-" for value in seen["probability"].values])
    names = [str(name) for name in seen.phase.values]
    rows = [(name.replace("_", " "), *cells) for name, *cells in zip(names, *columns, strict=True)]
    colors = [PHASE_COLORS.get(name, "none") for name in names]
    caption = "The colours are those behind the curves."
    caption += " Share: of an ensemble of rules, those that saw the phase." if "probability" in seen else ""
    told = table(header, rows, caption, colors)
    reason = str(found.attrs.get("reason", ""))
    return told + (paragraph(f"No total diffusion: {reason}.") if reason else "")


def _interval(low: float, high: float) -> str:
    if np.isnan(low) and np.isnan(high):
        return "-"
    return f"{low:.0f} to {high:.0f}" if np.isfinite(high) else f"{low:.0f} or later"


def _list(items: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{escaped(item)}</li>' for item in items)}</ul>"

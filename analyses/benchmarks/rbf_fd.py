"""What RBF-FD must reach: orders, agreement with others' weights, building, one step, and linear Poisson on the disk.

Run as `python -m analyses.benchmarks.rbf_fd [--quick] [--only SECTION ...] [--json FILE] [--from FILE ...]` on an idle
machine with OMP_NUM_THREADS=1; about 2 hours, of which `poisson` takes 14 rows x 5 seeds x 60 s; 2 minutes with
--quick. `--from` takes over what earlier files hold: sections that are not asked for, and finished runs of `poisson`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Optional

import torch
import typer

from analyses.benchmarks import (
    rbf_fd_agreement,
    rbf_fd_orders,
    rbf_fd_poisson,
    rbf_fd_poisson_tables,
    rbf_fd_steps,
    stencil_building,
)
from analyses.benchmarks.machine import describe_machine
from analyses.terminal import json_text, say, table

SECTIONS = ("orders", "agreement", "building", "step", "poisson")
SHOWN = {
    "orders": rbf_fd_orders,
    "agreement": rbf_fd_agreement,
    "building": stencil_building,
    "step": rbf_fd_steps,
    "poisson": rbf_fd_poisson_tables,
}
"""Section -> module that shows it."""
FASTER = (("must", 4.0), ("goal", 7.0))
"""Building: time of treverhines-rbf over ours."""
LARGEST_MB = 700
Results = dict[str, object]


def building_summary(found: Results) -> list[tuple[str, str, str]]:
    """Compare building with what it must reach.

    Args:
        found: from `stencil_building.main`.

    Returns:
        What, measured, verdict.
    """
    lines = []
    for kind, least in FASTER:
        what = f"{kind}: building, treverhines-rbf / ours >= {least:g} in every case"
        ratios = [row["peer_over_build"] for row in found["rows"] if row["peer_over_build"] is not None]
        verdict = "not measured" if not ratios else "reached" if min(ratios) >= least else "not reached"
        lines.append((what, f"{min(ratios):.1f} to {max(ratios):.1f}" if ratios else "-", verdict))
    for row in found["memory"]:
        where = f"{row['dimension']}-D p={row['order']} N={row['count']:,}"
        reached = "reached" if row["peak_mb"] <= LARGEST_MB else "not reached"
        lines.append((f"must: memory <= {LARGEST_MB} MB, {where}", f"{row['peak_mb']:.0f} MB", reached))
    return lines


SUMMARIES = {name: building_summary if name == "building" else module.summary for name, module in SHOWN.items()}


def _measured(section: str, results: Results, options: Results, keep: Callable[[], None]) -> Results:
    quick, peer = options["quick"], options["peer"]
    if section == "orders":
        return rbf_fd_orders.measure(quick)
    if section == "agreement":
        return rbf_fd_agreement.measure(quick, peer)
    if section == "building":
        return stencil_building.main(quick=quick, json_file=None, peer=peer)
    if section == "step":
        return rbf_fd_steps.measure(quick)

    def keep_runs(found: Results) -> None:
        results["poisson"] = found
        keep()

    seeds, rows, known = options["seeds"], options["rows"], options["known"]
    return rbf_fd_poisson.measure(rows, seeds, options["budget"], known, keep_runs, options["count"])


def _options(quick: bool, peer, rows, seeds, budget, earlier: list[Results]) -> Results:
    chosen = [name for name in rbf_fd_poisson.ROWS if not rows or any(part in name for part in rows)]
    if not chosen:
        raise typer.BadParameter(f"no row has {rows} in its name; expected parts of {', '.join(rbf_fd_poisson.ROWS)}")
    return {
        "quick": quick,
        "peer": peer,
        "rows": chosen,
        "seeds": tuple(seeds or (rbf_fd_poisson.SEEDS[:1] if quick else rbf_fd_poisson.SEEDS)),
        "budget": budget or (1.0 if quick else rbf_fd_poisson.BUDGET_S),
        "count": 200 if quick else rbf_fd_poisson.NODES,
        "known": [own for each in earlier for own in each.get("poisson", {}).get("runs", [])],
    }


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, one seed: about 2 minutes.")] = False,
    only: Annotated[Optional[list[str]], typer.Option(help=f"Of {', '.join(SECTIONS)}; all.")] = None,  # noqa: UP045
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
    earlier: Annotated[Optional[list[Path]], typer.Option("--from", help="Results to go on from.")] = None,  # noqa: UP045
    peer: Annotated[Optional[str], typer.Option(help="An interpreter that has treverhines-rbf.")] = None,  # noqa: UP045
    row: Annotated[Optional[list[str]], typer.Option(help="Poisson: part of a row's name.")] = None,  # noqa: UP045
    seed: Annotated[Optional[list[int]], typer.Option(help="Poisson: of a network; 0 to 4.")] = None,  # noqa: UP045
    budget: Annotated[Optional[float], typer.Option(help="Poisson: CPU seconds of a run; 60.")] = None,  # noqa: UP045
) -> Results:
    """Measure, print tables and what was reached, and return the results.

    Args:
        quick: small sizes.
        only: which sections; None takes all of them.
        json_file: where to keep the results; written after every section and every run.
        earlier: files of earlier calls; the first that has a section or a run counts.
        peer: interpreter for the comparisons with treverhines-rbf; None tries this one.
        row: part of the names of the rows to train; None takes all.
        seed: of the networks.
        budget: CPU seconds of each training.

    Returns:
        The machine, every section, and the summary.

    Raises:
        BadParameter: an unknown section or row.
    """
    if unknown := set(only or ()) - set(SECTIONS):
        raise typer.BadParameter(f"unknown section {sorted(unknown)[0]!r}; expected one of {', '.join(SECTIONS)}")
    torch.set_num_threads(1)
    kept = [json.loads(path.read_text()) for path in earlier or ()]
    options = _options(quick, peer, row, seed, budget, kept)
    results: Results = {"machine": describe_machine(), "threads": os.environ.get("OMP_NUM_THREADS", "all")}
    results["quick"] = quick

    def keep() -> None:
        if json_file is not None:
            json_file.write_text(json_text(results, indent=None) + "\n")

    for section in SECTIONS:
        if section in (only or SECTIONS):
            results[section] = _measured(section, results, options, keep)
        elif held := [each[section] for each in kept if section in each]:
            results[section] = held[0]
        else:
            continue
        keep()
        # The building, a benchmark of its own, has then shown itself.
        if section != "building" or section not in (only or SECTIONS):
            SHOWN[section].show(results[section])
    lines = [line for name in SECTIONS if name in results for line in SUMMARIES[name](results[name])]
    results["summary"] = [list(line) for line in lines]
    if lines:
        table("against the figures", ("figure", "measured", "verdict"), lines)
    keep()
    if json_file is not None:
        say(f"wrote {json_file}")
    return results


if __name__ == "__main__":
    typer.run(main)

"""Reference files as people read them: tables of at most 100 columns, and the same in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from analyses.reproduce.reference_files_distance import EARLY, LAYER, SHOCK, bounded
from analyses.reproduce.reference_files_examined import Examined
from analyses.reproduce.reference_files_published import SCORES

Rows = tuple[Sequence[str], list[Sequence[str]]]


def how_far(examined: Sequence[Examined]) -> Rows:
    """Return header and rows of distances.

    Args:
        examined: files that were measured.

    Returns:
        Header, rows.
    """
    header = ("file", "problem", "grid", "fitted", "rel. L2", "max", "at x, t", "floor")
    rows = []
    for each in examined:
        file, away = each.found.file, each.distance
        rows.append(
            (
                each.label,
                each.problem,
                f"{len(file.x)}x{len(file.t)}",
                "-" if each.found.fitted != each.found.fitted else f"{each.found.fitted:.5g}",
                each.relative,
                bounded(away.largest, away.largest_floor),
                f"{away.x:.3f}, {away.t:.3f}",
                f"{away.floor:.0e}",
            )
        )
    return header, rows


def where(examined: Sequence[Examined]) -> Rows:
    """Return header and rows of where the distances are, and of modes.

    Args:
        examined: files that were measured.

    Returns:
        Header, rows.
    """
    shown = (LAYER, EARLY, SHOCK)
    header = ("file", *(name.replace(" ", "") for name in shown), "elsewhere", "modes", "same modes", "own start")
    rows = []
    for each in examined:
        away, spectrum = each.distance, each.modes
        shares = [f"{100 * away.shares[name]:.1f} %" for name in shown]
        runs = [f"{value:.1e}" if value == value else "-" for value in (spectrum.same, spectrum.resolved)]
        rows.append((each.label, *shares, bounded(away.elsewhere, away.floor), spectrum.verdict, *runs))
    return header, rows


def which_start(examined: Sequence[Examined]) -> Rows:
    """Return header and rows of the solutions from several starts.

    Args:
        examined: files that were measured.

    Returns:
        Header, rows; none without such files.
    """
    header = ("file", "start of a resolved solution", "file from it", "our reference from it")
    rows = [
        (each.label, start.name, f"{start.from_file:.2e}", f"{start.from_ours:.2e}")
        for each in examined
        for start in each.starts
    ]
    return header, rows


def which_scores(examined: Sequence[Examined]) -> Rows:
    """Return header and rows of published scores beside the distances of the files that they were scored on.

    Args:
        examined: files that were measured.

    Returns:
        Header, rows; none without such files.
    """
    header = ("scored on", "published", "file's distance", "score / distance", "method", "source")
    known = {each.label: each for each in examined}
    rows = []
    for score in SCORES:
        if score.file not in known:
            continue
        distance = known[score.file].distance.relative
        rows.append(
            (
                score.file + ("" if score.scored else " (?)"),
                f"{score.value:.3g}",
                f"{distance:.3e}",
                f"{score.value / distance:.2f}",
                score.method,
                f"{score.source}, {score.how}",
            )
        )
    return header, rows


def lines(rows: Rows) -> list[str]:
    """Return a table as lines of text.

    Args:
        rows: header and rows.

    Returns:
        Lines, columns aligned.

    Example:
        >>> lines((("a", "b"), [("long", "1")]))
        ['a     b', 'long  1']
    """
    header, body = rows
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *body)
    ]


def markdown(examined: Sequence[Examined], refused: Sequence[str]) -> str:
    """Return the part of the page that is generated.

    Args:
        examined: files that were measured.
        refused: what was said of the others.

    Returns:
        Tables, and a list of the refused.
    """
    parts = []
    for title, rows in (
        ("How far", how_far(examined)),
        ("Where", where(examined)),
        ("From which start", which_start(examined)),
        ("Published scores", which_scores(examined)),
    ):
        if rows[1]:
            parts += [f"**{title}**", "", *_marked(rows), ""]
    if refused:
        parts += ["**Refused**", "", *(f"* {line}" for line in refused), ""]
    return "\n".join(parts)


def _marked(rows: Rows) -> list[str]:
    header, body = rows
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *body)]
    texts = ["| " + " | ".join(row) + " |" for row in cells]
    return [texts[0], "|" + "---|" * len(header), *texts[1:]]

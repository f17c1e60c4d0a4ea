"""How far files in common use are from the equations whose solutions they are taken for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer

from analyses.benchmarks.machine import describe_machine
from analyses.reproduce.outputs import prepare
from analyses.reproduce.reference_files_examined import Examined, examine
from analyses.reproduce.reference_files_figures import errors_figure, near_figure, spectra_figure
from analyses.reproduce.reference_files_tables import how_far, lines, markdown, where, which_scores, which_start
from analyses.reproduce.reference_files_variants import VARIANTS
from analyses.terminal import complain, json_text, parts, say

FIGURES = {"errors.png": errors_figure, "near.png": near_figure, "spectra.png": spectra_figure}
OUTPUTS = ("files.json", "tables.md")
DPI = 80


def reproduce(
    files: Sequence[Path],
    folder: Path | None = None,
    *,
    problem: str | None = None,
    coefficient: float | None = None,
    json: Path | None = None,
    overwrite: bool = False,
) -> tuple[list[Examined], list[str]]:
    """Measure how far reference files are from our own references, print tables, and write them with figures.

    Args:
        files: paths of .mat, .npz, .npy or .csv files.
        folder: of the outputs; made where absent; None writes none.
        problem: name, where the caller knows it; by default it is told from the data.
        coefficient: of the variant, as `solvers.problems` takes it; needs `problem`.
        json: path of a file for the numbers alone.
        overwrite: replace what is there.

    Returns:
        Files that were measured, and of each other what was wrong.

    Raises:
        ValueError: no files, an unknown problem, or a coefficient without a problem.
        FileExistsError: an output exists and overwrite is False.
    """
    if not files:
        raise ValueError("expected at least one reference file: a .mat, .npz, .npy or .csv file with x, t and u(x, t)")
    if problem is not None and problem not in VARIANTS:
        raise ValueError(f"unknown problem {problem!r}; expected one of {', '.join(VARIANTS)}")
    if coefficient is not None and problem is None:
        raise ValueError("a coefficient belongs to a problem: pass --problem NAME with --coefficient")
    paths = {name: folder / name for name in (*OUTPUTS, *FIGURES)} if folder else {}
    if folder:
        prepare(folder, paths.values(), overwrite)
    if json is not None and json.exists() and not overwrite:
        raise FileExistsError(f"{json} exists; expected a new file: choose another name or pass --overwrite")
    start = time.process_time()
    examined, refused = _examined(files, problem, coefficient)
    _show(examined)
    record = {
        "files": [each.plain() for each in examined],
        "refused": refused,
        "cpu_seconds": round(time.process_time() - start, 1),
        "machine": describe_machine(),
    }
    if folder:
        _write(paths, examined, refused, record)
    if json is not None:
        json.write_text(json_text(record) + "\n")
        say(f"wrote {json}")
    return examined, refused


def _examined(
    files: Sequence[Path], problem: str | None, coefficient: float | None
) -> tuple[list[Examined], list[str]]:
    examined, refused = [], []
    with parts(len(files)) as begin:
        for path in files:
            begin(path.name)
            try:
                examined.append(examine(path, problem, coefficient))
            except (ValueError, FileNotFoundError) as error:
                refused.append(_known_by(path, str(error)))
                complain(str(error))
    return examined, refused


def _known_by(path: Path, text: str) -> str:
    """A refusal without the folder, which is this machine's own."""
    return text.replace(str(path), path.name)


def _show(examined: Sequence[Examined]) -> None:
    for title, rows in (
        ("How far from our references, relative L2 over the file's own grid", how_far(examined)),
        ("Where: shares of the squared distance; modes that it was made with; runs of ours", where(examined)),
        ("Smooth curves through the file's first row as starts of resolved solutions", which_start(examined)),
        ("Published scores beside the distance of the file", which_scores(examined)),
    ):
        if rows[1]:
            say(f"\n{title}")
            for line in lines(rows):
                say(line)
    for each in examined:
        if each.found.file.taken.endswith("transposed"):
            say(f"{each.label} is transposed, as only its equation tells: {each.found.file.taken}")


def _write(paths: dict[str, Path], examined: Sequence[Examined], refused: Sequence[str], record: dict) -> None:
    paths["files.json"].write_text(json_text(record) + "\n")
    paths["tables.md"].write_text(markdown(examined, refused))
    for name, draw in FIGURES.items():
        # What is not drawn this time must not look as if it were.
        paths[name].unlink(missing_ok=True)
        if examined:
            draw(examined).savefig(paths[name], dpi=DPI, pil_kwargs={"optimize": True})
    for path in paths.values():
        if path.exists():
            say(f"wrote {path}")


def main(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Each .mat, .npz, .npy or .csv.")],
    problem: Annotated[Optional[str], typer.Option(help=", ".join(VARIANTS))] = None,  # noqa: UP045
    coefficient: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Of the variant: nu, D or mu; by default the benchmark's."),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", metavar="FOLDER", help="Tables, numbers and figures."),
    ] = None,
    json: Annotated[Optional[Path], typer.Option(metavar="FILE", help="The numbers.")] = None,  # noqa: UP045
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Tell which problem each reference file solves, how far it is from the solution, and where."""
    try:
        _, refused = reproduce(files, output, problem=problem, coefficient=coefficient, json=json, overwrite=overwrite)
    except (ValueError, OSError) as error:
        complain(str(error))
        raise typer.Exit(2) from None
    if refused:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)

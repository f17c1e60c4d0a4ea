"""The reference solutions: compute them, say how good they are and where they lie, show it by refinement.

Run as `python -m analyses.references [NAME ...] [--list] [--verify] [--output FOLDER] [--json FILE]`. Nothing is
downloaded. A reference is looked up in the checkout (data/references) and in the user's cache, which the environment
variable PINNSCOPE_CACHE moves; one that is not there is computed, in 140 s of CPU for all, and kept in the cache.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import typer

from analyses.cli import reported
from analyses.config import UsageError, choice
from analyses.terminal import complain, facts, keep, parts, say, table
from solvers.references import RECIPES, store
from solvers.references.netcdf import write
from solvers.references.recipe import Recipe
from solvers.references.reference import Reference, compute

Sampled = Callable[[Mapping[str, np.ndarray]], np.ndarray]
HEADER = ("reference", "floor", "size", "CPU", "where")

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command(
    help="Compute reference solutions; say how good each is, what it took and where it is kept.",
    epilog="Example: python -m analyses.references kdv --verify; exit code 1: what is kept is off by over its floor.",
)
@reported
def references(
    names: Annotated[Optional[list[str]], typer.Argument(metavar="NAME ...", help="Default: all.")] = None,  # noqa: UP045
    listed: Annotated[bool, typer.Option("--list", help="Compute nothing: what is known and what is kept.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Refine each, and compute anew what is kept.")] = False,
    output: Annotated[
        Optional[Path], typer.Option("--output", metavar="FOLDER", help="Compute anew and write the files here.")  # noqa: UP045
    ] = None,
    json: Annotated[Optional[Path], typer.Option("--json", metavar="FILE", help="Write all of it as JSON.")] = None,  # noqa: UP045
) -> None:
    """Compute reference solutions and say how good each is, what it took and where it is kept.

    Args:
        names: of references; all where none are given.
        listed: compute nothing.
        verify: print the refinement table of each, and compare what is kept with a fresh computation.
        output: a folder for the files of a fresh computation, such as data/references.
        json: a file for the same as numbers.

    Raises:
        UsageError: an unknown name, or --list with what computes.
        Exit: code 1, where what is kept differs from what is computed by more than its floor.
    """
    for name in names or ():
        if name not in RECIPES:
            raise UsageError(f"unknown reference {name!r}; expected {choice(name, RECIPES)}")
    if listed and (verify or output):
        raise UsageError("--list computes nothing: leave out --verify and --output")
    recipes = {name: RECIPES[name]() for name in dict.fromkeys(names or RECIPES)}
    results, agree = {}, True
    with parts(len(recipes)) as begin:
        for name, recipe in recipes.items():
            begin(name)
            kept = store.find(recipe)
            fresh = None if listed or (kept and not verify and output is None) else compute(recipe)
            results[name] = _described(
                recipe, *((kept, False) if fresh is None else _kept(recipe, kept, fresh, output))
            )
            if verify:
                results[name] |= _verified(name, recipe, kept, fresh)
                agree &= results[name]["agrees"]
    table("\nReferences", HEADER, [_row(name, result) for name, result in results.items()])
    facts({name: f"{result['method']}; floor by {result['floor_origin']}" for name, result in results.items()})
    say(f"\ncheckout: {store.committed_folder()}\ncache:    {store.cache_folder()}")
    keep(results, json)
    if not agree:
        raise typer.Exit(1)


def _kept(recipe: Recipe, kept: Reference | None, fresh: Reference, output: Path | None) -> tuple[Reference, bool]:
    """Write the fresh reference where told to, or where none was kept; return the one that counts, and whether new."""
    if not fresh.columns:
        return fresh, False
    if output is not None:
        return Reference(fresh.columns, fresh.seconds, write(output, recipe, fresh)), True
    return (kept, False) if kept is not None else (store.keep(recipe, fresh), True)


def _described(recipe: Recipe, reference: Reference | None, new: bool) -> dict[str, object]:
    """Return all that is said of a reference, in plain values."""
    path = reference.path if reference else None
    folders = {store.committed_folder(): "checkout", store.cache_folder(): "cache"}
    place = "formula" if reference is not None and not reference.columns else "memory" if reference else "not yet"
    place = folders.get(path.parent, str(path.parent)) if path else place
    return {
        "key": recipe.key,
        "settings": dict(recipe.settings),
        "method": recipe.method,
        "floor": recipe.floor,
        "floor_origin": recipe.floor_origin,
        "bytes": path.stat().st_size if path else 0,
        "seconds": reference.seconds if reference else math.nan,
        "where": place,
        "new": new,
        "file": path.name if path else "",
        "content": reference.content if reference else "",
    }


def _row(name: str, result: Mapping) -> tuple[str, ...]:
    size = f"{result['bytes'] / 1000:.0f} kB" if result["bytes"] else ""
    seconds = "" if math.isnan(result["seconds"]) else f"{result['seconds']:.1f} s"
    where = f"{result['where']}, new" if result["new"] and result["file"] else result["where"]
    return name, f"{result['floor']:.0e}", size, seconds, where


def _verified(name: str, recipe: Recipe, kept: Reference | None, fresh: Reference) -> dict[str, object]:
    """Print the refinement table, compare what is kept with what was computed now, and return both."""
    rows = list(recipe.refine())
    table(
        f"\n{name}: floor {recipe.floor:.1e}, by {recipe.floor_origin}",
        ("resolution", "difference", "against", "CPU"),
        [(row.resolution, f"{row.difference:.1e}", row.against, f"{row.seconds:.2f} s") for row in rows],
    )
    apart = difference(kept, fresh, recipe.sampled) if kept else None
    agrees = apart is None or apart <= recipe.floor
    if kept is None:
        say(f"{name}: {'nothing was kept to compare with' if fresh.columns else 'a formula, nothing to keep'}")
    elif kept.content == fresh.content:
        say(f"{name}: what is kept and what was computed now are the same bit for bit")
    else:
        verdict = "less than its floor" if agrees else f"more than its floor of {recipe.floor:.1e}: delete {kept.path}"
        say(f"{name}: what is kept and what was computed now are {apart:.1e} apart, {verdict}")
    return {"refinement": [asdict(row) for row in rows], "apart": apart, "agrees": agrees}


def difference(first: Reference, second: Reference, sampled: Sampled | None = None) -> float:
    """Return how far two computations of a reference are apart.

    Args:
        first: one.
        second: the other.
        sampled: of the recipe: arrays to values that are compared; None compares the arrays themselves.

    Returns:
        The relative L2 distance of the values, or the largest of an array, infinite where names or shapes differ.

    Example:
        >>> one, two = (Reference({"c": (("mode",), np.array([5.0, c]), {})}, 0.0) for c in (0.0, 5e-9))
        >>> difference(one, two)
        1e-09
    """
    if first.columns.keys() != second.columns.keys():
        return math.inf
    if sampled is not None:
        return _apart(sampled(first.arrays), sampled(second.arrays))
    return max((_apart(first.arrays[name], second.arrays[name]) for name in first.columns), default=0.0)


def _apart(first: np.ndarray, second: np.ndarray) -> float:
    if first.shape != second.shape:
        return math.inf
    if np.array_equal(first, second):
        return 0.0
    size = np.linalg.norm(second)
    return float(np.linalg.norm(first - second) / size) if size else math.inf


def _warn(message: Warning | str, *_: object) -> None:
    complain(f"warning: {message}")


def main() -> None:
    """Start the command."""
    warnings.showwarning = _warn
    app()


if __name__ == "__main__":
    main()

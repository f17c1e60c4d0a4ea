"""Take in a log that another program wrote."""

from __future__ import annotations

from pathlib import Path

from analyses.config import UsageError
from analyses.terminal import facts, say
from dynamics.importers import missing, read_log, write_trajectory


def import_log(
    log: Path,
    output: Path,
    *,
    terms: str | None = None,
    weights: str | None = None,
    metrics: str | None = None,
    run: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a trajectory of a log, and say what is not known and which analyzers lack what.

    Args:
        log: loss.dat of DeepXDE, metrics.csv of Lightning, TensorBoard events, a W&B export, a published log.
        output: of the trajectory.
        terms: names of loss terms in their order, with commas; DeepXDE.
        weights: their weights, alike; NAME=VALUE for logs that have names.
        metrics: names of DeepXDE's metrics.
        run: of a W&B export that holds several.
        overwrite: replace an existing file.

    Raises:
        UsageError: weights that are no numbers.
        TrajectoryError: no log that is known, or one that leaves open what it says.
        FileExistsError: the output exists.
    """
    given = {"terms": _names(terms), "metrics": _names(metrics), "weights": _weights(weights), "run": run}
    options = {name: value for name, value in given.items() if value is not None}
    try:
        tree = read_log(log, **options)
    except TypeError as error:
        raise UsageError(f"{log}: this kind of log does not take one of {', '.join(options)} ({error})") from None
    write_trajectory(tree, output, overwrite=overwrite)
    say(f"{log}: {tree.attrs.get('origin', 'a log')}, {tree['series'].sizes['step']} rows")
    for note in tree.attrs.get("notes", ()):
        facts({"note": note})
    say("analyzers that lack what they need:")
    facts(missing(tree))
    say(f"wrote {output}")


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _weights(text: str | None) -> list[float] | dict[str, float] | None:
    if text is None:
        return None
    pairs = [part.rpartition("=") for part in text.split(",")]
    try:
        values = [float(value) for _, _, value in pairs]
    except ValueError:
        raise UsageError(f"--weights: expected numbers or NAME=NUMBER, with commas, came {text!r}") from None
    names = [name.strip() for name, _, _ in pairs]
    return dict(zip(names, values, strict=True)) if all(names) else values

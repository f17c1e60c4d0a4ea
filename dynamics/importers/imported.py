"""The tree that an importer returns: `/series` as the analyzers read it, and what is known of where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import xarray as xr

from dynamics.format import KNOWN, ROW
from dynamics.importers.balance import balance
from dynamics.importers.entries import Ordered
from dynamics.importers.missing import missing
from dynamics.importers.quantities import Meanings, meanings
from dynamics.trajectory import TrajectoryError

LEAST_SHARED = 0.5
"""Share of the rows with any term that must have all of them: a loss cannot be put together from other steps."""


@dataclass
class Origin:
    """Where a log comes from.

    Args:
        source: name of the file or folder, without its path.
        kind: such as "Lightning metrics.csv".
        importer: name of the function.
        created: start of the run in s since 1970, UTC; None where unknown.
        config: what is known of the run.
        notes: what the reader of the trajectory must know, a sentence each.

    Example:
        >>> Origin("loss.dat", "DeepXDE loss.dat", "read_deepxde_log").notes
        []
    """

    source: str
    kind: str
    importer: str
    created: float | None = None
    config: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def imported(
    ordered: Ordered, origin: Origin, names: Mapping[str, str] | None, weights: Mapping[str, float] | None
) -> xr.DataTree:
    """Make a trajectory of a log whose names are known.

    Args:
        ordered: the log.
        origin: where it comes from; notes are added.
        names: as in `dynamics.importers.quantities.meanings`.
        weights: by term, what the logged terms were multiplied by; they are divided by it. None where they are
            unweighted or nothing is known, and then the log itself is asked (`dynamics.importers.balance`).

    Returns:
        The tree.

    Raises:
        TrajectoryError: The log holds no value.
        ValueError: Names or weights that do not fit the log.
    """
    if not len(ordered.step):
        raise TrajectoryError(
            f"{origin.source}: expected logged numbers, came none: pass the log of a training that has begun"
        )
    found = meanings(ordered.columns, names)
    data = {name: ("step", ordered.columns[logged]) for name, logged in found.scalars.items()}
    data |= _terms(ordered, found, origin, weights)
    data |= {name: ("step", ordered.columns[logged]) for name, logged in found.others.items()}
    long_names = {name: logged for name, logged in found.others.items()}
    if "loss" not in data:
        _without_loss(data, origin)
    labels = {"term": list(found.terms)} if "loss_raw" in data else {}
    last = ordered.last.get(found.scalars.get("loss", ""), 0.0)
    if ordered.superseded:
        origin.notes.append(f"superseded by what was logged later of the same steps: {ordered.superseded} values")
    if np.isfinite(ordered.time).any():
        labels["time"] = ("step", ordered.time, {"long_name": ROW["time"].long_name, "units": "s"})
    else:
        origin.notes.append("times were not logged")
    return assembled(ordered.step, data, labels, long_names, origin, diverged=not np.isfinite(last))


def assembled(
    step: np.ndarray,
    data: dict[str, tuple],
    labels: dict[str, object],
    long_names: Mapping[str, str],
    origin: Origin,
    *,
    diverged: bool,
) -> xr.DataTree:
    """Put a tree together: units, names, attributes, and what is missing for which analyzer.

    Args:
        step: (n,) int64, strictly increasing.
        data: `(dims, values)` by variable of `/series`.
        labels: coordinates.
        long_names: of variables that the format does not know.
        origin: where it comes from.
        diverged: whether the last loss that was logged is not finite.

    Returns:
        The tree.
    """
    series = xr.Dataset(data, {"step": ("step", step, {"long_name": ROW["step"].long_name, "units": "1"}), **labels})
    for name, variable in series.data_vars.items():
        known = KNOWN["series"].get(name)
        about = (known.long_name, known.units) if known else (f"as logged: {long_names.get(name, name)}", "1")
        variable.attrs.update(zip(("long_name", "units"), about, strict=True))
    attrs = {
        "source": origin.source,
        "origin": origin.kind,
        "importer": origin.importer,
        "notes": list(origin.notes),
        "config": json.dumps({"imported": {"origin": origin.kind, **origin.config}}),
    }
    if origin.created is not None:
        attrs["created"] = datetime.fromtimestamp(origin.created, UTC).isoformat(timespec="seconds")
    if diverged:
        attrs |= {"status": "diverged", "stop_reason": "the last loss in the log is not finite"}
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), "series": series})
    tree.attrs["missing"] = "; ".join(f"{analyzer}: {reason}" for analyzer, reason in missing(tree).items())
    return tree


def _terms(ordered: Ordered, found: Meanings, origin: Origin, weights: Mapping[str, float] | None) -> dict[str, tuple]:
    """Return loss_raw and loss_weight; terms that are logged at other steps each are moved to the others."""
    if weights is not None and set(weights) != set(found.terms):
        raise ValueError(
            f"expected a weight for each of the terms {', '.join(found.terms) or '(none)'}, came {dict(weights)}: "
            "name all of them, or name the terms by names="
        )
    if weights is not None and not all(np.isfinite(w) and w > 0 for w in weights.values()):
        raise ValueError(f"expected weights above 0, came {dict(weights)}: leave a term out by names={{...: ''}}")
    if not found.terms:
        return {}
    terms = np.stack([ordered.columns[name] for name in found.terms.values()], axis=1)
    known = ~np.isnan(terms)
    loss = ordered.columns[found.scalars["loss"]] if "loss" in found.scalars else None
    alone = len(found.terms) == 1 and loss is not None and weights is None and not found.weights
    apart = known.all(axis=1).sum() < LEAST_SHARED * known.any(axis=1).sum()
    if apart or (alone and balance(loss, terms, None, list(found.terms)).weight is None):
        why = "logged at different steps" if apart else "not the whole loss"
        origin.notes.append(f"{', '.join(found.terms.values())}: {why}, so no loss_raw")
        found.give_up_terms()
        return {}
    if weights is not None:
        given = np.array([weights[term] for term in found.terms], np.float64)
        origin.notes.append("the logged terms were divided by the weights given")
        return {
            "loss_raw": (("step", "term"), terms / given),
            "loss_weight": (("step", "term"), np.where(known, given, np.nan)),
        }
    logged = None
    if set(found.weights) == set(found.terms):
        logged = np.stack([ordered.columns[found.weights[term]] for term in found.terms], axis=1)
    result = balance(loss, terms, logged, list(found.terms))
    origin.notes += [result.note] if result.note else []
    data = {"loss_raw": (("step", "term"), result.raw)}
    return data | ({"loss_weight": (("step", "term"), result.weight)} if result.weight is not None else {})


def _without_loss(data: dict[str, tuple], origin: Origin) -> None:
    """Make the loss of terms and weights where both are known; say so where it cannot be made."""
    if "loss_raw" in data and "loss_weight" in data:
        total = (data["loss_raw"][1] * data["loss_weight"][1]).sum(axis=1)
        data["loss"] = ("step", total)
    else:
        origin.notes.append("no loss was found among the names: say which it is, names={'NAME': 'loss'}")

"""DeepXDE's `loss.dat`, as a trajectory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from dynamics.importers.entries import LARGEST_STEP, MOST_NAMES
from dynamics.importers.imported import Origin, assembled
from dynamics.importers.quantities import ERRORS
from dynamics.importers.recognition import expect
from dynamics.importers.text_table import read_text
from dynamics.steps import rows_in_order
from dynamics.trajectory import TrajectoryError

KIND = "DeepXDE loss.dat"
SAME = 1e-4
"""Relative difference of a training and a test loss that come from the same points: boundary points are reused."""


def read_deepxde_log(
    path: str | os.PathLike,
    *,
    terms: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
    metrics: Sequence[str] | None = None,
) -> xr.DataTree:
    r"""Read the loss history that DeepXDE saves (`dde.saveplot`, `save_loss_history`).

    The file holds a step, n training losses, n test losses and m metrics a row, without names, and each loss multiplied
    by its weight:

    $$ L = \sum_k c_k, \qquad c_k = w_k \ell_k $$

    n and m are not in it. They follow from `terms`, `weights` or `metrics`; without these, from there being one way
    only (2 or 3 columns), or from the losses of boundary and initial conditions, which DeepXDE tests at the points that
    it trains them on: if for exactly one n there are columns k and n + k that agree, that is n.

    Args:
        path: of the file.
        terms: names of the losses, equations first, then conditions, as the data were given them; call the equation
            "interior" if there is one.
        weights: the `loss_weights` of `model.compile`, one a term, constant; 0 leaves a term out.
        metrics: names of the metrics; "l2 relative error" becomes `rel_l2`.

    Returns:
        `/series` with `loss`, the training's; `test_loss`; with weights `loss_raw` and `loss_weight`, without them
        `loss_weighted` (step, term); with a term "interior", weights and test points of their own `held_out_loss`;
        and the metrics. Attributes of the root: `source`, `origin`, `importer`, `config`, `notes`, what to know of
        it, and `missing`, what is missing for which analyzer.

    Raises:
        TrajectoryError: Another kind of file, a cell that is no number or a row of another length (with its line), no
            rows, or columns that can be divided in several ways.
        ValueError: Names or weights that do not fit the columns or each other.

    Source: DeepXDE 1.15, `LossHistory` and `Model._test`.

    Cost: 1.5 us a number.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "loss.dat")
        >>> with open(path, "w") as file:
        ...     _ = file.write("# step, loss_train, loss_test, metrics_test\n")
        ...     _ = file.write("0 1.0 20.0 2.0 20.0 0.9\n10 0.5 4 1 4 0.3\n")
        >>> tree = read_deepxde_log(path, terms=["interior", "bc"], weights=[1, 10], metrics=["l2 relative error"])
        >>> tree["series/loss_raw"].values.tolist(), tree["series/held_out_loss"].values.tolist()
        ([[1.0, 2.0], [0.5, 0.4]], [2.0, 1.0])
    """
    path = Path(path)
    expect(path, KIND)
    _check_options(terms, weights, metrics)
    table, cut = _table(path)
    origin = Origin(path.name, KIND, "read_deepxde_log")
    if cut:
        origin.notes.append("the last line is cut off and was left out")
    kept = rows_in_order(table[:, 0])
    if len(kept) < len(table):
        origin.notes.append(f"superseded by what was logged later of the same steps: {len(table) - len(kept)} rows")
    table = table[kept]
    count = _losses(path, table[:, 1:], terms, weights, metrics, origin)
    train, test, measured = np.split(table[:, 1:], [count, 2 * count], axis=1)
    names = list(terms) if terms is not None else [f"term_{k + 1}" for k in range(count)]
    data: dict[str, tuple] = {"loss": ("step", train.sum(axis=1)), "test_loss": ("step", test.sum(axis=1))}
    labels, long_names = {}, {"test_loss": "weighted loss at the test points"}
    if weights is None:
        labels["term"] = names
        data["loss_weighted"] = (("step", "term"), train)
        long_names["loss_weighted"] = "loss of each term, multiplied by a weight that the file does not hold"
        origin.notes.append("losses are multiplied by loss_weights, which the file does not hold: pass weights=")
    else:
        weight = np.array(weights, np.float64)
        used = np.flatnonzero(weight)
        labels["term"] = [names[k] for k in used]
        data["loss_raw"] = (("step", "term"), train[:, used] / weight[used])
        data["loss_weight"] = (("step", "term"), np.broadcast_to(weight[used], (len(table), len(used))).copy())
        if len(used) < count:
            left = ", ".join(name for name, value in zip(names, weight, strict=True) if not value)
            origin.notes.append(f"{left}: of weight 0, so what it was is not in the file; left out")
        _held_out(data, names, weight, train, test)
        origin.config["loss_weights"] = dict(zip(names, weight.tolist(), strict=True))
    for name, values in zip(_metric_names(metrics, measured.shape[1]), measured.T, strict=True):
        data[name], long_names[name] = ("step", values), "a metric that the file does not name"
    origin.notes.append(
        "times, learning rates and gradients are not in the file; rows are as far apart as display_every"
    )
    step = table[:, 0].astype(np.int64)
    last = data["loss"][1][-1]
    return assembled(step, data, labels, long_names, origin, diverged=not np.isfinite(last))


def _check_options(terms, weights, metrics) -> None:
    for name, value in (("terms", terms), ("weights", weights), ("metrics", metrics)):
        if isinstance(value, str):
            raise ValueError(f"expected a list for {name}, came {value!r}: put it into brackets")
    if terms is not None and (len(set(terms)) < len(terms) or not len(terms)):
        raise ValueError(f"expected different names of terms, came {list(terms)}: name each loss once")
    if weights is not None and not (len(weights) and all(np.isfinite(w) and w >= 0 for w in weights) and any(weights)):
        raise ValueError(f"expected weights of 0 or more, one of them above, came {list(weights)}: pass loss_weights")
    if terms is not None and weights is not None and len(terms) != len(weights):
        raise ValueError(f"expected a weight a term, came {len(terms)} terms and {len(weights)} weights: match them")


def _table(path: Path) -> tuple[np.ndarray, bool]:
    """Return the numbers, and whether a cut last line was left out; the headers of joined files are passed over."""
    text = read_text(path)
    lines = [(k, line.split()) for k, line in enumerate(text.split("\n"), 1) if line.strip() and line.strip()[0] != "#"]
    width = len(lines[0][1]) if lines else 0
    cut = len(lines) > 1 and not text.endswith("\n") and len(lines[-1][1]) < width
    lines = lines[:-1] if cut else lines
    if not lines or not 3 <= width <= MOST_NAMES:
        raise TrajectoryError(
            f"{path}: expected rows of a step, training and test losses, came {len(lines)} rows of {width} numbers: "
            "save the history after training"
        )
    rows = np.empty((len(lines), width))
    for row, (line, cells) in enumerate(lines):
        if len(cells) != width:
            raise TrajectoryError(
                f"{path}, line {line}: expected {width} numbers, as before, came {len(cells)}: histories of different "
                "losses are read one by one"
            )
        try:
            rows[row] = [float(cell) for cell in cells]
        except ValueError:
            raise TrajectoryError(
                f"{path}, line {line}: expected numbers, came {' '.join(cells)[:60]!r}: repair or remove it"
            ) from None
        if not (0 <= rows[row, 0] <= LARGEST_STEP and rows[row, 0] == np.round(rows[row, 0])):
            raise TrajectoryError(f"{path}, line {line}: expected a whole step >= 0, came {cells[0]}: repair it")
    return rows, cut


def _losses(path: Path, columns: np.ndarray, terms, weights, metrics, origin: Origin) -> int:
    """Return how many training losses there are."""
    width = columns.shape[1]
    named = terms if terms is not None else weights
    if named is not None:
        rest = width - 2 * len(named)
        if rest < 0 or (metrics is not None and rest != len(metrics)):
            raise ValueError(
                f"{path}: expected {width} columns behind the step to be twice the {len(named)} losses and "
                f"{'some' if metrics is None else len(metrics)} metrics: name as many as the training had"
            )
        return len(named)
    if metrics is not None:
        rest = width - len(metrics)
        if rest < 2 or rest % 2:
            raise ValueError(
                f"{path}: expected an even number of losses beside {len(metrics)} metrics, came {rest}: name as many "
                "metrics as the training had"
            )
        return rest // 2
    if width <= 3:
        return 1
    candidates = [n for n in range(1, width // 2 + 1) if _reused(columns, n)]
    if len(candidates) != 1:
        ways = ", ".join(f"{n} losses and {width - 2 * n} metrics" for n in range(1, width // 2 + 1))
        raise TrajectoryError(
            f"{path}: expected columns that can be told apart, came {width}, which may be {ways}: pass terms=, the "
            "names of the losses, or metrics=, those of the metrics"
        )
    origin.notes.append(
        f"{candidates[0]} losses and {width - 2 * candidates[0]} metrics: told from losses that are the same in "
        "training and test"
    )
    return candidates[0]


def _reused(columns: np.ndarray, count: int) -> bool:
    """Return whether a training loss that varies is also the test loss, were there so many losses."""
    train, test = columns[:, :count], columns[:, count : 2 * count]
    finite = np.isfinite(train) & np.isfinite(test)
    same = (np.abs(train - test) <= SAME * np.abs(train)) | ~finite
    varies = np.ptp(np.where(finite, train, 0.0), axis=0) > 0
    return bool((same.all(axis=0) & varies & (finite.sum(axis=0) > 1)).any())


def _held_out(
    data: dict[str, tuple], names: list[str], weight: np.ndarray, train: np.ndarray, test: np.ndarray
) -> None:
    """Add the equation's loss at the test points, where these are not the training's."""
    if "interior" not in names or not weight[place := names.index("interior")]:
        return
    if not np.allclose(train[:, place], test[:, place], rtol=SAME, atol=0, equal_nan=True):
        data["held_out_loss"] = ("step", test[:, place] / weight[place])


def _metric_names(metrics: Sequence[str] | None, count: int) -> list[str]:
    names = [f"metric_{k + 1}" for k in range(count)]
    for place, name in enumerate(metrics or ()):
        plain = "rel_l2" if ERRORS.match(name.lower().strip()) else "_".join(name.lower().split())
        if not plain.isidentifier() or plain in ("step", "time", "term", "loss", "test_loss") or plain in names:
            raise ValueError(f"expected different names of metrics, letters and digits, came {name!r}: rename it")
        names[place] = plain
    return names

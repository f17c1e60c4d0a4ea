"""Whether logged terms are weighted, told from the log itself: do they add up to the loss, and with which weights?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

AGREEMENT = 1e-4
"""Relative deviation in nearly all rows below which a sum is the loss: logs keep 6 digits or more."""

ROWS_SPARE = 3
"""Rows beyond the number of terms that constant weights must explain too."""

WORST_CONDITION = 1e6


@dataclass(frozen=True)
class Balance:
    """Unweighted terms and their weights, as far as the log tells.

    Args:
        raw: (rows, terms).
        weight: (rows, terms), or None where unknown.
        note: how that was found, in a sentence.

    Example:
        >>> Balance(np.ones((3, 1)), None, "").weight is None
        True
    """

    raw: np.ndarray
    weight: np.ndarray | None
    note: str


def balance(loss: np.ndarray | None, terms: np.ndarray, weights: np.ndarray | None, names: list[str]) -> Balance:
    r"""Find weights w such that loss = sum of w * term.

    Logged weights are tried as weights of the terms, then as weights that the terms contain already. Without any, the
    sum itself is tried, then constant weights by least squares:

    $$ L_i = \sum_k w_k \ell_{ik}, \qquad w_k > 0 $$

    taken only if they hold to 1e-4 in 99 % of the rows, three more than there are terms.

    Args:
        loss: (rows,) weighted loss, NaN where a row has none; None where it was not logged.
        terms: (rows, terms) as logged.
        weights: (rows, terms) as logged, or None.
        names: of the terms.

    Returns:
        The terms without weights, the weights, and how they were found. Terms that do not explain the loss are left as
        they are.

    Source: ours.

    Cost: one small least-squares problem.

    Example:
        >>> terms = np.array([[1.0, 2.0], [0.5, 3.0], [0.1, 0.3], [2.0, 0.1], [0.7, 0.9]])
        >>> found = balance(terms @ [1.0, 20.0], terms, None, ["pde", "bc"])
        >>> np.round(found.weight[0], 6).tolist()
        [1.0, 20.0]
    """
    if loss is None:
        note = "the loss is the sum of the logged weights times the logged terms" if weights is not None else ""
        return Balance(terms, weights, note)
    if weights is not None:
        if _agrees(loss, (weights * terms).sum(axis=1)):
            return Balance(terms, weights, "the logged weights times the logged terms are the loss: terms unweighted")
        if _agrees(loss, terms.sum(axis=1)) and (np.isnan(weights) | (weights > 0)).all():
            return Balance(terms / weights, weights, "the logged terms add up to the loss: divided by the weights")
        return Balance(
            terms,
            weights,
            "neither the logged terms nor the weights times them add up to the loss: taken as unweighted",
        )
    if _agrees(loss, terms.sum(axis=1)):
        return Balance(
            terms,
            np.where(np.isnan(terms), np.nan, 1.0),
            "the logged terms add up to the loss: taken as unweighted, with weights 1; if the training multiplied them "
            "by weights before logging, pass weights=",
        )
    constant = _constant_weights(loss, terms)
    if constant is not None:
        told = " + ".join(f"{weight:.4g} {name}" for weight, name in zip(constant, names, strict=True))
        held = np.where(np.isnan(terms), np.nan, constant)
        return Balance(terms, held, f"weights found from the log itself: loss = {told}")
    return Balance(
        terms, None, "the logged terms do not add up to the loss, with no constant weights: weights are not known"
    )


def _agrees(loss: np.ndarray, total: np.ndarray) -> bool:
    known = np.isfinite(loss) & np.isfinite(total)
    if not known.any():
        return False
    off = np.abs(total[known] - loss[known]) > AGREEMENT * np.abs(loss[known])
    return bool(off.mean() <= 0.01)


def _constant_weights(loss: np.ndarray, terms: np.ndarray) -> np.ndarray | None:
    """Solve for weights in the relative residual; None where they do not hold, or are not determined."""
    known = np.isfinite(loss) & np.isfinite(terms).all(axis=1) & (loss > 0)
    if known.sum() < terms.shape[1] + ROWS_SPARE:
        return None
    scaled = terms[known] / loss[known, None]
    size = np.linalg.norm(scaled, axis=0)
    if not (size > 0).all():
        return None
    solution, _, rank, singular = np.linalg.lstsq(scaled / size, np.ones(len(scaled)), rcond=None)
    weights = solution / size
    determined = rank == terms.shape[1] and singular[0] < WORST_CONDITION * singular[-1]
    return weights if determined and (weights > 0).all() and _agrees(loss, terms @ weights) else None

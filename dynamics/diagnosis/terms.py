"""The loss term by term, and how large each of its terms can be taken to be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynamics.diagnosis.late import late

SPANS = 10
"""Without a reference a term is as large as its largest median over a tenth of the run, ..."""

RISEN = 2.0
"""... unless that is so many times its start: a term that starts near zero has no size of its own."""

SMALL = 1e-3
"""Start of a term over the mean square of the solution below which it is near zero."""


@dataclass(frozen=True)
class Terms:
    """The loss, term by term.

    Args:
        names: of the terms, the interior first where there is one.
        raw: (rows, terms) unweighted mean squares.
        weight: (rows, terms) effective weights; NaN where they were not recorded.
        scale: (terms,) mean square of the largest part of each residual on the reference solution; where no reference
            was recorded, see `scales`.
        wrong: (terms,) mean square that the reference solution leaves in each residual; NaN where unknown.
        sized: (terms,) whether the scale is the term's own; None: of all.
        end: rows that are the end of the run, None for those of `late`.
        total: what the sum of `raw` is called.

    Example:
        >>> one = np.ones((4, 1))
        >>> Terms(["interior"], 2 * one, one, np.array([4.0]), np.array([0.0])).misfit.tolist()
        [0.5]
    """

    names: list[str]
    raw: np.ndarray
    weight: np.ndarray
    scale: np.ndarray
    wrong: np.ndarray
    sized: np.ndarray | None = None
    end: int | None = None
    total: str = "unweighted loss"

    @property
    def misfit(self) -> np.ndarray:
        """Unweighted mean square at the end over the scale, (terms,): 1 where nothing of a term is met."""
        end = late(self.raw, self.end)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(end == 0, 0.0, end / self.scale)

    @property
    def own_size(self) -> np.ndarray:
        """Whether the scale of each term is its own, (terms,)."""
        return np.ones(len(self.names), bool) if self.sized is None else self.sized


def scales(raw: np.ndarray, field: float) -> tuple[np.ndarray, np.ndarray]:
    """Return how large each term can be taken to be where no reference solution tells.

    A term is as large as its start, or as the largest of its medians over tenths of the run. One that rises far above
    its start, or begins near zero beside the solution, may be the residual of an equation without source, which a
    network of small values meets, or a condition that such a network meets: of what size it is when it is not met, its
    values do not tell. A condition on the solution is then at most of the solution's size, and that is known where the
    field was recorded. Otherwise such a term counts against the whole loss at its start.

    Args:
        raw: (rows, terms).
        field: largest mean square of the solution in the run, NaN where it was not recorded.

    Returns:
        (terms,) scales, and whether each is the term's own.

    Example:
        >>> raw = np.column_stack([np.geomspace(10, 1e-3, 40), np.linspace(0, 1, 40)])
        >>> [found.tolist() for found in scales(raw, np.nan)]
        [[10.0, 10.038461538461538], [True, False]]
        >>> [found.tolist() for found in scales(raw, 2.0)]
        [[10.0, 2.0], [True, True]]
    """
    # A loop that tells its loss in some of its phases only begins where it first does.
    told = np.flatnonzero(np.isfinite(raw).any(axis=1))
    filled = np.where(np.isfinite(raw), raw, 0.0)[told[0] if len(told) else 0 :]
    width = max(1, len(filled) // SPANS)
    spans = [filled[begin : begin + width] for begin in range(0, len(filled), width)]
    start = np.maximum(filled[0], np.median(spans[0], axis=0))
    largest = np.max([start, *(np.median(span, axis=0) for span in spans)], axis=0)
    risen = largest > RISEN * start
    known = bool(np.isfinite(field) and field > 0)
    other = field if known else float(start.sum())
    risen |= known & (start < SMALL * other)
    return np.where(risen, np.maximum(largest, other), largest), ~risen | known

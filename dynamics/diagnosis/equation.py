"""Findings about what is trained: an equation or data that are not the problem's, terms at odds, terms unheard."""

from __future__ import annotations

import numpy as np

from dynamics.diagnosis.finding import Finding
from dynamics.diagnosis.late import late
from dynamics.diagnosis.length import long_enough
from dynamics.diagnosis.log import Log
from dynamics.diagnosis.terms import Terms
from dynamics.gram import cosines

WRONG = 0.05
"""Mean square that a right solution leaves in a term, over that of the term's largest part: its derivatives are good to
0.004 on the steepest problem here, a wrong sign leaves 4."""

UNMET = 0.05
"""Misfit, in mean squares, from which a term counts as unmet: some 20 % of its largest part."""

OPPOSED = -0.9
CANCELLED = 3.0
"""Two gradients cancel: their cosine is below the one, and each is this many times as long as the sum of all."""

FLAT = 0.9
"""Share of its value in the middle of the run above which a term no longer falls."""

UNHEARD = 1e-3
"""Weight of a term, at full size, over that of the heaviest, below which the loss does not hear it."""

LEAST_ROWS = 20
"""Rows below which terms that are judged by their own values are not yet at odds or unheard."""

FROZEN = 1e-6
"""Largest change of a term over its size, below which it does not depend on the parameters; ..."""

MOVED = 0.1
"""... others fell by this share of theirs."""

WORSE = 10.0
"""How many times worse met an unheard term must be than the one that is heard."""


def wrong_equation(log: Log) -> Finding | None:
    """Find terms that the problem's own solution does not satisfy.

    Args:
        log: of the run; needs /reference.

    Returns:
        A problem, or None.
    """
    terms = log.terms
    if terms is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        left = terms.wrong / terms.scale
    wrong = np.flatnonzero(left > WRONG)
    if not len(wrong):
        return None
    shares = {terms.names[i]: float(left[i]) for i in wrong}
    told = " and ".join(f"{name} ({share:.2g} of its largest part, in mean squares)" for name, share in shares.items())
    message = f"the problem's own solution does not satisfy what is trained: {told}; training on cannot reach it"
    advice = f"check signs, coefficients, source and data of {' and '.join(shares)}"
    return Finding("wrong_equation", "problem", message, {"left_by_solution": shares}, advice)


def conflicting_terms(log: Log) -> Finding | None:
    """Find two terms of the loss that stay unmet because their gradients cancel.

    Every minimum has gradients that cancel; these two are far from met as well. Where the terms' gradients were not
    recorded, two unmet terms that no longer fall beside one that is met are taken for such a pair.

    Args:
        log: of the run; needs the loss term by term.

    Returns:
        A problem, or None.
    """
    terms = log.terms
    if terms is None or len(terms.names) < 2:
        return None
    misfit = terms.misfit
    unmet = np.flatnonzero((misfit > UNMET) & terms.own_size)
    gram = log.array("gradients/term_gram")
    if gram is not None and gram.ndim == 3 and len(gram) and gram.shape[1:] == (len(terms.names),) * 2:
        pair, evidence = _cancelling(late(gram), unmet)
    else:
        pair, evidence = _held(terms, unmet), {}
    if pair is None:
        return None
    first, second = (terms.names[i] for i in pair)
    evidence |= {"terms": [first, second], "misfit": [float(misfit[i]) for i in pair], "step": log.last_step}
    told = f", their gradients cancel (cosine {evidence['cosine']:.3f})" if "cosine" in evidence else ""
    message = (
        f"the terms {first} and {second} are at odds: at step {log.last_step} they stay at {misfit[pair[0]]:.2g} and "
        f"{misfit[pair[1]]:.2g} of their size (mean squares){told}"
    )
    advice = f"check whether {first} and {second} can both hold; where they can, change their weights"
    return Finding("conflicting_terms", "problem", message, evidence, advice)


def _cancelling(gram: np.ndarray, unmet: np.ndarray) -> tuple[tuple[int, int] | None, dict]:
    norms, angles = np.sqrt(np.diagonal(gram)), cosines(gram)
    whole = np.sqrt(max(float(gram.sum()), 0.0))
    for place, i in enumerate(unmet):
        for j in unmet[place + 1 :]:
            cosine = float(angles[i, j])
            if cosine < OPPOSED and min(norms[i], norms[j]) > CANCELLED * whole:
                return (int(i), int(j)), {"cosine": cosine, "norms": [float(norms[i]), float(norms[j])], "sum": whole}
    return None, {}


def _held(terms: Terms, unmet: np.ndarray) -> tuple[int, int] | None:
    middle = late(terms.raw[: max(1, len(terms.raw) // 2)])
    flat = [int(i) for i in unmet if late(terms.raw, terms.end)[i] > FLAT * middle[i]]
    met = bool((terms.misfit < UNMET).any())
    return (flat[0], flat[1]) if len(flat) >= 2 and met and len(terms.raw) >= LEAST_ROWS else None


def frozen_term(log: Log) -> Finding | None:
    """Find terms that keep one value from the first row to the last while others fall.

    Args:
        log: of the run; needs the loss term by term.

    Returns:
        A problem, or None.
    """
    terms = log.terms
    if terms is None or len(terms.names) < 2 or len(terms.raw) < LEAST_ROWS or not np.isfinite(terms.raw).all():
        return None
    low, high = terms.raw.min(axis=0), terms.raw.max(axis=0)
    frozen = np.flatnonzero((high - low <= FROZEN * high) & (low > 0))
    falling = late(terms.raw, terms.end) < (1 - MOVED) * terms.raw[0]
    if not len(frozen) or not falling.any():
        return None
    values = {terms.names[i]: float(terms.raw[-1, i]) for i in frozen}
    told = " and ".join(f"{name} = {value:.6g}" for name, value in values.items())
    message = (
        f"a term of the loss does not move: {told} from step {log.steps[0]} to {log.last_step}, while "
        f"{' and '.join(terms.names[i] for i in np.flatnonzero(falling))} fell: it does not depend on what is trained"
    )
    advice = (
        f"look how {' and '.join(values)} is computed: at the trained network's own output, without detach() or "
        "no_grad(), at points where the network is not fixed by an output transform"
    )
    return Finding("frozen_term", "problem", message, {"frozen": values, "last_step": log.last_step}, advice)


def neglected_term(log: Log) -> Finding | None:
    """Find terms that stay unmet because they hardly count in the loss.

    A term of weight w and scale s can add w s to the loss. A small share of the loss is no fault of a term that has
    been met, and no fault of the weights as long as the heaviest term is not met either. Where no reference tells a
    term's size, the run must be long enough, and a term that began far below its later values is left out unless the
    solution's own size is known.

    Args:
        log: of the run; needs the loss term by term, and its weights.

    Returns:
        A problem, or None.
    """
    terms = log.terms
    if terms is None or len(terms.names) < 2 or not np.isfinite(terms.weight).any():
        return None
    misfit, reach = terms.misfit, late(terms.weight, terms.end) * terms.scale
    if not np.isfinite(terms.wrong).any() and not long_enough(log):
        return None
    # What a term of no size of its own could add is not known either.
    reach = np.where(terms.own_size, reach, 0.0)
    if not np.isfinite(reach).all() or not reach.max() > 0:
        return None
    heaviest = int(np.argmax(reach))
    heard = reach / reach[heaviest]
    unheard = [
        i
        for i in range(len(heard))
        if terms.own_size[i] and heard[i] < UNHEARD and misfit[i] > UNMET and misfit[i] > WORSE * misfit[heaviest]
    ]
    if not unheard:
        return None
    names = " and ".join(terms.names[i] for i in unheard)
    told = " and ".join(f"{terms.names[i]} is at {misfit[i]:.2g}" for i in unheard)
    weights = " and ".join(f"{heard[i]:.1e}" for i in unheard)
    message = (
        f"the loss hardly hears {names}: at step {log.last_step}, in mean squares, {told} of its size while "
        f"{terms.names[heaviest]} is at {misfit[heaviest]:.1e}; at full size it weighs {weights} of that term"
    )
    evidence = {
        "neglected": [terms.names[i] for i in unheard],
        "term": terms.names[heaviest],
        "misfit": {name: float(value) for name, value in zip(terms.names, misfit, strict=True)},
        "heard": {name: float(value) for name, value in zip(terms.names, heard, strict=True)},
        "step": log.last_step,
    }
    loudest = max(heard[i] for i in unheard)
    advice = f"raise the weight of {names} by about {0.1 / loudest:.0e}" if loudest > 0 else f"give {names} a weight"
    return Finding("neglected_term", "problem", message, evidence, advice)

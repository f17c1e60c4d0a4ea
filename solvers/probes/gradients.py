"""Gradient statistics over fixed blocks of points: what the signal-to-noise ratio is made of."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from solvers.blocks import BlockGradients
from solvers.cadence import Cadence, Logarithmic
from solvers.objective import Objective
from solvers.probes.probe import Labels, Moment, Probe, once

COLUMNS = 2**14
"""Parameters whose block gradients are held in float64 at a time: 13 MB for 100 blocks."""

BY_LAYER = ("mean_norm", "std_norm", "rms_norm", "interior_mean_norm")


def block_gradients(
    blocks: int = 8,
    suffix: str = "weight",
    every: Cadence = Logarithmic(30),
    *,
    gram: bool = True,
    gram_every: Cadence | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Probe:
    r"""Return the probe of the gradient statistics over B fixed blocks of interior points.

    $$ \mu = \frac1B \sum_b g_b, \qquad \sigma_j^2 = \frac1B \sum_b (g_{bj} - \mu_j)^2 $$

    Norms a layer and in all, with and without the gradient of the conditions, which all blocks share; norms and inner
    products of each loss term, whose deviation is over blocks of its own points; and the Gram matrix of the g_b and
    their sum, so that the signal-to-noise ratio of any coarser blocking follows after the run. All in float64, from
    gradients in the dtype of the training. In float64 an SNR of 1e-6 is right to 1e-8. In float32 each gradient carries
    round-off of its own: under exact derivatives an SNR of 1e-5 is right to 1 % and one of 1e-6 to 3 %; under finite
    differences, which magnify it, only 1e-3 or more is (step 0.25; less for smaller steps).

    Args:
        blocks: number B.
        suffix: parameters counted, by the end of their name; "weight" as in arXiv 2403.18494, section 3; "" is all.
        every: when.
        gram: whether to keep Gram matrices: (B + 1)^2 numbers a row, 82 kB for 100 blocks.
        gram_every: when to take them, among the rows of `every` and at a last step that is none of these; the other
            rows are NaN there. None: in each row.
        seed: of the permutations that deal points to blocks.
        dtype: of the gradients; torch.float64 takes them of a copy of the network with the same weights, which makes an
            SNR of 1e-6 right to 1e-8 in a training in float32, at about twice the cost. Finite differences without a
            step of their own then take the best one for float64. None: that of the training.

    Returns:
        Probe of the stream "gradients".

    Source: arXiv 2403.18494 and its authors' code for mean and standard deviation; terms and Gram matrix ours.

    Cost: about a training step for B gradients of large blocks, up to two where a block has a few tens of points; then
        two passes over B x parameters numbers, and B^2 x parameters multiplications for the Gram matrix. Memory: the B
        gradients in the network's dtype, and 2^14 parameters of them in float64.
    """
    of = once(lambda moment: BlockGradients(_converted(moment.objective, dtype), blocks, suffix, seed))

    def labels(moment: Moment) -> Labels:
        block, terms = of(moment), list(moment.objective.terms)
        attrs = {
            "blocks": blocks,
            "block_size": block.block_size,
            "points": len(moment.objective.equation_points.interior),
            "terms": terms,
            "parameters": f"names ending in {suffix!r}",
        }
        rows = {"row": blocks + 1, "column": blocks + 1} if gram else {}
        coords = {"layer": block.layers, "term": terms, "term_row": terms, "term_column": terms, "block": blocks}
        return Labels(coords | rows, attrs)

    def due(step: int) -> bool:
        return gram and (gram_every is None or gram_every.due(step) or not every.due(step))

    def measure(moment: Moment) -> dict[str, object]:
        block = of(moment)
        _follow(block.objective, moment.objective)
        own, means = _array(block.interior()), [_array(gradient) for gradient in block.condition_gradients()]
        common = sum((mean.astype(np.float64) for mean in means), np.zeros(own.shape[1]))
        found, interior = _over_blocks(own, common, block.sizes, due(moment.step))
        del own
        spreads = [np.nan if g is None else deviation_norm(_array(g)) for g in block.condition_blocks()]
        return found | term_statistics([interior, *means], [found["std_norm_total"], *spreads])

    dims = {name: ("layer",) for name in BY_LAYER} | {f"{name}_total": () for name in BY_LAYER}
    dims |= {"block_norm": ("block",)} | ({"gram": ("row", "column")} if gram else {})
    dims |= {"term_mean_norm": ("term",), "term_std_norm": ("term",), "term_gram": ("term_row", "term_column")}
    return Probe("gradients", dims, measure, every, labels)


def gradient_statistics(
    own: np.ndarray, common: np.ndarray, sizes: Sequence[int], *, gram: bool = True
) -> dict[str, object]:
    """Return norms of mean, standard deviation and rms over blocks, a layer and in all, and the Gram matrix.

    Two passes over a few columns at a time, first the mean, then the deviations from it: nothing cancels, and of the
    gradients only these columns are ever held in float64.

    Args:
        own: (B, parameters) float32 or float64, each block's gradient without the common term.
        common: (parameters,) float64, the gradient that all blocks share; it enters the mean and cancels in the std.
        sizes: number of parameters of each layer, in order.
        gram: whether to take the Gram matrix.

    Returns:
        The variables of the stream "gradients" that belong to blocks.

    Cost: O(B parameters), with the Gram matrix O(B^2 parameters).

    Example:
        >>> gradient_statistics(np.array([[1.0], [3.0]]), np.array([0.0]), [1])["std_norm_total"]
        1.0
    """
    return _over_blocks(own, common, sizes, gram)[0]


def _over_blocks(own: np.ndarray, common: np.ndarray, sizes: Sequence[int], gram: bool) -> tuple[dict, np.ndarray]:
    """Return the statistics, and the mean of `own` over the blocks, (parameters,) float64."""
    blocks, own_mean = len(own), np.empty(own.shape[1])
    squares = {name: np.zeros(len(sizes)) for name in BY_LAYER}
    block_squares, inner = np.zeros(blocks), np.zeros((blocks + 1, blocks + 1))
    with np.errstate(invalid="ignore", over="ignore"):
        for layer, columns in _columns(sizes):
            part = own[:, columns].astype(np.float64)
            centre = own_mean[columns] = part.mean(axis=0)
            shared = np.asarray(common[columns], np.float64)
            squares["mean_norm"][layer] += np.sum((centre + shared) ** 2)
            squares["interior_mean_norm"][layer] += centre @ centre
            deviation = part - centre
            squares["std_norm"][layer] += np.vdot(deviation, deviation) / blocks
            part += shared
            each = np.einsum("bp,bp->b", part, part)
            squares["rms_norm"][layer] += each.mean()
            block_squares += each
            if gram:
                with_sum = np.vstack([part, part.sum(axis=0)])
                inner += with_sum @ with_sum.T
        layers = {name: np.sqrt(square) for name, square in squares.items()}
        totals = {f"{name}_total": float(np.linalg.norm(values)) for name, values in layers.items()}
    found = {**layers, **totals, "block_norm": np.sqrt(block_squares)}
    return (found | {"gram": inner} if gram else found), own_mean


def term_statistics(means: Sequence[np.ndarray], spreads: Sequence[float]) -> dict[str, np.ndarray]:
    """Return norms and inner products of the gradients of the loss terms.

    Args:
        means: (parameters,) each, the gradients of the weighted terms, the interior first.
        spreads: norm of the standard deviation of each over blocks of its own points; NaN where it has no blocks.

    Returns:
        The variables of the stream "gradients" that belong to terms.

    Example:
        >>> term_statistics([np.array([3.0, 4.0]), np.array([0.0, 1.0])], [1.0, np.nan])["term_gram"].tolist()
        [[25.0, 4.0], [4.0, 1.0]]
    """
    stacked = np.stack(means).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        inner = stacked @ stacked.T
        norms = np.sqrt(np.diagonal(inner))
    return {"term_mean_norm": norms, "term_std_norm": np.array(spreads, np.float64), "term_gram": inner}


def deviation_norm(gradients: np.ndarray) -> float:
    """Return the 2-norm of the standard deviation over blocks, sqrt(sum_j mean_b (g_bj - mu_j)^2).

    Args:
        gradients: (B, parameters) float32 or float64.

    Returns:
        Norm, accumulated in float64.

    Example:
        >>> deviation_norm(np.array([[1.0, 0.0], [3.0, 0.0]]))
        1.0
    """
    square = 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for _, columns in _columns([gradients.shape[1]]):
            part = gradients[:, columns].astype(np.float64)
            part -= part.mean(axis=0)
            square += np.vdot(part, part) / len(part)
        return float(np.sqrt(square))


def _converted(objective: Objective, dtype: torch.dtype | None) -> Objective:
    """Return the objective, or one of the same problem in another dtype."""
    if dtype in (None, objective.vector.dtype):
        return objective
    points = objective.points.to(objective.vector.device, dtype)
    return Objective(objective.problem, deepcopy(objective.network).to(dtype), objective.operator, points)


def _follow(twin: Objective, objective: Objective) -> None:
    """Give an objective in another dtype the parameters and attention weights of the training's."""
    if twin is objective:
        return
    twin.vector.copy_(objective.vector)
    twin.attention = None if objective.attention is None else objective.attention.to(twin.vector.dtype)


def _columns(sizes: Sequence[int]):
    """Yield each layer's index and its columns, `COLUMNS` at most at a time."""
    ends = np.cumsum([0, *sizes]).tolist()
    for layer, (begin, end) in enumerate(pairwise(ends)):
        for first in range(begin, end, COLUMNS):
            yield layer, slice(first, min(first + COLUMNS, end))


def _array(gradient: Tensor) -> np.ndarray:
    return gradient.cpu().numpy()

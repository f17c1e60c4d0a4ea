"""What to measure during training, and when: a probe is a stream, its dimensions, a measurement and a cadence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynamics.format import KNOWN, Stream, Variable
from dynamics.homogeneity import cell_index, cell_moments
from solvers.blocks import BlockGradients, counts
from solvers.cadence import Cadence, Logarithmic
from solvers.objective import INTERIOR, Evaluation, Objective, mean_square
from solvers.operators import AutoDiff
from solvers.scoring import Score


@dataclass(frozen=True)
class Moment:
    """What a probe may look at: the state at the start of a step, before the optimizer moves.

    `attention` holds the residual-based weights whether or not the loss uses them.
    """

    step: int
    objective: Objective
    evaluation: Evaluation
    attention: Tensor


@dataclass(frozen=True)
class Labels:
    """Labels (or sizes) of a probe's dimensions and attributes of its group."""

    coords: Mapping[str, Sequence | int] = field(default_factory=dict)
    attrs: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """A measurement at a cadence.

    Args:
        stream: the group that receives it; "series" adds columns to the row of every step.
        dims: variable -> names of its dimensions beside the step.
        measure: moment -> variable -> number or array.
        every: when.
        labels: moment -> labels of the dimensions and attributes, asked once at the first step.
        beside: objective -> further probes that come with this one, such as the same at another cadence.

    Example:
        >>> Probe("series", {"mean": ()}, lambda moment: {"mean": moment.objective.vector.mean()}).stream
        'series'
    """

    stream: str
    dims: Mapping[str, tuple[str, ...]]
    measure: Callable[[Moment], Mapping[str, object]]
    every: Cadence = Logarithmic(30)
    labels: Callable[[Moment], Labels] = lambda moment: Labels()
    beside: Callable[[Objective], Sequence[Probe]] = lambda objective: ()

    def declare(self, moment: Moment) -> Stream:
        """Return the stream that this probe writes.

        Args:
            moment: the first one.

        Returns:
            Its variables, labels and attributes.
        """
        labels = self.labels(moment)
        known = KNOWN.get(self.stream, {})
        own = [Variable(name, dims, name.replace("_", " ")) for name, dims in self.dims.items() if name not in known]
        return Stream(self.stream, own, labels.coords, labels.attrs)


def once(make: Callable[[Moment], Any]) -> Callable[[Moment], Any]:
    """Return `make`, called once an objective: what a probe sets up for one run must not serve the next.

    Args:
        make: moment -> anything.

    Returns:
        The same function, which keeps its last result.
    """
    kept: list[Any] = [None, None]

    def of(moment: Moment) -> Any:
        if kept[0] is not moment.objective:
            kept[:] = moment.objective, make(moment)
        return kept[1]

    return of


def errors(every: Cadence = Logarithmic(15)) -> Probe:
    """Return the probe of the errors against the problem's solution.

    Args:
        every: when.

    Returns:
        Probe that adds `rel_l2` and `max_error` to the series.
    """
    score = once(lambda moment: Score(moment.objective.problem, moment.objective.vector))

    def measure(moment: Moment):
        rel_l2, max_error = score(moment)(moment.objective.network)
        return {"rel_l2": rel_l2, "max_error": max_error}

    def labels(moment: Moment) -> Labels:
        score(moment)
        return Labels()

    return Probe("series", {"rel_l2": (), "max_error": ()}, measure, every, labels)


def exact_loss(every: Cadence = Logarithmic(10)) -> Probe:
    """Return the probe of the interior loss with exact derivatives, for operators that are not exact.

    Where it stays above the training loss, the network fits the operator's discrete system and no longer the equation.

    Args:
        every: when.

    Returns:
        Probe that adds `exact_loss` to the series.
    """

    def measure(moment: Moment):
        objective = moment.objective
        plan = AutoDiff().plan(objective.points.only(INTERIOR), objective.problem.partials)
        with torch.no_grad():
            return {"exact_loss": float(mean_square(objective.interior_residual(plan)))}

    return Probe("series", {"exact_loss": ()}, measure, every)


def block_gradients(blocks: int = 8, suffix: str = "weight", every: Cadence = Logarithmic(30)) -> Probe:
    """Return the probe of the gradient statistics over B fixed blocks of interior points.

    mu = mean_b g_b, sigma = std_b g_b (population), norms a layer and in all, and the Gram matrix of the g_b and their
    sum, so that the signal-to-noise ratio of any coarser blocking follows after the run. All in float64.

    Args:
        blocks: number B.
        suffix: parameters counted, by the end of their name; "weight" as in arXiv 2403.18494, section 3.
        every: when.

    Returns:
        Probe of the stream "gradients".
    """
    of = once(lambda moment: BlockGradients(moment.objective, blocks, suffix))

    def labels(moment: Moment) -> Labels:
        block = of(moment)
        attrs = {
            "blocks": blocks,
            "block_size": block.block_size,
            "points": len(moment.objective.points.interior),
            "terms": list(moment.objective.terms),
            "parameters": f"names ending in {suffix!r}",
        }
        return Labels({"layer": block.layers, "block": blocks, "row": blocks + 1, "column": blocks + 1}, attrs)

    def measure(moment: Moment):
        own, common = (gradient.double().cpu().numpy() for gradient in of(moment)())
        return gradient_statistics(own, common, of(moment).sizes)

    dims = {
        "mean_norm": ("layer",),
        "std_norm": ("layer",),
        "rms_norm": ("layer",),
        "mean_norm_total": (),
        "std_norm_total": (),
        "rms_norm_total": (),
        "interior_mean_norm_total": (),
        "block_norm": ("block",),
        "gram": ("row", "column"),
    }
    return Probe("gradients", dims, measure, every, labels)


def gradient_statistics(own: np.ndarray, common: np.ndarray, sizes: Sequence[int]) -> dict[str, object]:
    """Return norms of mean, standard deviation and rms over blocks, a layer and in all, and the Gram matrix.

    Args:
        own: (B, parameters) float64, each block's gradient without the common term.
        common: (parameters,) float64, the gradient that all blocks share; it enters the mean and cancels in the std.
        sizes: number of parameters of each layer, in order.

    Returns:
        The variables of the stream "gradients".

    Example:
        >>> gradient_statistics(np.array([[1.0], [3.0]]), np.array([0.0]), [1])["std_norm_total"]
        1.0
    """
    blocks = own + common
    mean, own_mean = blocks.mean(axis=0), own.mean(axis=0)
    deviation = own - own_mean
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def by_layer(squares: np.ndarray) -> np.ndarray:
        return np.sqrt(np.add.reduceat(squares, starts))

    squares = mean**2, (deviation**2).mean(axis=0), (blocks**2).mean(axis=0)
    layers = dict(zip(("mean_norm", "std_norm", "rms_norm"), map(by_layer, squares), strict=True))
    with_sum = np.vstack([blocks, blocks.sum(axis=0)])
    return {
        **layers,
        **{f"{name}_total": float(np.linalg.norm(values)) for name, values in layers.items()},
        "interior_mean_norm_total": float(np.linalg.norm(own_mean)),
        "block_norm": np.linalg.norm(blocks, axis=1),
        "gram": with_sum @ with_sum.T,
    }


def residuals(every: Cadence = Logarithmic(10)) -> Probe:
    """Return the probe of the residual (summed absolute components, signed for one equation) and attention per point.

    Args:
        every: when.

    Returns:
        Probe of the stream "residuals".
    """

    def measure(moment: Moment):
        residual = moment.evaluation.residual.detach()
        value = residual[:, 0] if residual.shape[1] == 1 else residual.abs().sum(dim=1)
        return {"residual": value.cpu().numpy(), "attention": moment.attention.cpu().numpy()}

    return Probe("residuals", {"residual": ("point",), "attention": ("point",)}, measure, every)


def homogeneity(cells: int = 10, every: Cadence = Logarithmic(30)) -> Probe:
    """Return the probe of how evenly attention and residual spread over cells of the domain.

    Args:
        cells: along each axis.
        every: when.

    Returns:
        Probe of the stream "homogeneity": mean and rms over cells of the cell averages of lambda and of |r|.
    """

    @once
    def index(moment: Moment) -> np.ndarray:
        domain = moment.objective.problem.domain
        return cell_index(moment.objective.points.interior.double().cpu().numpy(), domain.lower, domain.upper, cells)

    def measure(moment: Moment):
        size = moment.evaluation.residual.detach().abs().sum(dim=1)
        moments = [cell_moments(value.double().cpu().numpy(), index(moment)) for value in (moment.attention, size)]
        mean, rms = zip(*moments, strict=True)
        return {"cell_mean": np.array(mean), "cell_rms": np.array(rms)}

    def labels(moment: Moment) -> Labels:
        return Labels({"quantity": ["attention", "residual"]}, {"cells": cells})

    return Probe("homogeneity", {"cell_mean": ("quantity",), "cell_rms": ("quantity",)}, measure, every, labels)


def parameters(every: Cadence = Logarithmic(10)) -> Probe:
    """Return the probe of the flat parameter vector, in the training's dtype.

    Args:
        every: when.

    Returns:
        Probe of the stream "parameters".
    """
    return Probe(
        "parameters",
        {"value": ("parameter",)},
        lambda moment: {"value": moment.objective.vector.detach().cpu().numpy()},
        every,
        lambda moment: Labels(attrs={"names": moment.objective.parameters.names}),
    )


def standard_probes(objective: Objective, blocks: int = 8) -> tuple[Probe, ...]:
    """Return the probes of a recorded run: what every analyzer here needs, at cadences that keep the cost below 10 %.

    Args:
        objective: decides which probes make sense.
        blocks: of the gradient statistics; fewer where there are fewer points; all parameters are counted where none is
            named a weight.

    Returns:
        Gradients, homogeneity, residuals, parameters; errors where a solution is known; the exact loss where the
        operator is not exact.
    """
    chosen = [homogeneity(), residuals(), parameters()]
    blocks = min(blocks, len(objective.points.interior))
    if blocks >= 2:
        weights = any(counts(name, "weight") for name in objective.parameters.names)
        chosen.append(block_gradients(blocks, "weight" if weights else ""))
    if objective.problem.solution is not None:
        chosen.append(errors())
    if not objective.operator.exact:
        chosen.append(exact_loss())
    return tuple(chosen)

"""Residuals and attention weights: at every point, and how evenly they spread over the domain."""

from __future__ import annotations

import numpy as np

from dynamics.homogeneity import cell_index, cell_moments, cells_per_axis
from solvers.cadence import Cadence, Logarithmic
from solvers.probes.probe import Labels, Moment, Probe, once


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


def homogeneity(cells: int | None = None, every: Cadence = Logarithmic(30)) -> Probe:
    """Return the probe of how evenly attention and residual spread over cells of the domain.

    Args:
        cells: along each axis; None takes 10, fewer beyond three axes.
        every: when.

    Returns:
        Probe of the stream "homogeneity": mean and rms over cells of the cell averages of lambda and of |r|.
    """

    def count(moment: Moment) -> int:
        return cells_per_axis(len(moment.objective.problem.axes)) if cells is None else cells

    @once
    def index(moment: Moment) -> np.ndarray:
        domain, points = moment.objective.problem.domain, moment.objective.equation_points.interior
        return cell_index(points.double().cpu().numpy(), domain.lower, domain.upper, count(moment))

    def measure(moment: Moment):
        size = moment.evaluation.residual.detach().abs().sum(dim=1)
        moments = [cell_moments(value.double().cpu().numpy(), index(moment)) for value in (moment.attention, size)]
        mean, rms = zip(*moments, strict=True)
        return {"cell_mean": np.array(mean), "cell_rms": np.array(rms)}

    def labels(moment: Moment) -> Labels:
        return Labels({"quantity": ["attention", "residual"]}, {"cells": count(moment)})

    return Probe("homogeneity", {"cell_mean": ("quantity",), "cell_rms": ("quantity",)}, measure, every, labels)

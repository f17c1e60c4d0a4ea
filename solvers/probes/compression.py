"""Activations of the hidden layers: as they are at some points, and how compressed they are at all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from dynamics.compression import compress, extreme_share
from solvers.cadence import Cadence, Logarithmic
from solvers.hidden_layers import HiddenLayers, Layer
from solvers.objective import Objective
from solvers.probes.probe import Labels, Moment, Probe, once

VARIABLES = ("saturation", "row_entropy", "neuron_entropy", "extreme")


def activations(
    points: int = 256, every: Cadence = Logarithmic(10), seed: int = 0, modules: Sequence[str] | None = None
) -> Probe:
    """Return the probe of the activations of each hidden layer at a fixed random choice of the interior points.

    Hidden layers as in `solvers.hidden_layers.HiddenLayers`; narrower ones are filled up with NaN.

    Args:
        points: how many; all where there are fewer.
        every: when.
        seed: of the choice; the global generator is left alone.
        modules: names of the modules whose outputs are the hidden layers; None finds the activations.

    Returns:
        Probe of the stream "activations"; attributes `lower` and `upper` are the ends of each activation's range, None
        where it is unbounded or unknown.

    Raises:
        ValueError: points below 1.
    """
    if points < 1:
        raise ValueError(f"expected at least one point, came {points}")
    layers = _layers_at(points, seed, modules)

    def measure(moment: Moment):
        values = layers(moment).take(lambda layer: layer.values.cpu().numpy().copy())
        widest = max(value.shape[1] for value in values)
        filled = [np.pad(v, ((0, 0), (0, widest - v.shape[1])), constant_values=np.nan) for v in values]
        return {"activation": np.stack(filled)}

    def labels(moment: Moment) -> Labels:
        index = layers(moment).index.tolist()
        names, lower, upper = zip(*layers(moment).take(_label), strict=True)
        # The neurons without a label: a row whose sizes are all stated beforehand is stored in float64.
        coords = {"layer": list(names), "point": index}
        # JSON has no NaN.
        ends = {"lower": [_finite(end) for end in lower], "upper": [_finite(end) for end in upper]}
        return Labels(coords, {"points": len(index), **ends})

    return Probe("activations", {"activation": ("layer", "point", "neuron")}, measure, every, labels)


def compression(
    bins: int = 30,
    points: int | None = None,
    every: Cadence = Logarithmic(10),
    seed: int = 0,
    modules: Sequence[str] | None = None,
) -> Probe:
    """Return the probe of saturation and entropies of each hidden layer.

    The quantities of `dynamics.compression.compress` and `extreme_share`, computed as the layers run; no activation is
    kept.

    Args:
        bins: bins of a neuron of mean range.
        points: how many of the interior points, chosen at random; None for all of them.
        every: when.
        seed: of the choice; the global generator is left alone.
        modules: names of the modules whose outputs are the hidden layers; None finds the activations.

    Returns:
        Probe of the stream "compression".

    Raises:
        ValueError: bins or points below 1.
    """
    if bins < 1 or (points is not None and points < 1):
        raise ValueError(f"expected bins >= 1 and points >= 1 or None, came {bins} and {points}")
    layers = _layers_at(points, seed, modules)

    def measure(moment: Moment):
        table = np.array(layers(moment).take(lambda layer: _measures(layer, bins)))
        return dict(zip(VARIABLES, table.T, strict=True))

    def labels(moment: Moment) -> Labels:
        names = [name for name, *_ in layers(moment).take(_label)]
        return Labels({"layer": names}, {"bins": bins, "points": len(layers(moment).index)})

    return Probe("compression", dict.fromkeys(VARIABLES, ("layer",)), measure, every, labels)


class _LayersAt:
    """The hidden layers of an objective's network at a fixed choice of its interior points."""

    def __init__(self, objective: Objective, points: int | None, seed: int, modules: Sequence[str] | None):
        interior = objective.equation_points.interior
        order = torch.randperm(len(interior), generator=torch.Generator().manual_seed(seed))
        self.index = order[: len(interior) if points is None else points].sort().values
        self.points = interior[self.index.to(interior.device)]
        self.layers = HiddenLayers(objective.network, modules)

    def take(self, of: Callable[[Layer], Any]) -> list:
        return self.layers(self.points, of)


def _layers_at(points: int | None, seed: int, modules: Sequence[str] | None) -> Callable[[Moment], _LayersAt]:
    return once(lambda moment: _LayersAt(moment.objective, points, seed, modules))


def _label(layer: Layer) -> tuple[str, float, float]:
    return layer.name, layer.lower, layer.upper


def _finite(end: float) -> float | None:
    return end if math.isfinite(end) else None


def _measures(layer: Layer, bins: int) -> tuple[float, ...]:
    values = layer.values.double().cpu().numpy()
    return (*compress(values, bins), extreme_share(values, layer.lower, layer.upper))

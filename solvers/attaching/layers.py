"""Hidden layers of a user's model: which they are, what is measured of them, and that at fixed points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dynamics.compression import compress, extreme_share
from dynamics.format import Stream
from solvers.attaching.measurement import Measurement, array
from solvers.hidden_layers import HiddenLayers, Layer

BINS = 30
VARIABLES = ("saturation", "row_entropy", "neuron_entropy", "extreme")
MOST, KEPT = 1024, 256
"""Points at which layers are measured, and those whose raw activations are recorded, at most: drawn once."""

Chosen = Sequence[str] | Callable[[str], bool] | None
"""Names of modules, a function that chooses them by name, or None: the activation modules."""


def module_names(model: nn.Module, chosen: Chosen) -> list[str] | None:
    """Return the names of the modules whose outputs are the hidden layers.

    Args:
        model: any.
        chosen: names, a filter of names, or None.

    Returns:
        Names, or None for the rule of `HiddenLayers`.

    Raises:
        ValueError: a name that the model does not have, or a filter that lets none pass.

    Example:
        >>> module_names(nn.Sequential(nn.Linear(1, 1), nn.Tanh()), lambda name: name == "1")
        ['1']
    """
    if chosen is None:
        return None
    known = [name for name, _ in model.named_modules() if name]
    names = [name for name in known if chosen(name)] if callable(chosen) else list(chosen)
    if not names or set(names) - set(known):
        raise ValueError(f"expected names of the model's modules, came {names}: choose among {', '.join(known)}")
    return names


class LayersAt:
    """The hidden layers at fixed points, at most 1,024 of those given.

    Args:
        model: trained.
        points: (n, axes).
        chosen: modules.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))
        >>> [each.name for each in LayersAt(model, torch.ones(4, 1), None).measurements()]
        ['compression', 'activations']
    """

    def __init__(self, model: nn.Module, points: Tensor, chosen: Chosen):
        self._layers = HiddenLayers(model, module_names(model, chosen))
        self._order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0), device="cpu")
        self._points = points[self._order[:MOST].sort().values.to(points.device)]
        self._all = points
        self._names: list[str] = []
        self._kept: list[Layer] = []

    def names(self) -> list[str]:
        """Return the names of the layers.

        Returns:
            In the order in which they run.
        """
        return self._layers(self._points, lambda layer: layer.name)

    def measurements(self) -> list[Measurement]:
        """Return what is measured of them.

        Returns:
            The streams compression and activations.
        """
        index = self._order[:KEPT].sort().values

        def measure(moment: object) -> Mapping[str, object]:
            found = self._layers(self._points, lambda layer: (layer.name, measures(layer)))
            self._names = [name for name, _ in found]
            return table([values for _, values in found])

        def raw(moment: object) -> Mapping[str, object]:
            points = self._all[index.to(self._all.device)]
            found = self._layers(points, lambda layer: (layer, array(layer.values).copy()))
            self._kept = [layer for layer, _ in found]
            widest = max(values.shape[1] for _, values in found)
            filled = [np.pad(v, ((0, 0), (0, widest - v.shape[1])), constant_values=np.nan) for _, v in found]
            return {"activation": np.stack(filled)}

        def declare_raw() -> Stream:
            ends = {name: [_finite(getattr(layer, name)) for layer in self._kept] for name in ("lower", "upper")}
            coords = {"layer": [layer.name for layer in self._kept], "point": index.tolist()}
            return Stream("activations", coords=coords, attrs={"points": len(index), **ends})

        return [
            Measurement("compression", measure, lambda: declared(self._names, len(self._points))),
            Measurement("activations", raw, declare_raw),
        ]


def measures(layer: Layer) -> tuple[float, ...]:
    """Return saturation, entropies and the share of extreme activations of a layer.

    Args:
        layer: with its values.

    Returns:
        In the order of `VARIABLES`.

    Example:
        >>> measures(Layer("1", torch.ones(4, 2), -1.0, 1.0))[-1]
        1.0
    """
    values = layer.values.double().cpu().numpy()
    return (*compress(values, BINS), extreme_share(values, layer.lower, layer.upper))


def table(rows: Sequence[Sequence[float]]) -> dict[str, np.ndarray]:
    """Return the measures of all layers by variable.

    Args:
        rows: of `measures`, a layer each.

    Returns:
        (layers,) each.

    Example:
        >>> table([(0.0, 1.0, 2.0, 3.0)])["extreme"].tolist()
        [3.0]
    """
    return dict(zip(VARIABLES, np.array(rows).T, strict=True))


def declared(names: Sequence[str], points: int | None) -> Stream:
    """Return the stream of compression.

    Args:
        names: of the layers.
        points: how many; None where that changes.

    Returns:
        The stream.

    Example:
        >>> declared(["1"], 5).attrs
        {'bins': 30, 'points': 5}
    """
    attrs = {"bins": BINS, **({} if points is None else {"points": points})}
    return Stream("compression", coords={"layer": list(names)}, attrs=attrs)


def layers_at(model: nn.Module, points: Tensor, chosen: Chosen) -> list[Measurement]:
    """Return what is measured of the hidden layers at fixed points.

    Args:
        model: trained.
        points: (n, axes).
        chosen: modules.

    Returns:
        The streams compression and activations; none where a model has no hidden layers and none was named.

    Raises:
        ValueError: modules that cannot be measured.

    Example:
        >>> layers_at(nn.Linear(1, 1), torch.ones(2, 1), None)
        []
    """
    layers = LayersAt(model, points, chosen)
    try:
        layers.names()
    except ValueError:
        if chosen is not None:
            raise
        return []
    return layers.measurements()


def _finite(end: float) -> float | None:
    return end if np.isfinite(end) else None

"""Hidden layers of any network: the outputs of its activations, listened to while it runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import activation as stock

from solvers.networks.activations import Atan, Gaussian
from solvers.networks.mlp import Sine
from solvers.unheard import unheard

UNBOUNDED = (float("nan"), float("nan"))
NOT_ELEMENTWISE = (stock.MultiheadAttention, stock.Softmax, stock.Softmax2d, stock.Softmin, stock.LogSoftmax, stock.GLU)
RANGES: dict[type[nn.Module], tuple[float, float]] = {
    nn.Tanh: (-1.0, 1.0),
    nn.Sigmoid: (0.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.ReLU6: (0.0, 6.0),
    Sine: (-1.0, 1.0),
    Atan: (-math.pi / 2, math.pi / 2),
    Gaussian: (0.0, 1.0),
}
"""Ends of the range of bounded activations, by their exact type; `Hardtanh` states its own."""

FUNCTIONS = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "sin": (-1.0, 1.0), "cos": (-1.0, 1.0)}
"""The same of functions, which a network may hold as its `activation`, as DeepXDE's hold its own of these names."""


@dataclass(frozen=True, eq=False)
class Layer:
    """What one hidden layer put out.

    Args:
        name: of its module, as in `named_modules()`; "name#2" at the second use of one module, and so on.
        values: (points, neurons), detached; later operations in place may change it, so copy what you keep.
        lower: lower end of the activation's range, NaN where it is unbounded or unknown.
        upper: upper end.
    """

    name: str
    values: Tensor
    lower: float
    upper: float


class HiddenLayers:
    """The hidden layers of a network: what its activation modules put out, in the order in which they run.

    An activation module is one of `torch.nn`'s elementwise ones, `Sine`, `Gaussian` or `Atan`; one that is used several
    times is a layer each time. A network that runs none of them, because it calls functions or has activations of its
    own, has for hidden layers what goes into its linear layers, but for the first; their range is that of the function
    that it holds as `activation`, if known. Any other choice: `modules`.

    Listening changes nothing: no mode, no graph, no gradient; random numbers that the network draws and buffers that it
    changes in place are put back.

    Args:
        network: any module that maps (n, axes) to (n, components).
        modules: names of the modules whose outputs are the hidden layers, in place of that rule.

    Raises:
        ValueError: a name that is not in the network.

    Cost: one forward pass without a graph; one layer at a time is held, but for what the caller takes of it.

    Example:
        >>> network = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 5), nn.Sigmoid(), nn.Linear(5, 1))
        >>> layers = HiddenLayers(network)
        >>> layers(torch.ones(4, 1), lambda layer: (layer.name, tuple(layer.values.shape), layer.lower))
        [('1', (4, 3), -1.0), ('3', (4, 5), 0.0)]
    """

    def __init__(self, network: nn.Module, modules: Sequence[str] | None = None):
        self.network = network
        self._names = {module: name for name, module in network.named_modules()}
        self._chosen = {module for module, name in self._names.items() if modules is None or name in modules}
        self._by_rule = modules is None
        if unknown := sorted(set(modules or ()) - set(self._names.values())):
            known = ", ".join(repr(name) for name in self._names.values() if name)
            raise ValueError(f"expected names of the network's modules, came {unknown}: choose among {known}")

    def __call__(self, points: Tensor, take: Callable[[Layer], Any]) -> list:
        """Run the network and return what the caller takes of its hidden layers.

        Args:
            points: (n, axes), on the network's device and in its dtype.
            take: called with each layer as it runs.

        Returns:
            What `take` returned, in the order in which the layers ran.

        Raises:
            ValueError: no hidden layer was found, or an output that has not one row a point.
        """
        if not self._by_rule:
            taken = self._outputs(points, take, self._chosen)
        else:
            taken = self._outputs(points, take, {module for module in self._chosen if is_activation(module)})
            taken = taken or self._inputs(points, take)
        if not taken:
            found = ", ".join(f"{name!r} ({type(m).__name__})" for m, name in self._names.items() if name) or "none"
            raise ValueError(
                f"expected hidden layers, came {type(self.network).__name__} that runs no known activation and no "
                f"linear layer but the first (modules: {found}): name those whose outputs they are in modules=[...]"
            )
        return taken

    def _outputs(self, points: Tensor, take: Callable[[Layer], Any], chosen: set[nn.Module]) -> list:
        taken, uses = [], Counter()

        def hear(module: nn.Module, given: tuple, output: Any) -> None:
            name = self._names[module]
            uses[name] += 1
            label = name if uses[name] == 1 else f"{name}#{uses[name]}"
            taken.append(take(Layer(label, _rows(output, len(points), name), *activation_range(module))))

        _run(self.network, points, chosen, hear)
        return taken

    def _inputs(self, points: Tensor, take: Callable[[Layer], Any]) -> list:
        """Take what goes into the linear layers, without what goes into the first, and once where several share it."""
        taken, seen = [], []

        def hear(module: nn.Module, given: tuple, output: Any) -> None:
            if not any(given[0] is earlier for earlier in seen):
                if seen:
                    name = self._names[module]
                    rows = _rows(given[0], len(points), name)
                    taken.append(take(Layer(f"into {name}", rows, *self._range_of(rows))))
                # The first input and the latest; all of them would hold all layers at once.
                seen[1:] = [given[0]]

        _run(self.network, points, {module for module in self._chosen if isinstance(module, nn.Linear)}, hear)
        return taken

    def _range_of(self, rows: Tensor) -> tuple[float, float]:
        """Return the range of the network's activation function; values that leave it are no outputs of it."""
        activation = getattr(self.network, "activation", None)
        known = FUNCTIONS.get(getattr(activation, "__name__", ""))
        within = known is not None and bool(((rows >= known[0]) & (rows <= known[1])).all())
        return known if within else UNBOUNDED


def is_activation(module: nn.Module) -> bool:
    """Tell whether a module is an elementwise activation.

    Args:
        module: any.

    Returns:
        Whether it is one of `torch.nn`'s or ours, or a subclass.

    Example:
        >>> is_activation(nn.SiLU()), is_activation(nn.Softmax(dim=1)), is_activation(nn.Linear(1, 1))
        (True, False, False)
    """
    known = isinstance(module, (*STOCK, *RANGES))
    return known and not isinstance(module, NOT_ELEMENTWISE)


STOCK = tuple(getattr(stock, name) for name in stock.__all__)


def activation_range(module: nn.Module) -> tuple[float, float]:
    """Return the ends of an activation's range.

    Args:
        module: any.

    Returns:
        Lower and upper end; NaN and NaN where it is unbounded, or unknown.

    Example:
        >>> activation_range(nn.Hardtanh(-2.0, 3.0)), activation_range(nn.Softplus())
        ((-2.0, 3.0), (nan, nan))
    """
    if type(module) is nn.Hardtanh:
        return float(module.min_val), float(module.max_val)
    return RANGES.get(type(module), UNBOUNDED)


def _rows(value: Any, count: int, name: str) -> Tensor:
    if not isinstance(value, Tensor) or value.ndim < 1 or len(value) != count:
        came = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"expected one row for each of {count} points at the module {name!r}, came {came}: name the modules whose "
            "outputs are the hidden layers in modules=[...]"
        )
    return value.detach().reshape(count, -1)


def _run(network: nn.Module, points: Tensor, chosen: set[nn.Module], hear: Callable) -> None:
    """Run the network without a graph, hooks on the chosen modules; put back random state and buffers."""
    if not chosen:
        return
    hooks = [module.register_forward_hook(hear) for module in chosen]
    try:
        with torch.no_grad(), unheard(network):
            network(points)
    finally:
        for hook in hooks:
            hook.remove()

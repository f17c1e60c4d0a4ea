"""Networks that are a chain: linear layers with one activation between them, which compiled code takes as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from solvers.kernels.linears import Linears
from solvers.networks import Atan, Gaussian, Odd, Sine
from solvers.operators.unchanged import GLOBAL_HOOKS, HOOKS, Unchanged

ACTIVATIONS = {
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.SiLU: "silu",
    nn.GELU: "gelu",
    nn.Softplus: "softplus",
    Sine: "sin",
    Gaussian: "gaussian",
    Atan: "atan",
}
"""Modules without parameters, and the series' method that they are."""

SET = ("gelu", "softplus")
"""Activations that are what they are by settings, which may be changed at any time."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Weights and biases of linear layers, and the activation between them.

    Args:
        activation: name of the series' method.
        weights: (outputs, inputs) each, with their graph where they are computed from other parameters.
        biases: (outputs,) each, zeros where a layer has none.
        odd: the network is f(x) - f(-x), f the layers.
    """

    activation: str
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    odd: bool = False

    @cached_property
    def parameters(self) -> tuple[Tensor, ...]:
        """Weights, then biases."""
        return self.weights + self.biases

    @cached_property
    def linears(self) -> Linears:
        """Where weights and biases lie in memory now; they have to be contiguous."""
        return Linears(self.weights, self.biases)

    @cached_property
    def detachable(self) -> bool:
        """Whether weights and biases are parameters themselves, as they lie in memory."""
        return all(p.is_leaf and p.is_contiguous() for p in self.parameters)

    def places(self, starts: Mapping[Tensor, int]) -> tuple[int, ...] | None:
        """Return where the parameters begin in a flat buffer.

        Args:
            starts: parameter -> its first element there; asked again, it is not looked at again.

        Returns:
            In the order of `parameters`, or None where one has no place.
        """
        known = self.__dict__.get("_places")
        if known is None or known[0] is not starts:
            complete = all(parameter in starts for parameter in self.parameters)
            known = starts, tuple(starts[parameter] for parameter in self.parameters) if complete else None
            self.__dict__["_places"] = known
        return known[1]


_FOUND: WeakKeyDictionary[nn.Module, tuple[Unchanged, Chain]] = WeakKeyDictionary()


def find_chain(network: object) -> Chain | None:
    """Return the chain that a network, or the network inside `Odd`, is, or None.

    Weight normalisation and other reparametrisations of a layer are part of the chain; hooks, subclasses with a
    `forward` of their own, layers in another order or that do not fit, and other devices than the CPU are not.

    Args:
        network: anything.

    Returns:
        Linear, activation, ..., linear, or None.

    Example:
        >>> find_chain(nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))).activation
        'tanh'
        >>> find_chain(nn.Sequential(nn.Linear(1, 4), nn.ReLU())) is None
        True
    """
    if not isinstance(network, nn.Module):
        return None
    hashable = type(network).__hash__ is object.__hash__
    unchanged, chain = _FOUND.get(network, (None, None)) if hashable else (None, None)
    if unchanged is not None and unchanged(network):
        return chain
    passed, linears = [], []
    chain = _find(network, passed, linears)
    if hashable and chain is not None and chain.activation not in SET and Unchanged.can_tell(linears):
        _FOUND[network] = Unchanged(network, passed, linears), chain
    return chain


def _find(network: nn.Module, passed: list[nn.Module], linears: list[nn.Module]) -> Chain | None:
    """Return the chain, appending the modules that a call passes and the linear layers among them."""
    if any(GLOBAL_HOOKS):
        return None
    layers: list[nn.Module] = []
    odd = type(network) is Odd and not _changed(network)
    if odd:
        passed.append(network)
    if not _unrolled(network.network if odd else network, layers, passed) or len(layers) % 2 == 0:
        return None
    name = _activation(layers[1]) if len(layers) > 1 else "tanh"
    if name is None or not all(_activation(module) == name for module in layers[3::2]):
        return None
    weights, biases = [], []
    for layer in layers[::2]:
        if not _is_linear(layer):
            return None
        # Straight from the table where it can be: attribute access of a module costs ten times as much.
        weight = layer._parameters.get("weight")
        weights.append(layer.weight if weight is None else weight)
        biases.append(layer.bias)
        linears.append(layer)
    if any(bias is None for bias in biases):
        pairs = zip(weights, biases, strict=True)
        biases = [weight.new_zeros(len(weight)) if bias is None else bias for weight, bias in pairs]
    return Chain(name, tuple(weights), tuple(biases), odd) if _fits(weights, biases) else None


def _fits(weights: list[Tensor], biases: list[Tensor]) -> bool:
    """Return whether the layers follow one another: compiled code looks at addresses alone, torch would refuse."""
    width, dtype = weights[0].shape[-1], weights[0].dtype
    for weight, bias in zip(weights, biases, strict=True):
        shape = weight.shape
        if len(shape) != 2 or shape[1] != width or bias.dim() != 1 or bias.shape[0] != shape[0]:
            return False
        if weight.dtype is not dtype or bias.dtype is not dtype or not (weight.is_cpu and bias.is_cpu):
            return False
        width = shape[0]
    return True


def _unrolled(module: object, layers: list[nn.Module], passed: list[nn.Module]) -> bool:
    """Append the layers that sequences of sequences run through; False where something else decides what runs."""
    if not isinstance(module, nn.Module) or _changed(module):
        return False
    passed.append(module)
    if type(module).forward is nn.Sequential.forward:
        return all(_unrolled(child, layers, passed) for child in module._modules.values())
    if type(module) is not nn.Identity:
        layers.append(module)
    return True


def _changed(module: nn.Module) -> bool:
    """Return whether calling a module runs more or other code than its class says."""
    own = module.__dict__
    return any(own[name] for name in HOOKS) or "forward" in own or type(module).__call__ is not nn.Module.__call__


def _is_linear(module: nn.Module) -> bool:
    return type(module) is nn.Linear or (isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward)


def _activation(module: nn.Module) -> str | None:
    name = ACTIVATIONS.get(type(module))
    if (name == "gelu" and module.approximate != "none") or (
        name == "softplus" and (module.beta != 1 or module.threshold < 20)
    ):
        return None
    return name


def is_plain(tensor: Tensor) -> bool:
    """Return whether compiled code may read a tensor: in this process's memory, and of a type that it knows.

    Args:
        tensor: any.

    Returns:
        False on other devices, for other types, and inside torch.func transforms.
    """
    return (
        tensor.dtype in (torch.float32, torch.float64)
        and tensor.is_cpu
        and torch._C._functorch.peek_interpreter_stack() is None
    )

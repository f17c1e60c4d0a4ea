"""Whether a network is still what it was when it was looked at: a glance at its tables, for a fraction of the look."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, is_

from torch import Tensor, nn
from torch.nn.modules import module as torch_module

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Tables of what runs beside one module."""

GLOBAL_HOOKS = (
    torch_module._global_forward_hooks,
    torch_module._global_forward_pre_hooks,
    torch_module._global_backward_hooks,
    torch_module._global_backward_pre_hooks,
)
"""Torch's own tables of what runs beside every module; whoever fills one expects to be called."""

DETAILS = attrgetter("shape", "dtype", "is_cpu", "is_leaf")
"""What compiled code must know of a tensor beside its address."""


class Unchanged:
    """A network as it was: its modules, their parameters, and where these lie in memory.

    It holds what is inside the network and not the network, which would then never be freed.

    Args:
        network: without hooks.
        passed: modules that a call of it passes, itself among them.
        linears: those with parameters.

    Example:
        >>> network = nn.Sequential(nn.Linear(1, 1))
        >>> unchanged = Unchanged(network, [network, network[0]], [network[0]])
        >>> before = unchanged(network)
        >>> network[0].bias.data = network[0].bias.data.clone()
        >>> before, unchanged(network)
        (True, False)
    """

    def __init__(self, network: nn.Module, passed: Sequence[nn.Module], linears: Sequence[nn.Module]):
        self.kind = type(network)
        self.inner = [module for module in passed if module is not network]
        self.types = list(map(type, self.inner))
        self.tables = [module.__dict__ for module in passed]
        self.hooks = [*GLOBAL_HOOKS, *(table[name] for table in self.tables for name in HOOKS)]
        children = [table["_modules"] for table in self.tables if table["_modules"]]
        self.children = [(table, tuple(table.values())) for table in children]
        self.slots = [(layer._parameters, name) for layer in linears for name in ("weight", "bias")]
        self.held = [table.get(name) for table, name in self.slots]
        self.tensors = [tensor for tensor in self.held if tensor is not None]
        self.memory = self._memory()

    @staticmethod
    def can_tell(linears: Sequence[nn.Module]) -> bool:
        """Return whether weights and biases are parameters of their layers, not computed from others.

        Args:
            linears: layers.

        Returns:
            False for reparametrised layers, and where a transform of torch stands in for parameters.
        """
        for layer in linears:
            own = layer._parameters
            if type(own.get("weight")) is not nn.Parameter:
                return False
            if layer.bias is not None and type(own.get("bias")) is not nn.Parameter:
                return False
        return True

    def _memory(self) -> tuple[list, ...]:
        return tuple(list(map(look, self.tensors)) for look in (DETAILS, Tensor.data_ptr, Tensor.is_contiguous))

    def __call__(self, network: nn.Module) -> bool:
        """Return whether the network is made of the same modules and memory as before, and nothing runs beside it.

        Args:
            network: the one that was looked at.

        Returns:
            False after any change but that of the parameters' values.
        """
        return (
            type(network) is self.kind
            and not any(self.hooks)
            and list(map(type, self.inner)) == self.types
            and not any("forward" in table for table in self.tables)
            and all(tuple(table.values()) == children for table, children in self.children)
            # Equal tensors are not the same parameter.
            and all(map(is_, [table.get(name) for table, name in self.slots], self.held))
            and self._memory() == self.memory
        )

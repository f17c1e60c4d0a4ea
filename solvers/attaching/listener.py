"""Hidden layers as the user's own passes run through them, heard without a pass of ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from dynamics.format import Stream
from solvers.attaching.layers import Chosen, declared, measures, module_names, table
from solvers.hidden_layers import Layer, activation_range, is_activation


class Listener:
    """The hidden layers in the user's own forward passes, heard between two steps: of each module the largest pass.

    Passes under `torch.func` transforms are not heard, nor those of a compiled model, whose graph hooks would break.

    Args:
        model: trained.
        chosen: modules.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.Tanh())
        >>> listener = Listener(model, None)
        >>> listener.begin()
        >>> _ = model(torch.ones(5, 1))
        >>> sorted(listener.measure()), listener.declare().coords["layer"], len(model[1]._forward_hooks)
        (['extreme', 'neuron_entropy', 'row_entropy', 'saturation'], ['1'], 0)
    """

    def __init__(self, model: nn.Module, chosen: Chosen):
        names = module_names(model, chosen)
        self._modules = {
            module: name
            for name, module in model.named_modules()
            if (is_activation(module) if names is None else name in names)
        }
        self._handles: list = []
        self._heard: dict[str, Layer] = {}
        self._names: list[str] = []
        self._failed: Exception | None = None

    def begin(self) -> None:
        """Listen from now on."""
        self.end()
        self._heard = {}
        # One hook for all modules: one on a module would be copied, and pickled, with it.
        self._handles.append(register_module_forward_hook(self._hear))

    def end(self) -> None:
        """Listen no more; nothing is left in the model."""
        while self._handles:
            self._handles.pop().remove()

    def measure(self) -> Mapping[str, object]:
        """Return the measures of what was heard.

        Returns:
            By variable name; empty where nothing was heard.

        Raises:
            ValueError: other layers than at first, or activations that cannot be copied.
        """
        self.end()
        if self._failed is not None:
            raise ValueError(f"expected activations that can be copied: {self._failed}; pass points=") from self._failed
        heard, self._heard = [self._heard[name] for name in self._modules.values() if name in self._heard], {}
        names = [layer.name for layer in heard]
        if self._names and heard and names != self._names:
            raise ValueError(f"expected passes through the layers {self._names}, as at first, came {names}")
        self._names = self._names or names
        return table([measures(layer) for layer in heard]) if heard else {}

    def declare(self) -> Stream:
        """Return the stream.

        Returns:
            Compression, the layers that were heard.
        """
        return declared(self._names, None)

    def _hear(self, module: nn.Module, given: tuple, output: object) -> None:
        name = self._modules.get(module)
        if name is None:
            return
        try:
            self._take(name, module, output)
        except Exception as error:
            # The pass is the user's: what a tensor of an unknown kind does to us is said when the measures are asked.
            self._failed = error

    def _take(self, name: str, module: nn.Module, output: object) -> None:
        if torch.compiler.is_compiling() or not isinstance(output, Tensor) or not output.ndim or not output.numel():
            return
        if torch._C._functorch.is_functorch_wrapped_tensor(output):
            return
        if name not in self._heard or len(self._heard[name].values) < len(output):
            # A copy: an activation may be changed in place by what follows.
            values = output.detach().as_subclass(Tensor).reshape(len(output), -1).clone()
            self._heard[name] = Layer(name, values, *activation_range(module))

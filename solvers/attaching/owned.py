"""The parameters that an optimizer moves: their names, their vector, their gradient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors


def original(model: nn.Module) -> nn.Module:
    """Return the module behind `torch.compile` and data-parallel wrappers, which holds the parameters.

    Args:
        model: any module.

    Returns:
        The module that was wrapped.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> original(torch.compile(layer, backend="eager")) is layer
        True
    """
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while hasattr(model, "_orig_mod") or isinstance(model, wrappers):
        model = model._orig_mod if hasattr(model, "_orig_mod") else model.module
    return model


def is_compiled(model: nn.Module) -> bool:
    """Return whether any part of a model runs as compiled code, in which hooks do not run.

    Args:
        model: any.

    Returns:
        Whether `torch.compile` or `Module.compile` was there.

    Example:
        >>> is_compiled(torch.compile(nn.Linear(1, 1), backend="eager")), is_compiled(nn.Linear(1, 1))
        (True, False)
    """
    return any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


class OwnedParameters:
    """All parameters of an optimizer, those outside of the model (inverse coefficients) included, in its order.

    Args:
        optimizer: any of `torch.optim`'s kind.
        model: gives the names; the others are "external.GROUP.PLACE".

    Raises:
        ValueError: none of them is the model's.

    Example:
        >>> layer, factor = nn.Linear(1, 1), nn.Parameter(torch.ones(()))
        >>> OwnedParameters(torch.optim.SGD([*layer.parameters(), factor]), layer).names
        ['weight', 'bias', 'external.0.2']
    """

    def __init__(self, optimizer: torch.optim.Optimizer, model: nn.Module):
        self._optimizer, self._known = optimizer, {p: name for name, p in model.named_parameters()}
        self.refresh()
        if not any(parameter in self._known for parameter in self.parameters):
            raise ValueError(
                f"expected an optimizer of the model's parameters, came {type(optimizer).__name__} that owns none of "
                f"those of {type(model).__name__}: attach the optimizer that trains this model (after a model.to(...) "
                "that replaced its parameters, make the optimizer anew; for torch.func, train the model's own, "
                "params = dict(model.named_parameters()))"
            )

    def refresh(self) -> None:
        """Look again at the optimizer's groups, which may have changed."""
        groups = self._optimizer.param_groups
        held = [p for group in groups for p in group["params"]]
        known = getattr(self, "parameters", [])
        if len(held) == len(known) and all(a is b for a, b in zip(held, known, strict=True)):
            return
        placed = [
            (p, f"external.{number}.{place}")
            for number, group in enumerate(groups)
            for place, p in enumerate(group["params"])
        ]
        self.parameters = [p for p, _ in placed]
        self.names = [self._known.get(p, name) for p, name in placed]

    @property
    def models(self) -> list[str]:
        """Names of those that are the model's."""
        return [self._known[p] for p in self.parameters if p in self._known]

    @property
    def rates(self) -> list[float]:
        """The learning rate of each group, NaN where the optimizer has none."""
        return [float(group.get("lr", float("nan"))) for group in self._optimizer.param_groups]

    def vector(self) -> Tensor:
        """Return a flat copy of the parameters.

        Returns:
            (parameters,), on the first one's device.
        """
        return flat(self.parameters)

    def gradient_norm(self) -> Tensor:
        """Return the 2-norm of the gradient that the optimizer is given, its loss scale taken out.

        Returns:
            Scalar; NaN where no parameter has a gradient.
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if not gradients:
            return self.parameters[0].new_full((), float("nan")).detach()
        # Fused optimizers are given the scaled gradient, and the scale beside it.
        scale = getattr(self._optimizer, "grad_scale", None)
        size = norm(flat(gradients))
        return size if scale is None else size / scale.to(size.device)

    def gradients(self) -> list[tuple[Tensor | None, int]]:
        """Return each gradient as it is, with its count of changes.

        Returns:
            For `changed`.
        """
        return [(p.grad, -1 if p.grad is None else p.grad._version) for p in self.parameters]

    def changed(self, before: Sequence[tuple[Tensor | None, int]]) -> bool:
        """Return whether a backward pass has come since.

        Args:
            before: from `gradients`.

        Returns:
            Whether any gradient is another one, or was written to.
        """
        pairs = zip(self.gradients(), before, strict=False)
        return any(now is not None and (now is not old or count != was) for (now, count), (old, was) in pairs)


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """Return tensors as one flat copy without a graph, complex ones as pairs.

    Args:
        tensors: at least one, dense or sparse, on whatever devices.

    Returns:
        (entries,), on the first one's device.

    Example:
        >>> flat([torch.ones(2), torch.full((1, 1), 3.0)]).tolist()
        [1.0, 1.0, 3.0]
    """
    parts = list(tensors)
    with torch.no_grad():
        try:
            # In one call: a ravel() each would cost three times the copy of a small network.
            copy = _flatten_dense_tensors(parts)
        except RuntimeError:
            copy = _flatten_dense_tensors([_plain(part, parts[0].device) for part in parts])
        if copy.is_complex():
            copy = _flatten_dense_tensors([_plain(part, parts[0].device) for part in parts])
        # Of one tensor it is a view.
        return copy if len(parts) > 1 else copy.clone()


def _plain(tensor: Tensor, device: torch.device) -> Tensor:
    tensor = tensor if tensor.layout is torch.strided else tensor.to_dense()
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).to(device)


def norm(vector: Tensor) -> Tensor:
    """Return the 2-norm, in float32 where the entries have less: half precision overflows at 65504.

    Args:
        vector: (n,), without a graph.

    Returns:
        Scalar.

    Example:
        >>> norm(torch.full((2,), 60000.0, dtype=torch.float16)).isfinite().item()
        True
    """
    dtype = torch.float32 if vector.dtype in (torch.float16, torch.bfloat16) else None
    return torch.linalg.vector_norm(vector, dtype=dtype)


def numbers(*values: Tensor) -> list[float]:
    """Return scalars as floats, waiting for the device once.

    Args:
        *values: scalars.

    Returns:
        Floats.

    Example:
        >>> numbers(torch.tensor(1.0), torch.tensor([2.0], dtype=torch.float64))
        [1.0, 2.0]
    """
    device = values[0].device
    if device.type == "cpu" or any(value.device != device for value in values):
        return [value.item() for value in values]
    return torch.cat([value.detach().reshape(1) for value in values]).tolist()

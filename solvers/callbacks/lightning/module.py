"""What is recorded of any LightningModule: itself, and the losses that its training step logs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from dynamics.recorder import Recorder

SAME = 1e-6
"""Relative difference below which a logged scalar is the loss itself, and no term of it."""


class ModuleTraining:
    """Terms of the loss of a module, as it logs them; no measurement of its own.

    Args:
        module: trained.
        names: of the logged scalars that are terms; None: those with "loss" in their names, but the loss itself.
        asked: what the user measures, as arguments of `solvers.attach`.

    Example:
        >>> import torch
        >>> ModuleTraining(nn.Linear(1, 1), None, {"points": torch.ones(2, 1)}).measured
        {'points': tensor([[1.],
                [1.]])}
    """

    def __init__(self, module: Any, names: Sequence[str] | None, asked: Mapping[str, Any]):
        self.module, self._asked = module, asked
        self._names: list[str] | None = None
        self._chosen = None if names is None else list(names)
        self._seen: dict[str, object] = {}

    @property
    def model(self) -> nn.Module:
        """The module whose parameters are recorded."""
        return Compiled(self.module) if getattr(self.module, "_compiler_ctx", None) else self.module

    @property
    def measured(self) -> Mapping[str, Any]:
        """Arguments of `solvers.attach` that this kind of module brings along."""
        given = dict(self._asked)
        if isinstance(given.get("points"), Tensor):
            parameter = next(self.module.parameters())
            # Lightning has moved the module, and its precision may have another dtype.
            given["points"] = given["points"].detach().to(parameter.device, parameter.dtype)
        return given

    def describe(self, recorder: Recorder) -> None:
        """Tell a file what is trained.

        Args:
            recorder: new.
        """
        recorder.configure({"module": type(self.module).__name__})

    def begin(self) -> None:
        """Begin a batch."""

    def end(self) -> None:
        """Leave the module as it was."""

    def terms(self, loss: Tensor) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """Return the terms of the evaluation whose backward pass comes.

        Args:
            loss: scalar.

        Returns:
            Raw losses by name, and weights or None where they are not known.
        """
        logged = self._logged() if self.module.automatic_optimization else {}
        if self._names is None:
            total = float(loss) * self.module.trainer.accumulate_grad_batches
            self._names = self._chosen or [
                name
                for name, value in logged.items()
                if "loss" in name.lower() and not math.isclose(float(value), total, rel_tol=SAME)
            ]
        if not self._names:
            # Under automatic optimisation the optimizer's closure returns it.
            return ({} if self.module.automatic_optimization else {"loss": loss}), None
        return {name: logged.get(name, math.nan) for name in self._names}, None

    def _logged(self) -> dict[str, Tensor]:
        """Return the scalars that this very evaluation logged."""
        found = {}
        for metric in (self.module.trainer._results or {}).values():
            value = getattr(metric, "_forward_cache", None)
            if isinstance(value, Tensor) and value.numel() == 1 and self._seen.get(metric.meta.name) is not value:
                self._seen[metric.meta.name] = value
                found[metric.meta.name] = value
        return found


class Compiled(nn.Module):
    """Stands in for a module whose layers `solvers.attach` shall not listen to: it unwraps this as a compiled one.

    Lightning hides that a module is compiled, where hooks would break the graphs; and PINA's networks return tensors
    of another kind.

    Args:
        module: that is recorded.

    Example:
        >>> from solvers.attaching.owned import is_compiled, original
        >>> layer = nn.Linear(1, 1)
        >>> is_compiled(Compiled(layer)), original(Compiled(layer)) is layer
        (True, True)
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self._orig_mod = module

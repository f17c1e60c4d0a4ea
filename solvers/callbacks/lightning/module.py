"""What is recorded of any LightningModule: itself, and the losses that its training step logs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from dynamics.recorder import Recorder

Chosen = Sequence[str] | Mapping[str, float]
"""Names of logged scalars, or what each counts in the loss."""

SAME = 1e-6
"""Relative difference below which a logged scalar is the loss itself, and no term of it."""


class ModuleTraining:
    """Terms of the loss of a module, as it logs them; no measurement of its own.

    Args:
        module: trained.
        chosen: names of the logged scalars that are terms, or what each counts in the loss, by name; None: those with
            "loss" in their names, but the loss itself.
        asked: what the user measures, as arguments of `solvers.attach`.

    Raises:
        ValueError: terms that are chosen of a module under manual optimisation.

    Example:
        >>> import torch
        >>> ModuleTraining(nn.Linear(1, 1), None, {"points": torch.ones(2, 1)}).measured
        {'points': tensor([[1.],
                [1.]])}
    """

    def __init__(self, module: Any, chosen: Chosen | None, asked: Mapping[str, Any]):
        if chosen is not None and not module.automatic_optimization:
            raise ValueError(
                f"expected no terms of {type(module).__name__}, whose manual optimisation logs them after its backward "
                f"passes, came {list(chosen)}: leave terms= out, the loss of each pass is recorded"
            )
        self.module, self._asked, self._chosen = module, asked, chosen
        self._weights = chosen if isinstance(chosen, Mapping) else None
        self._names: list[str] | None = None
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

        Raises:
            ValueError: at the first evaluation: a chosen term that was not logged.
        """
        logged = self._logged() if self.module.automatic_optimization else {}
        if self._names is None:
            total = float(loss) * self.module.trainer.accumulate_grad_batches
            self._names = [
                name
                for name, value in logged.items()
                if "loss" in name.lower() and not math.isclose(float(value), total, rel_tol=SAME)
            ]
            if self._chosen is not None:
                self._names = self._known(self._chosen, logged)
        if not self._names:
            # Under automatic optimisation the optimizer's closure returns it.
            return ({} if self.module.automatic_optimization else {"loss": loss}), None
        return {name: logged.get(name, math.nan) for name in self._names}, self._weights

    def _known(self, chosen: Chosen, logged: Mapping[str, Tensor]) -> list[str]:
        unknown = next((name for name in chosen if name not in logged), None)
        if unknown is not None:
            raise ValueError(
                f"expected terms among what the first step logs, {', '.join(logged) or 'nothing'}, came {unknown!r}: "
                f"self.log({unknown!r}, ..., on_step=True) in training_step"
            )
        return list(chosen)

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

"""A Lightning callback that records a training as our trajectory: any LightningModule, and PINA's solvers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import Tensor

from solvers.attaching.attach import BLOCKS
from solvers.attaching.block_gradients import Residuals
from solvers.attaching.layers import Chosen
from solvers.cadence import Cadence
from solvers.callbacks.lightning.file import TrajectoryFile
from solvers.callbacks.lightning.module import Chosen as ChosenTerms
from solvers.callbacks.lightning.recording import Asked, Recording


class TrajectoryCallback(Callback):
    """Record a training of Lightning, so that `pinnscope diagnose run.h5` tells what it did.

        trainer = pina.Trainer(solver=PINN(problem, model), max_epochs=1500, callbacks=[TrajectoryCallback("run.h5")])

    Each step of the optimizer is a row of /series, in automatic and manual optimisation; of L-BFGS each evaluation is
    one of /evaluations. Nothing of the training changes: its numbers, its logs, its checkpoints beyond our own entry.

    Of a PINA solver the terms are the losses of its conditions, without the weights that the weighting, attention or
    an opponent give them; `loss_weight` is what they count in the loss. Residuals, their spread and the gradients over
    blocks are measured at up to 2,000 fixed points of the physical condition; the weights of the RBA and self-adaptive
    solvers there, `problem.solution` and unknown parameters are recorded too. Of another module the terms are the
    scalars that `training_step` logs (`on_step`, the default there) whose names have "loss" in them, but the loss
    itself; under manual optimisation the loss alone, as `manual_backward` got it.

    One optimizer is recorded, with those that have the same parameters (Adam, then L-BFGS): a discriminator, or the
    next network of an ensemble, is another training; give it a callback with `optimizer=1` and a path of its own. A
    second callback of one optimizer is refused.
    Optimizers that change on the way (PINA's SwitchOptimizer) are followed. Each further fit() of the same module goes
    on in the file, and so does `fit(ckpt_path=...)`, from the checkpoint's step, what came after it being given up;
    where the file is gone or the path another one, in a new file from that step on; from a checkpoint that was made
    without this callback, from step 0 on. Another module is another run: the file is refused. Under `fast_dev_run`
    nothing is recorded. Of a distributed training the first process records. The trainer of `pytorch_lightning` does as
    well as that of `lightning`, which must be installed in any case.

    Args:
        path: new file, or directory that ends in ".segments".
        residuals: (module, points) -> (n, equations), for modules that are not PINA's.
        points: (n, axes), of the measurements; None: PINA's own.
        solution: exact values at the points, or function of them; None: `problem.solution` of PINA, where it is known.
        coefficients: unknown ones that are trained, by name; None: PINA's `unknown_parameters`.
        condition: name of PINA's condition that is measured; None: that of the interior.
        terms: names of the logged scalars that are terms of the loss, instead of the rule above; or, so that weights
            are judged too, what each counts in the loss: {"pde_loss": 1.0, "bc_loss": 10.0}.
        optimizer: number of the recorded one.
        every: cadence, or cadences by stream, as in `solvers.attach`.
        activations: names of modules, or a filter of names, as in `solvers.attach`.
        blocks: of the gradients.
        overwrite: replace an existing file, unless the run goes on in it.
        strict: raise what goes wrong with the recording; else it is said once and the training goes on.

    Raises:
        ValueError: a path that is none, a negative optimizer, terms in a string. At the start of the training: a wrong
            argument, or no optimizer.
        FileExistsError: at the start of the training, before its first step.

    Cost: as `solvers.attach`; no pass over the model between the measurements.

    Example:
        >>> import tempfile, warnings
        >>> import lightning, torch
        >>> from dynamics import open_trajectory
        >>> class Line(lightning.pytorch.LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.line = torch.nn.Linear(1, 1)
        ...     def training_step(self, batch, number):
        ...         return (self.line(batch) - 1).square().mean()
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), 0.1)
        >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     trainer = lightning.pytorch.Trainer(max_epochs=5, accelerator="cpu", logger=False,
        ...         enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        ...         callbacks=[TrajectoryCallback(path)])
        ...     trainer.fit(Line(), torch.utils.data.DataLoader(torch.ones(4, 1), batch_size=4))
        >>> with open_trajectory(path) as trajectory:
        ...     trajectory["series/step"].values.tolist()
        [0, 1, 2, 3, 4]
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        residuals: Residuals | None = None,
        points: Tensor | None = None,
        solution: Callable[[Tensor], Tensor] | Tensor | None = None,
        coefficients: Mapping[str, Tensor] | None = None,
        condition: str | None = None,
        terms: ChosenTerms | None = None,
        optimizer: int = 0,
        every: Cadence | Mapping[str, Cadence] | None = None,
        activations: Chosen = None,
        blocks: int = BLOCKS,
        overwrite: bool = False,
        strict: bool = False,
    ):
        super().__init__()
        if not isinstance(path, str | os.PathLike):
            raise ValueError(f'expected a path, came {path!r}: write TrajectoryCallback("run.h5")')
        if not isinstance(optimizer, int) or optimizer < 0:
            raise ValueError(f"expected the number of an optimizer, from 0 on, came {optimizer!r}: leave it out for 0")
        if isinstance(terms, str):
            raise ValueError(f"expected names of logged scalars, came the string {terms!r}: write terms=[{terms!r}]")
        given = {"residuals": residuals, "points": points, "solution": solution, "coefficients": coefficients}
        asked = {name: value for name, value in given.items() if value is not None}
        how = {"every": every, "activations": activations, "blocks": blocks, "strict": strict}
        file = TrajectoryFile(os.path.abspath(os.fspath(path)), overwrite, strict)
        self.optimizer = optimizer
        self._recording = Recording(file, optimizer, Asked(asked, how, condition, terms))

    @property
    def state_key(self) -> str:
        """Name of this callback's entry in a checkpoint: one for each recorded optimizer."""
        return self._generate_state_key(optimizer=self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the recording.

        Returns:
            File, rows, step; empty where nothing is recorded yet.
        """
        return self._recording.position()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take the position of a checkpoint, from which the next fit() goes on.

        Args:
            state_dict: from `state_dict`.
        """
        self._recording.go_on_from(state_dict)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the file and attach to the optimizers.

        Args:
            trainer: of Lightning.
            pl_module: trained.

        Raises:
            ValueError: fewer optimizers than the number that was asked for, or wrong points, residuals, terms or
                condition.
        """
        self._recording.start(trainer, pl_module)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Attach to optimizers that have come.

        Args:
            trainer: of Lightning.
            pl_module: trained.
            batch: of the data.
            batch_idx: its number.
        """
        self._recording.begin_batch(trainer)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Take in the loss of an evaluation.

        Args:
            trainer: of Lightning.
            pl_module: trained.
            loss: of the backward pass that comes.
        """
        self._recording.take(loss)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Record the state after the last step, and close the file.

        Args:
            trainer: of Lightning.
            pl_module: trained.
        """
        self._recording.end(stopped=trainer.should_stop)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the file; its status says why.

        Args:
            trainer: of Lightning.
            pl_module: trained.
            exception: that ended the training.
        """
        self._recording.end(exception)

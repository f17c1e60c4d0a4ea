"""Any log that one of the importers reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import xarray as xr

from dynamics.importers import deepxde, lightning, published, tensorboard, wandb
from dynamics.importers.recognition import READERS, kind_of
from dynamics.trajectory import TrajectoryError

IMPORTERS: dict[str, Callable[..., xr.DataTree]] = {
    deepxde.KIND: deepxde.read_deepxde_log,
    lightning.KIND: lightning.read_lightning_log,
    tensorboard.KIND: tensorboard.read_tensorboard_log,
    wandb.KIND: wandb.read_wandb_log,
    "published log": published.read_published_log,
}


def read_log(path: str | os.PathLike, **options) -> xr.DataTree:
    r"""Read a log of any kind that is known, recognised by what is in it.

    Args:
        path: DeepXDE's loss.dat, Lightning's metrics.csv, an event file of TensorBoard or a folder of them, a CSV that
            W&B exported, or a log as `read_published_log` takes it.
        options: of the reader of that kind, such as `weights` or `names`.

    Returns:
        A trajectory in memory; `write_trajectory` makes a file of it.

    Raises:
        TrajectoryError: None of these, with what it looks like instead; or what the reader refuses.

    Cost: that of the reader.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "any.name")
        >>> with open(path, "w") as file:
        ...     _ = file.write("# step, loss_train, loss_test, metrics_test\n0 1.0 2.0\n10 0.5 1.0\n")
        >>> read_log(path).attrs["importer"]
        'read_deepxde_log'
    """
    kind = kind_of(Path(path))
    if kind not in IMPORTERS:
        raise TrajectoryError(
            f"{path}: expected one of {', '.join(READERS)}, came {kind}: pass the log as the training wrote it"
        )
    return IMPORTERS[kind](path, **options)

"""Logs that others wrote, as trajectories that the analyzers here accept."""

from dynamics.importers.deepxde import read_deepxde_log as read_deepxde_log
from dynamics.importers.lightning import read_lightning_log as read_lightning_log
from dynamics.importers.missing import missing as missing
from dynamics.importers.published import read_published_log as read_published_log
from dynamics.importers.reading import read_log as read_log
from dynamics.importers.tensorboard import read_tensorboard_log as read_tensorboard_log
from dynamics.importers.wandb import read_wandb_log as read_wandb_log
from dynamics.importers.writing import write_trajectory as write_trajectory

__all__ = [
    "missing",
    "read_deepxde_log",
    "read_lightning_log",
    "read_log",
    "read_published_log",
    "read_tensorboard_log",
    "read_wandb_log",
    "write_trajectory",
]

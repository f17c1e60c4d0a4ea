"""Optimizers behind one protocol: `init(vector) -> state`, `step(objective, state) -> (state, info)`."""

from solvers.optimizers.optimizer import FlatParameters as FlatParameters
from solvers.optimizers.optimizer import Optimizer as Optimizer
from solvers.optimizers.optimizer import StepInfo as StepInfo
from solvers.optimizers.torch_optimizer import Torch as Torch

__all__ = ["FlatParameters", "Optimizer", "StepInfo", "Torch"]

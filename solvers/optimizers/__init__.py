"""Optimizers behind one protocol: `init(vector) -> state`, `step(objective, state) -> (state, info)`."""

from solvers.optimizers.gauss_newton import GaussNewton as GaussNewton
from solvers.optimizers.lbfgs import LBFGS as LBFGS
from solvers.optimizers.levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from solvers.optimizers.optimizer import FlatParameters as FlatParameters
from solvers.optimizers.optimizer import Optimizer as Optimizer
from solvers.optimizers.optimizer import StepInfo as StepInfo
from solvers.optimizers.schedule import Schedule as Schedule
from solvers.optimizers.ssbfgs import SSBFGS as SSBFGS
from solvers.optimizers.ssbroyden import SSBroyden as SSBroyden
from solvers.optimizers.torch_optimizer import Torch as Torch
from solvers.optimizers.until import AnyOf as AnyOf
from solvers.optimizers.until import Below as Below
from solvers.optimizers.until import Evaluations as Evaluations
from solvers.optimizers.until import Stalled as Stalled
from solvers.optimizers.until import Steps as Steps
from solvers.optimizers.until import Stopped as Stopped

__all__ = [
    "LBFGS",
    "SSBFGS",
    "AnyOf",
    "Below",
    "Evaluations",
    "FlatParameters",
    "GaussNewton",
    "LevenbergMarquardt",
    "Optimizer",
    "SSBroyden",
    "Schedule",
    "Stalled",
    "StepInfo",
    "Steps",
    "Stopped",
    "Torch",
]

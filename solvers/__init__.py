"""Neural solvers of differential equations, instrumented: they write trajectories that `dynamics` reads."""

from solvers import problems as problems
from solvers.attaching.attach import attach as attach
from solvers.attention import ResidualBasedAttention as ResidualBasedAttention
from solvers.cadence import Every as Every
from solvers.cadence import Logarithmic as Logarithmic
from solvers.discrete_solution import solve_on_nodes as solve_on_nodes
from solvers.least_squares import Solution as Solution
from solvers.least_squares import solve_least_squares as solve_least_squares
from solvers.loop import Step as Step
from solvers.networks import MLP as MLP
from solvers.networks import Corrected as Corrected
from solvers.networks import LocalFeatures as LocalFeatures
from solvers.networks import Odd as Odd
from solvers.networks import OddFeatures as OddFeatures
from solvers.networks import RandomFeatures as RandomFeatures
from solvers.networks import Sine as Sine
from solvers.networks import TwoLayer as TwoLayer
from solvers.operators import RBFFD as RBFFD
from solvers.operators import AutoDiff as AutoDiff
from solvers.operators import FiniteDifference as FiniteDifference
from solvers.operators import TangentProp as TangentProp
from solvers.operators import register_rule as register_rule
from solvers.optimizers import LBFGS as LBFGS
from solvers.optimizers import SSBFGS as SSBFGS
from solvers.optimizers import GaussNewton as GaussNewton
from solvers.optimizers import LevenbergMarquardt as LevenbergMarquardt
from solvers.optimizers import Schedule as Schedule
from solvers.optimizers import SSBroyden as SSBroyden
from solvers.optimizers import Torch as Torch
from solvers.points import Points as Points
from solvers.points import sample as sample
from solvers.probes import Probe as Probe
from solvers.profile import Profile as Profile
from solvers.profile import find_profile as find_profile
from solvers.series import Series as Series
from solvers.training import Run as Run
from solvers.training import steps as steps
from solvers.training import train as train

__all__ = [
    "LBFGS",
    "MLP",
    "RBFFD",
    "SSBFGS",
    "AutoDiff",
    "Corrected",
    "Every",
    "FiniteDifference",
    "GaussNewton",
    "LevenbergMarquardt",
    "LocalFeatures",
    "Logarithmic",
    "Odd",
    "OddFeatures",
    "Points",
    "Probe",
    "Profile",
    "RandomFeatures",
    "ResidualBasedAttention",
    "Run",
    "SSBroyden",
    "Schedule",
    "Series",
    "Sine",
    "Solution",
    "Step",
    "TangentProp",
    "Torch",
    "TwoLayer",
    "attach",
    "find_profile",
    "problems",
    "register_rule",
    "sample",
    "solve_least_squares",
    "solve_on_nodes",
    "steps",
    "train",
]

"""Networks: any `torch.nn.Module` serves; these are the ones of the papers."""

from solvers.networks.activations import Atan as Atan
from solvers.networks.activations import Gaussian as Gaussian
from solvers.networks.ansatz import HardBoundary as HardBoundary
from solvers.networks.corrected import Corrected as Corrected
from solvers.networks.factorised import factorise as factorise
from solvers.networks.fourier import FourierFeatures as FourierFeatures
from solvers.networks.fourier import FourierMLP as FourierMLP
from solvers.networks.local_features import LocalFeatures as LocalFeatures
from solvers.networks.mlp import MLP as MLP
from solvers.networks.mlp import Sine as Sine
from solvers.networks.modified_mlp import ModifiedMLP as ModifiedMLP
from solvers.networks.odd import Odd as Odd
from solvers.networks.odd_features import OddFeatures as OddFeatures
from solvers.networks.periodic import PeriodicFeatures as PeriodicFeatures
from solvers.networks.periodic import PeriodicMLP as PeriodicMLP
from solvers.networks.random_features import RandomFeatures as RandomFeatures
from solvers.networks.residual import ResidualMLP as ResidualMLP
from solvers.networks.two_layer import TwoLayer as TwoLayer

__all__ = [
    "MLP",
    "Atan",
    "Corrected",
    "FourierFeatures",
    "FourierMLP",
    "Gaussian",
    "HardBoundary",
    "LocalFeatures",
    "ModifiedMLP",
    "Odd",
    "OddFeatures",
    "PeriodicFeatures",
    "PeriodicMLP",
    "RandomFeatures",
    "ResidualMLP",
    "Sine",
    "TwoLayer",
    "factorise",
]

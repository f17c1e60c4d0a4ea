"""Networks: any `torch.nn.Module` serves; these are the ones of the papers."""

from solvers.networks.mlp import MLP as MLP
from solvers.networks.mlp import Sine as Sine
from solvers.networks.random_features import RandomFeatures as RandomFeatures
from solvers.networks.two_layer import TwoLayer as TwoLayer

__all__ = ["MLP", "RandomFeatures", "Sine", "TwoLayer"]

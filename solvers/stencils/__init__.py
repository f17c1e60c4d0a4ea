"""Stencils of scattered nodes: weights that turn values at the nearest nodes into derivatives (RBF-FD)."""

from solvers.stencils.neighbours import nearest
from solvers.stencils.recipe import Recipe
from solvers.stencils.weights import stencil_weights

__all__ = ["Recipe", "nearest", "stencil_weights"]

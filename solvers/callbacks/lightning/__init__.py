"""Lightning, and PINA on it: the callback that records a fit."""

from solvers.callbacks.lightning.callback import TrajectoryCallback as TrajectoryCallback

__all__ = ["TrajectoryCallback"]

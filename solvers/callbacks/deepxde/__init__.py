"""DeepXDE: the callback that records its trainings."""

from solvers.callbacks.deepxde.callback import TrajectoryCallback as TrajectoryCallback

__all__ = ["TrajectoryCallback"]

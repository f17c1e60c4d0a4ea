"""What a DeepXDE model says of its problem: points, residuals, exact solution, known error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import deepxde as dde
import numpy as np
import torch
from torch import Tensor, nn

from solvers.attaching.block_gradients import Residuals

MOST_POINTS = 2000
MEASURED = (dde.metrics.l2_relative_error, dde.metrics.nanl2_relative_error)


def points_of(data: Any, most: int = MOST_POINTS) -> Tensor | None:
    """Return a fixed sample of the points at which a problem's equations are trained.

    Args:
        data: of the model.
        most: how many; where there are more, they are drawn at random, the global generators left alone.

    Returns:
        (n, axes), in their order; None where the data are no PDE, as those of operator learning.
    """
    points = data.train_x_all if isinstance(data, dde.data.PDE) else None
    if points is None or not len(points):
        return None
    order = np.random.default_rng(0).permutation(len(points))[:most]
    return torch.as_tensor(points[np.sort(order)])


class TrainedResidual:
    """The residuals of a problem's equations, as DeepXDE computes them in its loss, anywhere.

    DeepXDE keeps derivatives by the identity of their tensors; what is kept is forgotten before and after each call, as
    DeepXDE itself does after each loss.

    Args:
        model: of DeepXDE, its data a PDE.
    """

    def __init__(self, model: dde.Model):
        self._data, self._net = model.data, model.net

    def __call__(self, net: nn.Module | Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
        """Return the residuals.

        Args:
            net: the network, or what stands in for it.
            points: (n, axes), with `requires_grad`.

        Returns:
            (n, equations).
        """
        known = self._net.auxiliary_vars
        dde.grad.clear()
        try:
            more = self._auxiliary(points)
            if more:
                self._net.auxiliary_vars = more[0]
            outputs = net(points)
            # Forward-mode derivatives need the function itself.
            outputs = (outputs, net) if dde.config.autodiff == "forward" else outputs
            found = self._data.pde(points, outputs, *more)
        finally:
            self._net.auxiliary_vars = known
            dde.grad.clear()
        equations = found if isinstance(found, list | tuple) else [found]
        return torch.cat([each.reshape(len(points), -1) for each in equations], dim=1)

    def _auxiliary(self, points: Tensor) -> list[Tensor]:
        if dde.utils.get_num_args(self._data.pde) < 3:
            return []
        values = self._data.auxiliary_var_fn(points.detach().cpu().numpy())
        return [torch.as_tensor(values, dtype=points.dtype, device=points.device)]


def residual_of(model: dde.Model) -> TrainedResidual | None:
    """Return the residuals of the model's equations.

    Args:
        model: of DeepXDE.

    Returns:
        For `solvers.attach`; None where the data have no equations of the usual form, which integro-differential and
        fractional ones are not.
    """
    data = model.data
    usual = isinstance(data, dde.data.PDE) and all(
        getattr(type(data), name) is getattr(dde.data.PDE, name) for name in ("losses", "losses_train")
    )
    return TrainedResidual(model) if usual and data.pde is not None else None


def solution_of(data: Any) -> Callable[[Tensor], Tensor] | None:
    """Return the problem's exact solution, its first component.

    Args:
        data: of the model.

    Returns:
        (n, axes) -> (n,); None where the data have none.
    """
    exact = getattr(data, "soln", None) if isinstance(data, dde.data.PDE) else None
    if exact is None:
        return None

    def solution(points: Tensor) -> Tensor:
        values = np.asarray(exact(points.detach().cpu().numpy())).reshape(len(points), -1)[:, 0]
        return torch.as_tensor(values, dtype=points.dtype, device=points.device)

    return solution


def error_of(model: dde.Model) -> Callable[[], Mapping[str, float]] | None:
    """Return what tells the relative L2 error that DeepXDE measured last.

    Args:
        model: compiled.

    Returns:
        -> rel_l2; None where the model was compiled without this metric, or has several outputs to test.
    """
    place = next((place for place, metric in enumerate(model.metrics) if metric in MEASURED), None)
    if place is None or isinstance(model.train_state.y_test, list | tuple):
        return None

    def error() -> Mapping[str, float]:
        found = model.train_state.metrics_test
        return {"rel_l2": float(found[place])} if found else {}

    return error


def choices(model: dde.Model, residuals: Residuals | None, points: Tensor | None, blocks: int) -> list[dict[str, Any]]:
    """Return what can be measured, the most first.

    Args:
        model: compiled.
        residuals: of the user, or None.
        points: of the measurements, or None.
        blocks: of the gradients.

    Returns:
        Arguments of `solvers.attach`; nothing at points in the last.
    """
    known = {"errors": error_of(model)}
    if points is None:
        return [{**known, "residuals": residuals}]
    parameter = next(model.net.parameters())
    placed = {**known, "points": points.to(parameter.device, parameter.dtype)}
    exact = {} if known["errors"] is not None else {"solution": solution_of(model.data)}
    own = residual_of(model) if residuals is None else residuals
    return [{**placed, **exact, "residuals": own, "blocks": blocks}, placed, known]


def described(model: dde.Model) -> dict[str, object]:
    """Return what a file says of the package and the problem.

    Args:
        model: compiled.

    Returns:
        Entries of the configuration.
    """
    found = {"package": f"DeepXDE {dde.__version__}", "data": type(model.data).__name__}
    geometry = getattr(model.data, "geom", None)
    return {
        **found,
        **({} if geometry is None else {"geometry": type(geometry).__name__}),
        **({} if dde.config.random_seed is None else {"seed": dde.config.random_seed}),
    }

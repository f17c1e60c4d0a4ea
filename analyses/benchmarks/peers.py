"""One task, computed by every method: a loss of a network's derivatives and its gradient in the parameters.

The loss is sum_k mean((u^(k) / k!)^2) for all derivatives of one input, mean(u^2) + mean((L u)^2) for an operator L.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
import torch
from torch import Tensor

from solvers import MLP, operators
from solvers.points import Points

INSTALL = "pip install 'pinnscope[peers]'"
Step = Callable[[], tuple[object, object]]
"""A call that returns the loss and its gradient: one array, or a list in the order of the parameters."""


class Unavailable(Exception):
    """A method cannot run here; the message says why."""


@dataclass(frozen=True)
class Task:
    """Network, points and derivatives; the 1/k! weights keep the loss of high orders inside float32.

    Args:
        widths: of the hidden layers.
        batch: number of points, uniform in [-1, 1].
        dtype: "float32" or "float64".
        order: highest derivative.
        operator: "all" derivatives of one input, "laplacian" or "bilaplacian".
        inputs: number of coordinates.
    """

    widths: tuple[int, ...]
    batch: int
    dtype: str
    order: int
    operator: str = "all"
    inputs: int = 1

    @cached_property
    def network(self) -> MLP:
        """The tanh network, the same for every method."""
        torch.manual_seed(0)
        return MLP(self.inputs, self.widths).to(getattr(torch, self.dtype))

    @cached_property
    def parameters(self) -> list[Tensor]:
        """Weights and biases, layer by layer."""
        return list(self.network.parameters())

    @cached_property
    def points(self) -> Tensor:
        """Coordinates, (batch, inputs)."""
        return self.uniform(self.batch)

    @property
    def axes(self) -> str:
        """Axis letters."""
        return "xyzabcdefg"[: self.inputs]

    @property
    def partials(self) -> list[str]:
        """The derivatives in the loss, the value first."""
        if self.operator == "all":
            return ["x" * k for k in range(self.order + 1)]
        return ["", self.operator]

    @property
    def weights(self) -> list[float]:
        """Factor of each derivative."""
        return [1 / math.factorial(k) if self.operator == "all" else 1.0 for k in range(len(self.partials))]

    @property
    def rows(self) -> int:
        """Taylor coefficients a point needs; 2-D bilaplacians take 1 + 3 x 3 + 1 along three collapsed directions."""
        return {"all": self.order + 1, "laplacian": self.inputs + 2, "bilaplacian": 11}[self.operator]

    @property
    def shape(self) -> str:
        """Hidden layers x width."""
        return f"{len(self.widths)}x{self.widths[0]}"

    def uniform(self, count: int) -> Tensor:
        """Draw points.

        Args:
            count: how many.

        Returns:
            (count, inputs) in the task's dtype.
        """
        points = np.random.default_rng(1).uniform(-1, 1, (count, self.inputs))
        return torch.from_numpy(points).to(getattr(torch, self.dtype))

    def loss(self) -> Callable[[Sequence[Tensor]], Tensor]:
        """Return the loss as a function of the derivatives, each (batch, 1).

        Returns:
            One stack, product, square and sum, so that it costs every method the same few operations.
        """
        weights = torch.tensor(self.weights, dtype=getattr(torch, self.dtype)).reshape(-1, 1, 1)
        return lambda columns: (torch.stack(list(columns)) * weights).square().sum() / self.batch


def _through_autograd(task: Task, columns: Callable[[], Sequence[Tensor]]) -> Step:
    loss_of = task.loss()

    def step():
        loss = loss_of(columns())
        return loss, torch.autograd.grad(loss, task.parameters)

    return step


def _derivative(value: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), x, create_graph=True)[0]


def _laplacian(value: Tensor, x: Tensor) -> Tensor:
    gradient = _derivative(value, x)
    return sum(_derivative(gradient[:, i], x)[:, i : i + 1] for i in range(x.shape[1]))


def _nested(task: Task) -> Step:
    """Nest torch.autograd.grad with create_graph; u_k from u_(k-1), and a Laplacian of a Laplacian."""

    def columns():
        x = task.points.detach().requires_grad_(True)
        values = [task.network(x)]
        apply, times = (_derivative, task.order) if task.operator == "all" else (_laplacian, task.order // 2)
        for _ in range(times):
            values.append(apply(values[-1], x))
        return values if task.operator == "all" else [values[0], values[-1]]

    return _through_autograd(task, columns)


def _nested_jvp(task: Task) -> Step:
    """Nest torch.func.jvp; every level adds the tangent of the last derivative, so one pass returns all of them."""
    if task.operator != "all":
        raise Unavailable("only for one input")
    ones = torch.ones_like(task.points)

    def raised(function):
        def levels(x):
            values, tangents = torch.func.jvp(function, (x,), (ones,))
            return (*values, tangents[-1])

        return levels

    function = lambda x: (task.network(x),)  # noqa: E731
    for _ in range(task.order):
        function = raised(function)
    return _through_autograd(task, lambda: function(task.points))


def _plain(task: Task) -> Step:
    """Return the floor: an ordinary step on as many points as the derivatives have Taylor coefficients."""
    x = task.uniform(task.rows * task.batch)

    def step():
        loss = task.network(x).square().mean()
        return loss, torch.autograd.grad(loss, task.parameters)

    return step


def _tangent_plan(task: Task, **options: str):
    return operators.TangentProp(**options).plan(Points(task.points, axes=task.axes), task.partials)


def _tangent(task: Task, **options: str) -> Step:
    """Differentiate with TangentProp, planned once, and backpropagate through autograd."""
    plan = _tangent_plan(task, **options)

    def columns():
        jet = plan(task.network)
        return [jet[letters] for letters in task.partials]

    step = _through_autograd(task, columns)
    step.plan = plan
    return step


def _one_call(task: Task) -> Step:
    """Take loss and flat gradient from one call of TangentProp's plan."""
    plan, loss_of = _tangent_plan(task), task.loss()

    def loss(jet):
        return loss_of([jet[letters] for letters in task.partials])

    def step():
        return plan.value_and_grad(task.network, loss, task.parameters)

    step.plan = plan
    return step


@cache
def _jax():
    # Both must be set before the first import: XLA reads them once, and would otherwise take every core.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    os.environ["NPROC"] = "1"
    try:
        import jax
    except ImportError:
        raise Unavailable(INSTALL) from None
    jax.config.update("jax_enable_x64", True)
    return jax


def _jax_network(layers, x):
    import jax.numpy as jnp

    for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        x = jnp.tanh(x @ weight + bias)
    return x @ layers[-2] + layers[-1]


def _through_jax(task: Task, columns: Callable) -> Step:
    jax = _jax()
    import jax.numpy as jnp

    layers = [jnp.asarray(p.detach().numpy().T) for p in task.parameters]
    x = jnp.asarray(task.points.numpy())
    weights = jnp.asarray(task.weights, x.dtype).reshape(-1, 1, 1)

    def loss(layers, x):
        return ((jnp.stack(columns(layers, x)) * weights) ** 2).sum() / task.batch

    compiled = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(compiled(layers, x))


def _jax_jet(task: Task) -> Step:
    """Propagate Taylor coefficients by jax.experimental.jet, compiled."""
    _jax()
    if task.operator != "all":
        raise Unavailable("only for one input")
    from jax.experimental.jet import jet

    def columns(layers, x):
        series = [x**0] + [0 * x] * (task.order - 1)
        value, terms = jet(partial(_jax_network, layers), (x,), (series,))
        return [value, *terms]

    return _through_jax(task, columns)


def _vmapped(task: Task, apply: Callable) -> Step:
    """Return the step of an operator that acts on a function of one point."""
    import jax

    def columns(layers, x):
        function = lambda point: _jax_network(layers, point)[0]  # noqa: E731
        operated = apply(function)
        for _ in range(task.order // 2 - 1):
            operated = apply(operated)
        return [_jax_network(layers, x), jax.vmap(operated)(x)[:, None]]

    return _through_jax(task, columns)


def _jax_hessian(task: Task) -> Step:
    """Take the trace of jax.hessian, nested for the bilaplacian, compiled."""
    jax = _jax()
    if task.operator == "all":
        raise Unavailable("only for operators")
    return _vmapped(task, lambda function: lambda point: jax.numpy.trace(jax.hessian(function)(point)))


def _folx(task: Task) -> Step:
    """Take the forward Laplacian of folx, compiled."""
    _jax()
    if task.operator != "laplacian":
        raise Unavailable("only for the Laplacian")
    try:
        from folx import forward_laplacian
    except ImportError:
        raise Unavailable(INSTALL) from None
    return _vmapped(task, lambda function: lambda point: forward_laplacian(function)(point).laplacian)


METHODS: dict[str, Callable[[Task], Step]] = {
    "nested": _nested,
    "nested_jvp": _nested_jvp,
    "plain": _plain,
    "partitions": partial(_tangent, rule="partitions"),
    "taylor": partial(_tangent, backend="taylor"),
    "ours": _tangent,
    "one_call": _one_call,
    "jax_jet": _jax_jet,
    "jax_hessian": _jax_hessian,
    "folx": _folx,
}


def flat_gradient(result: tuple[object, object]) -> np.ndarray:
    """Return loss and gradient of any method as one vector.

    Args:
        result: of a step.

    Returns:
        (1 + parameters,) in float64, torch's order of weights.
    """
    loss, gradient = result
    if isinstance(gradient, Tensor):
        parts = [gradient.detach().numpy()]
    elif isinstance(gradient, tuple):
        parts = [part.detach().numpy() for part in gradient]
    else:
        # Weights were handed to JAX transposed, (inputs, outputs), which is how its products are written.
        parts = [np.asarray(part).T for part in gradient]
    value = loss.detach().numpy() if isinstance(loss, Tensor) else np.asarray(loss)
    return np.concatenate([np.ravel(part) for part in (value, *parts)]).astype(np.float64)

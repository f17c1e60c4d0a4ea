"""Standard least-squares problems with their Jacobians, and evaluations of them as an objective offers them.

Source: J. J. More, B. S. Garbow, K. E. Hillstrom, ACM Trans. Math. Softw. 7 (1981) 17-41, whose numbers stand in [].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

Both = tuple[np.ndarray, np.ndarray]


def rosenbrock(x: np.ndarray) -> Both:
    """[1], and [21] where there are more than two unknowns."""
    a, b, n = x[0::2], x[1::2], len(x)
    residual, jacobian = np.empty(n, x.dtype), np.zeros((n, n), x.dtype)
    residual[0::2], residual[1::2] = 10 * (b - a**2), 1 - a
    even = np.arange(0, n, 2)
    jacobian[even, even], jacobian[even, even + 1], jacobian[even + 1, even] = -20 * a, 10, -1
    return residual, jacobian


def freudenstein_roth(x: np.ndarray) -> Both:
    """[2]."""
    a, b = x
    residual = np.array([-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b])
    return residual, np.array([[1, 10 * b - 3 * b**2 - 2], [1, 3 * b**2 + 2 * b - 14]])


def powell_badly_scaled(x: np.ndarray) -> Both:
    """[3]."""
    a, b = x
    residual = np.array([1e4 * a * b - 1, np.exp(-a) + np.exp(-b) - 1.0001])
    return residual, np.array([[1e4 * b, 1e4 * a], [-np.exp(-a), -np.exp(-b)]])


def brown_badly_scaled(x: np.ndarray) -> Both:
    """[4]."""
    a, b = x
    return np.array([a - 1e6, b - 2e-6, a * b - 2]), np.array([[1, 0], [0, 1], [b, a]])


def beale(x: np.ndarray) -> Both:
    """[5]."""
    a, b = x
    power = np.arange(1, 4)
    residual = np.array([1.5, 2.25, 2.625]) - a * (1 - b**power)
    return residual, np.stack([b**power - 1, a * power * b ** (power - 1)], axis=1)


def jennrich_sampson(x: np.ndarray) -> Both:
    """[6] with ten equations."""
    i = np.arange(1, 11)
    first, second = np.exp(i * x[0]), np.exp(i * x[1])
    return 2 + 2 * i - first - second, np.stack([-i * first, -i * second], axis=1)


def helical_valley(x: np.ndarray) -> Both:
    """[7]."""
    a, b, c = x
    square = a**2 + b**2
    radius, angle = np.sqrt(square), np.arctan(b / a) / (2 * np.pi) + (0.5 if a.real < 0 else 0.0)
    turn = 100 / (2 * np.pi * square)
    rows = [[turn * b, -turn * a, 10], [10 * a / radius, 10 * b / radius, 0], [0, 0, 1]]
    return np.array([10 * (c - 10 * angle), 10 * (radius - 1), c]), np.array(rows)


def bard(x: np.ndarray) -> Both:
    """[8]."""
    y = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])
    u = np.arange(1, 16)
    v, w = 16 - u, np.minimum(u, 16 - u)
    below = v * x[1] + w * x[2]
    rows = [-np.ones(15), u * v / below**2, u * w / below**2]
    return y - x[0] - u / below, np.stack(rows, axis=1)


def gaussian(x: np.ndarray) -> Both:
    """[9]."""
    half = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521]
    y, away = np.array([*half, 0.3989, *half[::-1]]), (8 - np.arange(1, 16)) / 2 - x[2]
    bell = np.exp(-x[1] * away**2 / 2)
    return x[0] * bell - y, np.stack([bell, -x[0] * bell * away**2 / 2, x[0] * x[1] * bell * away], axis=1)


def meyer(x: np.ndarray) -> Both:
    """[10]."""
    y = [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872]
    below = 45 + 5 * np.arange(1, 17) + x[2]
    grown = np.exp(x[1] / below)
    return x[0] * grown - y, np.stack([grown, x[0] * grown / below, -x[0] * x[1] * grown / below**2], axis=1)


def box(x: np.ndarray) -> Both:
    """[12] with ten equations."""
    t = 0.1 * np.arange(1, 11)
    first, second, third = np.exp(-t * x[0]), np.exp(-t * x[1]), np.exp(-t) - np.exp(-10 * t)
    return first - second - x[2] * third, np.stack([-t * first, t * second, -third], axis=1)


def powell_singular(x: np.ndarray) -> Both:
    """[13]: the Jacobian is singular at the solution."""
    a, b, c, d = x
    five, ten, left, right = 5**0.5, 10**0.5, 2 * (b - 2 * c), 2 * 10**0.5 * (a - d)
    rows = [[1, 10, 0, 0], [0, 0, five, -five], [0, left, -2 * left, 0], [right, 0, 0, -right]]
    return np.array([a + 10 * b, five * (c - d), (b - 2 * c) ** 2, ten * (a - d) ** 2]), np.array(rows)


def wood(x: np.ndarray) -> Both:
    """[14]."""
    a, b, c, d = x
    large, ten = 90**0.5, 10**0.5
    residual = [10 * (b - a**2), 1 - a, large * (d - c**2), 1 - c, ten * (b + d - 2), (b - d) / ten]
    rows = [[-20 * a, 10, 0, 0], [-1, 0, 0, 0], [0, 0, -2 * large * c, large], [0, 0, -1, 0]]
    return np.array(residual), np.array([*rows, [0, ten, 0, ten], [0, 1 / ten, 0, -1 / ten]])


def kowalik_osborne(x: np.ndarray) -> Both:
    """[15]."""
    y = [0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246]
    u = np.array([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])
    above, below = u**2 + u * x[1], u**2 + u * x[2] + x[3]
    slope = x[0] * above / below**2
    return y - x[0] * above / below, np.stack([-above / below, -x[0] * u / below, slope * u, slope], axis=1)


def brown_dennis(x: np.ndarray) -> Both:
    """[16] with twenty equations."""
    t = np.arange(1, 21) / 5
    left, right = x[0] + t * x[1] - np.exp(t), x[2] + x[3] * np.sin(t) - np.cos(t)
    return left**2 + right**2, 2 * np.stack([left, left * t, right, right * np.sin(t)], axis=1)


def biggs(x: np.ndarray) -> Both:
    """[18] with thirteen equations."""
    t = 0.1 * np.arange(1, 14)
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
    first, second, third = np.exp(-t * x[0]), np.exp(-t * x[1]), np.exp(-t * x[4])
    rows = [-t * x[2] * first, t * x[3] * second, first, -second, -t * x[5] * third, third]
    return x[2] * first - x[3] * second + x[5] * third - y, np.stack(rows, axis=1)


def penalty(x: np.ndarray) -> Both:
    """[23]."""
    weight = 1e-5**0.5
    residual = np.concatenate([weight * (x - 1), [(x**2).sum() - 0.25]])
    return residual, np.concatenate([weight * np.eye(len(x)), 2 * x[None]])


def variably_dimensioned(x: np.ndarray) -> Both:
    """[25]."""
    j = np.arange(1, len(x) + 1)
    total = (j * (x - 1)).sum()
    rows = np.concatenate([np.eye(len(x)), j[None], 2 * total * j[None]])
    return np.concatenate([x - 1, [total, total**2]]), rows


def brown_almost_linear(x: np.ndarray) -> Both:
    """[27]."""
    n = len(x)
    rows = np.eye(n, dtype=x.dtype) + 1
    rows[-1] = [np.prod(np.delete(x, k)) for k in range(n)]
    return np.concatenate([(x + x.sum() - n - 1)[:-1], [np.prod(x) - 1]]), rows


def broyden_tridiagonal(x: np.ndarray) -> Both:
    """[30]."""
    padded = np.concatenate([[0], x, [0]])
    rows = np.diag(3 - 4 * x) - np.eye(len(x), k=-1) - 2 * np.eye(len(x), k=1)
    return (3 - 2 * x) * x - padded[:-2] - 2 * padded[2:] + 1, rows


@dataclass(frozen=True, eq=False)
class Problem:
    """A problem, its standard start and the sums of squares at its minima."""

    function: Callable[[np.ndarray], Both]
    start: tuple[float, ...]
    minima: tuple[float, ...] = (0.0,)

    @property
    def name(self) -> str:
        """Of the function."""
        return self.function.__name__

    def objective(self, vector: torch.Tensor) -> Evaluation:
        """Evaluate lazily at a vector."""
        return Evaluation(self.function, vector.detach().numpy().copy())


class Evaluation:
    """What an optimizer may ask for: value, gradient, residual, Jacobian, Gram matrix, transposed product."""

    def __init__(self, function: Callable[[np.ndarray], Both], x: np.ndarray):
        self.function, self.x = function, x

    @cached_property
    def both(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Residual and Jacobian; what overflows is the optimizer's to survive."""
        with np.errstate(all="ignore"):
            residual, jacobian = self.function(self.x.astype(np.float64))
        like = torch.from_numpy(self.x)
        return torch.from_numpy(residual).to(like), torch.from_numpy(np.asarray(jacobian, np.float64)).to(like)

    @cached_property
    def scaled_residual(self) -> torch.Tensor:
        """(rows,)."""
        return self.both[0]

    @cached_property
    def jacobian(self) -> torch.Tensor:
        """(rows, parameters)."""
        return self.both[1]

    @cached_property
    def value(self) -> torch.Tensor:
        """Sum of squares."""
        return self.scaled_residual.square().sum()

    @cached_property
    def gradient(self) -> torch.Tensor:
        """2 J^T r."""
        return 2 * self.jacobian.T @ self.scaled_residual

    @cached_property
    def gram(self) -> torch.Tensor:
        """J J^T."""
        return self.jacobian @ self.jacobian.T

    def transposed(self, vector: torch.Tensor) -> torch.Tensor:
        """J^T v."""
        return self.jacobian.T @ vector


PROBLEMS = (
    Problem(rosenbrock, (-1.2, 1.0)),
    Problem(freudenstein_roth, (0.5, -2.0), (0.0, 48.98425367924)),
    Problem(powell_badly_scaled, (0.0, 1.0)),
    Problem(brown_badly_scaled, (1.0, 1.0)),
    Problem(beale, (1.0, 1.0)),
    Problem(jennrich_sampson, (0.3, 0.4), (124.36218235561,)),
    Problem(helical_valley, (-1.0, 0.0, 0.0)),
    Problem(bard, (1.0, 1.0, 1.0), (8.2148773065790e-3,)),
    Problem(gaussian, (0.4, 1.0, 0.0), (1.1279327696189e-8,)),
    Problem(meyer, (0.02, 4000.0, 250.0), (87.945855170921,)),
    Problem(box, (0.0, 10.0, 20.0)),
    Problem(powell_singular, (3.0, -1.0, 0.0, 1.0)),
    Problem(wood, (-3.0, -1.0, -3.0, -1.0)),
    Problem(kowalik_osborne, (0.25, 0.39, 0.415, 0.39), (3.0750560385e-4,)),
    Problem(brown_dennis, (25.0, 5.0, -5.0, -1.0), (85822.20162635628,)),
    Problem(biggs, (1.0, 2.0, 1.0, 1.0, 1.0, 1.0), (0.0, 5.6556502e-3)),
    Problem(penalty, (1.0, 2.0, 3.0, 4.0), (2.2499775008999e-5,)),
    Problem(variably_dimensioned, tuple(1 - j / 10 for j in range(1, 11))),
    Problem(brown_almost_linear, (0.5,) * 10, (0.0, 1.0)),
    Problem(broyden_tridiagonal, (-1.0,) * 10),
    Problem(rosenbrock, (-1.2, 1.0) * 10),
)

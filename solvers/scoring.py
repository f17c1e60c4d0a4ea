"""Errors of a network against its problem's solution."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from solvers.domain import Box
from solvers.jet import TIME, Jet
from solvers.operators import AutoDiff
from solvers.operators.operator import Network
from solvers.points import Points
from solvers.problems.problem import Problem

BANDS = ("low", "middle", "high")
EDGES = (5.0, 13.0)
"""Waves across the box at which the middle and the high band begin."""

BLOCK = 4096
"""Points whose derivatives are taken at once."""


@dataclass(frozen=True)
class Errors:
    """What a network's error comes to.

    Args:
        rel_l2: relative L2 error.
        max_error: largest absolute error.
        bands: relative L2 error by frequency, as `BANDS`; the squares sum to that of `rel_l2`.
    """

    rel_l2: float
    max_error: float
    bands: tuple[float, ...]


class Score:
    r"""Errors on the problem's test points, which no training point needs to meet.

    $$ \text{rel\_l2} = \frac{\|u - u^*\|}{\|u^*\|}, \qquad
       b_j = \text{rel\_l2} \Bigl(\frac{\sum_{|k| \in B_j} |\hat e_k|^2}{\sum_k |\hat e_k|^2}\Bigr)^{1/2}, \qquad
       \sum_j b_j^2 = \text{rel\_l2}^2 $$

    over all points and components, u* the problem's solution in float64. Where the problem says what is observed, that
    is u, from exact derivatives of the network. The points and u* are computed once.

    The bands are |k| < 5, 5 <= |k| < 13 and 13 <= |k| full waves across the box in space, |k| the root of the sum of
    squares over its axes: those of PINNacle (arXiv 2306.08827; PDEBench, arXiv 2210.07182, cuts at 4 and 12 in its
    code). There the numbers are means over the modes of a Fourier transform; here they are shares of the error.
    Along a periodic axis e_k is the Fourier transform without the repeated face, along others the cosine transform
    (DCT-I) of half waves, so that its even extension has no jump. That of an error with a slope at the face has a
    kink: of an error of one wave that is zero at the faces 3.3 % lie beyond 4 waves, 0.8 % beyond 12. Times count
    alike. Bands are NaN without a grid of a box: on regions and on scattered points, in more than 3 axes.

    Args:
        problem: must have a solution.
        like: a tensor of the network's dtype and device.

    Raises:
        ValueError: the problem has no solution to compare with, or one of another shape.

    Example:
        >>> from solvers.problems import poisson_1d
        >>> problem = poisson_1d()
        >>> errors = Score(problem, torch.zeros(1).double())(lambda x: problem.solution(x) + torch.cos(8 * math.pi * x))
        >>> [round(value, 3) for value in (errors.rel_l2, errors.max_error, *errors.bands)]
        [1.001, 1.0, 0.0, 1.001, 0.0]
    """

    def __init__(self, problem: Problem, like: Tensor):
        if problem.solution is None:
            raise ValueError(f"{problem.name} has no solution to score against")
        points = problem.test_points()
        self._problem = problem
        self._solution = problem.solution(points).to(like.device)
        columns = problem.components if problem.observed is None else len(problem.observed.names)
        if self._solution.shape != (len(points), columns):
            raise ValueError(
                f"{problem.name}: expected a solution of shape ({len(points)}, {columns}), "
                f"came {tuple(self._solution.shape)}: keep columns, as in x[:, 0:1]"
            )
        self._points = points.to(device=like.device, dtype=like.dtype)

    @property
    def solution_max(self) -> float:
        """Largest absolute value of the solution: `max_error` over it is a pure number, as `solution_floor` is."""
        return float(self._solution.abs().max())

    @torch.no_grad()
    def __call__(self, network: Network) -> Errors:
        """Return the errors of a network.

        Args:
            network: maps (n, axes) to (n, components).

        Returns:
            Relative L2 error, largest absolute error, and the first by frequency.

        Raises:
            ValueError: values, or what is observed of them, of another shape than the solution's.
        """
        observed = self._problem.observed
        values = network(self._points) if observed is None else observed.of(self._jet(network))
        if values.shape != self._solution.shape:
            raise ValueError(
                f"{self._problem.name}: expected values of shape {tuple(self._solution.shape)} to compare with the "
                f"solution, came {tuple(values.shape)}: see the network's outputs, or Problem(observed=...)"
            )
        error = values.double() - self._solution
        relative = float(torch.linalg.vector_norm(error) / torch.linalg.vector_norm(self._solution))
        return Errors(relative, float(error.abs().max()), self._bands(error, relative))

    def _bands(self, error: Tensor, relative: float) -> tuple[float, ...]:
        domain, shape = self._problem.domain, self._problem.test_shape
        if not isinstance(domain, Box) or not shape:
            return (math.nan,) * len(BANDS)
        shares = band_shares(error.reshape(*shape, -1), domain)
        return tuple(relative * math.sqrt(share) for share in shares.tolist())

    def _jet(self, network: Network) -> Jet:
        """Return the jet at all points, block by block: what is observed may need a mean over all of them."""
        axes, partials = self._problem.axes, self._problem.observed.partials
        frozen = _frozen(network)
        jets = [AutoDiff().plan(Points(rows, axes=axes), partials)(frozen) for rows in self._points.split(BLOCK)]
        values = {letters: torch.cat([jet.values[letters] for jet in jets]) for letters in jets[0].values}
        return replace(jets[0], values=values, counts=(len(self._points), 0, 0))


def _frozen(network: Network) -> Network:
    """Return a network whose parameters are no part of any graph: derivatives in x need none of them."""
    if not isinstance(network, nn.Module):
        return network
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    return lambda rows: torch.func.functional_call(network, parameters, (rows,))


def band_shares(error: Tensor, box: Box) -> Tensor:
    """Return which share of an error's mean square each band of frequencies holds.

    With the faces of axes that are not periodic at half weight, and the repeated face of periodic ones left out, the
    squares of the coefficients sum to the mean square (Parseval).

    Args:
        error: on a uniform grid with the faces, (one size an axis, components).
        box: whose axes these are; bands are of space, all times together.

    Returns:
        (3,) numbers that sum to 1, or zeros where there is no error.
    """
    waves, weights = error.new_zeros(()), error.new_ones(())
    # Fourier transforms come last, since their coefficients are complex.
    for axis in sorted(range(len(box.axes)), key=lambda axis: box.axes[axis] in box.periodic):
        if box.axes[axis] == TIME:
            continue
        error, own, count = _transform(error, axis, box.axes[axis] in box.periodic)
        column = [-1 if other == axis else 1 for other in range(len(box.axes))]
        waves, weights = waves + own.square().reshape(column), weights * count.reshape(column)
    power = weights * error.abs().square().sum(dim=-1)
    band = torch.bucketize(waves.sqrt(), waves.new_tensor(EDGES), right=True).expand(power.shape)
    sums = torch.stack([power[band == index].sum() for index in range(len(BANDS))])
    return sums / sums.sum() if sums.sum() != 0 else sums


def _transform(field: Tensor, axis: int, periodic: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return coefficients along an axis, the waves of each, and how often its square counts."""
    size = field.shape[axis]
    if periodic:
        size = max(1, size - 1)
        waves = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64, device=field.device).abs()
        return torch.fft.fft(field.narrow(axis, 0, size), dim=axis), waves, torch.ones_like(waves)
    waves = torch.arange(size, dtype=torch.float64, device=field.device) / 2
    weights = torch.full_like(waves, 2.0)
    weights[[0, -1]] = 1.0
    if size == 1:
        return field, waves, weights
    even = torch.cat([field, field.narrow(axis, 1, size - 2).flip(axis)], dim=axis)
    return torch.fft.rfft(even, dim=axis).real, waves, weights

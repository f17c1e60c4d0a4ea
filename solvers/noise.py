"""The round-off in a matrix of derivatives, measured: differences of the entries between almost equal points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from solvers.jet import TIME
from solvers.points import Points

DIFFERENCES = (1.0, -3.0, 3.0, -1.0)
"""Third differences: a smooth function leaves delta^3 of its third derivative, independent noise sqrt(20) of itself."""

DISPLACEMENT = 0.55
"""delta = 1 to 2 times eps^0.55 of the coordinates' size: eps^1.65 in the third difference, yet millions of ulps."""

GOLDEN = (5**0.5 - 1) / 2
"""Its multiples modulo 1 spread evenly, the same in every run."""

MARGIN = 2.0
"""Floor over the norm of one sample of the round-off."""


def redraw(evaluate: Callable[[Points], Tensor], points: Points) -> Tensor:
    r"""Return a sample of the round-off in a matrix-valued function of the points.

    $$ N = \frac{1}{\sqrt{20}} \sum_{k=0}^{3} (-1)^k \binom{3}{k} A(x + k \delta), \qquad
       \delta = (1 \ldots 2) \, \varepsilon^{0.55} \max |x| $$

    Between points so close the entries do not change but for their rounding, which is drawn anew at each of them. So N
    has the size, and the correlations, of what rounding put into A(x): for any operator, network and precision, and
    without a model of either. What is the same at all points is not seen: a rounded weight or constant moves singular
    values by no more than eps relative and does not lift the small ones. Nor is the noise of a column that changes by
    less than its own rounding over 3 delta.

    Args:
        evaluate: points -> (rows, columns), the entries as the solver computes them, in the points' dtype.
        points: where; the displaced ones may lie outside the domain by 6 eps^0.55.

    Returns:
        (rows, columns), in the entries' unit; its root mean square is that of the round-off.

    Source: J. J. Moré and S. M. Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33 (2011), section 3:
        gamma_3 = (3!)^2 / 6! = 1/20.

    Cost: four evaluations.

    Example:
        >>> points = Points(torch.linspace(0.1, 1.0, 1000)[:, None].double())
        >>> noise = redraw(lambda at: 1e4 + at.interior, points)
        >>> 0.5 < float(noise.square().mean().sqrt()) / (2.0**-39 / 12**0.5) < 2
        True
    """
    rows = points.rows.abs()
    size = rows.amax(dim=0).clamp(min=torch.finfo(rows.dtype).tiny) if len(rows) else rows.new_ones(rows.shape[1])
    step = torch.finfo(rows.dtype).eps ** DISPLACEMENT * size
    sample = sum(factor * evaluate(_moved(points, k * step)) for k, factor in enumerate(DIFFERENCES))
    return sample / 20**0.5


def _moved(points: Points, step: Tensor) -> Points:
    """Move every point by 1 to 2 steps, each by its own factor: a common one can be a whole number of ulps.

    Nodes x times stay that: a node moves alike at all times, a time for all nodes.
    """
    kinds = {kind: getattr(points, kind) for kind in ("interior", "boundary", "initial", "ghost")}
    if points.times is None:
        return replace(points, **{kind: rows + step * _factors(rows) for kind, rows in kinds.items()})
    at = points.axes.index(TIME)
    times = points.times + step[at].to(points.times) * _factors(points.times)[:, 0]

    def moved(kind: str, rows: Tensor) -> Tensor:
        own = times[:1] if kind == "initial" else times
        block = rows.reshape(len(own), -1, rows.shape[1])
        block = block + step * _factors(block[0])
        block[:, :, at] = own.to(rows)[:, None]
        return block.reshape(rows.shape)

    return replace(points, times=times, **{kind: moved(kind, rows) for kind, rows in kinds.items()})


def _factors(rows: Tensor) -> Tensor:
    index = torch.arange(1, len(rows) + 1, dtype=torch.float64, device=rows.device)
    return (1 + (index * GOLDEN) % 1).to(rows.dtype)[:, None]


def noise_norm(sample: Tensor, rows: int | None = None) -> float:
    r"""Return the 2-norm of the round-off, from a sample of all rows or of some.

    $$ \|N\|_2, \qquad \text{from } r \text{ of } m \text{ rows: }
       \|N_r\|_2 \, \frac{\sqrt{m} + \sqrt{n}}{\sqrt{r} + \sqrt{n}} $$

    the second as the norm of independent entries grows. By Weyl's inequality no singular value is moved by more.

    Args:
        sample: (r, n) from `redraw`.
        rows: m, number of rows of the whole matrix; None where the sample has them all.

    Returns:
        In the entries' unit; 0 for an empty sample, NaN where the sample is not finite.

    Cost: O(min(r, n)^2 max(r, n)).

    Example:
        >>> noise_norm(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
        5.0
    """
    held, columns = sample.shape
    if not sample.numel():
        return 0.0
    if not torch.isfinite(sample).all():
        return float("nan")
    # The largest singular value is all that is asked: half its digits, from the smaller Gram matrix, are plenty.
    smaller = sample if held <= columns else sample.T
    scale = sample.abs().max()
    if scale == 0:
        return 0.0
    smaller = (smaller / scale).double()
    norm = float(scale) * float(torch.linalg.eigvalsh(smaller @ smaller.T)[-1].clamp(min=0)) ** 0.5
    return norm * ((rows or held) ** 0.5 + columns**0.5) / (held**0.5 + columns**0.5)


def entry_floor(sample: Tensor, rows: int | None = None) -> float:
    r"""Return the floor that round-off in the entries puts under the singular values: twice `noise_norm`.

    The factor makes up for what one sample misses. Over 48 matrices of tanh and sine features (scales 1, 5 and 20;
    exact derivatives of order 2 and 4, differences of order 2 and 4 and steps 0.1 to 1e-4) the round-off against long
    double arithmetic was 0.4 to 2 times this: above 1 only for order 4, where the weights' own rounding adds a smooth
    error that does not reach the small values.

    Args:
        sample: (r, n) from `redraw`.
        rows: m, number of rows of the whole matrix; None where the sample has them all.

    Returns:
        In the entries' unit; NaN where the sample is not finite.

    Example:
        >>> entry_floor(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
        10.0
    """
    return MARGIN * noise_norm(sample, rows)

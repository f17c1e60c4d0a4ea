"""BFGS with a dense inverse Hessian that is scaled before each update."""

from __future__ import annotations

from dataclasses import dataclass

from solvers.optimizers.self_scaled import SelfScaled


@dataclass(frozen=True)
class SSBFGS(SelfScaled):
    r"""Self-scaled BFGS with a strong Wolfe line search; a step is one search direction. Small networks.

    Before it is updated the Hessian is made smaller where it was too large along the last step, and never larger:

    $$ H_+ = \frac{1}{\tau} \left( H - \frac{H y y^T H}{y^T H y} + y^T H y \, v v^T \right) + \frac{s s^T}{s^T y}, \quad
       v = \frac{s}{s^T y} - \frac{H y}{y^T H y}, \quad \tau = \min\left(1, \frac{s^T y}{s^T H^{-1} s}\right) $$

    and tau = y^T H y / s^T y in the first. Everything else, the end of a run too, is that of `LBFGS`: a failed search
    replaces H by the unit matrix and tries steepest descent. H is float64 beside a float32 loss too, which works and
    ends higher: at 1e-9 for a network where float64 ends at 1e-12.

    Args:
        max_evaluations: of one line search.
        decrease: c_1 of the first Wolfe condition.
        curvature: c_2 of the second.
        tolerance_gradient: largest entry of the gradient that ends the run.
        tolerance_step: largest entry of a step, over the largest of the vector, that ends the run.
        tolerance_change: relative decrease of the loss; less of it counts as none.
        noise: rounding of the loss, relative, below which the search trusts its slopes; None for `loss_rounding`, which
            grows as the loss falls.
        memory_fraction: of the memory at hand that H may take.

    Raises:
        ValueError: an unknown option, a value out of range, or in `init` a matrix too large for the memory.

    Source: M. Al-Baali, J. Optim. Theory Appl. 96 (1998) 533-553; for networks: J. F. Urban, P. Stefanou, J. A. Pons,
        J. Comput. Phys. 523 (2025) 113656.

    Cost: 8 bytes and 1 to 2 flops per entry of H a step, as `InverseHessian`.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> def bowl(x):
        ...     return SimpleNamespace(value=(x**2).sum(), gradient=2 * x)
        >>> optimizer, vector = SSBFGS(), torch.tensor([3.0, 4.0], dtype=torch.float64)
        >>> state = optimizer.init(vector)
        >>> for _ in range(2):
        ...     state, info = optimizer.step(bowl, state)
        >>> float(vector.abs().max()) < 1e-12, info.stopped
        (True, 'gradient below tolerance_gradient = 1e-12')
    """

    def _factors(self, h: float, b: float, size: int, first: bool) -> tuple[float, float]:
        return (h if first else min(1.0, 1 / b)), 1.0

"""Broyden's family with a dense inverse Hessian that is scaled before each update."""

from __future__ import annotations

import math
from dataclasses import dataclass

from solvers.optimizers.quasi_newton import EPS
from solvers.optimizers.self_scaled import SelfScaled

LEAST = 1e-16
"""b h - 1, which Cauchy-Schwarz keeps at 0 or above, but for rounding."""


@dataclass(frozen=True)
class SSBroyden(SelfScaled):
    r"""Self-scaled Broyden methods with a strong Wolfe line search; a step is one search direction. Small networks.

    Each update of H is the member theta of Broyden's family (0 BFGS, 1 DFP) and the factor tau of the Hessian that
    Al-Baali and Khalfan recommend, from h = y^T H y / s^T y and b = s^T H^-1 s / s^T y:

    $$ a = b h - 1, \quad \rho = \min\left(1, h (1 - \sqrt{a / (1 + a)})\right), \quad
       \theta = \max\left(\frac{\rho - 1}{a}, \min\left(\frac{1}{\rho}, \frac{1 - b}{b}\right)\right), \quad
       \sigma = 1 + \theta a $$

    $$ \varphi = \frac{1 - \theta}{\sigma}, \quad \rho_+ = \min(1, 1 / b), \quad
       \tau = \begin{cases} \min(\rho_+ \sigma^{-1/(n-1)}, \sigma) & \theta \le 0 \\
       \rho_+ \min(\sigma^{-1/(n-1)}, 1 / \theta) & \theta > 0 \end{cases} $$

    $$ H_+ = \frac{1}{\tau} \left( H - \frac{H y y^T H}{y^T H y} + \varphi \, y^T H y \, v v^T \right)
       + \frac{s s^T}{s^T y}, \quad v = \frac{s}{s^T y} - \frac{H y}{y^T H y} $$

    and tau = h / sigma in the first. Everything else, the end of a run too, is that of `LBFGS`: a failed search
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

    Source: M. Al-Baali, H. Khalfan, Optim. Methods Softw. 20 (2005) 679-691; for networks: J. F. Urban, P. Stefanou,
        J. A. Pons, J. Comput. Phys. 523 (2025) 113656.

    Cost: 8 bytes and 1 to 2 flops per entry of H a step, as `InverseHessian`.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> def valley(x):
        ...     a, b = 10 * (x[1] - x[0] ** 2), 1 - x[0]
        ...     return SimpleNamespace(value=a * a + b * b, gradient=torch.stack([-40 * a * x[0] - 2 * b, 20 * a]))
        >>> optimizer, vector = SSBroyden(), torch.tensor([-1.2, 1.0], dtype=torch.float64)
        >>> state = optimizer.init(vector)
        >>> for _ in range(60):
        ...     state, info = optimizer.step(valley, state)
        >>> bool((vector - 1).abs().max() < 1e-9)
        True
    """

    def _factors(self, h: float, b: float, size: int, first: bool) -> tuple[float, float]:
        a = max(b * h - 1, LEAST)
        rho = min(1.0, h * (1 - math.sqrt(a / (1 + a))))
        # Below its rounding rho says nothing, and sigma would be 0: the update of BFGS.
        theta = max((rho - 1) / a, min(1 / rho, (1 - b) / b)) if rho > EPS else 0.0
        sigma = 1 + theta * a
        phi = (1 - theta) / sigma
        if first:
            return h / sigma, phi
        smaller = min(1.0, 1 / b)
        spread = sigma ** (-1 / (size - 1)) if size > 1 else 1.0
        tau = min(smaller * spread, sigma) if theta <= 0 else smaller * min(spread, 1 / theta)
        return tau, phi

"""What a solution in closed form is good to: float64, and the rounding of what its sines are taken of."""

from __future__ import annotations

import torch

EXACT_FLOOR = 1e-15
"""Relative error of an exact solution evaluated in float64."""

CLOSED_FORM = "closed form in float64"
"""Origin of such a floor."""


def phase_floor(phase: float) -> float:
    """Return the relative L2 error of sines and cosines of arguments up to `phase`, in float64.

    The product that makes an argument z, and pi in it, are rounded: z is wrong by up to eps |z|, and so is sin z. In
    the root mean square over a domain that is 0.1 to 0.3 eps of the largest |z|, measured against 40 digits on the
    problems here; stated is eps / 2, and 1e-15 at least.

    Args:
        phase: largest argument, in radians.

    Returns:
        The floor.

    Example:
        >>> phase_floor(1.0), round(phase_floor(100.0) * 1e14, 2)
        (1e-15, 1.11)
    """
    return max(EXACT_FLOOR, torch.finfo(torch.float64).eps * abs(phase) / 2)

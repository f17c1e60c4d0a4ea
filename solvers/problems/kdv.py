"""The Korteweg-de Vries equation from a cosine, which breaks into solitons, with a reference computed here."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from solvers.domain import Box
from solvers.functions import cos
from solvers.problems.conditions import initial_value, periodic
from solvers.problems.number import real_number
from solvers.problems.problem import Problem
from solvers.references.kdv import kdv_recipe
from solvers.references.kdv_solution import KdVSolution
from solvers.references.store import fetch


def kdv(dispersion: float = 0.022) -> Problem:
    """Return u_t + u u_x + mu^2 u_xxx = 0 on (-1, 1) x (0, 1), periodic, u(x, 0) = cos(pi x).

    The cosine steepens as in Burgers' equation until t = 1/pi; then dispersion breaks it into a train of solitons. Mass
    and energy, the integrals of u and u^2, stay what they were. The reference is computed once and kept (3 s, 90 kB).

    Others call by the same name, told apart by `settings["dispersion"]` and the box:

    * mu = 0.022, mu^2 = 4.84e-4, the default: N. J. Zabusky and M. D. Kruskal, Phys. Rev. Lett. 15 (1965) 240-243, on
      (0, 2); PINN papers, among them jaxpi, whose file is 3e-11 from the solution here.
    * mu^2 = 0.0025, mu = 0.05: M. Raissi et al., J. Comput. Phys. 378 (2019); thicker, slower solitons.
    * u_t + 6 u u_x + u_xxx = 0 from one or two solitons: another scaling and other initial values, not this problem.

    Args:
        dispersion: mu, not squared.

    Returns:
        The problem.

    Raises:
        ValueError: dispersion below 0.022, where the solitons are too thin for the stated floor, or above 0.1, where
            the time steps no longer follow the dispersion.

    Example:
        >>> [condition.name for condition in kdv().conditions]
        ['periodic', 'periodic_x', 'periodic_xx', 'initial']
    """
    dispersion = real_number("dispersion", dispersion)
    if not 0.022 <= dispersion <= 0.1:
        raise ValueError(
            f"expected dispersion in [0.022, 0.1], where the reference's floor was measured, came {dispersion}; the "
            f"equation has its square before u_xxx"
        )

    reference = kdv_recipe(dispersion)

    @cache
    def evaluator() -> KdVSolution:
        return KdVSolution(fetch(reference)["coefficients"])

    def residual(jet, x, coefficients):
        return jet["t"] + jet[""] * jet["x"] + dispersion**2 * jet["xxx"]

    def solution(x: Tensor) -> Tensor:
        points = x.double().numpy()
        return torch.from_numpy(evaluator()(points[:, 0], points[:, 1]))[:, None]

    return Problem(
        "kdv",
        Box(("x", "t"), (-1.0, 0.0), (1.0, 1.0), periodic=("x",)),
        ("", "x", "xxx", "t"),
        residual,
        (
            periodic("x"),
            periodic("x", "x"),
            periodic("x", "xx"),
            initial_value(lambda x: cos(math.pi * x[:, 0:1])),
        ),
        solution=solution,
        solution_floor=reference.floor,
        test_shape=(201, 51),
        settings={"dispersion": dispersion},
        equation=f"u_t + u u_x + {dispersion:.4g}^2 u_xxx = 0",
        floor_origin=reference.floor_origin,
        reference=reference,
    )

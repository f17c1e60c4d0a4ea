"""How the reference of the lid-driven cavity is computed, and how far it is to be trusted."""

from __future__ import annotations

from solvers.references.cavity_flow import CavityFlow
from solvers.references.cavity_lid import LIDS
from solvers.references.cavity_refinement import refine_cavity
from solvers.references.cavity_solve import solve_cavity
from solvers.references.recipe import Column, Recipe, grid

REYNOLDS = (1.0, 1000.0)

DEGREE = 80
"""Of the polynomials; the corners of a uniform lid need more at high Reynolds numbers, see `degree_of`."""

FLOORS = {
    "classical": ((100.0, 2e-7), (1000.0, 2e-6)),
    "regularised": ((1000.0, 2e-10),),
    "parabolic": ((1000.0, 2e-9),),
}
"""Lid -> (Reynolds number up to which, relative L2 error of the velocity)."""


def degree_of(reynolds: float, lid: str) -> int:
    """Return the degree of the polynomials that a reference is made of.

    Args:
        reynolds: Re.
        lid: of `LIDS`.

    Returns:
        N.

    Example:
        >>> degree_of(1000.0, "classical"), degree_of(1000.0, "regularised")
        (96, 80)
    """
    return 96 if lid == "classical" and reynolds > 400 else DEGREE


def cavity_recipe(reynolds: float, lid: str) -> Recipe:
    """Return how the steady flow in a unit square under a moving lid is computed.

    Galerkin's method with clamped polynomials for the stream function; at the corners of a lid whose speed is not zero
    there, the first singular terms are taken off in closed form. `CavityFlow` evaluates what it computes.

    Args:
        reynolds: Re = lid's largest speed times width / viscosity.
        lid: "classical", "regularised" or "parabolic", see `LIDS`.

    Returns:
        The recipe: 5 to 15 s of CPU, at most 0.8 GB, 150 kB of arrays; the refinement table takes half a minute.

    Raises:
        ValueError: Re outside [1, 1000], where the floor was measured, or an unknown lid.

    Example:
        >>> cavity_recipe(400.0, "regularised").floor
        2e-10
    """
    if lid not in tuple(LIDS):
        told = "; ".join(f"{name!r} moves with {one.formula}" for name, one in LIDS.items())
        raise ValueError(f"unknown lid {lid!r}; expected one of these: {told}")
    low, high = REYNOLDS
    if not low <= reynolds <= high:
        raise ValueError(
            f"expected reynolds in [{low:g}, {high:g}], where the reference's floor was measured, came {reynolds:g}: "
            f"with the width of the square and the largest speed of the lid as units"
        )
    degree = degree_of(reynolds, lid)
    corners = "" if LIDS[lid].degree is None else ", corner singularities taken off"
    return Recipe(
        "cavity",
        {"reynolds": float(reynolds), "lid": lid},
        lambda: _columns(float(reynolds), lid, degree),
        f"Galerkin, clamped polynomials of degree {degree}{corners}, Newton",
        next(floor for limit, floor in FLOORS[lid] if reynolds <= limit),
        _origin(lid),
        lambda: refine_cavity(float(reynolds), lid, degree),
        sampled=lambda arrays: CavityFlow(reynolds, lid, **arrays).velocity(*grid((0.0, 1.0), (0.0, 1.0))),
    )


def _origin(lid: str) -> str:
    if lid == "regularised":
        return "velocity by degree of polynomials; collocation agrees to its own 1e-7"
    return "velocity by degree of polynomials, largest beside the lid's corners"


def _columns(reynolds: float, lid: str, degree: int) -> dict[str, Column]:
    flow = solve_cavity(reynolds, lid, degree)
    told = {
        "stream": "c in psi = sum_mn c_mn P_m(2x - 1) P_n(2y - 1), less the corners' terms",
        "pressure": "c in p = sum_mn c_mn P_m(2x - 1) P_n(2y - 1), less the corners' terms, 0 at the centre",
    }
    return {
        name: (("degree_x", "degree_y"), flow.coefficients[name], {"units": "1", "long_name": text})
        for name, text in told.items()
    }

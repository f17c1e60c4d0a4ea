"""The diffusion or the reaction rate of Allen-Cahn's equation, or both, to be found from noisy measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from solvers.jet import Jet
from solvers.problems.allen_cahn import RATE, allen_cahn
from solvers.problems.inverse_problem import inverse_problem
from solvers.problems.noisy_data import STEP
from solvers.problems.problem import Problem
from solvers.references.allen_cahn_elements import ElementsResolution
from solvers.references.allen_cahn_solution import AllenCahnSolution

BOUNDS = {"diffusion": (0.0, 1.0), "reaction": (0.0, 50.0)}
LETTERS = {"diffusion": "D", "reaction": "r"}
UNKNOWN = {"diffusion": ("diffusion",), "reaction": ("reaction",), "both": ("diffusion", "reaction")}
DISTINCT = 1e10
"""Largest condition of the information; that of the defaults is 300."""
COARSE = ElementsResolution(degree=12, stages=6)
"""What derivatives by the coefficients are taken of: 0.1 s of CPU, and good to 1e-7 in u."""


def inverse_allen_cahn(
    diffusion: float = 1e-3,
    reaction: float = RATE,
    unknown: str = "diffusion",
    measurements: int = 1000,
    noise: float = 0.01,
    seed: int = 0,
    how: str = "trained",
    *,
    start: float | Sequence[float] | None = None,
    bounds: Sequence[float] | Sequence[Sequence[float]] | None = None,
    weight: float = 1.0,
    points: object = None,
) -> Problem:
    r"""Return the problem of finding D, r or both in u_t = D u_xx + r (u - u^3) from values of u with noise.

    The rest is as in `allen_cahn`, initial values and periodicity are known. Measured is the reference at points drawn
    uniformly from (-1, 1) x (0, 1). No unbiased estimate has a standard deviation below `settings["standard_error"]`,
    see `NoisyData`; where both are unknown, those of the inverse of the joint Fisher information. With the defaults it
    is 0.7 % of D or 0.04 % of r. At D = 1e-4 it is 5.9 %: four fifths of the information is then in 20 points, inside
    the layer at x = +-1 and the front.

    Others fit both from a file's values without noise, all over the domain: M. Raissi, J. Mach. Learn. Res. 19 (2018),
    and followers of J. Comput. Phys. 378 (2019). Such a file of 512 modes is wrong by 1.17e-5 and most so in the layer.

    Args:
        diffusion: true D.
        reaction: true r.
        unknown: "diffusion", "reaction" or "both".
        measurements: how many.
        noise: standard deviation over that of the noiseless values, from 0 on.
        seed: of points and noise.
        how: an unknown is "trained", "bounded" or "eliminated", see `Coefficient`.
        start: of the unknown, of D and r where both are; 5 times the true value.
        bounds: low and high of the unknown, a pair for each where both are; (0, 1) for D and (0, 50) for r.
        weight: of the data's mean square in the loss; see `inverse_heat` for why not more.
        points: (n, 2) of the domain to measure at instead.

    Returns:
        The problem.

    Raises:
        ValueError: coefficients that `allen_cahn` refuses or outside their bounds, starts outside them, starts or
            bounds that do not fit the unknowns, fewer than two measurements, negative noise, points outside the domain
            or all where u does not depend on the unknown, or where two unknowns cannot be told apart.

    Cost: 1 s at most, most of it the reference where it is not at hand.

    Example:
        >>> problem = inverse_allen_cahn()
        >>> f"{problem.settings['standard_error']['diffusion'] / problem.coefficients[0].exact:.1%}"
        '0.7%'
    """
    if unknown not in tuple(UNKNOWN):
        raise ValueError(f"expected unknown to be one of {', '.join(UNKNOWN)}, came {unknown!r}: name one of them")
    true = {"diffusion": float(diffusion), "reaction": float(reaction)}
    names = UNKNOWN[unknown]
    starts, limits = _each("start", start, names, 0), _each("bounds", bounds, names, 1)
    known = allen_cahn(diffusion, reaction)
    single = [
        inverse_problem(
            _forward(known, true, name),
            name,
            true[name],
            _residual(true, names),
            measurements=measurements,
            noise=noise,
            seed=seed,
            how=how,
            start=first,
            bounds=BOUNDS[name] if ends is None else ends,
            weight=weight,
            points=points,
        )
        for name, first, ends in zip(names, starts, limits, strict=True)
    ]
    rate = f"{reaction:.4g}" if "reaction" not in names else "r"
    spread = f"{diffusion:.4g}" if "diffusion" not in names else "D"
    told = " and ".join(LETTERS[name] for name in names)
    return replace(
        single[0],
        coefficients=tuple(problem.coefficients[0] for problem in single),
        settings={
            **single[0].settings,
            "unknown": unknown,
            "standard_error": _standard_errors(single, true, names),
        },
        equation=f"u_t = {spread} u_xx + {rate} (u - u^3), {told} unknown",
    )


def _each(what: str, given: object, names: Sequence[str], dimensions: int) -> list:
    """Return what is given for each unknown, None where nothing is."""
    if given is None:
        return [None] * len(names)
    one = np.ndim(given) == dimensions
    if one != (len(names) == 1) or (not one and len(given) != len(names)):
        raise ValueError(
            f"expected {what} for {' and '.join(names)}, came {given!r}: give "
            f"{'one' if len(names) == 1 else 'a sequence with one for each'}"
        )
    return [given] if one else list(given)


def _residual(true: dict[str, float], names: Sequence[str]) -> Callable[[Jet, Tensor, dict], Tensor]:
    def residual(jet, x, coefficients):
        diffusion, reaction = (coefficients[name] if name in names else true[name] for name in true)
        return jet["t"] - diffusion * jet["xx"] + reaction * jet[""] ** 3 - reaction * jet[""]

    return residual


def _forward(known: Problem, true: dict[str, float], name: str) -> Callable[[float], Problem]:
    """Return value -> the problem there: with the reference at the true value, solved coarsely elsewhere."""

    def forward(value: float) -> Problem:
        if value == true[name]:
            return known
        solution = _coarse(**{**true, name: value})
        return replace(known, solution=lambda x: torch.from_numpy(solution(*x.double().numpy().T))[:, None])

    return forward


@lru_cache(maxsize=16)
def _coarse(diffusion: float, reaction: float) -> AllenCahnSolution:
    return AllenCahnSolution.solved(diffusion, reaction, COARSE)


def _standard_errors(single: Sequence[Problem], true: dict[str, float], names: Sequence[str]) -> dict[str, float]:
    """Return the root of the diagonal of the inverse Fisher information."""
    rows = single[0].sets["data"]

    def sensitivity(name: str) -> np.ndarray:
        forward = _forward(single[0], true, name)
        ahead, behind = (forward(true[name] * (1 + sign * STEP)).solution(rows) for sign in (1, -1))
        return ((ahead - behind) / (2 * STEP)).numpy()[:, 0]

    relative = np.array([sensitivity(name) for name in names])
    information = relative @ relative.T
    if np.linalg.cond(information) > DISTINCT:
        raise ValueError(
            f"expected points where {' and '.join(names)} change u differently, came {len(rows)} that do not tell them "
            f"apart: measure at other places and times too"
        )
    inverse = np.linalg.inv(information)
    deviation = single[0].settings["deviation"]
    return {
        name: deviation * true[name] * float(np.sqrt(entry))
        for name, entry in zip(names, np.diag(inverse), strict=True)
    }

"""Problems with exact or certified solutions, by the name that `pinnscope run` takes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from solvers.problems.allen_cahn import allen_cahn as allen_cahn
from solvers.problems.biharmonic import biharmonic_1d as biharmonic_1d
from solvers.problems.biharmonic import biharmonic_2d as biharmonic_2d
from solvers.problems.burgers import burgers as burgers
from solvers.problems.heat import heat as heat
from solvers.problems.helmholtz import helmholtz as helmholtz
from solvers.problems.nonlinear_poisson import nonlinear_poisson_1d as nonlinear_poisson_1d
from solvers.problems.nonlinear_poisson import nonlinear_poisson_2d as nonlinear_poisson_2d
from solvers.problems.poisson import poisson_1d as poisson_1d
from solvers.problems.poisson import poisson_2d as poisson_2d
from solvers.problems.problem import Coefficient as Coefficient
from solvers.problems.problem import Condition as Condition
from solvers.problems.problem import Problem as Problem

PROBLEMS: Mapping[str, Callable[..., Problem]] = MappingProxyType(
    {
        "allen-cahn": allen_cahn,
        "biharmonic-1d": biharmonic_1d,
        "biharmonic-2d": biharmonic_2d,
        "burgers": burgers,
        "heat": heat,
        "helmholtz": helmholtz,
        "nonlinear-poisson-1d": nonlinear_poisson_1d,
        "nonlinear-poisson-2d": nonlinear_poisson_2d,
        "poisson-1d": poisson_1d,
        "poisson-2d": poisson_2d,
    }
)
"""Name -> function that makes the problem; its arguments are the options a TOML file may give."""

__all__ = [
    "PROBLEMS",
    "Coefficient",
    "Condition",
    "Problem",
    "allen_cahn",
    "biharmonic_1d",
    "biharmonic_2d",
    "burgers",
    "heat",
    "helmholtz",
    "nonlinear_poisson_1d",
    "nonlinear_poisson_2d",
    "poisson_1d",
    "poisson_2d",
]

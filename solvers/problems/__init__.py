"""Problems with exact or certified solutions, by the name that `pinnscope run` takes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from solvers.problems.advection import advection as advection
from solvers.problems.allen_cahn import allen_cahn as allen_cahn
from solvers.problems.ball_poisson import ball_poisson as ball_poisson
from solvers.problems.biharmonic import biharmonic_1d as biharmonic_1d
from solvers.problems.biharmonic import biharmonic_2d as biharmonic_2d
from solvers.problems.burgers import burgers as burgers
from solvers.problems.cavity import cavity as cavity
from solvers.problems.cavity import stream_cavity as stream_cavity
from solvers.problems.coefficient import Coefficient as Coefficient
from solvers.problems.disk_heat import disk_heat as disk_heat
from solvers.problems.disk_poisson import disk_nonlinear_poisson as disk_nonlinear_poisson
from solvers.problems.disk_poisson import disk_poisson as disk_poisson
from solvers.problems.heat import heat as heat
from solvers.problems.helmholtz import helmholtz as helmholtz
from solvers.problems.holed_poisson import holed_poisson as holed_poisson
from solvers.problems.inverse_allen_cahn import inverse_allen_cahn as inverse_allen_cahn
from solvers.problems.inverse_burgers import inverse_burgers as inverse_burgers
from solvers.problems.inverse_heat import inverse_heat as inverse_heat
from solvers.problems.kdv import kdv as kdv
from solvers.problems.measurements import measured as measured
from solvers.problems.multiscale_poisson import multiscale_poisson as multiscale_poisson
from solvers.problems.nonlinear_poisson import nonlinear_poisson_1d as nonlinear_poisson_1d
from solvers.problems.nonlinear_poisson import nonlinear_poisson_2d as nonlinear_poisson_2d
from solvers.problems.plate import disk_plate as disk_plate
from solvers.problems.poisson import poisson_1d as poisson_1d
from solvers.problems.poisson import poisson_2d as poisson_2d
from solvers.problems.poisson_nd import poisson_5d as poisson_5d
from solvers.problems.poisson_nd import poisson_10d as poisson_10d
from solvers.problems.problem import Condition as Condition
from solvers.problems.problem import Problem as Problem
from solvers.problems.residual_derivatives import residual_derivatives as residual_derivatives
from solvers.problems.selfsimilar_burgers import selfsimilar_burgers as selfsimilar_burgers
from solvers.problems.square_plate import plate as plate
from solvers.problems.wave import wave as wave

PROBLEMS: Mapping[str, Callable[..., Problem]] = MappingProxyType(
    {
        "advection": advection,
        "allen-cahn": allen_cahn,
        "ball-poisson": ball_poisson,
        "biharmonic-1d": biharmonic_1d,
        "biharmonic-2d": biharmonic_2d,
        "burgers": burgers,
        "cavity": cavity,
        "disk-heat": disk_heat,
        "disk-nonlinear-poisson": disk_nonlinear_poisson,
        "disk-plate": disk_plate,
        "disk-poisson": disk_poisson,
        "heat": heat,
        "helmholtz": helmholtz,
        "holed-poisson": holed_poisson,
        "inverse-allen-cahn": inverse_allen_cahn,
        "inverse-burgers": inverse_burgers,
        "inverse-heat": inverse_heat,
        "kdv": kdv,
        "multiscale-poisson": multiscale_poisson,
        "nonlinear-poisson-1d": nonlinear_poisson_1d,
        "nonlinear-poisson-2d": nonlinear_poisson_2d,
        "plate": plate,
        "poisson-1d": poisson_1d,
        "poisson-2d": poisson_2d,
        "poisson-5d": poisson_5d,
        "poisson-10d": poisson_10d,
        "selfsimilar-burgers": selfsimilar_burgers,
        "stream-cavity": stream_cavity,
        "wave": wave,
    }
)
"""Name -> function that makes the problem; its arguments are the options a TOML file may give."""

__all__ = [
    "PROBLEMS",
    "Coefficient",
    "Condition",
    "Problem",
    "advection",
    "allen_cahn",
    "ball_poisson",
    "biharmonic_1d",
    "biharmonic_2d",
    "burgers",
    "cavity",
    "disk_heat",
    "disk_nonlinear_poisson",
    "disk_plate",
    "disk_poisson",
    "heat",
    "helmholtz",
    "holed_poisson",
    "inverse_allen_cahn",
    "inverse_burgers",
    "inverse_heat",
    "kdv",
    "measured",
    "multiscale_poisson",
    "nonlinear_poisson_1d",
    "nonlinear_poisson_2d",
    "plate",
    "poisson_1d",
    "poisson_2d",
    "poisson_5d",
    "poisson_10d",
    "residual_derivatives",
    "selfsimilar_burgers",
    "stream_cavity",
    "wave",
]

"""Solutions without a closed form: how each is computed, how good it is, and where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from solvers.references.recipe import Recipe

REYNOLDS = (100, 400, 1000)
LIDS = ("classical", "regularised")


def _allen_cahn() -> Recipe:
    from solvers.references.allen_cahn import allen_cahn_recipe

    return allen_cahn_recipe(1e-4)


def _burgers() -> Recipe:
    from solvers.references.cole_hopf import burgers_recipe

    return burgers_recipe()


def _cavity(reynolds: int, lid: str) -> Recipe:
    from solvers.references.cavity import cavity_recipe

    return cavity_recipe(float(reynolds), lid)


def _kdv() -> Recipe:
    from solvers.references.kdv import kdv_recipe

    return kdv_recipe()


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "allen-cahn": _allen_cahn,
    "burgers": _burgers,
    **{f"cavity-{reynolds}-{lid}": partial(_cavity, reynolds, lid) for lid in LIDS for reynolds in REYNOLDS},
    "kdv": _kdv,
}
"""Name -> recipe of the default variant, as `python -m analyses.references` takes it; without arrays for a formula."""

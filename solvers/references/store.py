"""Where references are kept: in memory, in the checkout, in the user's cache; else they are computed."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from solvers.references.netcdf import UnusableReferenceError, file_name, read, write
from solvers.references.recipe import Recipe
from solvers.references.reference import Reference, compute

CACHE = "PINNSCOPE_CACHE"
"""Environment variable: a folder instead of the user's cache directory."""

_known: dict[str, Reference] = {}
_refused: set[Path] = set()


def fetch(recipe: Recipe) -> dict[str, np.ndarray]:
    """Return the arrays of a reference, from where they are kept or computed now.

    Args:
        recipe: which.

    Returns:
        Name -> values, as `compute` gives them; read-only.
    """
    if recipe.key not in _known:
        _known[recipe.key] = obtain(recipe)
    return dict(_known[recipe.key].arrays)


def obtain(recipe: Recipe) -> Reference:
    """Return a reference from the checkout or the cache, or compute it and keep it in the cache.

    Warns where a file is unusable, and once where the cache cannot be written: then the reference lives in memory only.

    Args:
        recipe: which.

    Returns:
        The reference; a formula without arrays is kept nowhere.
    """
    kept = find(recipe)
    if kept is not None:
        return kept
    reference = compute(recipe)
    return keep(recipe, reference) if reference.columns else reference


def find(recipe: Recipe) -> Reference | None:
    """Return a reference that is kept in the checkout or in the cache.

    Args:
        recipe: which.

    Returns:
        The reference, None where no usable file is there.
    """
    for folder, remedy in ((committed_folder(), "is left out"), (cache_folder(), "will be computed anew")):
        path = folder / file_name(recipe)
        try:
            return read(path, recipe)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnusableReferenceError) as error:
            warnings.warn(f"the reference in {path} {remedy}: {error}", stacklevel=2)
    return None


def keep(recipe: Recipe, reference: Reference) -> Reference:
    """Write a reference into the cache, in place of what is there.

    Args:
        recipe: of it.
        reference: computed by it.

    Returns:
        The same, with its path if it could be written.
    """
    folder = cache_folder()
    try:
        return Reference(reference.columns, reference.seconds, write(folder, recipe, reference))
    except OSError as error:
        if folder not in _refused:
            _refused.add(folder)
            warnings.warn(
                f"references cannot be kept in {folder} and will be computed by every process: {error}; "
                f"name a folder that can be written in {CACHE}",
                stacklevel=2,
            )
        return reference


def cache_folder() -> Path:
    """Return the folder of references in the user's cache.

    Returns:
        `references` in the folder that PINNSCOPE_CACHE names, or in the cache directory of the operating system.
    """
    named = os.environ.get(CACHE)
    return (Path(named).expanduser() if named else user_cache_path("pinnscope", appauthor=False)) / "references"


def committed_folder() -> Path:
    """Return the folder of references that a checkout carries; an installed package has none.

    Returns:
        `data/references` beside the package `solvers`.
    """
    # From here, since `import solvers` would reach up the layers.
    return Path(__file__).resolve().parents[2] / "data" / "references"

"""What an export made, and what it could not take along."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

INDICES = ("evaluation", "step")


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Args:
        files: that were written.
        left_out: what has no place in the format, "stream/variable" each.

    Example:
        >>> Exported(("run.nc",)).left_out
        ()
    """

    files: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def chosen(tree: xr.DataTree, streams: Sequence[str] | None) -> dict[str, xr.Dataset]:
    """Return the groups of a trajectory that are to be exported.

    Args:
        tree: from `open_trajectory`.
        streams: their names, None for all.

    Returns:
        Datasets by name, not loaded.

    Raises:
        ValueError: a name is none of the trajectory's.

    Example:
        >>> tree = xr.DataTree.from_dict({"series": xr.Dataset({"loss": ("step", [1.0])})})
        >>> list(chosen(tree, None))
        ['series']
    """
    for name in streams or ():
        if name not in tree.children:
            there = ", ".join(sorted(tree.children)) or "none"
            raise ValueError(f"expected a stream of the trajectory ({there}), came {name!r}: name one of them")
    return {name: tree[name].to_dataset(inherit=False) for name in sorted(streams or tree.children)}


def index_of(dataset: xr.Dataset) -> str | None:
    """Return the dimension that the rows of a stream lie along.

    Args:
        dataset: a group.

    Returns:
        "step" or "evaluation"; None for arrays that do not grow.

    Example:
        >>> index_of(xr.Dataset({"loss": ("step", [1.0])}))
        'step'
    """
    return next((name for name in INDICES if name in dataset.sizes), None)


def new_folder(folder: str, overwrite: bool) -> None:
    """Make a folder, or make sure that one may be written into.

    Args:
        folder: its path.
        overwrite: allow one that has something in it; what an export does not write itself stays there.

    Raises:
        FileExistsError: there is a file of that name, or something in the folder.
    """
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise FileExistsError(f"{folder} is a file; expected a new folder: choose another name")
    if os.path.isdir(folder) and os.listdir(folder) and not overwrite:
        raise FileExistsError(f"{folder} is not empty; expected a new folder: choose another name or pass --overwrite")
    os.makedirs(folder, exist_ok=True)


def new_file(path: str, overwrite: bool) -> None:
    """Make sure that a file may be written.

    Args:
        path: of the file.
        overwrite: allow one that exists.

    Raises:
        FileExistsError: it exists, or a directory of that name.
    """
    if os.path.isdir(path) or (os.path.exists(path) and not overwrite):
        raise FileExistsError(f"{path} exists; expected a new file: choose another name or pass --overwrite")

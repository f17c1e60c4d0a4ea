"""A reference that has been computed: its arrays, what they cost, and where they lie."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from solvers.references.recipe import Column, Recipe


@dataclass(frozen=True, eq=False)
class Reference:
    """The arrays that a reference solution is evaluated from.

    Args:
        columns: name -> (dimensions, values, attributes); integers and real numbers, finite.
        seconds: of CPU time that they took.
        path: of the file that holds them, None where there is none.

    Example:
        >>> half = Reference({"c": (("mode",), np.array([0.5]), {"units": "1", "long_name": "amplitude"})}, 0.0)
        >>> half.content[:12]
        'c2fa438bf15c'
    """

    columns: Mapping[str, Column]
    seconds: float
    path: Path | None = None

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Name -> values."""
        return {name: values for name, (_, values, _) in self.columns.items()}

    @cached_property
    def content(self) -> str:
        """SHA-256 over names, dimensions, types, shapes and bytes of all arrays, in the order of their names.

        It tells one computation from another. Other processors and libraries round otherwise, so the same recipe may
        give another content; what is computed is told by the recipe's key.
        """
        digest = hashlib.sha256()
        for name in sorted(self.columns):
            dimensions, values, _ = self.columns[name]
            told = [name, list(dimensions), values.dtype.newbyteorder("<").str, list(values.shape)]
            digest.update(json.dumps(told).encode())
            digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def departures(self) -> list[str]:
        """Return what is wrong with the arrays.

        Returns:
            A line each, empty for arrays that can be kept.
        """
        found, sizes = [], {}
        for name, (dimensions, values, attributes) in self.columns.items():
            if values.dtype.kind not in "fiu":
                found.append(f"{name}: expected integers or real numbers, came {values.dtype}")
            elif not np.isfinite(values).all():
                found.append(f"{name}: expected finite values, came {np.count_nonzero(~np.isfinite(values))} others")
            if len(dimensions) != values.ndim:
                found.append(f"{name}: expected a name for each of {values.ndim} dimensions, came {dimensions}")
            found += [
                f"{name}: expected the attribute {one}" for one in ("units", "long_name") if one not in attributes
            ]
            for dimension, size in zip(dimensions, values.shape, strict=False):
                if sizes.setdefault(dimension, size) != size:
                    found.append(f"{name}: expected {sizes[dimension]} along {dimension}, came {size}")
        return found


def compute(recipe: Recipe) -> Reference:
    """Compute a reference, and refuse what cannot be one.

    Args:
        recipe: of it.

    Returns:
        The reference, in memory alone; its arrays are read-only.

    Raises:
        ValueError: complex, non-finite or misnamed arrays.
    """
    begun = time.process_time()
    columns = {}
    for name, (dimensions, values, attributes) in recipe.compute().items():
        values = np.array(values, order="C")
        values.flags.writeable = False
        columns[name] = (tuple(dimensions), values, dict(attributes))
    reference = Reference(columns, time.process_time() - begun)
    if found := reference.departures():
        raise ValueError(f"the reference {recipe.name} came out wrong: {'; '.join(found)}; mend its recipe's compute")
    return reference

"""A reference file as two axes and the values over them, found by their names or, failing that, by their shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyses.reproduce.reference_files_formats import arrays

NAMES = {
    "x": ("x", "xx", "x_star", "xs", "grid_x"),
    "t": ("t", "tt", "t_star", "ts", "time", "times", "grid_t"),
    "u": ("usol", "u", "uu", "exact", "u_exact", "solution", "sol", "u_ref", "u_star", "uexact"),
}
"""What x, t and u are usually called, in small letters."""

UNEVEN = 1e-3
"""Of its spacing that a point of a uniform axis may be off: axes are written in single precision, too."""
MOST = 4_000_000
"""Values; more take minutes to compare."""


@dataclass(frozen=True, eq=False)
class ReferenceFile:
    """Values on a uniform grid, as a file holds them.

    Args:
        name: of the file, without its folder.
        sha256: of its bytes.
        x: (nx,) float64, uniform and increasing.
        t: (nt,) float64, uniform and increasing.
        u: (nx, nt) float64.
        taken: which arrays were taken for x, t and u, and how.
        rounding: relative spacing of the numbers as they are stored.
    """

    name: str
    sha256: str
    x: np.ndarray
    t: np.ndarray
    u: np.ndarray
    taken: str
    rounding: float

    @property
    def square(self) -> bool:
        """Whether the shapes alone do not tell x from t."""
        return len(self.x) == len(self.t)

    def transposed(self) -> ReferenceFile:
        """Return the same with rows and columns of the values exchanged, where there are as many x as t.

        Returns:
            A file.
        """
        taken = f"{self.taken}, transposed"
        return ReferenceFile(self.name, self.sha256, self.x, self.t, self.u.T, taken, self.rounding)


def read_reference(path: Path) -> ReferenceFile:
    """Read a reference solution u(x, t).

    Args:
        path: of a .mat (also version 7.3), .npz, .npy or .csv file: either two axes and a matrix, or a list of points
            with a value each.

    Returns:
        The file's content.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file, x, t and u cannot be told, shapes that do not match, values that are not real
            numbers or not finite, axes that are not uniform and increasing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file, came {'a folder' if path.is_dir() else 'nothing'}")
    try:
        found = {name: np.squeeze(values) for name, values in arrays(path).items() if np.size(values) > 1}
        names, x, t, u = _matrix(found) if _points(found) is None else _lattice(*_points(found))
        rounding = float(np.finfo(_real(u, names[2]).dtype).eps)
        x, t = _axis(x, names[0]), _axis(t, names[1])
        u, turned = _oriented(np.asarray(u, dtype=np.float64), len(x), len(t), names)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    taken = f"x = {names[0]} ({len(x)}), t = {names[1]} ({len(t)}), u = {names[2]} as {turned}"
    return ReferenceFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), x, t, u, taken, rounding)


def _named(found: Mapping[str, np.ndarray], role: str) -> str | None:
    small = {name.lower(): name for name in found}
    return next((small[name] for name in NAMES[role] if name in small), None)


def _matrix(found: Mapping[str, np.ndarray]) -> tuple[tuple[str, str, str], np.ndarray, np.ndarray, np.ndarray]:
    """Return names and values of x, t and u where u is a matrix."""
    told = "arrays: " + ", ".join(f"{name} {values.dtype}{values.shape}" for name, values in found.items())
    u = _named({name: values for name, values in found.items() if values.ndim == 2}, "u")
    if u is None:
        grids = [name for name, values in found.items() if values.ndim == 2]
        if len(grids) != 1:
            raise ValueError(f"expected one matrix, u, by one of the names {', '.join(NAMES['u'])}; came {told}")
        u = grids[0]
    axes = {name: line for name, values in found.items() if name != u and (line := _line(values)) is not None}
    x, t = _named(axes, "x"), _named(axes, "t")
    others = [name for name in axes if name not in (x, t) and len(axes[name]) in found[u].shape]
    if x is None and t is None and len(others) == 2:
        # Times begin at 0 or later, positions at -1.
        others.sort(key=lambda name: axes[name].min())
        if axes[others[0]].min() < 0 <= axes[others[1]].min():
            x, t = others
    elif len(others) == 1:
        x, t = x or others[0], t or others[0]
    if x is None or t is None or x == t:
        raise ValueError(
            f"expected two axes as long as the matrix {u} has rows and columns, by names such as x and t; came {told}: "
            f"rename them in the file"
        )
    return (x, t, u), axes[x], axes[t], found[u]


def _line(values: np.ndarray) -> np.ndarray | None:
    """Return an axis from a vector, or from a matrix of mesh points that repeats it; None for anything else."""
    if values.ndim == 1:
        return values
    if values.ndim == 2 and values.dtype.kind in "fiu":
        for line, same in ((values[0], values == values[:1]), (values[:, 0], values == values[:, :1])):
            if same.all():
                return line
    return None


def _points(found: Mapping[str, np.ndarray]) -> tuple[tuple[str, str, str], np.ndarray, np.ndarray, np.ndarray] | None:
    """Return names and columns of x, t and u where these are a list of points, else None."""
    for name, values in found.items():
        if values.ndim == 2 and values.shape[1] == 3 and len(values) > 30 and len(found) == 1:
            return tuple(f"{name}[:, {column}]" for column in range(3)), *values.T
        u = next((key for key in found if found[key].shape == values.shape[:1] and key != name), None)
        if values.ndim == 2 and values.shape[1] == 2 and len(values) > 30 and u is not None:
            return (f"{name}[:, 0]", f"{name}[:, 1]", u), *values.T, found[u]
    x, t, u = (_named(found, role) for role in "xtu")
    if None not in (x, t, u) and found[x].ndim == 1 and found[x].shape == found[t].shape == found[u].shape:
        return (x, t, u), found[x], found[t], found[u]
    return None


def _lattice(
    names: tuple[str, str, str], x: np.ndarray, t: np.ndarray, u: np.ndarray
) -> tuple[tuple[str, str, str], np.ndarray, np.ndarray, np.ndarray]:
    lines = [np.unique(_checked(values, name), return_inverse=True) for values, name in ((x, names[0]), (t, names[1]))]
    (xs, row), (ts, column) = lines
    if len(xs) * len(ts) != len(u) or len(set(zip(row.tolist(), column.tolist(), strict=True))) != len(u):
        raise ValueError(
            f"expected a value at every point of a grid in {names[0]} and {names[1]}, came {len(u)} values of "
            f"{names[2]} at {len(xs)} x {len(ts)} coordinates"
        )
    matrix = np.empty((len(xs), len(ts)), dtype=np.asarray(u).dtype)
    matrix[row, column] = u
    return names, xs, ts, matrix


def _real(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind != "f" or values.dtype.itemsize < 4:
        raise ValueError(f"{name} is {values.dtype}; expected real numbers of at least single precision: convert it")
    return values


def _checked(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(_real(values, name), dtype=np.float64)
    if bad := int(np.size(values) - np.isfinite(values).sum()):
        first = tuple(int(index) for index in np.argwhere(~np.isfinite(values))[0])
        raise ValueError(f"{name} has {bad} values that are NaN or infinite, the first at {first}: mend the file")
    return values


def _axis(values: np.ndarray, name: str) -> np.ndarray:
    values = _checked(values, name)
    steps = np.diff(values)
    if np.all(steps < 0):
        raise ValueError(f"{name} decreases; expected increasing: reverse it together with the values")
    if not np.all(steps > 0):
        where = int(np.argmax(steps <= 0))
        raise ValueError(f"{name} is not in order at index {where}: sort it together with the values")
    if np.ptp(steps) > UNEVEN * steps.mean():
        raise ValueError(
            f"{name} is not uniform, its steps are {steps.min():.3g} to {steps.max():.3g}: interpolate to a "
            f"uniform grid"
        )
    return values


def _oriented(u: np.ndarray, nx: int, nt: int, names: tuple[str, str, str]) -> tuple[np.ndarray, str]:
    u = _checked(u, names[2])
    if u.size > MOST:
        raise ValueError(f"{names[2]} has {u.size:,} values; expected at most {MOST:,}: take every so many-th")
    if u.shape == (nx, nt):
        return u, "(x, t)"
    if u.shape == (nt, nx):
        return u.T, "(t, x)"
    raise ValueError(
        f"{names[2]} is {u.shape}, but {names[0]} has {nx} points and {names[1]} has {nt}: expected ({nx}, {nt}) or "
        f"({nt}, {nx})"
    )

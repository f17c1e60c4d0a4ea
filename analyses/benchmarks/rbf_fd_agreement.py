"""How far RBF-FD weights lie from those of others: the paper's authors, and treverhines-rbf."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.sparse

from analyses.terminal import table
from solvers.operators import RBFFD
from solvers.points import Points
from solvers.stencils import Recipe, stencil_weights

TOLERANCE = 1e-8
AUTHORS = (2, 3, 4, 5)
PEER = ((2, 2), (2, 3), (2, 4), (2, 5), (2, 6), (3, 2), (3, 3), (3, 4))
"""Dimension and order."""
QUICK = ((2, 2), (3, 2))
INSTALL = "not installed: pip install treverhines-rbf in an interpreter, and give it by --peer"
CHILD = """
import json, sys
import numpy as np
try:
    from rbf.pde.fd import weight_matrix
except ImportError:
    print("absent")
    sys.exit()
for path in json.loads(sys.argv[1]):
    given = np.load(path)
    diffs = [tuple(int(k) for k in row) for row in given["powers"]]
    options = dict(phi="phs%d" % given["exponent"], order=int(given["degree"]))
    found = weight_matrix(given["targets"], given["nodes"], int(given["size"]), diffs, **options).tocsr()
    np.savez(path + ".found.npz", data=found.data, indices=found.indices, indptr=found.indptr, shape=found.shape)
print("done")
"""


def authors_rows(folder: Path, order: int) -> dict[str, float]:
    """Compare with the matrices that the paper's authors' own routines make, where their stencils are centred.

    Args:
        folder: of the reference files.
        order: p.

    Returns:
        Largest relative difference of a row of the Laplacian and of the Robin operator, and the number of the former.
    """
    data = np.load(folder / "reference" / "rbf_fd_disk" / f"authors_p{order}_n582.npz")
    normals = data["n"] / np.linalg.norm(data["n"], axis=1, keepdims=True)
    points = Points(data["Xi"], data["Xb"], ghost=data["Xg"], normals=normals, axes="xy")
    centred = data["cen"].ravel() - 1
    laplacian = RBFFD(order).plan(points, ["laplacian"]).matrix("laplacian")
    robin = RBFFD(order).plan(points.only("boundary"), ["n", ""]).combine({"n": 1.0, "": 1.0})
    return {
        "laplacian": row_difference(laplacian[centred], _matrix(data, "L1_")[centred]),
        "robin": row_difference(robin, _matrix(data, "B1_")),
        "rows": len(centred),
    }


def _matrix(data: Mapping[str, np.ndarray], prefix: str = "") -> scipy.sparse.csr_array:
    parts = tuple(data[prefix + name] for name in ("data", "indices", "indptr"))
    return scipy.sparse.csr_array(parts, shape=tuple(data[prefix + "shape"]))


def row_difference(first: scipy.sparse.csr_array, second: scipy.sparse.csr_array) -> float:
    """Return the largest difference of an entry, relative to the largest entry of its row of the second matrix.

    Args:
        first: (rows, columns).
        second: the same shape.

    Returns:
        Maximum over the rows.

    Example:
        >>> row_difference(scipy.sparse.csr_array([[1.0, 3.0]]), scipy.sparse.csr_array([[1.0, 4.0]]))
        0.25
    """
    largest = abs(second).max(axis=1).toarray().ravel()
    return float((abs(first - second).max(axis=1).toarray().ravel() / largest).max())


def peer_rows(python: str, cases: tuple[tuple[int, int], ...], count: int) -> list[dict[str, object]] | str:
    """Compare the Laplacian's weights with treverhines-rbf's, on the same nodes, stencils, splines and polynomials.

    Args:
        python: interpreter that has the package.
        cases: dimension and order of each.
        count: number of nodes, uniformly random on a jittered grid so that no two are equally far.

    Returns:
        A row a case with the largest relative difference; or why there is none.
    """
    rows, paths, ours = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for dimension, order in cases:
            nodes = jittered(dimension, count)
            recipe = Recipe.of(order=order, derivative=2, dimension=dimension)
            powers = 2 * np.eye(dimension, dtype=int)
            laplacian = {tuple(row): 1.0 for row in powers.tolist()}
            index, weights = stencil_weights(nodes, nodes, recipe, [laplacian])
            starts = np.arange(0, index.size + 1, recipe.size)
            ours.append(scipy.sparse.csr_array((weights[0].ravel(), index.ravel(), starts), shape=(len(nodes),) * 2))
            paths.append(str(Path(folder) / f"{dimension}_{order}.npz"))
            given = {"nodes": nodes, "targets": nodes, "powers": powers, "size": recipe.size}
            np.savez(paths[-1], **given, exponent=recipe.exponent, degree=recipe.degree)
            rows.append({"dimension": dimension, "order": order, "exponent": recipe.exponent, "size": recipe.size})
        try:
            found = subprocess.run([python, "-c", CHILD, json.dumps(paths)], capture_output=True, text=True)
        except OSError as error:
            return f"{python} failed: {error}"
        if found.returncode or not found.stdout.strip():
            return f"{python} failed: {(found.stderr.strip().splitlines() or ['it said nothing'])[-1]}"
        if found.stdout.split()[-1] == "absent":
            return INSTALL
        for row, path, own in zip(rows, paths, ours, strict=True):
            row["laplacian"] = row_difference(own, _matrix(np.load(f"{path}.found.npz")))
    return rows


def jittered(dimension: int, count: int, seed: int = 0) -> np.ndarray:
    """Return the points of a grid on the unit cube, each moved by up to 0.3 of its spacing along every axis.

    Args:
        dimension: d.
        count: about how many.
        seed: of the moves.

    Returns:
        (k^d, d).
    """
    side = round(count ** (1 / dimension))
    line = (np.arange(side) + 0.5) / side
    grid = np.stack(np.meshgrid(*[line] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    return grid + np.random.default_rng(seed).uniform(-0.3, 0.3, grid.shape) / side


def measure(quick: bool, peer: str | None) -> dict[str, object]:
    """Compare with whatever is at hand.

    Args:
        quick: fewer orders and nodes.
        peer: interpreter that has treverhines-rbf; None tries this one.

    Returns:
        Rows of both comparisons, or a text that says why there are none.
    """
    shared = os.environ.get("PINNSCOPE_SHARED")
    authors: list[dict[str, object]] | str = "PINNSCOPE_SHARED is not set: the authors' matrices are not at hand"
    if shared:
        authors = [{"order": order} | authors_rows(Path(shared), order) for order in AUTHORS]
    cases, count = (QUICK, 500) if quick else (PEER, 2000)
    return {"authors": authors, "peer": peer_rows(peer or sys.executable, cases, count)}


def show(found: dict[str, object]) -> None:
    """Print both comparisons.

    Args:
        found: from `measure`.
    """
    authors, peer = found["authors"], found["peer"]
    lines = [("authors' rows", "-", "-", "-", authors, "")] if isinstance(authors, str) else []
    for row in [] if lines else authors:
        what = f"authors, {row['rows']} centred rows"
        lines.append((what, "2", str(row["order"]), "-", f"{row['laplacian']:.1e}", f"{row['robin']:.1e}"))
    if isinstance(peer, str):
        lines.append(("treverhines-rbf", "-", "-", "-", peer, ""))
    for row in [] if isinstance(peer, str) else peer:
        sizes = (str(row["dimension"]), str(row["order"]), str(row["size"]))
        lines.append(("treverhines-rbf", *sizes, f"{row['laplacian']:.1e}", ""))
    table("largest relative difference of weights", ("from", "d", "p", "n", "Laplacian", "Robin"), lines)


def summary(found: dict[str, object]) -> list[tuple[str, str, str]]:
    """Compare the differences with what they must not exceed.

    Args:
        found: from `measure`.

    Returns:
        What, measured, verdict; two lines.
    """
    lines = []
    for name, title in (("authors", "the authors' centred rows"), ("peer", "treverhines-rbf")):
        what, rows = f"must: weights within {TOLERANCE:.0e} of {title}", found[name]
        if isinstance(rows, str):
            lines.append((what, "-", "not measured"))
            continue
        worst = max(row[kind] for row in rows for kind in ("laplacian", "robin") if kind in row)
        lines.append((what, f"{worst:.1e}", "reached" if worst <= TOLERANCE else "not reached"))
    return lines

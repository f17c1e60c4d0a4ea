"""Make the golden spectra: matrices whose singular values are known to every digit of float64.

Run as `python -m analyses.golden_spectra [--check] [--file FILE]`; about 5 s. It writes, or with --check remakes and
compares, data/golden-spectra.h5: a group each of `graded`, `tanh_ad`, `tanh_fd`, `hilbert`, with `matrix` (float64) and

* `stored`: the singular values of that matrix, taken as exact;
* `same_features` (tanh_fd, hilbert): of the matrix before its entries were rounded, the finite difference in exact
  arithmetic at the same step, or 1 / (i + j + 1);
* `exact` (tanh_ad, tanh_fd): of the exact derivatives; and the features' `weight`, `bias`, `points`, attribute `step`.

All are certified, then rounded to float64.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
import torch
import typer

from analyses.terminal import say
from dynamics.certified import certified_singular_values
from dynamics.certified_features import certified_feature_matrix
from solvers import AutoDiff, FiniteDifference, RandomFeatures
from solvers.points import Points

FILE = Path(__file__).parents[1] / "data" / "golden-spectra.h5"
STEP = 1e-4
FEATURES = 24
POINTS = 60
DRIFT = 16
"""Roundings by which entries made on another processor may differ, each of the size of one in the features."""

Case = dict[str, np.ndarray]


def graded() -> Case:
    """Make B D: normal B, columns scaled over 24 decades and shuffled.

    Returns:
        Names -> arrays.
    """
    generator = np.random.default_rng(0)
    scales = generator.permutation(10.0 ** -np.linspace(0, 24, FEATURES))
    matrix = generator.standard_normal((40, FEATURES)) * scales
    return {"matrix": matrix, "stored": certified_singular_values(matrix)}


def hilbert() -> Case:
    """Make the Hilbert matrix of order 12.

    Returns:
        Names -> arrays.
    """
    rows = [[Fraction(1, i + j + 1) for j in range(12)] for i in range(12)]
    matrix = np.array(rows, dtype=np.float64)
    values = {"stored": certified_singular_values(matrix), "same_features": certified_singular_values(rows)}
    return {"matrix": matrix, **values}


def tanh_features(step: float | None) -> Case:
    """Make the second derivatives of tanh features in one dimension, as the operators of `solvers` compute them.

    Args:
        step: of the finite differences; None for automatic differentiation.

    Returns:
        Names -> arrays.
    """
    network = RandomFeatures(1, FEATURES, scale=2.0, seed=0)
    points = torch.linspace(-1, 1, POINTS, dtype=torch.float64)[:, None]
    operator = AutoDiff() if step is None else FiniteDifference(step=step)
    jet = operator.plan(Points(points, axes="x"), ["xx"])(network.features)
    weight, bias, nodes = network.weight[:, 0].numpy(), network.bias.numpy(), points[:, 0].numpy()

    def values(step: float | None) -> np.ndarray:
        def entries(digits: int):
            return certified_feature_matrix(weight, bias, nodes, "tanh", 2, step=step, digits=digits)

        return certified_singular_values(entries)

    matrix = jet["xx"].detach().numpy()
    case = {"weight": weight, "bias": bias, "points": nodes, "matrix": matrix}
    case |= {"stored": certified_singular_values(matrix), "exact": values(None)}
    return case if step is None else case | {"same_features": values(step)}


def make() -> dict[str, Case]:
    """Make all of them.

    Returns:
        Names -> cases.
    """
    return {"graded": graded(), "tanh_ad": tanh_features(None), "tanh_fd": tanh_features(STEP), "hilbert": hilbert()}


def differences(file: Path, cases: dict[str, Case]) -> list[str]:
    """Compare a file with cases that were made anew.

    What is certified must agree in the last digit. Entries may differ by `DRIFT` roundings, as tanh does between
    processors; the values of the stored matrix are then made anew from the file's.

    Args:
        file: with the golden spectra.
        cases: from `make`.

    Returns:
        What differs, a line each.
    """
    found = []
    with h5py.File(file) as stored:
        if set(stored) != set(cases):
            return [f"expected the groups {sorted(cases)}, came {sorted(stored)}"]
        for name, case in cases.items():
            kept = {key: dataset[()] for key, dataset in stored[name].items()}
            if set(kept) != set(case):
                found.append(f"{name}: expected {sorted(case)}, came {sorted(kept)}")
                continue
            step = stored[name].attrs.get("step", 1.0)
            allowed = DRIFT * 2.0**-52 * max(1.0, np.abs(case["matrix"]).max()) / step**2
            if np.abs(kept["matrix"] - case["matrix"]).max() > (allowed if name.startswith("tanh") else 0):
                found.append(f"{name}: the matrix differs by more than {allowed:.1e}")
            if not np.array_equal(certified_singular_values(kept["matrix"]), kept["stored"]):
                found.append(f"{name}/stored: not the singular values of the stored matrix")
            others = set(case) - {"matrix", "stored"}
            found += [f"{name}/{key}: differs" for key in sorted(others) if not np.array_equal(kept[key], case[key])]
    return found


def write(file: Path, cases: dict[str, Case]) -> None:
    """Write the file.

    Args:
        file: to write.
        cases: from `make`.
    """
    with h5py.File(file, "w") as target:
        target.attrs["made_by"] = "python -m analyses.golden_spectra"
        for name, case in cases.items():
            group = target.create_group(name)
            for key, values in case.items():
                group[key] = values
            if name == "tanh_fd":
                group.attrs["step"] = STEP


def main(
    check: Annotated[bool, typer.Option("--check", help="Compare with the file instead of writing it.")] = False,
    file: Annotated[Path, typer.Option("--file", help="The file.")] = FILE,
) -> None:
    """Write the golden spectra, or compare them with those that are there.

    Args:
        check: compare.
        file: the file.

    Raises:
        Exit: code 1, if something differs.
    """
    cases = make()
    if not check:
        write(file, cases)
        say(f"wrote {file}")
        return
    found = differences(file, cases)
    say("\n".join(found) or f"{file.name}: as made anew")
    if found:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)

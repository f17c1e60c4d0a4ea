"""Whether `trusted` may be believed: random matrices of derivatives against the same in multiprecision.

Every matrix is the m-th derivative of random features in one dimension, in float64, by automatic differentiation or
finite differences; its noise is measured by `solvers.noise.redraw`. The oracle has the same features, and for finite
differences the same step, with entries and singular values in multiprecision.
`python -m analyses.benchmarks.trusted --json FILE`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import torch
import typer
from torch import nn

from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, say
from dynamics.certified import certified_singular_values
from dynamics.certified_features import certified_feature_matrix
from dynamics.spectra import singular_spectrum
from solvers import AutoDiff, FiniteDifference, Points, RandomFeatures, Sine, TangentProp
from solvers.networks import Gaussian
from solvers.noise import entry_floor, redraw

ACTIVATIONS = {"tanh": nn.Tanh, "sin": Sine, "gaussian": Gaussian}
QUICK, FULL = 8, 200
"""Matrices."""

CLEAR = 1e4
"""A value this many times the true error must be trusted."""


@dataclass(frozen=True)
class Case:
    """One random matrix: how it was made, and how its flags fared against the oracle.

    Args:
        activation: of the features.
        scale: range of weights and biases.
        derivative: m.
        operator: "autodiff", "tangent-prop", or "finite-difference".
        step: h, or None.
        order: of accuracy, or None.
        rows: points.
        columns: features.
        floor: estimated error over sigma_1.
        error: largest true error of a singular value, over sigma_1.
        trusted: values flagged trusted.
        marginal: values flagged marginal.
        wrong: trusted values that are off by more than 1 %: must be 0.
        clear: values above 1e4 times the true error.
        found: of which trusted.
        lifted: values above the floor although the oracle's lie below the true error: noise taken for signal.
    """

    activation: str
    scale: float
    derivative: int
    operator: str
    step: float | None
    order: int | None
    rows: int
    columns: int
    floor: float
    error: float
    trusted: int
    marginal: int
    wrong: int
    clear: int
    found: int
    lifted: int


def draw(seed: int) -> Case:
    """Make and check one random matrix.

    Args:
        seed: of everything in it.

    Returns:
        The case.

    Cost: about a second, most of it multiprecision.
    """
    rng = np.random.default_rng(seed)
    activation = str(rng.choice(list(ACTIVATIONS)))
    scale = float(10 ** rng.uniform(-0.5, 1))
    columns = int(rng.integers(8, 41))
    rows = columns + int(rng.integers(1, 41))
    derivative = int(rng.choice([1, 2, 4]))
    operator = (AutoDiff(), TangentProp())[seed % 2] if rng.random() < 0.4 else _difference(rng, derivative)
    step, order = getattr(operator, "step", None), operator.order
    features = RandomFeatures(1, columns, ACTIVATIONS[activation], scale, seed=seed)
    points = Points(torch.from_numpy(np.sort(rng.uniform(-1, 1, (rows, 1)), axis=0)))
    letters = "x" * derivative

    def entries(at: Points) -> torch.Tensor:
        with torch.no_grad():
            return operator.plan(at, [letters])(features.features)[letters]

    spectrum = singular_spectrum(entries(points).numpy(), operator_floor=entry_floor(redraw(entries, points)))
    weight, bias = features.weight.numpy()[:, 0], features.bias.numpy()
    nodes = points.interior.numpy()[:, 0]
    stencil = {} if step is None else {"step": step, "order": order}
    oracle = certified_singular_values(
        lambda digits: certified_feature_matrix(weight, bias, nodes, activation, derivative, digits=digits, **stencil)
    )
    names = {"AutoDiff": "autodiff", "TangentProp": "tangent-prop", "FiniteDifference": "finite-difference"}
    made = (activation, scale, derivative, names[type(operator).__name__], step, order, rows, columns)
    return Case(*made, **compare(spectrum, oracle))


def _difference(rng: np.random.Generator, derivative: int) -> FiniteDifference:
    # A smaller step of a fourth difference leaves no digit, and is refused.
    smallest = {1: -6, 2: -5, 4: -3}[derivative]
    return FiniteDifference(float(10 ** rng.uniform(smallest, -0.7)), order=int(rng.choice([2, 4])))


def compare(spectrum, oracle: np.ndarray) -> dict[str, float | int]:
    """Count what the flags of a spectrum got right and wrong.

    Args:
        spectrum: from `singular_spectrum`.
        oracle: the true singular values, largest first.

    Returns:
        The counts of a `Case`.

    Example:
        >>> spectrum = singular_spectrum(np.diag([1.0, 1e-3, 1e-20]), operator_floor=1e-9)
        >>> compare(spectrum, np.array([1.0, 1e-3, 1e-20]))["found"]
        2
    """
    values, trusted = spectrum["singular_value"].values, spectrum["trusted"].values
    apart = np.abs(values - oracle)
    error = max(float(apart.max()), np.finfo(float).tiny)
    clear = oracle > CLEAR * error
    signal = trusted | spectrum["marginal"].values
    return {
        "floor": float(spectrum["floor"].max() / values[0]),
        "error": error / float(oracle[0]),
        "trusted": int(trusted.sum()),
        "marginal": int(spectrum["marginal"].sum()),
        "wrong": int((trusted & (apart > 0.01 * oracle)).sum()),
        "clear": int(clear.sum()),
        "found": int((clear & trusted).sum()),
        "lifted": int((signal & (oracle < 0.1 * error)).sum()),
    }


def summary(cases: Sequence[Case]) -> dict[str, float | int]:
    """Return what the cases say together.

    Args:
        cases: at least one.

    Returns:
        Numbers of matrices and values, of wrong flags, the share of clear values found, quantiles of floor over error.
    """
    ratio = np.array([case.floor / case.error for case in cases])
    low, middle, high = np.quantile(ratio, [0.05, 0.5, 0.95])
    return {
        "matrices": len(cases),
        "differences": sum(case.operator == "finite-difference" for case in cases),
        "trusted": sum(case.trusted for case in cases),
        "marginal": sum(case.marginal for case in cases),
        "values": sum(case.columns for case in cases),
        "trusted but off by more than 1 %": sum(case.wrong for case in cases),
        "noise above its floor": sum(case.lifted for case in cases),
        "clear values": sum(case.clear for case in cases),
        "of which trusted": sum(case.found for case in cases) / max(sum(case.clear for case in cases), 1),
        "floor over true error, 5 %": float(low),
        "floor over true error, median": float(middle),
        "floor over true error, 95 %": float(high),
        "floor over true error, least": float(ratio.min()),
    }


def main(
    quick: Annotated[bool, typer.Option("--quick", help=f"{QUICK} matrices instead of {FULL}: about 5 s.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Check random matrices of derivatives against multiprecision; about 80 s.

    Args:
        quick: a few matrices.
        json_file: where to write the results.

    Returns:
        What was measured.
    """
    start = time.perf_counter()
    cases = [draw(seed) for seed in range(QUICK if quick else FULL)]
    found = {
        "machine": describe_machine(),
        "seconds": round(time.perf_counter() - start, 1),
        "summary": summary(cases),
        "cases": [asdict(case) for case in cases],
    }
    for name, value in found["summary"].items():
        say(f"{name:36s} {value:.3g}")
    keep(found, json_file)
    return found


if __name__ == "__main__":
    typer.run(main)

"""Spectra of the residual Jacobian and phases where an optimizer finds a profile, and where it stalls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses.reproduce.n_tangentprop_ablation import Formulation, odd_network
from analyses.reproduce.n_tangentprop_history import history
from analyses.reproduce.n_tangentprop_training import Trained, exact_lambda, trained
from analyses.terminal import say, table
from dynamics import TrajectoryError, convergence, detect_phases, open_trajectory
from dynamics.curves import thinned
from solvers.cadence import Logarithmic
from solvers.objective import Objective
from solvers.optimizers import LevenbergMarquardt, Optimizer, SSBroyden
from solvers.probes import Probe
from solvers.probes.standard import standard_probes
from solvers.spectra_probe import jacobian_spectrum

FOUND, TRAPPED, SQUARES = "SSBroyden", "SSBroyden, order m alone: trapped", "Levenberg-Marquardt"
DEFAULT = Formulation("1 .. m + 2", "eliminated")
TRAP = Formulation("m alone / m!", "bounded", 0, alone=True)
CASES: dict[str, tuple[Formulation, Callable[[], Optimizer]]] = {
    FOUND: (DEFAULT, SSBroyden),
    TRAPPED: (TRAP, SSBroyden),
    SQUARES: (DEFAULT, LevenbergMarquardt),
}
"""What is trained from the same weights."""
COLORS = {FOUND: "C0", TRAPPED: "C3", SQUARES: "C2"}
FILES = {FOUND: "spectra-found.h5", TRAPPED: "spectra-trapped.h5", SQUARES: "spectra-squares.h5"}


@dataclass(frozen=True)
class Spectra:
    """One training and the singular values of its residual Jacobian.

    Args:
        run: the training.
        steps: where the spectrum was taken.
        values: singular values of all rows of the loss, scaled as in it, descending, one list a step.
        floors: below which they are rounding, one a step.
        damping: mu of the steps, for Levenberg-Marquardt; else empty.
        phases: what the phase detector saw, in words.
        stage: what the convergence analyzer said.
    """

    run: Trained
    steps: list[int]
    values: list[list[float]]
    floors: list[float]
    damping: list[float]
    phases: str
    stage: str

    @property
    def usable(self) -> list[int]:
        """Numbers of singular values above their floor."""
        return [int(np.sum(np.array(v) > floor)) for v, floor in zip(self.values, self.floors, strict=True)]

    def plain(self) -> dict[str, object]:
        """Return the record as JSON can hold it.

        Returns:
            Field -> value, with `usable`.
        """
        rounded = [[float(f"{value:.4g}") for value in row] for row in self.values]
        return asdict(self) | {"run": self.run.plain(), "values": rounded, "usable": self.usable}


def measure_spectra(k: int, seed: int, steps: Sequence[int], folder: Path) -> list[Spectra]:
    """Train the three cases from the same weights, with the probes of a recorded run and the spectrum of all rows.

    Args:
        k: number of the profile.
        seed: of the weights.
        steps: of each case.
        folder: of the trajectories.

    Returns:
        One record a case.
    """
    found = []
    for (name, (formulation, optimizer)), most in zip(CASES.items(), steps, strict=True):
        path, own = folder / FILES[name], optimizer()
        run = trained(
            name,
            formulation.problem(k),
            odd_network(seed),
            own,
            most,
            seed=seed,
            path=path,
            probes=partial(_probes, optimizer=own),
        )
        found.append(_read(run, path))
    return found


def _probes(objective: Objective, optimizer: Optimizer) -> tuple[Probe, ...]:
    spectrum = jacobian_spectrum(None, Logarithmic(8), last=False, conditions=True)
    return (*standard_probes(objective, optimizer=optimizer), spectrum)


def _read(run: Trained, path: Path) -> Spectra:
    with open_trajectory(path) as tree:
        spectra = tree["spectra"]
        floors = np.fmax(spectra["floor"].values, spectra["entry_floor"].values)
        damping = tree["series/damping"].values.tolist() if "damping" in tree["series"] else []
        steps, values = spectra["step"].values.tolist(), spectra["singular_value"].values.tolist()
        return Spectra(run, steps, values, floors.tolist(), damping, _phases(tree), _stage(tree))


def _phases(tree) -> str:
    try:
        found = detect_phases(tree)
    except TrajectoryError as error:
        return f"not judged: {error}"
    seen = [
        f"{name} from step {float(onset):,.0f}"
        for name, onset, share in zip(
            found["phase"].values, found["onset"].values, found["probability"].values, strict=True
        )
        if np.isfinite(onset) and share >= 0.5
    ]
    return "; ".join(seen) + (f" ({found.attrs['reason']})" if found.attrs.get("reason") else "")


def _stage(tree) -> str:
    try:
        found = convergence(tree)
    except TrajectoryError as error:
        return f"not judged: {error}"
    return str(found.attrs.get("stage", ""))


def show_spectra(found: Sequence[Spectra]) -> None:
    """Print what each training came to and how many singular values it could use.

    Args:
        found: from `measure_spectra`.
    """
    rows = []
    for each in found:
        last = each.values[-1]
        usable = f"{each.usable[0]} / {each.usable[-1]} of {len(last)}"
        tenth = f"{last[0]:.1e}, {last[min(9, len(last) - 1)]:.1e}, {last[min(49, len(last) - 1)]:.1e}"
        ended = f"{each.run.ending}, {each.run.lam_error:.1e}"
        steps = f"{each.run.steps:,} ({each.run.evaluations:,})"
        seconds = f"{each.run.seconds:.1f}"
        rows.append((each.run.label, steps, seconds, f"{each.run.loss:.1e}", ended, usable, tenth))
    header = ("run", "steps (evals)", "CPU s", "loss", "lambda error", "usable, start / end", "sigma 1, 10, 50")
    k = found[0].run.k if found else 0
    table(f"Singular values of the residual Jacobian, k = {k}, from the same weights", header, rows)
    for each in found:
        say(
            f"{each.run.label}: {each.stage}; phases: {each.phases}"
            + (f"; {each.run.reason}" if each.run.reason else "")
        )


def spectra_figure(found: Sequence[Spectra], folder: Path) -> Figure:
    """Draw spectra at the start, half-way in log time and at the end, and what can be used of them over training.

    Args:
        found: from `measure_spectra`.
        folder: of the trajectories.

    Returns:
        One panel of spectra a case, rounding floors dashed; below, loss, |lambda error| and usable values over steps.
    """
    figure = Figure(figsize=(12, 7.5), layout="constrained")
    layout = figure.add_gridspec(2, 3)
    for column, each in enumerate(found):
        _spectra(figure.add_subplot(layout[0, column]), each)
    loss, error, usable = (figure.add_subplot(layout[1, column]) for column in range(3))
    for each in found:
        course, color = history(folder / each.run.path), COLORS[each.run.label]
        errors = np.maximum(np.abs(course.lam - exact_lambda(each.run.k)), 1e-17)
        for axis, values in ((loss, course.loss), (error, errors)):
            kept = thinned(course.steps + 1, values)
            axis.plot(course.steps[kept] + 1, values[kept], color=color, lw=1.2, label=each.run.label)
        usable.plot(np.array(each.steps) + 1, each.usable, "o-", ms=3, lw=1.2, color=color)
    for axis, label in ((loss, "its own loss [1]"), (error, r"$|\lambda$ error| [1]")):
        axis.set(xscale="log", yscale="log", xlabel="step + 1 [1]", ylabel=label)
    usable.set(xscale="log", ylim=(0, None), xlabel="step + 1 [1]", ylabel="singular values above the floor [1]")
    for axis in (loss, error, usable):
        axis.grid(alpha=0.3)
    figure.legend(*loss.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    k = found[0].run.k if found else 0
    figure.suptitle(f"Singular values of the residual Jacobian, k = {k}, all rows of the loss, same weights")
    return figure


def _spectra(axis: Axes, each: Spectra) -> None:
    chosen = list(dict.fromkeys((0, len(each.steps) // 2, len(each.steps) - 1)))
    for number, shade in zip(chosen, colormaps["viridis"](np.linspace(0.85, 0.1, len(chosen))), strict=True):
        values = np.array(each.values[number])
        axis.plot(np.arange(1, len(values) + 1), values, color=shade, label=f"step {each.steps[number]:,}")
        axis.axhline(each.floors[number], color=shade, ls="--", lw=0.8)
    damping = np.array(each.damping)[len(each.damping) // 2 :]
    if np.isfinite(damping).any():
        mu = np.sqrt(np.nanmedian(damping))
        axis.axhline(mu, color="k", ls=":", lw=1.2, label=r"$\sqrt{\mu}$, median of the second half")
    axis.set(xscale="log", yscale="log", xlabel="index [1]", ylabel="singular value [1]", ylim=(1e-19, 1e4))
    axis.set_title(each.run.label, fontsize="small")
    axis.legend(fontsize="x-small", loc="lower left")
    axis.grid(alpha=0.3)

"""Findings about a run: what happened, the numbers that say so, and what to try."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from dynamics.configuration import section
from dynamics.phases import detect_phases
from dynamics.trajectory import TrajectoryError, require

SEVERITIES = ("error", "warning", "info")
REFERENCE_FACTOR = 3.0
OPERATOR_SHARE = 0.1
ROUNDING_FACTOR = 100.0
DOMINANT_SHARE = 0.99
NEGLECTED_SHARE = 0.1


@dataclass(frozen=True)
class Finding:
    """One thing that a run shows.

    Args:
        name: short fixed identifier, such as "diverged".
        severity: "error", "warning" or "info".
        message: one sentence for a reader, with the numbers that matter.
        evidence: the numbers and steps behind it.
        advice: what to try; empty where there is nothing to do.

    Raises:
        ValueError: If the severity is none of the three.

    Example:
        >>> Finding("diverged", "error", "loss is inf from step 7", {"step": 7}).severity
        'error'
    """

    name: str
    severity: str
    message: str
    evidence: dict = field(default_factory=dict)
    advice: str = ""

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"unknown severity {self.severity!r}; allowed: {', '.join(SEVERITIES)}")


def diagnose(trajectory: xr.DataTree) -> tuple[Finding, ...]:
    """Say what happened in a run: phase reached, divergence, error floors, a dominating loss term.

    Each finding reads only the variables that it needs and is left out where they were not recorded.

    Args:
        trajectory: any trajectory, also of a run that is still going or was killed.

    Returns:
        The findings, errors first, then warnings, then the rest. A healthy run yields the phase it reached,
        no more.

    Source: ours.

    Cost: that of `detect_phases`, and one pass over the scalar series.

    Example:
        >>> loss = xr.Dataset({"loss": ("step", [1.0, 0.5, np.inf])}, {"step": [0, 1, 2]})
        >>> [finding.message for finding in diagnose(xr.DataTree.from_dict({"series": loss}))]
        ['diverged: the loss is not finite from step 2 on (last finite loss 0.5 at step 1)']
    """
    checks = (
        _phase,
        _diverged,
        _rising,
        _reference_floor,
        _operator_floor,
        _lost_updates,
        _least_squares_floor,
        _dominating_term,
    )
    findings = [finding for check in checks if (finding := check(trajectory)) is not None]
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def _read(trajectory: xr.DataTree, *names: str) -> tuple[np.ndarray, ...] | None:
    """Return the variables as float arrays, the index first; None if one is missing."""
    try:
        variables = require(trajectory, *names)
    except TrajectoryError:
        return None
    return tuple(np.asarray(variable.values, np.float64) for variable in variables.values())


def _steps(trajectory: xr.DataTree, count: int) -> np.ndarray:
    series = trajectory["series"]
    return series["step"].values if "step" in series.coords else np.arange(count)


def _text(value) -> str:
    value = np.asarray(value).item()
    return value.decode() if isinstance(value, bytes) else str(value)


def _status(trajectory: xr.DataTree) -> str:
    if "status" in trajectory.attrs:
        return _text(trajectory.attrs["status"])
    return _text(trajectory.dataset["status"].values) if "status" in trajectory.dataset else ""


def _epsilon(trajectory: xr.DataTree) -> tuple[str, float] | None:
    """Return name and unit round-off of the training precision, None where it is not known."""
    name = str(trajectory.attrs.get("dtype", "")).removeprefix("torch.")
    known = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
    return (name, known[name]) if name in known else None


def _phase(trajectory: xr.DataTree) -> Finding | None:
    if "gradients" not in trajectory:
        return None
    try:
        found = detect_phases(trajectory)
    except TrajectoryError:
        return None
    total = found.sel(phase="total_diffusion")
    onset = float(total.onset)
    evidence = {
        f"{name}_onset": float(value) for name, value in zip(found.phase.values, found.onset.values, strict=True)
    }
    if np.isnan(onset):
        last = int(found.step.values[-1]) if found.sizes["step"] else 0
        message = f"no total diffusion up to step {last}: {found.attrs['reason']}"
        if found.attrs["reason"].startswith("too short"):
            return Finding("phase", "info", message, {**evidence, "last_step": last})
        advice = "train longer, or try residual-based attention; a run judged by its loss alone may stop too early"
        return Finding("phase", "warning", message, {**evidence, "last_step": last}, advice)
    snr, phi = float(total.snr), float(total.homogeneity)
    message = f"total diffusion reached at step {onset:.0f} (SNR {snr:.2g}, homogeneity {phi:.2f})"
    decay = evidence["decay_onset"]
    if not np.isnan(decay):
        message += f"; the signal decays from step {decay:.0f}"
    return Finding("phase", "info", message, {**evidence, "snr": snr, "homogeneity": phi})


def _first_bad(loss: np.ndarray) -> int | None:
    """First row of a loss that is not finite for good.

    A scalar that was not given reads as NaN, so NaN counts only at the end, in a run longer than any gap
    before it.
    """
    bad = ~np.isfinite(loss)
    ends = np.flatnonzero(np.diff(np.concatenate(([False], bad, [False]))))
    runs = ends.reshape(-1, 2)
    infinite = np.flatnonzero(np.isinf(loss))
    if len(runs) and runs[-1, 1] == len(loss):
        lengths = runs[:, 1] - runs[:, 0]
        if len(runs) == 1 or lengths[-1] > lengths[:-1].max():
            return int(min(runs[-1, 0], *infinite[:1]) if len(infinite) else runs[-1, 0])
    return int(infinite[0]) if len(infinite) else None


def _diverged(trajectory: xr.DataTree) -> Finding | None:
    status = _status(trajectory)
    columns = _read(trajectory, "series/loss")
    loss = columns[0] if columns is not None else np.empty(0)
    row = _first_bad(loss)
    if row is None and status != "diverged":
        return None
    if row is None and len(loss) and not np.isfinite(loss[-1]):
        row = len(loss) - 1
    advice = "lower the learning rate or warm it up, clip the gradient, and look at the last steps before this one"
    if row is None:
        last = int(_steps(trajectory, len(loss))[-1]) if len(loss) else None
        where = f" after step {last}" if last is not None else ""
        return Finding("diverged", "error", f"diverged{where}", {"status": status, "last_step": last}, advice)
    steps = _steps(trajectory, len(loss))
    evidence = {"status": status, "step": int(steps[row])}
    message = f"diverged: the loss is not finite from step {steps[row]} on"
    finite = np.flatnonzero(np.isfinite(loss[:row]))
    if len(finite):
        evidence |= {"last_finite_loss": float(loss[finite[-1]]), "last_finite_step": int(steps[finite[-1]])}
        message += f" (last finite loss {loss[finite[-1]]:.3g} at step {steps[finite[-1]]}"
        rates = _read(trajectory, "series/learning_rate")
        if rates is not None and np.isfinite(rates[0][finite[-1]]):
            evidence["learning_rate"] = float(rates[0][finite[-1]])
            message += f", learning rate {evidence['learning_rate']:.3g}"
        message += ")"
    return Finding("diverged", "error", message, evidence, advice)


def _rising(trajectory: xr.DataTree) -> Finding | None:
    """The unweighted loss, since attention and other weights let the weighted one rise on purpose."""
    terms = _terms(trajectory)
    if terms is None or len(terms[1]) < 3 or not np.isfinite(terms[1][[0, -1]]).all():
        return None
    total = terms[1].sum(axis=1)
    rows = max(1, len(total) // 20)
    start, end = float(total[0]), float(np.median(total[-rows:]))
    if not end > start:
        return None
    lowest = int(np.nanargmin(total))
    steps = _steps(trajectory, len(total))
    message = (
        f"the unweighted loss ended at {end:.2e}, above its start {start:.2e} "
        f"(lowest {total[lowest]:.2e} at step {steps[lowest]})"
    )
    evidence = {"start": start, "end": end, "lowest": float(total[lowest]), "lowest_step": int(steps[lowest])}
    return Finding("rising_loss", "warning", message, evidence, "lower the learning rate, or train longer")


def _reference_floor(trajectory: xr.DataTree) -> Finding | None:
    columns = _read(trajectory, "series/rel_l2")
    floor = section(trajectory, "problem").get("solution_floor")
    if columns is None or not isinstance(floor, int | float) or not floor > 0:
        return None
    known = np.flatnonzero(np.isfinite(columns[0]))
    if not len(known) or columns[0][known[-1]] > REFERENCE_FACTOR * floor:
        return None
    step = int(_steps(trajectory, len(columns[0]))[known[-1]])
    message = (
        f"at the reference's floor at step {step}: relative L2 error <= {floor:.1e}, as far as the reference "
        f"can tell (within {REFERENCE_FACTOR:g} times its own accuracy)"
    )
    evidence = {"step": step, "solution_floor": float(floor), "factor": REFERENCE_FACTOR}
    return Finding("reference_floor", "info", message, evidence, "a better reference is needed to rank such runs")


def _operator_floor(trajectory: xr.DataTree) -> Finding | None:
    columns = _read(trajectory, "series/exact_loss")
    terms = _terms(trajectory)
    if columns is None or terms is None or "interior" not in terms[0]:
        return None
    exact, raw = columns[0], terms[1][:, terms[0].index("interior")]
    known = np.flatnonzero(np.isfinite(exact) & np.isfinite(raw) & (exact > 0))
    if not len(known) or not raw[known[-1]] < OPERATOR_SHARE * exact[known[-1]]:
        return None
    step = int(_steps(trajectory, len(exact))[known[-1]])
    trained, true = float(raw[known[-1]]), float(exact[known[-1]])
    message = (
        f"at the operator's error floor at step {step}: interior loss {trained:.2e} with its derivatives, "
        f"{true:.2e} with exact ones: the network fits the discrete system, no longer the equation"
    )
    advice = "use exact derivatives, a higher order or another step of the differences"
    return Finding("operator_floor", "warning", message, {"step": step, "loss": trained, "exact_loss": true}, advice)


def _lost_updates(trajectory: xr.DataTree) -> Finding | None:
    columns = _read(trajectory, "series/update_norm", "series/parameter_norm")
    precision = _epsilon(trajectory)
    if columns is None or precision is None:
        return None
    rows = max(5, len(columns[0]) // 10)
    update, parameter = (column[-rows:] for column in columns)
    known = np.isfinite(update) & np.isfinite(parameter) & (parameter > 0)
    if known.sum() < 5:
        return None
    name, epsilon = precision
    relative = float(np.median(update[known] / parameter[known]))
    if not relative < epsilon:
        return None
    step = int(_steps(trajectory, len(columns[0]))[-1])
    message = (
        f"updates are lost to rounding up to step {step}: median update {relative:.1e} of the parameters, "
        f"{name} resolves {epsilon:.1e}"
    )
    evidence = {"step": step, "relative_update": relative, "epsilon": epsilon, "rows": rows}
    return Finding("rounding_floor", "warning", message, evidence, "stop here, or go on in a higher precision")


def _least_squares_floor(trajectory: xr.DataTree) -> Finding | None:
    columns = _read(trajectory, "series/loss", "series/parameter_norm")
    spectra = _read(trajectory, "spectra/singular_value")
    precision = _epsilon(trajectory)
    if columns is None or spectra is None or precision is None or len(columns[0]) != 1:
        return None
    rows = trajectory["spectra"].attrs.get("rows")
    values = spectra[0][np.isfinite(spectra[0])]
    loss, norm = (float(column[0]) for column in columns)
    if not rows or not len(values) or not (np.isfinite(norm) and loss >= 0):
        return None
    residual = float(np.sqrt(loss))
    floor = float(ROUNDING_FACTOR * precision[1] * values.max() * norm / np.sqrt(float(rows)))
    if not residual <= floor:
        return None
    message = (
        f"least-squares residual at the rounding floor: {residual:.1e}, where {precision[0]} arithmetic with "
        f"coefficients of norm {norm:.1e} allows {floor:.1e}"
    )
    advice = "differences between such residuals mean nothing; compare errors against the solution"
    return Finding("rounding_floor", "info", message, {"residual": residual, "floor": floor}, advice)


def _terms(trajectory: xr.DataTree) -> tuple[list[str], np.ndarray] | None:
    """Return the names of the loss terms and the unweighted terms (row, term)."""
    try:
        raw = require(trajectory, "series/loss_raw")["series/loss_raw"]
    except TrajectoryError:
        return None
    if "term" not in raw.coords:
        return None
    other = next(dim for dim in raw.dims if dim != "term")
    return [_text(name) for name in raw["term"].values], np.asarray(raw.transpose(other, "term").values, np.float64)


def _dominating_term(trajectory: xr.DataTree) -> Finding | None:
    terms = _terms(trajectory)
    weights = _read(trajectory, "series/loss_weight")
    if terms is None or weights is None or len(terms[0]) < 2 or weights[0].shape != terms[1].shape:
        return None
    rows = max(10, len(terms[1]) // 5)
    weighted = weights[0][-rows:] * terms[1][-rows:]
    total = weighted.sum(axis=1)
    known = np.isfinite(total) & (total > 0)
    if known.sum() < 10:
        return None
    shares = np.median(weighted[known] / total[known, None], axis=0)
    largest = int(np.argmax(shares))
    if not shares[largest] > DOMINANT_SHARE:
        return None
    # A small share is no fault of a term that has been met: neglected are those still near their worst.
    left = np.nanmedian(terms[1][-rows:], axis=0) / np.nanmax(terms[1], axis=0)
    neglected = [name for i, name in enumerate(terms[0]) if i != largest and left[i] > NEGLECTED_SHARE]
    if not neglected:
        return None
    listed = {name: float(share) for name, share in zip(terms[0], shares, strict=True)}
    steps = _steps(trajectory, len(terms[1]))
    message = (
        f"the term {terms[0][largest]} makes up {shares[largest]:.1%} of the loss over the last {rows} rows, while "
        f"{' and '.join(neglected)} stayed above {NEGLECTED_SHARE:.0%} of the worst value"
    )
    evidence = {"term": terms[0][largest], "neglected": neglected, "shares": listed, "from_step": int(steps[-rows:][0])}
    advice = f"give {' and '.join(neglected)} a larger weight: the loss hardly sees what is wrong there"
    return Finding("dominating_term", "warning", message, evidence, advice)

"""Phases of training: fitting, diffusion, total diffusion and the decay of the signal after it.

Two signs together mark total diffusion: the gradient SNR comes back above one, and the residuals become
homogeneous over the domain. Either alone misleads. The SNR also rises when the blocks agree on an oscillation
of the optimizer, and it collapses for some hundred steps after every cut of the learning rate; homogeneity is
high before training has begun to resolve anything. The error against a solution is never used.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from dynamics.homogeneity import residual_homogeneity
from dynamics.snr import gradient_snr, log_snr, running_median
from dynamics.trajectory import require

PHASES = ("fitting", "diffusion", "total_diffusion", "decay")
FIRST_STEP = 50
ARMING_DECADES = 0.05
HOLDING_DECADES = 0.1
LEAST_HETEROGENEITY = 1e-5


@dataclass(frozen=True)
class Onsets:
    """Where each phase begins, and what was measured on the way.

    Args:
        onset: step of each phase of `PHASES`, NaN where it was not seen.
        reason: why there is no total diffusion; empty if there is.
        grid: steps at which the rule was evaluated.
        log_snr: running median of log10 SNR on the grid.
        heterogeneity: 1 - phi on the grid.
        ratio: heterogeneity relative to its own worst so far.

    Example:
        >>> Onsets(dict.fromkeys(PHASES, float("nan")), "no samples").reason
        'no samples'
    """

    onset: dict[str, float]
    reason: str = ""
    grid: np.ndarray = field(default_factory=lambda: np.empty(0))
    log_snr: np.ndarray = field(default_factory=lambda: np.empty(0))
    heterogeneity: np.ndarray = field(default_factory=lambda: np.empty(0))
    ratio: np.ndarray = field(default_factory=lambda: np.empty(0))


def _first_held(true: np.ndarray, length: int, share: float = 1.0, present: float = 1.0) -> int | None:
    """Return the first true place from which on `length` intervals hold: `share` true, `present` there."""
    for place in np.flatnonzero(true):
        window = true[place : place + length + 1]
        if len(window) - 1 >= present * length and window.mean() >= share:
            return int(place)
    return None


def _reason(snr: np.ndarray, ratio: np.ndarray, armed: np.ndarray, lo: float, hi: float, limit: float) -> str:
    """Say which part of the rule failed."""
    if not armed.any():
        least = np.nanmin(snr)
        return (
            f"never armed: the median SNR did not stay below {10**lo:.2g} (least {10**least:.2g}), "
            "so no diffusion phase can be told apart"
        )
    back = armed & (snr >= hi)
    if not back.any():
        largest = 10 ** np.nanmax(snr[armed])
        return f"SNR never back >= {10**hi:.2g} after diffusion (largest median {largest:.2g})"
    if not (back & (ratio <= limit)).any():
        best = np.nanmin(ratio[back])
        return f"residuals not homogeneous: 1 - phi stays >= {best:.2g} of its worst, {limit:.2g} is needed"
    return "not sustained: SNR and homogeneity did not both stay at their levels"


def phase_onsets(
    snr_step,
    snr,
    phi_step,
    phi,
    *,
    lo: float = -0.5,
    hi: float = 0.0,
    ratio: float = 0.3,
    sustain: float = 0.1,
    fraction: float = 0.7,
    per_decade: int = 60,
    smoothing: float = 0.03,
) -> Onsets:
    r"""Find the onsets of the phases in a log of SNR and homogeneity.

    On a grid g, geometric in the step, with S(g) the running median of log10 SNR and h(g) that of 1 - phi:

    $$ R(g) = h(g) / \max_{g' \le g} h(g'), \qquad C(g) = [S(g) \ge hi \;\text{and}\; R(g) \le ratio] $$

    * fitting: the first sample;
    * diffusion: first g with S < 0 for a whole 0.1 decade;
    * total diffusion: first g with C(g), and C true on `fraction` of the grid points in [g, g 10^sustain]
      (half of that window must be logged already), once armed: S < lo has held for 0.05 decade in all;
    * decay: after total diffusion, S < lo again for a whole 0.1 decade.

    Nothing later than g 10^(sustain + smoothing), or three samples more, has a say in an onset at g: once the
    log reaches that far, more training does not move it. With attention weights phi lags by their memory,
    about 1/(1 - decay) steps.

    Args:
        snr_step: (n,) steps of the SNR samples; the log should be geometric or dense, 40 per decade or more.
        snr: (n,) SNR at the reference block size (`dynamics.snr.reference_snr`), inf and NaN allowed.
        phi_step: (m,) steps of the homogeneity samples.
        phi: (m,) homogeneity in [0, 1], NaN allowed.
        lo: log10 SNR below which diffusion is certain.
        hi: log10 SNR that total diffusion must reach.
        ratio: largest heterogeneity in total diffusion, relative to its worst before.
        sustain: length of the window that confirms an onset, in decades.
        fraction: share of the window in which C must hold.
        per_decade: grid points per decade.
        smoothing: half-width of the running medians, in decades.

    Returns:
        The onsets (NaN where not seen), the reason where there is no total diffusion, and the curves on the
        grid.

    Raises:
        ValueError: If steps and values differ in shape.

    Source: ours, with the phases of arXiv 2403.18494, which places them by eye. The defaults were set on that
        paper's published logs (Allen-Cahn: 0.02 and 0.09 decades from the authors' marks), so that agreement
        is a fit.

    Cost: O(grid * window), some milliseconds.

    Example:
        >>> step = np.geomspace(1, 1e4, 400)
        >>> snr = np.where((step > 100) & (step < 1000), 0.1, 3.0)
        >>> found = phase_onsets(step, snr, step, np.where(step < 1000, 0.7, 0.99))
        >>> {name: round(float(np.log10(onset)), 1) for name, onset in found.onset.items()}
        {'fitting': 0.0, 'diffusion': 2.0, 'total_diffusion': 3.0, 'decay': nan}
    """
    onset = dict.fromkeys(PHASES, float("nan"))
    snr_step, logarithm = _samples(snr_step, log_snr(snr))
    phi_step, phi = _samples(phi_step, phi)
    if not len(snr_step) or not len(phi_step):
        return Onsets(onset, "no samples: SNR or homogeneity is nowhere known")
    onset["fitting"] = float(snr_step[0])
    start = max(FIRST_STEP, snr_step[0], phi_step[0])
    stop = min(snr_step[-1], phi_step[-1])
    if stop <= start:
        return Onsets(onset, f"too short: nothing is decided before step {start:g}, the log ends at {stop:g}")

    count = int(np.floor(np.log10(stop / start) * per_decade + 1e-9)) + 1
    grid = start * 10.0 ** (np.arange(count) / per_decade)
    level = running_median(snr_step, logarithm, grid, smoothing)
    heterogeneity = np.maximum(running_median(phi_step, 1 - phi, grid, smoothing), LEAST_HETEROGENEITY)
    relative = heterogeneity / np.maximum.accumulate(heterogeneity)

    hold = round(HOLDING_DECADES * per_decade)
    armed = np.cumsum(level < lo) >= ARMING_DECADES * per_decade
    condition = armed & (level >= hi) & (relative <= ratio)
    total = _first_held(condition, round(sustain * per_decade), fraction, present=0.5)
    diffusion = _first_held(level < 0, hold)
    if diffusion is not None and (total is None or diffusion < total):
        onset["diffusion"] = float(grid[diffusion])
    reason = ""
    if total is None:
        reason = _reason(level, relative, armed, lo, hi, ratio)
    else:
        onset["total_diffusion"] = float(grid[total])
        decay = _first_held((level < lo) & (np.arange(count) > total), hold)
        if decay is not None:
            onset["decay"] = float(grid[decay])
    return Onsets(onset, reason, grid, level, heterogeneity, relative)


def _samples(step, value) -> tuple[np.ndarray, np.ndarray]:
    """Drop NaN samples and sort by step."""
    step, value = np.asarray(step, np.float64), np.asarray(value, np.float64)
    if step.ndim != 1 or step.shape != value.shape:
        raise ValueError(f"expected one value per step, got shapes {step.shape} and {value.shape}; pass 1-D arrays")
    known = ~np.isnan(value)
    order = np.argsort(step[known], kind="stable")
    return step[known][order], value[known][order]


def detect_phases(
    trajectory: xr.DataTree,
    *,
    lo: float = -0.5,
    hi: float = 0.0,
    ratio: float = 0.3,
    sustain: float = 0.1,
    fraction: float = 0.7,
    per_decade: int = 60,
    smoothing: float = 0.03,
) -> xr.Dataset:
    """Find fitting, diffusion, total diffusion and decay in a run.

    The rule of `phase_onsets`, applied to the SNR of the total loss, brought to blocks of 256 of 25600
    points, and to the homogeneity of the attention weights (of the residuals where no weights were recorded).

    Args:
        trajectory: what `gradient_snr` and `residual_homogeneity` need; the block size is that of the
            attributes of `/gradients`, and where they are missing the SNR is taken as it is (attribute
            `reference`).
        lo: log10 SNR below which diffusion is certain.
        hi: log10 SNR that total diffusion must reach.
        ratio: largest heterogeneity in total diffusion, relative to its worst before.
        sustain: length of the window that confirms an onset, in decades.
        fraction: share of the window in which the condition must hold.
        per_decade: grid points per decade.
        smoothing: half-width of the running medians, in decades.

    Returns:
        `onset`, `onset_low`, `onset_high`, `snr` and `homogeneity` (running medians at the onset, from step 50 on) over
        `phase`, NaN where a phase was not seen, and `phase_at_step` (step), the label at each logged step (empty before
        the first SNR). Attribute `reason` says why there is no total diffusion. The intervals are not computed yet:
        `onset_low` and `onset_high` are NaN.

    Raises:
        TrajectoryError: If the trajectory lacks a variable; it is named.

    Source: ours, see `phase_onsets`.

    Cost: O(samples * window); about 0.1 s for 3000 samples.

    Example:
        >>> step = np.arange(1, 60)
        >>> norms = {name: ("step", np.ones(59)) for name in ("mean_norm_total", "std_norm_total")}
        >>> cells = {name: (("step", "quantity"), np.ones((59, 1))) for name in ("cell_mean", "cell_rms")}
        >>> tree = xr.DataTree.from_dict({
        ...     "gradients": xr.Dataset(norms, {"step": step}),
        ...     "homogeneity": xr.Dataset(cells, {"step": step, "quantity": ["residual"]}),
        ... })
        >>> detect_phases(tree).reason.split(":")[0]
        'never armed'
    """
    mean = require(trajectory, "gradients/mean_norm_total")["gradients/mean_norm_total"]
    phi = residual_homogeneity(trajectory).phi
    ratios = gradient_snr(trajectory, smoothing=smoothing)
    step, phi_step = (_steps(variable) for variable in (mean, phi))
    quantities = [str(name) for name in phi["quantity"].values]
    quantity = "attention" if "attention" in quantities else quantities[0]
    parameters = dict(
        lo=lo,
        hi=hi,
        ratio=ratio,
        sustain=sustain,
        fraction=fraction,
        per_decade=per_decade,
        smoothing=smoothing,
    )
    chosen = phi.isel(quantity=quantities.index(quantity))
    if quantity == "attention" and bool(chosen.isnull().all()) and "residual" in quantities:
        quantity, chosen = "residual", phi.isel(quantity=quantities.index("residual"))
    found = phase_onsets(step, ratios.snr_reference.values, phi_step, chosen.values, **parameters)
    return _lift(found, step, {**parameters, "quantity": quantity, "reference": ratios.attrs["reference"]})


def _steps(variable: xr.DataArray) -> np.ndarray:
    return variable["step"].values if "step" in variable.coords else np.arange(variable.sizes["step"])


def _at(grid: np.ndarray, curve: np.ndarray, step: float) -> float:
    """Value of a curve at an onset; NaN for an onset that is not on the grid."""
    hit = np.flatnonzero(grid == step)
    return float(curve[hit[0]]) if len(hit) else float("nan")


def _lift(found: Onsets, step: np.ndarray, attrs: dict) -> xr.Dataset:
    """Put onsets and labels into a Dataset."""
    onset = np.array([found.onset[name] for name in PHASES])
    label = np.full(len(step), "", dtype="<U15")
    for name, begin in zip(PHASES, onset, strict=True):
        label[step >= begin] = name
    unknown = np.full(len(PHASES), np.nan)
    snr = np.array([10 ** _at(found.grid, found.log_snr, begin) for begin in onset])
    phi = np.array([1 - _at(found.grid, found.heterogeneity, begin) for begin in onset])
    data = {
        "onset": ("phase", onset, {"units": "step", "long_name": "onset of the phase"}),
        "onset_low": ("phase", unknown, {"units": "step", "long_name": "lower end of the onset's interval"}),
        "onset_high": (
            "phase",
            unknown.copy(),
            {"units": "step", "long_name": "upper end of the onset's interval"},
        ),
        "snr": ("phase", snr, {"units": "1", "long_name": "median SNR at the onset"}),
        "homogeneity": ("phase", phi, {"units": "1", "long_name": "median homogeneity at the onset"}),
        "phase_at_step": ("step", label, {"units": "1", "long_name": "phase at each logged step"}),
    }
    attrs = {**attrs, "reason": found.reason, "interval": "not computed: onset_low and onset_high are NaN"}
    return xr.Dataset(data, {"phase": list(PHASES), "step": step}, attrs)

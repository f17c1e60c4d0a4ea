"""Information compression: how coarse the activations of a layer have become, by binning them."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from dynamics.steps import in_order
from dynamics.trajectory import TrajectoryError, require

MARGIN = 1e-6
"""Added to the range of every neuron by the published rule, so that the largest activation falls into the last bin."""

ROUNDING = 1e-12
"""How far a neuron's range may stand below a whole number of bins and still have that number, relatively."""

BLOCK = 1 << 15
"""Activations that are binned at once."""

END = 0.05
"""How near an end of the activation's range counts as extreme, in half widths of the range: |tanh| > 0.95."""

WINDOW = 2.0
"""Factor in the step over which a rise of the saturation is measured."""

LEAST_RISE = 0.05
"""Smallest rise that is called an event; one tenth of the published kind of rise, some times the scatter."""


def bin_activations(activations, bins: int = 30) -> tuple[np.ndarray, np.ndarray]:
    r"""Put the activations of each neuron into bins whose width is that of the layer's mean range.

    $$ w = \frac{1}{M} \sum_v \rho_v / \mathrm{bins}, \quad \rho_v = \max_i a_{iv} - \min_i a_{iv} + 10^{-6}, \quad
       d_v = \lfloor \rho_v / w \rfloor + 1 $$

    Neuron v gets d_v equidistant edges from its minimum to its maximum + 1e-6, so d_v - 1 bins of its own: some
    `bins` of them at the mean range, more for a wider neuron, one for a nearly constant one.

    Args:
        activations: (points, neurons), finite, any unit; taken to float64.
        bins: bins of a neuron of mean range.

    Returns:
        Codes (points, neurons), unsigned integers from 0 to the neuron's number of bins - 1, and these numbers
        (neurons,).

    Raises:
        ValueError: no points, no neurons, or bins below 1.

    Source: arXiv 2403.18494, in its authors' code (`find_mi`), with d_v at least 2 and the last edge out of reach
        of rounding.

    Cost: ten passes over the array: 26 ms for 25,600 points and 128 neurons on one core.

    Example:
        >>> codes, counts = bin_activations([[0.0, 0.0], [0.5, 0.1], [1.0, 0.3]], bins=2)
        >>> codes.T.tolist(), counts.tolist()
        ([[0, 1, 2], [0, 0, 0]], [3, 1])
    """
    values = np.asarray(activations, np.float64, order="F")
    if values.ndim != 2 or not values.size or bins < 1:
        raise ValueError(
            f"expected activations (points, neurons) with at least one of each and bins >= 1, came {values.shape} and "
            f"{bins}; leave out layers without neurons"
        )
    low, high = values.min(axis=0), values.max(axis=0)
    ranges = np.abs(low - high - MARGIN)
    # Neurons of one and the same range have `bins` of them, also where the quotient rounds to one ulp below.
    counts = np.maximum((ranges / (ranges.mean() / bins) * (1 + ROUNDING)).astype(np.int64), 1)
    codes = np.empty(values.shape, np.min_scalar_type(counts.max()), order="F")
    # Few enough neurons at once to stay in the cache, many enough not to pay for every call of numpy.
    several = max(BLOCK // len(values), 1)
    for start in range(0, len(counts), several):
        part = slice(start, start + several)
        codes.T[part] = _codes(values.T[part], low[part, None], high[part, None], counts[part, None])
    return codes, counts


def _codes(values: np.ndarray, low: np.ndarray, high: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return floor of the place between count + 1 edges from low to high + 1e-6, exact also on the edges.

    (neurons, points), as floats; the edges are k step + low, as `numpy.linspace` has them.
    """
    moving, step = high > low, ((high + MARGIN) - low) / count
    code = np.floor((values - low) * np.divide(1, step, out=np.zeros_like(step), where=moving))
    # The product rounds otherwise than the edges do, by one bin at most.
    code -= values < code * step + low
    code += values >= (code + 1) * step + low
    np.minimum(code, count - 1, out=code)
    # Where 1e-6 is lost in a large constant, all edges are one.
    return np.where(moving, code, 0)


def row_entropy(codes: np.ndarray) -> float:
    r"""Compute the entropy of the patterns that the points make, the unique rows.

    $$ H(T) = -\sum_{rows} p \log_2 p = \log_2 N - \frac{1}{N} \sum_{rows} c \log_2 c $$

    Args:
        codes: (points, neurons), integers.

    Returns:
        H(T) in bits, at most log2 N, which is reached exactly where all rows differ.

    Source: arXiv 2403.18494, section on information compression: I(X;T) = H(T) for a deterministic network.

    Cost: rows are sorted as byte strings, exactly: 5 ms for 25,600 points and 128 neurons, as long as hashing takes.

    Example:
        >>> row_entropy(np.array([[1, 2], [1, 2], [3, 2], [4, 4]]))
        1.5
    """
    codes = np.ascontiguousarray(codes)
    rows = codes.view(f"V{codes.shape[1] * codes.itemsize}").ravel()
    return _entropy(np.unique(rows, return_counts=True)[1], len(rows))


def compress(activations, bins: int = 30) -> tuple[float, float, float]:
    r"""Measure how far the activations of one layer are compressed.

    $$ s = \frac{1}{M} \sum_v \frac{n_{v,first} + n_{v,last}}{N}, \quad H(T), \quad
       \frac{1}{M} \sum_v H(T_v) $$

    Codes T as in `bin_activations`. A neuron with one bin counts its points once (the authors' code: twice, so that a
    dead neuron is saturated to 200 %). Rows with a value that is not finite are left out.

    Args:
        activations: (points, neurons), any unit.
        bins: bins of a neuron of mean range.

    Returns:
        Saturation (share of points in the outermost bins of a neuron, mean over the neurons), row entropy in bits,
        mean entropy of one neuron in bits. A constant layer has 1, 0 and 0; all three are NaN where no row is finite.

    Raises:
        ValueError: not a table, no neurons, or bins below 1.

    Source: arXiv 2403.18494; the entropy of one neuron is ours, since rows of many neurons are nearly all different.

    Cost: 47 ms for 25,600 points and 128 neurons, 0.8 ms for 1,024 and 32, on one core.

    Example:
        >>> compress([[-1.0], [-1.0], [0.0], [1.0]], bins=4)
        (0.75, 1.5, 1.5)
    """
    values = np.asarray(activations, np.float64)
    if values.ndim == 2 and not (finite := np.isfinite(values).all(axis=1)).all():
        values = values[finite]
        if values.shape[1] and not len(values):
            return (float("nan"),) * 3
    codes, counts = bin_activations(values, bins)
    points, starts = len(codes), np.cumsum(counts) - counts
    occupied = np.concatenate([np.bincount(code, minlength=n) for code, n in zip(codes.T, counts, strict=True)])
    outer = occupied[starts] + np.where(counts > 1, occupied[starts + counts - 1], 0)
    one = _entropy(occupied, points, len(counts))
    return float(outer.mean() / points), row_entropy(codes), one


def _entropy(counts: np.ndarray, points: int, variables: int = 1) -> float:
    """Return the mean over variables of log2 N - sum c log2 c / N, from the counts of all of them together."""
    counts = counts[counts > 1].astype(np.float64)
    # Rounding may leave -1e-16 where one bin holds everything.
    return max(float(np.log2(points) - (counts * np.log2(counts)).sum() / (points * variables)), 0.0)


def extreme_share(activations, lower: float, upper: float) -> float:
    r"""Compute the share of activations near an end of the activation's range.

    $$ \frac{1}{NM} \#\{ |a_{iv} - m| > (1 - 0.05)\, h \}, \quad m = (u + l)/2, \; h = (u - l)/2 $$

    Args:
        activations: any shape; values that are not finite are left out.
        lower: lower end l of the range.
        upper: upper end u.

    Returns:
        The share; NaN for an unbounded activation (an end that is not finite) or without a finite value.

    Source: ours; |tanh| > 0.95 is a usual meaning of a saturated neuron.

    Example:
        >>> extreme_share([-0.96, 0.0, 0.9, 1.0], -1.0, 1.0), extreme_share([3.0], 0.0, float("inf"))
        (0.5, nan)
    """
    values = np.asarray(activations, np.float64)
    values = values[np.isfinite(values)]
    if not (np.isfinite(lower) and np.isfinite(upper) and values.size):
        return float("nan")
    middle, half = (upper + lower) / 2, (upper - lower) / 2
    return float(np.mean(np.abs(values - middle) > (1 - END) * half))


def steepest_rise(step, value, window: float = WINDOW, least: float = LEAST_RISE) -> tuple[float, float]:
    r"""Find where a curve rises most while the step grows by a factor.

    $$ \max_t \; S(f t) - S(t) $$

    S is linear in log t between the samples, after a running median of three of them; f is the window.

    Args:
        step: (n,) steps in the order in which they were written; rows that a restart left behind, and steps below 1,
            are left out.
        value: (n,) the curve, any unit; NaN left out.
        window: factor f.
        least: smallest rise that counts.

    Returns:
        The geometric middle t sqrt(f) of the steepest window, and the rise in it; NaN and NaN where no rise reaches
        `least` or fewer than 3 samples are known.

    Source: ours.

    Example:
        >>> step, rise = steepest_rise([1, 10, 100, 200, 1000], [0.0, 0.0, 0.0, 0.4, 0.4])
        >>> round(step), round(rise, 3)
        (141, 0.4)
    """
    nothing = float("nan"), float("nan")
    step, curve = in_order(step, np.array(value, np.float64))
    known = (step >= 1) & np.isfinite(curve)
    if known.sum() < 3:
        return nothing
    place, curve = np.log(step[known]), curve[known]
    curve[1:-1] = np.median(np.stack([curve[:-2], curve[1:-1], curve[2:]]), axis=0)
    width = np.log(window)
    # A difference of two broken lines is largest where one of them breaks.
    starts = np.concatenate([place, place - width]).clip(place[0], max(place[-1] - width, place[0]))
    rises = np.interp(starts + width, place, curve) - np.interp(starts, place, curve)
    # A rise within one sample is steepest for a whole stretch of windows, whose middle is the estimate.
    steepest = starts[rises >= rises.max() - 1e-12]
    if not rises.max() >= least:
        return nothing
    return float(np.exp((steepest.min() + steepest.max()) / 2 + width / 2)), float(rises.max())


def information_compression(trajectory: xr.DataTree, *, bins: int = 30) -> xr.Dataset:
    r"""Follow saturation and entropies of the hidden layers over the run.

    Per step and layer the quantities of `compress`, H(T) / log2 N, and the share of activations near the ends of the
    activation's range; per layer the step at which the saturation rises most, the compression event. With tens of
    neurons nearly all rows differ, H(T) / log2 N is then 1 whatever the layer does: read `neuron_entropy`.

    Args:
        trajectory: `/compression`, with its attributes `points` and `bins`; or else `activations/activation`, with its
            attributes `lower` and `upper`, the range of each layer's activation.
        bins: bins of a neuron of mean range, where computed from the activations.

    Returns:
        Over (step, layer): `saturation`, `row_entropy` (bit), `row_entropy_share`, `neuron_entropy` (bit), `extreme`;
        over `layer`: `event_step`, `event_rise` (NaN where no rise within a factor of two of the step reaches 0.05).
        Attributes `origin`, `points` and `bins`.

    Raises:
        TrajectoryError: If the trajectory has neither stream; the variables are named.

    Source: arXiv 2403.18494; see `compress`, `extreme_share` and `steepest_rise` for what is ours.

    Cost: reading; `compress` a step and layer where computed from the activations.

    Example:
        >>> values = np.linspace(-1, 1, 61).reshape(1, 1, 61, 1)
        >>> recorded = xr.Dataset({"activation": (("step", "layer", "point", "neuron"), values)})
        >>> found = information_compression(xr.DataTree.from_dict({"activations": recorded}), bins=30)
        >>> round(found.saturation.item() * 61), found.attrs["points"]
        (5, 61)
    """
    if "compression" in trajectory:
        measured, attrs = _recorded(trajectory)
    elif "activations" in trajectory:
        measured, attrs = _computed(trajectory, bins)
    else:
        raise TrajectoryError(
            "expected compression/saturation, compression/row_entropy and compression/neuron_entropy, or "
            f"activations/activation; the trajectory has {sorted(trajectory.children) or 'no groups'}; record one of "
            "the two streams"
        )
    most = np.log2(attrs["points"]) if attrs["points"] > 1 else np.nan
    measured["row_entropy_share"] = measured["row_entropy"] / most
    steps = measured["step"].values if "step" in measured.coords else np.arange(measured.sizes["step"])
    curves = measured["saturation"].transpose("layer", "step").values
    events = np.array([steepest_rise(steps, curve) for curve in curves]).reshape(-1, 2)
    measured = measured.assign(event_step=("layer", events[:, 0]), event_rise=("layer", events[:, 1]))
    for name, (label, units) in LABELS.items():
        if name in measured:
            measured[name].attrs = {"long_name": label, "units": units}
    return measured.assign_attrs({**attrs, "window": WINDOW, "least_rise": LEAST_RISE})


LABELS = {
    "saturation": ("share of activations in the outermost bins of their neuron", "1"),
    "row_entropy": ("entropy of the binned activation patterns", "bit"),
    "row_entropy_share": ("entropy of the binned activation patterns over its largest value", "1"),
    "neuron_entropy": ("mean over neurons of the entropy of one binned neuron", "bit"),
    "extreme": ("share of activations within 5 % of the ends of the activation's range", "1"),
    "event_step": ("step of the steepest rise of the saturation", "1"),
    "event_rise": ("rise of the saturation while the step doubles there", "1"),
}


def _recorded(trajectory: xr.DataTree) -> tuple[xr.Dataset, dict[str, object]]:
    names = ("saturation", "row_entropy", "neuron_entropy")
    found = require(trajectory, *(f"compression/{name}" for name in names))
    group = trajectory["compression"]
    measured = {name: found[f"compression/{name}"].transpose("step", "layer").load() for name in names}
    unknown = xr.full_like(measured["saturation"], np.nan)
    measured["extreme"] = group["extreme"].transpose("step", "layer").load() if "extreme" in group else unknown
    points, bins = int(group.attrs.get("points") or 0), int(group.attrs.get("bins") or 0)
    return xr.Dataset(measured), {"origin": "recorded in /compression", "points": points, "bins": bins}


def _computed(trajectory: xr.DataTree, bins: int) -> tuple[xr.Dataset, dict[str, object]]:
    (activation,) = require(trajectory, "activations/activation").values()
    activation = activation.transpose("step", "layer", "point", "neuron")
    ends = _ranges(trajectory["activations"].attrs, activation.sizes["layer"])
    rows, used = [], np.zeros((activation.sizes["layer"], activation.sizes["neuron"]), bool)
    for index in range(activation.sizes["step"]):
        used |= np.isfinite(activation[index].values).any(axis=1)
    for index in range(activation.sizes["step"]):
        layers = [layer[:, kept] for layer, kept in zip(activation[index].values, used, strict=True)]
        rows.append([_measures(layer, bins, *end) for layer, end in zip(layers, ends, strict=True)])
    table = np.array(rows).reshape(-1, len(used), 4)
    names = ("saturation", "row_entropy", "neuron_entropy", "extreme")
    measured = {name: (("step", "layer"), table[..., k]) for k, name in enumerate(names)}
    coords = {name: activation[name] for name in ("step", "layer") if name in activation.coords}
    attrs = {"origin": "computed from /activations", "points": activation.sizes["point"], "bins": bins}
    return xr.Dataset(measured, coords), attrs


def _measures(layer: np.ndarray, bins: int, lower: float, upper: float) -> tuple[float, ...]:
    """Return saturation, row entropy, neuron entropy and extreme share; NaN for a layer that was never finite."""
    compressed = compress(layer, bins) if layer.shape[1] else (float("nan"),) * 3
    return (*compressed, extreme_share(layer, lower, upper))


def _ranges(attrs, layers: int) -> list[tuple[float, float]]:
    """Return the ends of each layer's range, NaN where the group does not say; the file holds lists as JSON."""
    found = []
    for name in ("lower", "upper"):
        ends = attrs.get(name)
        ends = json.loads(ends or "null") if isinstance(ends, str) else ends
        ends = [float("nan") if end is None else float(end) for end in np.ravel(ends)]
        found.append(ends if len(ends) == layers else [float("nan")] * layers)
    return list(zip(*found, strict=True))

"""The gradient signal-to-noise ratio of a run, over blocks of collocation points.

Three traps. (1) A boundary or initial term that every block shares enters the mean and cancels in the
standard deviation, so it raises the SNR; `snr_interior` leaves it out. (2) Where attention weights start at
zero, the shared term is all there is at first and the SNR reads 1e4 and more: an artifact of the start, not a
fitting phase. (3) The SNR grows like the square root of the points per block, so "SNR = 1" means something
only with the block size: `reference_snr`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from dynamics.file.row_blocks import row_blocks
from dynamics.gram import cosines, merge_blocks
from dynamics.gram import normalized_snr_from_gram as normalized_snr_from_gram
from dynamics.gram import snr_from_gram as snr_from_gram
from dynamics.ratios import from_log
from dynamics.ratios import log_snr as log_snr
from dynamics.ratios import reference_snr as reference_snr
from dynamics.ratios import snr_from_norms as snr_from_norms
from dynamics.smoothing import running_mean
from dynamics.smoothing import running_median as running_median
from dynamics.steps import rows_in_order
from dynamics.trajectory import require

Found = dict[str, tuple]
"""Name -> dimensions, values and long name of a result."""


def gradient_snr(trajectory: xr.DataTree, *, smoothing: float = 0.03, merge: Sequence[int] | None = None) -> xr.Dataset:
    r"""Follow the gradient signal-to-noise ratio of a run.

    $$ \mathrm{SNR} = \|\mu\| / \|\sigma\|, \qquad
       \phi = \|\mu\| / \mathrm{rms} = \mathrm{SNR} / \sqrt{1 + \mathrm{SNR}^2} $$

    Read the traps in this module's docstring before comparing values between runs.

    Args:
        trajectory: needs `gradients/mean_norm_total` and `gradients/std_norm_total`; takes `mean_norm`, `std_norm`,
            `interior_mean_norm`, `interior_mean_norm_total`, `term_mean_norm`, `term_std_norm`, `term_gram` and `gram`
            of the same group where they are, and its attributes `block_size`, `points` (or `blocks`). Rows that a
            restart or a broken step left behind are left out (`dynamics.steps`).
        smoothing: half-width of the running median and means, in decades of the step.
        merge: numbers of blocks to merge into one, divisors of B that leave two; None takes the powers of 2 among them.

    Returns:
        Over `step`: `snr`, `snr_median` (its running median), `snr_mean` (running mean of |mu| over that of |sigma|, as
        the paper's curves: it follows spikes), `order_parameter` phi, `snr_reference` (at blocks of 256 of 25600
        points; attribute `reference` says how it was got); where recorded also `snr_layer` and `snr_layer_interior`
        (step, layer), `snr_interior` (without the gradient that all blocks share), `snr_term` (step, term: each over
        blocks of its own points), `cosine` (step, term_row, term_column: of the angles between the gradients of the
        loss terms), `snr_normalized` (unit block gradients) and `snr_merged` (step, merge: of blocks of so many).
        NaN where a row lacks what is needed, such as a Gram matrix; the smoothed curves bridge such rows.

    Raises:
        TrajectoryError: If the trajectory lacks a needed variable; it is named.

    Source: arXiv 2403.18494 for SNR, order parameter and means; the rest ours.

    Cost: one pass over the stored norms; O(steps * window) for the median; O(steps * B^2) with Gram matrices.

    Example:
        >>> norms = {"mean_norm_total": ("step", [3.0]), "std_norm_total": ("step", [4.0])}
        >>> tree = xr.DataTree.from_dict({"gradients": xr.Dataset(norms, {"step": [1]})})
        >>> result = gradient_snr(tree)
        >>> result.snr.item(), round(result.order_parameter.item(), 12)
        (0.75, 0.6)
    """
    require(trajectory, "gradients/mean_norm_total", "gradients/std_norm_total")
    group = _ordered(trajectory["gradients"].to_dataset())
    smoothed, note = _totals(group, smoothing)
    found = smoothed | _by_layer(group) | _by_term(group) | _from_gram(group, merge)
    kept = {name: group.attrs[name] for name in ("blocks", "block_size", "points", "terms") if name in group.attrs}
    labels = ("step", "layer", "term", "term_row", "term_column")
    used = {dim for dims, *_ in found.values() for dim in dims}
    coords = {name: group[name] for name in labels if name in group.coords and name in used}
    if "merge" in used:
        coords["merge"] = list(_factors(group.sizes["row"] - 1, merge))
    return xr.Dataset(
        {name: (dims, value, {"units": "1", "long_name": label}) for name, (dims, value, label) in found.items()},
        coords,
        {**kept, "smoothing": smoothing, "reference": note},
    )


def _ordered(group: xr.Dataset) -> xr.Dataset:
    if "step" not in group.coords:
        return group
    rows = rows_in_order(group["step"].values)
    return group if len(rows) == group.sizes["step"] else group.isel(step=rows)


def _totals(group: xr.Dataset, smoothing: float) -> tuple[Found, str]:
    """Return the ratios over all parameters, and how the one at the reference block was got."""
    mean, std = (group[f"{name}_norm_total"].values.astype(np.float64) for name in ("mean", "std"))
    ratio = snr_from_norms(mean, std)
    # SNR / sqrt(1 + SNR^2) without inf / inf where the deviation is zero.
    rms = np.hypot(mean, std)
    order = np.divide(mean, rms, out=np.full(rms.shape, np.nan), where=(rms > 0) & np.isfinite(rms))
    steps = group["step"].values if "step" in group.coords else np.arange(mean.size)
    median = running_median(steps, log_snr(ratio), steps, smoothing)
    both = ~np.isnan(ratio)
    means = (running_mean(steps, np.where(both, norm, np.nan), steps, smoothing) for norm in (mean, std))
    at_reference, note = _to_reference(ratio, group.attrs)
    found = {
        "snr": (("step",), ratio, "gradient signal-to-noise ratio"),
        "snr_median": (("step",), from_log(median), "gradient SNR, running median"),
        "snr_mean": (("step",), snr_from_norms(*means), "gradient SNR, ratio of running means"),
        "order_parameter": (("step",), order, "gradient order parameter, norm of mean over root mean square"),
        "snr_reference": (("step",), at_reference, "gradient SNR at the reference block size"),
    }
    if "interior_mean_norm_total" in group:
        ratio = snr_from_norms(group["interior_mean_norm_total"].values, std)
        found["snr_interior"] = (("step",), ratio, "gradient SNR of the interior term alone")
    return found, note


def _by_layer(group: xr.Dataset) -> Found:
    dims = ("step", "layer")
    interior = "gradient SNR of each layer, interior term alone"
    return {
        **_ratio(group, "snr_layer", dims, ("mean_norm", "std_norm"), "gradient SNR of each layer"),
        **_ratio(group, "snr_layer_interior", dims, ("interior_mean_norm", "std_norm"), interior),
    }


def _by_term(group: xr.Dataset) -> Found:
    norms = ("term_mean_norm", "term_std_norm")
    found = _ratio(group, "snr_term", ("step", "term"), norms, "gradient SNR of each loss term over its own points")
    if "term_gram" in group:
        dims = ("step", "term_row", "term_column")
        values = cosines(group["term_gram"].transpose(*dims).values)
        found["cosine"] = (dims, values, "cosine of the angle between the gradients of two loss terms")
    return found


def _from_gram(group: xr.Dataset, merge: Sequence[int] | None) -> Found:
    if "gram" not in group:
        return {}
    variable = group["gram"].transpose("step", "row", "column")
    factors = _factors(variable.shape[-1] - 1, merge)
    normalized, merged = [], []
    for gram in row_blocks(variable):
        normalized.append(normalized_snr_from_gram(gram))
        if factors:
            merged.append(np.stack([snr_from_gram(merge_blocks(gram, count)) for count in factors], axis=1))
    found = {"snr_normalized": (("step",), np.concatenate(normalized), "gradient SNR of unit block gradients")}
    if factors:
        joined = np.concatenate(merged)
        found["snr_merged"] = (("step", "merge"), joined, "gradient SNR of blocks merged by so many")
    return found


def _factors(blocks: int, merge: Sequence[int] | None) -> tuple[int, ...]:
    """Return how many blocks to merge: as asked for, or the powers of 2 that divide their number and leave two."""
    if merge is not None:
        return tuple(merge)
    powers = (2**exponent for exponent in range(1, max(blocks, 1).bit_length()))
    return tuple(count for count in powers if blocks % count == 0 and blocks // count >= 2)


def _ratio(group: xr.Dataset, name: str, dims: tuple[str, ...], norms: tuple[str, str], label: str) -> Found:
    """Return the ratio of two norms under a name, or nothing where one was not recorded."""
    if not all(norm in group for norm in norms):
        return {}
    return {name: (dims, snr_from_norms(*(group[norm].transpose(*dims).values for norm in norms)), label)}


def _to_reference(snr: np.ndarray, attrs) -> tuple[np.ndarray, str]:
    """Bring the SNR to the reference block where the group says what its blocks are; say what was done."""
    block_size, points = attrs.get("block_size"), attrs.get("points")
    if block_size is not None and "blocks" in attrs:
        # Points that fill no block are in none: what the deviation is over is the blocks' own points.
        points = int(attrs["blocks"]) * int(block_size)
    if block_size is None or points is None:
        return snr, "assumed to be at the reference block already: /gradients lacks block_size and points"
    if int(block_size) >= int(points):
        return np.full_like(snr, np.nan), "undefined: one block holds all points"
    note = f"converted from blocks of {int(block_size)} of {int(points)} points"
    return reference_snr(snr, int(block_size), int(points)), note

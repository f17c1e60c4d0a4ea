"""Signal-to-noise ratio of the loss gradient over blocks of collocation points.

Three traps. (1) A boundary or initial term that every block shares enters the mean and cancels in the
standard deviation, so it raises the SNR; `snr_interior` leaves it out. (2) Where attention weights start at
zero, the shared term is all there is at first and the SNR reads 1e4 and more: an artifact of the start, not a
fitting phase. (3) The SNR grows like the square root of the points per block, so "SNR = 1" means something
only with the block size: `reference_snr`.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from dynamics.trajectory import require

REFERENCE_BLOCK, REFERENCE_POINTS = 256, 25600
LARGEST_LOG = 300.0


def snr_from_norms(mean_norm, std_norm) -> np.ndarray:
    r"""Compute the gradient SNR from the norms of mean and standard deviation over blocks.

    $$ \mathrm{SNR} = \|\mu\|_2 / \|\sigma\|_2, \qquad \mu_j = \frac1B \sum_b g_{bj}, \quad
       \sigma_j^2 = \frac1B \sum_b (g_{bj} - \mu_j)^2 $$

    One ratio of two norms over all parameters, not a mean of ratios per parameter.

    Args:
        mean_norm: norm of the mean block gradient, any shape, float.
        std_norm: norm of the standard deviation over blocks (population, divided by B), the same shape and
            unit.

    Returns:
        Float64 array of that shape: inf where only the deviation is 0, NaN where both are 0 or either is NaN.

    Raises:
        ValueError: If a norm is negative.

    Source: arXiv 2403.18494 (total diffusion); its authors' code takes weight matrices only, without biases.

    Example:
        >>> snr_from_norms([3.0, 1.0, 0.0], [1.5, 0.0, 0.0]).tolist()
        [2.0, inf, nan]
    """
    mean, std = np.broadcast_arrays(np.asarray(mean_norm, np.float64), np.asarray(std_norm, np.float64))
    if (mean < 0).any() or (std < 0).any():
        raise ValueError("expected norms >= 0, got a negative one; pass norms, not components or log values")
    ratio = np.full(mean.shape, np.nan)
    np.divide(mean, std, out=ratio, where=std > 0)
    ratio[(std == 0) & (mean > 0)] = np.inf
    return ratio[()]


def _check_gram(gram) -> tuple[np.ndarray, int]:
    matrix = np.asarray(gram, dtype=np.float64)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.shape[-1] < 3:
        raise ValueError(
            f"expected (..., B + 1, B + 1), B >= 2 blocks and last their sum, got shape {matrix.shape}; "
            "append the summed gradient as one more row before taking inner products"
        )
    return matrix, matrix.shape[-1] - 1


def _snr_of_squares(mean_square: np.ndarray, square_mean: np.ndarray, blocks: int) -> np.ndarray:
    """SNR from |mu|^2 and the mean of |g_b|^2; a variance that is only rounding counts as zero."""
    variance = square_mean - mean_square
    variance = np.where(variance <= 4 * np.finfo(np.float64).eps * blocks * square_mean, 0.0, variance)
    return snr_from_norms(np.sqrt(mean_square), np.sqrt(variance))


def snr_from_gram(gram) -> np.ndarray:
    r"""Compute the gradient SNR from inner products of the block gradients.

    $$ \|\mu\|^2 = G_{ss} / B^2, \qquad \|\sigma\|^2 = \frac1B \sum_b G_{bb} - \|\mu\|^2 $$

    The row s of the summed gradient gives |mu| directly. From the blocks alone, 1'G1 cancels when the SNR is
    small and nothing is left of it below about 1e-8 in float64 (3e-4 in float32).

    Args:
        gram: (..., B + 1, B + 1), inner products of the B block gradients and, last, of their sum; float64.

    Returns:
        Float64 array of the leading shape. Above about 1e7 the deviation is lost in rounding and the result
        is inf.

    Raises:
        ValueError: If the matrices are not square or hold fewer than two blocks.

    Source: ours; the same quantity as `snr_from_norms`.

    Cost: O(B) per matrix: only the diagonal is read.

    Example:
        >>> rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> float(snr_from_gram(rows @ rows.T))
        1.0
    """
    matrix, blocks = _check_gram(gram)
    diagonal = np.diagonal(matrix, axis1=-2, axis2=-1)
    return _snr_of_squares(diagonal[..., -1] / blocks**2, diagonal[..., :-1].mean(axis=-1), blocks)


def normalized_snr_from_gram(gram) -> np.ndarray:
    r"""Compute the SNR of the block directions: every block gradient scaled to length one.

    $$ \mathrm{SNR} = R / \sqrt{1 - R^2}, \qquad
       R^2 = \frac{1}{B^2} \sum_{a, b} \frac{G_{ab}}{\sqrt{G_{aa} G_{bb}}} $$

    R is the mean resultant length. Blocks with large residuals do not dominate it, unlike `snr_from_gram`.

    Args:
        gram: (..., B + 1, B + 1), as for `snr_from_gram`; the row of the sum is not used.

    Returns:
        Float64 array of the leading shape; NaN where a block's gradient is zero and has no direction.

    Raises:
        ValueError: If the matrices are not square or hold fewer than two blocks.

    Source: the variational residual-attention code of the total-diffusion authors' group normalizes so;
        identity ours.

    Cost: O(B^2) per matrix. Values below about 1e-8 are rounding.

    Example:
        >>> rows = np.array([[1.0, 0.0], [0.0, 9.0], [1.0, 9.0]])
        >>> round(float(normalized_snr_from_gram(rows @ rows.T)), 12)
        1.0
    """
    matrix, blocks = _check_gram(gram)
    inner = matrix[..., :-1, :-1]
    square = np.diagonal(inner, axis1=-2, axis2=-1)
    length = np.sqrt(np.where(square > 0, square, np.nan))
    cosine = inner / length[..., :, None] / length[..., None, :]
    resultant = np.maximum(cosine.mean(axis=(-2, -1)), 0.0)
    return _snr_of_squares(resultant, np.where(np.isnan(resultant), np.nan, 1.0), blocks)


def reference_snr(
    snr,
    block_size: int,
    points: int,
    *,
    reference_block: int = REFERENCE_BLOCK,
    reference_points: int = REFERENCE_POINTS,
) -> np.ndarray:
    r"""Convert an SNR measured with one block size to that of the reference blocks.

    $$ s_1 = \mathrm{SNR} \sqrt{\frac{1 - n_b/N}{n_b}}, \qquad \mathrm{SNR}_{ref} = s_1 \Big/
       \sqrt{\frac{1 - n_{ref}/N_{ref}}{n_{ref}}} $$

    s_1 is the SNR per point, free of the blocking. Exact in the mean for blocks drawn at random without
    replacement; on real runs it is within 2 to 10 % mostly, and 40 % off at worst with 8 blocks.

    Args:
        snr: measured SNR, any shape.
        block_size: points per block, n_b.
        points: points of all blocks together, N.
        reference_block: points per reference block.
        reference_points: points of the reference set; 256 of 25600 is what the threshold SNR = 1 was seen
            with.

    Returns:
        Float64 array of the shape of `snr`.

    Raises:
        ValueError: If a block is not smaller than its set, where the deviation over blocks is zero by
            construction.

    Source: ours: variance of a mean of n_b of N values drawn without replacement, with the authors' block
        size.

    Example:
        >>> round(float(reference_snr(0.752, 128, 1024)), 3)
        1.0
    """
    for block, total in ((block_size, points), (reference_block, reference_points)):
        if not 0 < block < total:
            raise ValueError(f"expected 0 < block size < points, got {block} of {total}; use at least two blocks")
    per_point = np.asarray(snr, np.float64) * np.sqrt((1 - block_size / points) / block_size)
    return per_point / np.sqrt((1 - reference_block / reference_points) / reference_block)


def running_median(step, value, at, half_width: float, nearest: int = 3) -> np.ndarray:
    """Take the median of the samples near each place, near in log10 of the step.

    Median over |log10 step - log10 at| <= half_width, widened to the `nearest` samples where fewer lie there.
    A mean would follow the spikes of Adam; the median does not.

    Args:
        step: (n,) steps of the samples, any order; steps below 1 count as 1.
        value: (n,) finite or NaN; NaN samples are left out.
        at: (m,) steps at which the median is wanted.
        half_width: in decades.
        nearest: least number of samples.

    Returns:
        (m,) float64; NaN if there is no sample.

    Source: ours.

    Cost: O(m k), k the samples in a window.

    Example:
        >>> running_median([1, 10, 11, 12, 100], [9.0, 1.0, 2.0, 50.0, 9.0], [11], 0.1).tolist()
        [2.0]
    """
    value = np.asarray(value, np.float64)
    keep = ~np.isnan(value)
    place = np.log10(np.maximum(np.asarray(step, np.float64), 1.0))[keep]
    order = np.argsort(place, kind="stable")
    place, value = place[order], value[keep][order]
    center = np.log10(np.maximum(np.asarray(at, np.float64), 1.0))
    if not len(place):
        return np.full(center.shape, np.nan)
    low = np.searchsorted(place, center - half_width, "left")
    high = np.searchsorted(place, center + half_width, "right")
    result = np.empty(center.shape)
    for index, middle in enumerate(center):
        window = slice(low[index], high[index])
        if high[index] - low[index] < nearest:
            around = slice(max(low[index] - nearest, 0), high[index] + nearest)
            window = around.start + np.argsort(np.abs(place[around] - middle), kind="stable")[:nearest]
        result[index] = np.median(value[window])
    return result


def log_snr(snr) -> np.ndarray:
    """Return log10 of the SNR, kept finite so that medians and comparisons of 0 and inf work.

    log10 SNR clipped to +-300.

    Args:
        snr: any shape, non-negative, inf or NaN.

    Returns:
        Float64 array of that shape; NaN stays NaN.

    Source: ours.

    Example:
        >>> log_snr([0.0, 10.0, np.inf]).tolist()
        [-300.0, 1.0, 300.0]
    """
    return np.log10(np.clip(np.asarray(snr, np.float64), 10.0**-LARGEST_LOG, 10.0**LARGEST_LOG))


def _optional(trajectory: xr.DataTree, name: str) -> xr.DataArray | None:
    group = trajectory["gradients"]
    return group[name] if name in group else None


def _to_reference(snr: np.ndarray, attrs) -> tuple[np.ndarray, str]:
    """Bring the SNR to the reference block where the group says what its blocks are; say what was done."""
    block_size, points = attrs.get("block_size"), attrs.get("points")
    if points is None and block_size is not None and "blocks" in attrs:
        points = int(attrs["blocks"]) * int(block_size)
    if block_size is None or points is None:
        return snr, "assumed to be at the reference block already: /gradients lacks block_size and points"
    if int(block_size) >= int(points):
        return np.full_like(snr, np.nan), "undefined: one block holds all points"
    note = f"converted from blocks of {int(block_size)} of {int(points)} points"
    return reference_snr(snr, int(block_size), int(points)), note


def gradient_snr(trajectory: xr.DataTree, *, smoothing: float = 0.03) -> xr.Dataset:
    r"""Follow the gradient signal-to-noise ratio of a run.

    $$ \mathrm{SNR} = \|\mu\| / \|\sigma\|, \qquad
       \phi = \|\mu\| / \mathrm{rms} = \mathrm{SNR} / \sqrt{1 + \mathrm{SNR}^2} $$

    Read the traps in this module's docstring before comparing values between runs.

    Args:
        trajectory: needs `gradients/mean_norm_total` and `gradients/std_norm_total`; takes `mean_norm`,
            `std_norm`, `interior_mean_norm_total` and `gram` of the same group where they are, and its
            attributes `block_size`, `points` (or `blocks`).
        smoothing: half-width of the running median, in decades of the step.

    Returns:
        Over `step`: `snr`, `snr_median` (its running median), `order_parameter`, `snr_reference` (at blocks
        of 256 of 25600 points; attribute `reference` says how it was got); where recorded also `snr_layer`
        (step, layer), `snr_interior` (without the gradient that all blocks share) and `snr_normalized` (unit
        block gradients, NaN at steps without a Gram matrix).

    Raises:
        TrajectoryError: If the trajectory lacks a needed variable; it is named.

    Source: arXiv 2403.18494 for SNR and order parameter; the rest ours.

    Cost: one pass over the stored norms; O(steps * window) for the median.

    Example:
        >>> norms = {"mean_norm_total": ("step", [3.0]), "std_norm_total": ("step", [4.0])}
        >>> tree = xr.DataTree.from_dict({"gradients": xr.Dataset(norms, {"step": [1]})})
        >>> result = gradient_snr(tree)
        >>> result.snr.item(), round(result.order_parameter.item(), 12)
        (0.75, 0.6)
    """
    mean, std = require(trajectory, "gradients/mean_norm_total", "gradients/std_norm_total").values()
    group = trajectory["gradients"]
    ratio = snr_from_norms(mean.values, std.values)
    # SNR / sqrt(1 + SNR^2) without inf / inf where the deviation is zero
    order = np.divide(
        mean.values, rms := np.hypot(mean.values, std.values), out=np.full(rms.shape, np.nan), where=rms > 0
    )
    steps = mean["step"].values if "step" in mean.coords else np.arange(mean.size)
    median = running_median(steps, log_snr(ratio), steps, smoothing)
    at_reference, note = _to_reference(ratio, group.attrs)

    found = {
        "snr": ("step", ratio, "gradient signal-to-noise ratio"),
        "snr_median": ("step", _from_log(median), "gradient SNR, running median"),
        "order_parameter": ("step", order, "gradient order parameter, norm of mean over root mean square"),
        "snr_reference": ("step", at_reference, "gradient SNR at the reference block size"),
    }
    layer_mean, layer_std = _optional(trajectory, "mean_norm"), _optional(trajectory, "std_norm")
    if layer_mean is not None and layer_std is not None:
        layer_mean, layer_std = (norm.transpose("step", "layer") for norm in (layer_mean, layer_std))
        ratios = snr_from_norms(layer_mean.values, layer_std.values)
        found["snr_layer"] = (("step", "layer"), ratios, "gradient SNR of each layer")
    if (interior := _optional(trajectory, "interior_mean_norm_total")) is not None:
        ratio = snr_from_norms(interior.values, std.values)
        found["snr_interior"] = ("step", ratio, "gradient SNR of the interior term alone")
    if (gram := _optional(trajectory, "gram")) is not None:
        ratio = normalized_snr_from_gram(gram.transpose("step", ...).values)
        found["snr_normalized"] = ("step", ratio, "gradient SNR of unit block gradients")

    kept = {name: group.attrs[name] for name in ("blocks", "block_size", "points", "terms") if name in group.attrs}
    result = xr.Dataset(
        {name: (dims, value, {"units": "1", "long_name": label}) for name, (dims, value, label) in found.items()},
        {name: group[name] for name in ("step", "layer") if name in group.coords},
        {**kept, "smoothing": smoothing, "reference": note},
    )
    return result


def _from_log(logarithm: np.ndarray) -> np.ndarray:
    """Undo `log_snr`: its ends stand for 0 and inf."""
    value = 10.0**logarithm
    value[logarithm <= -LARGEST_LOG] = 0.0
    value[logarithm >= LARGEST_LOG] = np.inf
    return value

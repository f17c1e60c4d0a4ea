"""Information compression against the published rule, written out slowly, and on layers with known answers."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynamics.compression import (
    BLOCK,
    ROUNDING,
    bin_activations,
    compress,
    extreme_share,
    information_compression,
    row_entropy,
    steepest_rise,
)
from dynamics.trajectory import TrajectoryError


def by_the_rule(values, bins):
    """The rule of arXiv 2403.18494's code, neuron by neuron; widths in fractions, so that no quotient is rounded.

    Ranges that differ by their rounding alone count as one, as `bin_activations` says.
    """
    ranges = [abs(Fraction(float(abs(column.min() - column.max() - 1e-6)))) for column in values.T]
    width = sum(ranges) / len(ranges) / bins
    table, numbers = np.empty(values.shape, int), []
    for v, column in enumerate(values.T):
        digits = max(int(ranges[v] / width * (1 + Fraction(ROUNDING))) + 1, 2)
        table[:, v] = np.digitize(column, np.linspace(column.min(), column.max() + 1e-6, digits))
        numbers.append(digits - 1)
    return table, numbers


def entropy_of(symbols):
    shares = [Fraction(n, len(symbols)) for n in Counter(symbols).values()]
    return -math.fsum(float(p) * math.log2(p) for p in shares)


def measured_slowly(values, bins):
    table, numbers = by_the_rule(values, bins)
    points, neurons = table.shape
    saturated = [
        sum(1 for code in table[:, v] if code == 1 or code == numbers[v]) for v in range(neurons)
    ]  # one bin: first and last at once, counted once
    rows = entropy_of([tuple(row) for row in table.tolist()])
    single = [entropy_of(table[:, v].tolist()) for v in range(neurons)]
    return float(Fraction(sum(saturated), points * neurons)), rows, math.fsum(single) / neurons


def layer(rng, points, neurons, scale, dtype):
    x = rng.uniform(-1, 1, (points, 2))
    return np.tanh(scale * (x @ rng.normal(size=(2, neurons)) + rng.normal(size=neurons))).astype(dtype)


@settings(max_examples=80, deadline=None)
@example(seed=1302, points=10, neurons=2, scale=30.0, bins=2, dtype=np.float64, unit=1.0)  # Ranges one ulp apart.
@given(
    seed=st.integers(0, 2**31),
    points=st.integers(1, 90),
    neurons=st.integers(1, 7),
    scale=st.sampled_from([1e-9, 1e-7, 1e-3, 1.0, 30.0, 1e4]),
    bins=st.sampled_from([1, 2, 7, 30, 300]),
    dtype=st.sampled_from([np.float32, np.float64]),
    unit=st.sampled_from([1.0, 1e-5, 1e3]),
)
def test_codes_and_measures_are_those_of_the_rule(seed, points, neurons, scale, bins, dtype, unit):
    values = layer(np.random.default_rng(seed), points, neurons, scale, dtype) * dtype(unit)
    codes, counts = bin_activations(values, bins)
    table, numbers = by_the_rule(values.astype(np.float64), bins)
    moving = np.ptp(values, axis=0) > 0
    assert counts.tolist() == numbers
    assert np.array_equal(codes[:, moving] + 1, table[:, moving])
    assert not codes[:, ~moving].any()
    assert compress(values, bins) == pytest.approx(measured_slowly(values.astype(np.float64), bins), abs=1e-12)


def test_values_on_the_edges_fall_as_the_edges_do():
    """Every value stands on an edge of the rule's own grid, or one ulp to either side."""
    edges = np.linspace(-0.7, 1.3 + 1e-6, 31)[:-1]
    values = np.concatenate([edges, np.nextafter(edges, 9), np.nextafter(edges[1:], -9), [1.3]])[:, None]
    codes, counts = bin_activations(values, 30)
    table, numbers = by_the_rule(values, 30)
    assert counts.tolist() == numbers == [30]
    assert np.array_equal(codes + 1, table)


def test_layers_of_any_size_and_values_of_any_size():
    """More values than are binned at once; and values so large that the margin of 1e-6 is lost in them."""
    values = layer(np.random.default_rng(5), 3000, 25, 3.0, np.float32)
    assert values.size > 2 * BLOCK
    codes, counts = bin_activations(values)
    table, numbers = by_the_rule(values.astype(np.float64), 30)
    assert counts.tolist() == numbers
    assert np.array_equal(codes + 1, table)
    large, counts = bin_activations(np.linspace(1e12, 2e12, 31)[:, None])
    assert (large.max(), counts.tolist()) == (29, [30])
    assert compress(np.linspace(1e12, 2e12, 31)[:, None])[0] == pytest.approx(3 / 31)


def test_neurons_of_one_range_have_the_bins_asked_for():
    """As in float64 the quotient of a range and a thirtieth of it is 29.999999999999996 for some ranges."""
    rng = np.random.default_rng(3)
    for _ in range(300):
        low, high = np.sort(rng.normal(size=2))
        assert bin_activations(np.array([[low] * 3, [high] * 3]), 30)[1].tolist() == [30] * 3


def test_a_wide_neuron_has_more_bins_and_a_narrow_one_fewer():
    line = np.linspace(0, 1, 1001)[:, None]
    counts = bin_activations(line * [1.0, 1.0, 4.1], 30)[1]
    assert counts.tolist() == [14, 14, 60]
    # A neuron narrower than one bin has one, in which all points are: saturated once, not twice.
    assert bin_activations(line * [1e-4, 2.0], 30)[1].tolist() == [1, 59]
    assert compress(line * [1e-4, 2.0], 30)[0] == pytest.approx((1001 + 2 * 1001 / 59) / (2 * 1001), rel=2e-2)


@pytest.mark.parametrize("constant", [0.0, 1.0, -1.0, 1e9, 1e16])
def test_a_constant_layer_is_compressed_to_nothing(constant):
    assert compress(np.full((50, 4), constant)) == (1.0, 0.0, 0.0)


def test_one_point_and_rows_that_are_not_finite():
    assert compress([[0.3, -0.2]]) == (1.0, 0.0, 0.0)
    values = layer(np.random.default_rng(0), 40, 3, 1.0, np.float64)
    spoiled = np.vstack([values[:20], [[np.nan, 0, 0]], [[0, np.inf, 0]], values[20:]])
    assert compress(spoiled) == compress(values)
    assert np.isnan(compress(np.full((5, 2), np.nan))).all()


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(4), np.zeros((2, 2, 2))])
def test_tables_without_points_or_neurons_are_refused(values):
    with pytest.raises(ValueError, match="at least one of each"):
        compress(values)
    with pytest.raises(ValueError, match="bins >= 1"):
        compress(np.zeros((2, 2)), 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rows_are_told_apart_exactly(dtype):
    """All rows of three small digits, each three times; zero bytes at their ends are digits too."""
    rows = np.array(np.meshgrid(*[[0, 1, 255]] * 3)).reshape(3, -1).T.astype(dtype)
    rows[:, 0] *= 257 if dtype is np.uint16 else 1
    assert row_entropy(np.repeat(rows, 3, axis=0)) == pytest.approx(math.log2(27), rel=1e-14)
    assert row_entropy(np.arange(64, dtype=dtype)[:, None]) == 6.0


def test_saturation_grows_as_a_tanh_layer_saturates():
    x = np.linspace(-1, 1, 2000)[:, None]
    slow, fast = (compress(np.tanh(scale * x)) for scale in (0.1, 100.0))
    # Nearly equidistant values fill 30 bins evenly; steep ones leave 2 % of the points between the outermost bins.
    assert slow[0] == pytest.approx(2 / 30, rel=0.03)
    assert slow[2] == pytest.approx(math.log2(30), rel=0.001)
    between = np.arctanh(1 - 2 / 30) / 100
    assert fast[0] == pytest.approx(1 - between, abs=2e-3)
    assert fast[2] < 1.3


def test_extreme_share_counts_both_ends_of_the_range():
    values = np.linspace(-1, 1, 4001)
    assert extreme_share(values, -1, 1) == pytest.approx(0.05, abs=5e-4)
    assert extreme_share((values + 1) / 2, 0, 1) == pytest.approx(0.05, abs=5e-4)
    assert extreme_share([0.96, 0.94, -0.96, np.nan], -1, 1) == pytest.approx(2 / 3)
    assert np.isnan(extreme_share([1.0], np.nan, np.nan))
    assert np.isnan(extreme_share([np.nan], -1, 1))


def test_the_steepest_rise_is_where_the_curve_climbs():
    step = np.geomspace(1, 1e4, 121)
    place, rise = steepest_rise(step, 0.1 + 0.5 / (1 + (300 / step) ** 8))
    assert place == pytest.approx(300, rel=0.03)
    # Over half an octave to either side of the middle: 1/(1 + 2^-4) - 1/(1 + 2^4).
    assert rise == pytest.approx(0.5 * (16 / 17 - 1 / 17), rel=0.02)


def test_what_is_no_rise_has_no_event():
    step = np.geomspace(1, 1e4, 121)
    for curve in (np.full(121, 0.3), np.linspace(0.9, 0.1, 121), 0.1 + 0.01 * np.sin(step), np.full(121, np.nan)):
        assert np.isnan(steepest_rise(step, curve)).all()
    assert np.isnan(steepest_rise([1, 2], [0.0, 1.0])).all()
    spike = np.where(np.arange(121) == 70, 0.9, 0.1)
    assert np.isnan(steepest_rise(step, spike)).all()


def test_repeated_decreasing_and_zeroth_steps():
    """A resumed run writes steps again: the last of them stands."""
    step, curve = np.geomspace(10, 1000, 31), np.linspace(0, 0.9, 31) ** 3
    plain = steepest_rise(step, curve)
    first = np.concatenate([[0], step[:12], step[9:]])
    again = np.concatenate([[5.0], curve[:9], [7.0] * 3, curve[9:]])
    assert steepest_rise(first, again) == plain
    spoiled = np.insert(curve, 15, np.nan)
    assert steepest_rise(np.insert(step, 15, step[14] * 1.01), spoiled) == plain


def activations_tree(attrs=None, widths=(4, 2)):
    rng, steps = np.random.default_rng(1), [0, 10, 100, 1000]
    values = np.full((4, 2, 60, 4), np.nan)
    for row in range(4):
        for k, width in enumerate(widths):
            values[row, k, :, :width] = layer(rng, 60, width, 0.5 * 3.0**row, np.float64)
    recorded = xr.Dataset(
        {"activation": (("step", "layer", "point", "neuron"), values)},
        {"step": steps, "layer": ["1", "3"]},
        {"lower": [-1.0, np.nan], "upper": [1.0, np.nan]} if attrs is None else attrs,
    )
    return xr.DataTree.from_dict({"activations": recorded}), values


def test_computed_from_activations():
    tree, values = activations_tree()
    found = information_compression(tree, bins=10)
    for row in range(4):
        for k, width in enumerate((4, 2)):
            saturation, rows, single = compress(values[row, k, :, :width], 10)
            here = found.isel(step=row, layer=k)
            assert here.saturation == saturation
            assert here.row_entropy == rows
            assert here.row_entropy_share == pytest.approx(rows / math.log2(60))
            assert here.neuron_entropy == single
    assert found.extreme.sel(layer="1").values.tolist() == [extreme_share(v, -1, 1) for v in values[:, 0]]
    assert np.isnan(found.extreme.sel(layer="3")).all()
    assert found.attrs["origin"] == "computed from /activations"
    assert (found.attrs["points"], found.attrs["bins"]) == (60, 10)
    assert found.event_step.sel(layer="1") > 1
    assert found.row_entropy.attrs["units"] == "bit"


def test_a_step_without_numbers_is_nan_and_the_rest_stands():
    tree, values = activations_tree(attrs={})
    values[2] = np.nan
    tree["activations"]["activation"][:] = values
    found = information_compression(tree)
    assert np.isnan(found.saturation[2]).all()
    assert np.isfinite(found.saturation[[0, 1, 3]]).all()
    assert np.isnan(found.extreme).all()


@pytest.mark.parametrize(
    ("attrs", "known"),
    [
        ({"lower": "[-1.0, null]", "upper": "[1.0, null]"}, [True, False]),
        ({"lower": np.array([-1.0, -1.0]), "upper": np.array([1.0, 1.0])}, [True, True]),
        ({"lower": "[-1.0]", "upper": "[1.0]"}, [False, False]),
        ({"lower": "", "upper": ""}, [False, False]),
    ],
)
def test_ranges_as_files_and_hands_state_them(attrs, known):
    found = information_compression(activations_tree(attrs)[0])
    assert np.isfinite(found.extreme).all(dim="step").values.tolist() == known


def test_what_was_recorded_comes_first():
    tree, _ = activations_tree()
    dims, steps = ("step", "layer"), np.geomspace(10, 1000, 41)
    rise = np.stack([0.1 + 0.4 * (steps > 150), np.full(41, 0.1)], axis=1)
    columns = {"saturation": rise, "row_entropy": 9 + rise, "neuron_entropy": 4 - rise}
    recorded = xr.Dataset(
        {name: (dims, values) for name, values in columns.items()},
        {"step": steps, "layer": ["a", "b"]},
        {"points": 1024, "bins": 20},
    )
    tree = xr.DataTree.from_dict({"compression": recorded, "activations": tree["activations"].to_dataset()})
    found = information_compression(tree)
    assert found.attrs["origin"] == "recorded in /compression"
    assert (found.attrs["points"], found.attrs["bins"]) == (1024, 20)
    assert np.array_equal(found.saturation, rise)
    assert np.allclose(found.row_entropy_share, (9 + rise) / 10)
    assert np.isnan(found.extreme).all()
    assert found.event_step.sel(layer="a") == pytest.approx(150, rel=0.1)
    assert found.event_rise.sel(layer="a") == pytest.approx(0.4)
    assert np.isnan(found.event_step.sel(layer="b"))


def test_missing_streams_are_named():
    with pytest.raises(TrajectoryError, match=r"compression/saturation.*activations/activation.*\['series'\]"):
        information_compression(xr.DataTree.from_dict({"series": xr.Dataset()}))
    with pytest.raises(TrajectoryError, match="compression/row_entropy"):
        half = xr.Dataset({"saturation": (("step", "layer"), [[0.1]])})
        information_compression(xr.DataTree.from_dict({"compression": half}))

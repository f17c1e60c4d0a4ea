"""Rates, plateaus, spikes and stages, on curves made with known ones."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics.converging import convergence
from dynamics.log_time import intervals, log_grid, log_slope
from dynamics.trajectory import TrajectoryError


def tree(step, attrs=None, **columns):
    data = {name: ("step", value) for name, value in columns.items() if np.ndim(value) == 1}
    data |= {name: (("step", "term"), value) for name, value in columns.items() if np.ndim(value) == 2}
    coords = {"step": step, "term": ["interior", "boundary"]} if "loss_raw" in columns else {"step": step}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs or {}), "series": xr.Dataset(data, coords)})


STEP = np.arange(0, 20001)
SAFE = np.maximum(STEP, 1).astype(float)


def two_plateaus():
    """1 to step 300, falls as (step / 300)^-2 to step 3000, 0.01 from there on."""
    return np.clip((SAFE / 300) ** -2.0, 0.01, 1.0)


@pytest.mark.parametrize("power", [-3.0, -0.5, 0.0, 1.0])
def test_the_slope_of_a_power_law_is_its_power(power):
    found = convergence(tree(STEP, loss=2.0 * SAFE**power))
    late = found.slope.sel(step=slice(20, None))
    assert np.abs(late - power).max() < 0.03 * max(1, abs(power))
    assert found.final_slope == pytest.approx(power, abs=0.05)


def test_plateaus_are_found_where_they_are():
    found = convergence(tree(STEP, loss=two_plateaus()))
    assert found.plateau_start.values == pytest.approx([1, 3000], rel=0.25)
    assert found.plateau_stop.values == pytest.approx([300, 20000], rel=0.25)
    assert found.plateau_level.values == pytest.approx([1.0, 0.01], rel=1e-6)
    assert convergence(tree(STEP, loss=two_plateaus()), decades=1.0).sizes["plateau"] == 1
    assert convergence(tree(STEP, loss=1 / SAFE)).sizes["plateau"] == 0


def test_spikes_are_counted_and_measured():
    loss = two_plateaus()
    loss[5000:5010] *= 10.0
    loss[5004] *= 5.0
    loss[12000] *= 4.0
    loss[15000] *= 2.9
    found = convergence(tree(STEP, loss=loss))
    assert found.spike_step.values.tolist() == [5004, 12000]
    assert found.spike_height.values == pytest.approx([50.0, 4.0], rel=1e-3)
    assert found.spike_share == pytest.approx(11 / 20001)
    assert convergence(tree(STEP, loss=loss), spike=2.0).sizes["spike"] == 3


def test_moving_weights_are_no_progress():
    """Attention lets the weighted loss fall; the unweighted sum stays, and is what counts."""
    raw = np.column_stack([np.full(len(STEP), 0.75), np.full(len(STEP), 0.25)])
    found = convergence(tree(STEP, loss=1 / SAFE, loss_raw=raw))
    assert found.loss_median.values == pytest.approx(np.ones(found.sizes["step"]))
    assert found.attrs["loss"] == "sum of series/loss_raw"
    assert found.sizes["plateau"] == 1


@pytest.mark.parametrize("step", [np.arange(0, 30_001, 100), np.arange(0, 30_001, 1000), np.arange(1, 3001)])
@pytest.mark.parametrize("power", [1.0, 3.0])
def test_a_power_law_has_neither_plateau_nor_spike_however_it_is_logged(step, power):
    """Up to the second row of a sparse log, half a decade or more of the grid has one and the same median."""
    found = convergence(tree(step, loss=np.maximum(step, 1.0) ** -power))
    assert (found.sizes["plateau"], found.sizes["spike"], found.spike_share) == (0, 0, 0.0)


def test_a_plateau_in_a_sparse_log_is_found():
    step = np.arange(0, 30_001, 1000)
    found = convergence(tree(step, loss=np.where(step < 8000, 1e3 / np.maximum(step, 1.0), 0.1)))
    assert found.plateau_start.item() == pytest.approx(8000, rel=0.25) and found.plateau_stop.item() == 30_000


# Stages.


@pytest.mark.parametrize(
    ("columns", "stage", "by"),
    [
        ({"loss": 1 / SAFE, "rel_l2": 1e-3 + 0 * SAFE}, "un-converged", ""),
        ({"loss": SAFE**0.5}, "un-converged", ""),
        ({"loss": two_plateaus(), "rel_l2": 0.02 + 0 * SAFE}, "success", "rel_l2"),
        ({"loss": two_plateaus(), "rel_l2": 0.6 + 0 * SAFE}, "failure", "rel_l2"),
        ({"loss": two_plateaus() * 0.01}, "unknown", ""),
        ({"loss": two_plateaus(), "held_out_loss": 2 * two_plateaus()}, "success", "held_out_loss"),
        ({"loss": two_plateaus(), "held_out_loss": 0.5 + 0 * SAFE}, "failure", "held_out_loss"),
        ({"loss": two_plateaus(), "exact_loss": 0.5 + 0 * SAFE}, "failure", "exact_loss"),
        ({"loss": 0.3 + 0 * SAFE, "held_out_loss": 0.3 + 0 * SAFE}, "failure", "held_out_loss"),
        ({"loss": two_plateaus(), "rel_l2": np.nan * SAFE, "exact_loss": two_plateaus()}, "success", "exact_loss"),
    ],
)
def test_stages(columns, stage, by):
    found = convergence(tree(STEP, **columns))
    assert (found.stage, found.judged_by) == (stage, by), found.reason
    assert found.reason


def test_the_equation_is_compared_with_the_equation():
    """The boundary term is large here: against the sum, the held-out loss would look small."""
    raw = np.column_stack([1e-4 * two_plateaus(), two_plateaus()])
    columns = {"loss_raw": raw, "held_out_loss": 5e-5 + 0 * SAFE}
    assert convergence(tree(STEP, **columns)).stage == "failure"


def test_a_sparsely_measured_error_counts_with_its_last_values():
    error = np.full(len(STEP), np.nan)
    error[[10, 100, 1000]] = [1.0, 0.5, 0.01]
    assert convergence(tree(STEP, loss=two_plateaus(), rel_l2=error)).stage == "success"
    error[[15000, 16000, 20000]] = [0.5, 0.01, 0.5]
    assert convergence(tree(STEP, loss=two_plateaus(), rel_l2=error)).stage == "failure"


def test_divergence_is_not_convergence():
    loss = two_plateaus()
    loss[-1] = np.inf
    assert convergence(tree(STEP, loss=loss, rel_l2=0.01 + 0 * SAFE)).stage == "un-converged"
    loss[-1] = np.nan
    diverged = convergence(tree(STEP, attrs={"status": "diverged"}, loss=loss, rel_l2=0.01 + 0 * SAFE))
    assert diverged.stage == "un-converged"
    assert "diverged" in diverged.reason
    # A last row without a loss, as published logs have them, says nothing.
    assert convergence(tree(STEP, loss=loss, rel_l2=0.01 + 0 * SAFE)).stage == "success"


# Bad input.


@pytest.mark.parametrize("count", [0, 1, 5, 7])
def test_too_short_a_log_is_unknown(count):
    found = convergence(tree(np.arange(count), loss=np.ones(count)))
    assert (found.stage, found.sizes["step"], found.sizes["plateau"]) == ("unknown", 0, 0)
    assert "too short" in found.reason


def test_many_rows_within_a_fraction_of_a_decade_are_too_short():
    found = convergence(tree(np.arange(1000, 1500), loss=np.ones(500), rel_l2=np.ones(500)))
    assert found.stage == "unknown"


def test_nan_rows_zeros_and_restarts():
    loss = two_plateaus()
    expected = convergence(tree(STEP, loss=loss))
    holes = loss.copy()
    holes[1::3] = np.nan
    found = convergence(tree(STEP, loss=holes))
    assert found.plateau_level.values == pytest.approx(expected.plateau_level.values)
    restarted = np.concatenate([STEP[:9000], STEP[4000:]])
    other = np.concatenate([loss[:4000], 77 * np.ones(5000), loss[4000:]])
    xr.testing.assert_allclose(convergence(tree(restarted, loss=other)), expected)
    assert np.isfinite(convergence(tree(STEP, loss=0 * SAFE)).slope).all()


def test_the_missing_loss_is_named():
    with pytest.raises(TrajectoryError, match="series/loss"):
        convergence(xr.DataTree.from_dict({"adam": xr.Dataset()}))


# Parts.


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), max_size=30), st.integers(1, 4))
def test_intervals_against_a_slow_loop(true, least):
    expected, start = [], None
    for place, value in enumerate([*true, False]):
        if value and start is None:
            start = place
        if not value and start is not None:
            if place - start >= least:
                expected.append((start, place - 1))
            start = None
    assert intervals(np.array(true, bool), least) == expected


def test_the_slope_against_polyfit():
    rng = np.random.default_rng(0)
    grid = log_grid([3, 5000])
    assert (grid[0], grid[-1]) == (3, 5000)
    assert np.diff(np.log10(grid)) == pytest.approx(np.full(len(grid) - 1, 1 / 60), rel=0.01)
    value = rng.standard_normal(len(grid))
    found = log_slope(grid, value, 0.2)
    for place in (0, 40, len(grid) - 1):
        near = np.abs(np.log10(grid / grid[place])) <= 0.2 + 1e-9
        assert found[place] == pytest.approx(np.polyfit(np.log10(grid[near]), value[near], 1)[0])
    assert np.isnan(log_slope([1.0, 2.0], [0.0, 1.0], 1.0)).all()

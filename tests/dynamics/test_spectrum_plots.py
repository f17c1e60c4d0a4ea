"""Figures of spectra: what is drawn where, and that nothing below a floor looks like anything above it."""

import numpy as np
import pytest
import xarray as xr

from dynamics.comparison_plots import comparison_figure
from dynamics.cuts import cut_curves
from dynamics.residuals import residual_curves
from dynamics.spectrum_at import spectrum_at
from dynamics.spectrum_plots import CUTS, spectrum_figure

VALUES = 10.0 ** -np.arange(0.0, 15.0)
ENTRIES = 3e-9


def tree(steps=(0,), *, noise=ENTRIES, operator="FiniteDifference", **more):
    values = np.tile(3 * VALUES, (len(steps), 1))
    columns = {"singular_value": (("step", "index"), values), "floor": ("step", np.full(len(steps), 3e-14))}
    columns["entry_floor"] = ("step", np.full(len(steps), 3 * noise))
    spectra = xr.Dataset(columns | more, {"step": list(steps)}, {"matrix": "a matrix", "rows": 20, "columns": 15})
    series = xr.Dataset(
        {
            "loss": ("step", np.full(len(steps), 2.0)),
            "loss_raw": (("step", "term"), np.full((len(steps), 1), 4e-8)),
            "exact_loss": ("step", np.full(len(steps), 9e-6)),
            "rel_l2": ("step", np.full(len(steps), 5e-4)),
        },
        {"step": list(steps), "term": ["interior"]},
    )
    config = {"problem": {"name": "poisson-1d", "solution_floor": 1e-6}, "operator": {"name": operator}}
    root = xr.Dataset(attrs={"config": config, "dtype": "float64"})
    return xr.DataTree.from_dict({"/": root, "spectra": spectra, "series": series})


def line(axis, start):
    (found,) = [line for line in axis.lines if line.get_label().startswith(start)]
    return found


def texts(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def overlap(figure):
    """Labels of the axes in whose data region a legend lies."""
    figure.draw_without_rendering()
    inside = []
    for axis in figure.axes:
        for other in figure.axes:
            legend = axis.get_legend()
            if legend and legend.get_window_extent().overlaps(other.get_window_extent()):
                inside.append((axis.get_ylabel(), other.get_ylabel()))
    return inside


def test_states_are_drawn_apart():
    axis = spectrum_figure(tree()).axes[0]
    expected = {"trusted": VALUES > 100 * ENTRIES, "noise": VALUES <= ENTRIES}
    expected["marginal"] = ~expected["trusted"] & ~expected["noise"]
    for name, here in expected.items():
        drawn = line(axis, f"{name} (")
        assert drawn.get_label() == f"{name} ({here.sum()})"
        assert drawn.get_xdata().tolist() == (np.flatnonzero(here) + 1).tolist()
        np.testing.assert_allclose(drawn.get_ydata(), VALUES[here], rtol=1e-12)
    assert line(axis, "marginal").get_markerfacecolor() == "none" != line(axis, "trusted (").get_markerfacecolor()
    assert line(axis, "noise").get_marker() == "x" and line(axis, "noise").get_color() == "0.6"


def test_floors_truncation_and_the_exact_spectrum_are_lines_of_their_own():
    columns = {name: (("step", "index"), [3 * VALUES * 1e-3]) for name in ("truncation", "exact_singular_value")}
    axis = spectrum_figure(tree(**columns)).axes[0]
    assert line(axis, "round-off of the SVD").get_ydata()[0] == pytest.approx(1e-14)
    assert line(axis, "round-off of the entries").get_ydata()[0] == pytest.approx(ENTRIES)
    trust = line(axis, "trusted above").get_ydata()
    np.testing.assert_allclose(trust, 100 * (ENTRIES + 1e-14), rtol=0.2)
    for start in ("change of the value by truncation", "under exact derivatives"):
        np.testing.assert_allclose(line(axis, start).get_ydata(), VALUES * 1e-3, rtol=1e-12)
    assert line(axis, "trusted (").get_xdata().size == (VALUES > 100 * ENTRIES).sum(), "truncation is not noise"


def test_exact_entries_have_no_line_of_noise():
    labels = [line.get_label() for line in spectrum_figure(tree(noise=0.0)).axes[0].lines]
    assert not any("entries" in label for label in labels)


def test_zeros_are_drawn_at_the_lower_edge_and_bring_no_warning():
    rank_one = tree()
    rank_one["spectra"]["singular_value"][:] = np.where(np.arange(15) == 0, 3.0, 0.0)
    axis = spectrum_figure(rank_one).axes[0]
    zeros = line(axis, "noise").get_ydata()
    assert len(zeros) == 14 and (zeros > 0).all() and (zeros <= 1 / 3).all()


@pytest.mark.parametrize(("quantity", "place"), [("kept", 1), ("entropy", 2)])
def test_curves_are_dotted_below_the_floor(quantity, place):
    axis = spectrum_figure(tree()).axes[place]
    solid, dotted = (line.get_ydata() for line in axis.lines[:2])
    assert [line.get_linestyle() for line in axis.lines[:2]] == ["-", ":"]
    assert np.isfinite(solid).tolist() == (CUTS >= ENTRIES + 1e-14).tolist()
    both = np.isfinite(solid) & np.isfinite(dotted)
    assert both.sum() == 1 and np.isfinite(np.fmax(solid, dotted)).all()
    expected = cut_curves(spectrum_at(tree()), CUTS)[quantity].values
    np.testing.assert_array_equal(np.where(np.isfinite(solid), solid, dotted), expected)


def test_the_axis_of_cuts_runs_from_two_to_fifteen():
    _, kept, entropy = spectrum_figure(tree()).axes
    assert kept.get_xlim() == entropy.get_xlim() == pytest.approx((1e-2, 1e-15))
    assert (kept.get_ylabel(), entropy.get_ylabel()) == ("K(a), values kept", "H(a), entropy [1]")
    assert texts(entropy) == ["as computed", "cut below the floor"]


def test_the_course_of_a_training_is_drawn_below_and_nan_steps_are_left_out():
    training = tree((0, 10, 100))
    training["spectra"]["singular_value"][1] = np.nan
    figure = spectrum_figure(training, 0)
    rank, course = figure.axes[3:]
    assert rank.lines[0].get_xdata().tolist() == [0.7, 100.0]
    shares = VALUES / VALUES.sum()
    assert rank.lines[0].get_ydata()[0] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-12)
    finest = [line for line in course.lines if line.get_label() == "a = 1e-12"]
    assert np.isnan(finest[0].get_ydata()).all(), "1e-12 lies below the floor: dotted only"
    assert "cut below the floor" in texts(course) and "step 0" in figure.get_suptitle()


def test_comparison_overlays_spectra_curves_and_what_was_reached():
    figure = comparison_figure(tree(noise=0.0, operator="AutoDiff"), tree(), ("AD", "FD"))
    spectrum, kept, residuals, entropy = figure.axes
    assert line(spectrum, "AD: floor").get_ydata()[0] == pytest.approx(1e-14)
    assert line(spectrum, "FD: floor").get_ydata()[0] == pytest.approx(ENTRIES, rel=1e-3)
    assert spectrum.get_ylim()[0] < 1e-14
    assert texts(entropy) == ["AD", "FD", "cut below its floor"]
    assert len(kept.lines) == 4
    np.testing.assert_allclose(line(residuals, "FD").get_ydata(), [2e-4, 3e-3, 5e-4], rtol=1e-12)
    assert line(residuals, "reference").get_ydata()[0] == 1e-6


def test_a_solve_beside_a_training_is_a_level_line():
    training = tree((0, 10))
    axis = comparison_figure(training, tree(), ("a", "b")).axes[2]
    assert axis.get_xlabel() == "optimizer step" and axis.get_xscale() == "log"
    assert len(line(axis, "a: own").get_xdata()) == 2 and list(line(axis, "b: own").get_ydata()) == [2e-4, 2e-4]


@pytest.mark.parametrize("steps", [(0,), (0, 10, 100)])
def test_legends_cover_no_data(steps):
    assert overlap(spectrum_figure(tree(steps))) == []
    assert overlap(comparison_figure(tree(steps), tree(steps), ("AutoDiff", "FiniteDifference"))) == []


def test_the_exact_residual_is_never_made_up():
    differences, exact = tree(), tree(operator="AutoDiff")
    for one in (differences, exact):
        del one["series"]["exact_loss"]
    exact.attrs["config"]["operator"]["exact"] = True
    assert "exact residual" not in residual_curves(differences)
    assert residual_curves(exact)["exact residual"][1].tolist() == residual_curves(exact)["own residual"][1].tolist()

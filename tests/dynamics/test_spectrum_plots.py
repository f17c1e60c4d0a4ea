"""Figures of spectra: what is drawn where, and that nothing below a floor looks like anything above it."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb

from dynamics.comparison_plots import STYLES, comparison_figure
from dynamics.entropy import entropy_curve, truncated_entropy
from dynamics.residuals import residual_curves
from dynamics.spectrum_at import spectrum_at
from dynamics.spectrum_plots import DRAWN, spectrum_figure

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
    assert np.isfinite(solid).tolist() == (DRAWN >= ENTRIES + 1e-14).tolist()
    both = np.isfinite(solid) & np.isfinite(dotted)
    assert both.sum() == 1 and np.isfinite(np.fmax(solid, dotted)).all()
    expected = entropy_curve(spectrum_at(tree()), DRAWN)[quantity].values
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
    (drawn,) = [line for line in course.lines if line.get_label() == "a = 1e-04"]
    np.testing.assert_allclose(drawn.get_ydata(), truncated_entropy(VALUES, 1e-4)[0], rtol=1e-12)
    assert [axis.get_xlabel() for axis in (rank, course)] == ["optimizer step (0 drawn at 0.7)"] * 2
    assert "cut below the floor" in texts(course) and "step 0" in figure.get_suptitle()


def test_comparison_overlays_spectra_curves_and_what_was_reached():
    figure = comparison_figure(tree(noise=0.0, operator="AutoDiff"), tree(), ("AD", "FD"))
    spectrum, kept, residuals, entropy = figure.axes
    assert line(spectrum, "AD: floor").get_ydata()[0] == pytest.approx(1e-14)
    assert line(spectrum, "FD: floor").get_ydata()[0] == pytest.approx(ENTRIES, rel=1e-3)
    assert spectrum.get_ylim()[0] < 1e-14
    assert texts(entropy) == ["AD", "FD", "dotted: cut below its floor"]
    assert len(kept.lines) == 4
    np.testing.assert_allclose(line(residuals, "FD").get_ydata(), [2e-4, 3e-3, 5e-4], rtol=1e-12)
    assert line(residuals, "reference").get_ydata()[0] == 1e-6


def test_a_solve_beside_a_training_is_a_level_line():
    training = tree((0, 10))
    axis = comparison_figure(training, tree(), ("a", "b")).axes[2]
    assert axis.get_xlabel() == "optimizer step (0 drawn at 0.7)" and axis.get_xscale() == "log"
    assert len(line(axis, "a: own").get_xdata()) == 2 and set(line(axis, "b: own").get_ydata()) == {2e-4}
    assert axis.get_xlim()[0] > 0.1 and axis.get_ylim()[0] < 2e-4 and line(axis, "b: relative").get_marker() == "o"


def test_steps_that_begin_later_say_nothing_of_step_zero():
    assert comparison_figure(tree((1, 10)), tree((1, 9)), ("a", "b")).axes[2].get_xlabel() == "optimizer step"


def luminance(color):
    """Of a picture in grey, ITU-R BT.601."""
    return float(np.dot([0.299, 0.587, 0.114], to_rgb(color)))


def test_two_runs_stay_apart_in_grey_and_none_has_the_color_of_a_floor():
    first, second = STYLES
    assert abs(luminance(first.color) - luminance(second.color)) > 0.15
    assert "C3" not in (first.color, second.color) and first.line != second.line and first.marker != second.marker
    spectrum, kept, residuals, _ = comparison_figure(tree(), tree(), ("a", "b")).axes
    for start in ("floor", "trusted", "noise"):
        a, b = line(spectrum, f"a: {start}"), line(spectrum, f"b: {start}")
        assert a.get_color() != b.get_color()
        assert (a.get_linestyle(), a.get_marker()) != (b.get_linestyle(), b.get_marker())
        assert min(a.get_markersize(), b.get_markersize()) >= 3
    above, below, others, dotted = kept.lines
    assert len({above.get_linestyle(), below.get_linestyle(), others.get_linestyle()}) == 3
    assert below.get_linestyle() == ":" != dotted.get_linestyle()
    assert line(residuals, "a").get_marker() != line(residuals, "b").get_marker()


def test_different_quantities_are_not_joined_by_a_line():
    residuals = comparison_figure(tree(), tree(operator="AutoDiff"), ("a", "b")).axes[2]
    assert [line(residuals, name).get_linestyle() for name in "ab"] == ["None", "None"]
    assert [text.get_text() for text in residuals.get_xticklabels()] == list(residual_curves(tree()))
    places = [line(residuals, name).get_xdata() for name in "ab"]
    assert (np.round(places) == [0, 1, 2]).all() and (places[0] != places[1]).all(), "equal values do not hide another"


def test_the_residual_of_an_exact_operator_is_drawn_once():
    exact = tree((0, 10), operator="AutoDiff")
    exact.attrs["config"]["operator"]["exact"] = True
    axis = comparison_figure(exact, tree((0, 10)), ("a", "b")).axes[2]
    drawn = [label.split("a: ")[1] for label in texts(axis) if label.startswith("a: ")]
    assert drawn == ["own residual = exact", "relative L2 error"]
    assert [label for label in texts(axis) if label.startswith("b: ")] == [
        "b: own residual",
        "b: exact residual",
        "b: relative L2 error",
    ]
    markers = [line(axis, f"b: {name}").get_marker() for name in ("own", "exact", "relative")]
    assert len(set(markers)) == 3


def test_the_line_of_trust_can_be_seen():
    trust = line(spectrum_figure(tree()).axes[0], "trusted above")
    assert trust.get_alpha() in (None, 1.0) and trust.get_linewidth() >= 0.8
    floors = {
        line(spectrum_figure(tree()).axes[0], start).get_linestyle()
        for start in ("round-off of the S", "round-off of the e")
    }
    assert len(floors | {trust.get_linestyle()}) == 3


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

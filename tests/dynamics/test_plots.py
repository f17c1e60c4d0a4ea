"""Figures: labelled axes, drawn floors, and an error where there is nothing to draw."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from dynamics import open_trajectory
from dynamics.comparison_plots import comparison_figure
from dynamics.plots import diagnosis_figure, draw_losses

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def training():
    with open_trajectory(DATA / "helmholtz-rba.h5") as tree:
        yield tree


@pytest.fixture(scope="module")
def solve():
    with open_trajectory(DATA / "poisson-fd.h5") as tree:
        yield tree


def test_a_training_has_three_labelled_panels(training):
    figure = diagnosis_figure(training)
    assert [axis.get_ylabel() for axis in figure.axes] == ["loss, error [1]", "|mean| / |std| [1]", "homogeneity [1]"]
    assert figure.axes[-1].get_xlabel() == "optimizer step (0 drawn at 0.7)"
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["fitting", "diffusion", "total diffusion"]


def test_a_solve_shows_its_spectrum_with_both_floors(solve):
    spectrum, kept, entropy = diagnosis_figure(solve).axes
    floors = {line.get_label().split(",")[0]: line.get_ydata()[0] for line in spectrum.lines}
    assert floors["round-off of the SVD"] == pytest.approx(np.finfo(float).eps * 202)
    assert 1e-10 < floors["round-off of the entries"] < 1e-9
    assert "K(a)" in kept.get_ylabel() and "H(a)" in entropy.get_ylabel() and "cut a" in entropy.get_xlabel()


def test_noise_is_drawn_apart_from_what_can_be_trusted(solve):
    axis = diagnosis_figure(solve).axes[0]
    trusted, marginal, noise = (line.get_ydata() for line in axis.lines[:3])
    (floor,) = [line.get_ydata()[0] for line in axis.lines if line.get_label().startswith("round-off of the entries")]
    assert trusted.min() > 100 * floor >= marginal.max() and marginal.min() > floor >= noise.max()
    assert len(trusted) + len(marginal) + len(noise) == 100


def test_spectra_of_a_training_do_not_hide_its_losses(training, solve):
    both = xr.DataTree.from_dict({"series": training["series"].to_dataset(), "spectra": solve["spectra"].to_dataset()})
    assert [axis.get_ylabel() for axis in diagnosis_figure(both).axes] == ["loss, error [1]"]


def test_comparisons_of_both_kinds(training, solve):
    assert [axis.get_ylabel() for axis in comparison_figure(solve, solve, ("a", "b")).axes] == [
        r"singular values $\sigma_k / \sigma_1$ [1]",
        "K(a), values kept",
        "rms residual, relative error [1]",
        "H(a), entropy [1]",
    ]
    figure = comparison_figure(training, training, ("a", "b"))
    assert figure.axes[1].get_ylabel() == "relative L2 error [1]"
    for axis in figure.axes:
        assert axis.get_xlabel() == "optimizer step (0 drawn at 0.7)"
        assert len({line.get_linestyle() for line in axis.lines}) == 2 == len({line.get_color() for line in axis.lines})


def test_the_floor_of_the_reference_is_one_line_apart_from_the_runs(training):
    near = training.copy()
    near.attrs["config"] = {"problem": {"solution_floor": 1e-3}}
    lines = {line.get_label(): line for line in comparison_figure(near, near, ("a", "b")).axes[1].lines}
    assert sorted(lines) == ["a", "b", "reference's floor 1e-03"]
    assert lines["reference's floor 1e-03"].get_linestyle() not in (
        lines["a"].get_linestyle(),
        lines["b"].get_linestyle(),
    )


def test_nothing_to_draw_is_an_error(solve):
    with pytest.raises(ValueError, match="nothing to draw"):
        diagnosis_figure(xr.DataTree.from_dict({"points": xr.Dataset()}))
    empty = xr.DataTree.from_dict({"points": xr.Dataset()})
    with pytest.raises(ValueError, match="nothing in common"):
        comparison_figure(solve, empty, ("a", "b"))


def test_the_discretisation_alone_is_a_line_beside_the_error():
    values = {"loss": ("step", [1.0, 1e-9]), "rel_l2": ("step", [1e-1, 4e-6])}
    tree = xr.DataTree.from_dict({"series": xr.Dataset(values, {"step": [0, 5]})})
    for config, labels in (({}, 0), ({"discretisation": {"rel_l2": 4.9e-6}}, 1)):
        tree.attrs["config"] = config
        axis = Figure().subplots()
        draw_losses(axis, tree)
        told = [line for line in axis.lines if line.get_label() == "the discretisation alone 5e-06"]
        assert len(told) == labels
        assert all(line.get_ydata()[0] == 4.9e-6 for line in told)

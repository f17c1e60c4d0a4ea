"""Figures: labelled axes, drawn floors, and an error where there is nothing to draw."""

from pathlib import Path

import pytest
import xarray as xr

from dynamics import open_trajectory
from dynamics.plots import comparison_figure, diagnosis_figure

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def training():
    with open_trajectory(DATA / "helmholtz-rba.h5") as tree:
        yield tree


@pytest.fixture
def solve():
    with open_trajectory(DATA / "poisson-fd.h5") as tree:
        yield tree


def test_a_training_has_three_labelled_panels(training):
    figure = diagnosis_figure(training)
    assert [axis.get_ylabel() for axis in figure.axes] == ["loss, error [1]", "|mean| / |std| [1]", "homogeneity [1]"]
    assert figure.axes[-1].get_xlabel() == "optimizer step"
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["fitting", "diffusion", "total diffusion"]


def test_a_solve_shows_its_spectrum_with_the_floor(solve):
    spectrum, entropy = diagnosis_figure(solve).axes
    floor = next(line for line in spectrum.lines if line.get_linestyle() == "--")
    assert 1e-10 < floor.get_ydata()[0] < 1e-9
    assert any("floor" in text.get_text() for text in spectrum.texts)
    assert "H(a)" in entropy.get_ylabel() and "cut a" in entropy.get_xlabel()


def test_noise_is_drawn_apart_from_what_can_be_trusted(solve):
    trusted, noise = diagnosis_figure(solve).axes[0].lines[:2]
    floor = diagnosis_figure(solve).axes[0].lines[2].get_ydata()[0]
    assert trusted.get_ydata().min() > floor >= noise.get_ydata().max()
    assert len(trusted.get_ydata()) + len(noise.get_ydata()) == 100


def test_comparisons_of_both_kinds(training, solve):
    assert [axis.get_ylabel() for axis in comparison_figure(solve, solve, ("a", "b")).axes] == [
        r"$\sigma_k / \sigma_1$ [1]",
        "kept singular values K(a)",
        "truncated entropy H(a) [1]",
    ]
    assert comparison_figure(training, training, ("a", "b")).axes[1].get_ylabel() == "relative L2 error [1]"


def test_nothing_to_draw_is_an_error(solve):
    with pytest.raises(ValueError, match="nothing to draw"):
        diagnosis_figure(xr.DataTree.from_dict({"points": xr.Dataset()}))
    empty = xr.DataTree.from_dict({"points": xr.Dataset()})
    with pytest.raises(ValueError, match="nothing in common"):
        comparison_figure(solve, empty, ("a", "b"))

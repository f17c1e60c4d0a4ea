"""The committed sample trajectories: valid, small, and saying what they are there to say."""

from pathlib import Path

import pytest

from dynamics import detect_phases, diagnose, open_trajectory, singular_spectrum, validate

DATA = Path(__file__).parents[1] / "data"
SAMPLES = sorted(path for path in DATA.glob("*.h5") if path.stem != "golden-spectra")


def test_there_are_two_and_they_are_small():
    assert [path.name for path in SAMPLES] == ["helmholtz-rba.h5", "poisson-fd.h5"]
    assert sum(path.stat().st_size for path in DATA.glob("*.h5")) < 1.5e6


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_they_are_valid_and_listed_with_their_command(path):
    assert validate(path) == []
    assert f"-o data/{path.name}`" in (DATA / "README.md").read_text()


def test_helmholtz_shows_total_diffusion():
    with open_trajectory(DATA / "helmholtz-rba.h5") as tree:
        assert float(detect_phases(tree)["onset"].sel(phase="total_diffusion")) == pytest.approx(315, rel=0.01)
        assert [finding.name for finding in diagnose(tree)] == ["phase"]


def test_poisson_shows_the_noise_of_differences():
    with open_trajectory(DATA / "poisson-fd.h5") as tree:
        spectrum = singular_spectrum(tree).isel(step=0)
        assert spectrum.attrs["floor_origin"] == "round-off of the entries"
        assert 15 < int(spectrum["trusted"].sum()) < 25

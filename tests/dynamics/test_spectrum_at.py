"""One spectrum out of many: which step is taken, and what is said where there is none."""

import numpy as np
import pytest
import xarray as xr

from dynamics import TrajectoryError
from dynamics.spectrum_at import spectrum_at, states

STEPS = [0, 10, 20, 40, 80]


def run(values, **more):
    columns = {"singular_value": (("step", "index"), values), "floor": ("step", np.full(len(values), 1e-15)), **more}
    spectra = xr.Dataset(columns, {"step": STEPS[: len(values)]}, {"rows": 9, "columns": 2})
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={"dtype": "float64"}), "spectra": spectra})


@pytest.fixture
def several():
    return run([[2.0 + k, 1.0] for k in range(5)])


@pytest.mark.parametrize(("asked", "found"), [(None, 80), (0, 0), (14, 10), (15, 10), (16, 20), (61, 80), (80, 80)])
def test_the_nearest_step_is_taken_and_the_earlier_of_two(several, asked, found):
    spectrum = spectrum_at(several, asked)
    assert int(spectrum["step"]) == found
    assert spectrum["singular_value"].values.tolist() == [2.0 + STEPS.index(found), 1.0]
    assert spectrum.attrs["dtype"] == "float64" and spectrum.attrs["rows"] == 9


@pytest.mark.parametrize("lost", [np.nan, 0.0, np.inf])
def test_a_step_without_a_spectrum_is_not_taken_for_the_last(lost):
    tree = run([[3.0, 1.0], [2.0, 1.0], [lost, lost]])
    assert int(spectrum_at(tree)["step"]) == 10
    with pytest.raises(ValueError, match=r"step 20 of /spectra has no spectrum.* nearest step with one is 10"):
        spectrum_at(tree, 19)
    assert int(spectrum_at(tree, 12)["step"]) == 10


def test_a_single_nan_spoils_a_spectrum():
    assert int(spectrum_at(run([[3.0, 1.0], [2.0, np.nan]]))["step"]) == 0


def test_no_spectrum_at_all_is_an_error_of_the_file(several):
    with pytest.raises(TrajectoryError, match="none of the 2 recorded ones"):
        spectrum_at(run([[np.nan, np.nan], [0.0, 0.0]]))
    empty = xr.DataTree.from_dict({"series": xr.Dataset()})
    with pytest.raises(TrajectoryError, match=r"/spectra; .*groups: /series.*jacobian_spectrum"):
        spectrum_at(empty)
    with pytest.raises(TrajectoryError, match="/spectra_all"):
        spectrum_at(several, stream="spectra_all")


@pytest.mark.parametrize(("step", "said"), [(-1, ">= 0, came -1"), (81, "from 0 to 80.*5 steps.*came 81")])
def test_steps_that_cannot_be(several, step, said):
    with pytest.raises(ValueError, match=said) as refused:
        spectrum_at(several, step)
    assert not isinstance(refused.value, TrajectoryError), "the command is wrong, not the file"


def test_a_first_step_above_the_one_asked_for():
    tree = run([[2.0, 1.0]])
    tree["spectra"] = tree["spectra"].to_dataset().assign_coords(step=[5])
    with pytest.raises(ValueError, match="from 5 to 5"):
        spectrum_at(tree, 4)


def test_all_rows_and_seconds():
    tree = run([[2.0, 1.0]], seconds=("step", [0.25]))
    tree["spectra_all"] = xr.DataTree(run([[7.0, 1.0]])["spectra"].to_dataset())
    assert float(spectrum_at(tree)["singular_value"][0]) == 2.0 and float(spectrum_at(tree)["seconds"]) == 0.25
    assert float(spectrum_at(tree, stream="spectra_all")["singular_value"][0]) == 7.0


def test_the_origin_of_the_floor_is_that_of_the_step():
    tree = run([[2.0, 1.0]] * 3, entry_floor=("step", [1e-9, 0.0, np.nan]))
    origins = [spectrum_at(tree, step).attrs["floor_origin"] for step in (0, 10, 20)]
    assert origins == ["round-off of the entries", "round-off of the SVD", "round-off of the SVD"]


def test_states_follow_the_floor():
    # eps max(m, n) sigma_1 is about 2e-15: a thousand, ten times and a tenth of the floor that is given.
    tree = run([[1.0, 1e-7, 1e-9, 1e-11]])
    tree["spectra"] = tree["spectra"].to_dataset().assign_attrs(operator_floor=1e-10)
    assert states(spectrum_at(tree)).tolist() == ["trusted", "trusted", "marginal", "noise"]

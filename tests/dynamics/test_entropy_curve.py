"""K(a) and H(a) of spectra, of one step and of many, against sums written out; the cuts that lie below the floor."""

import math

import numpy as np
import pytest
import xarray as xr

from dynamics.entropy import CUTS, FINE_CUTS, entropy_curve, relative_floor

VALUES = 7.0 * 10.0 ** -np.arange(0, 16, 0.5)


def spectrum(svd=7e-15, entries=7e-11, **more):
    columns = {"singular_value": ("index", VALUES), "svd_floor": svd, "entry_floor": entries}
    return xr.Dataset(columns | more)


def slowly(values, cut):
    kept = [value for value in values if value >= cut * max(values)]
    shares = [value / sum(kept) for value in kept]
    entropy = -sum(share * math.log(share) for share in shares)
    return len(kept), entropy / math.log(len(kept)) if len(kept) > 1 else 0.0


def test_cuts_are_the_decades_from_two_to_fifteen():
    assert CUTS == (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15)
    assert entropy_curve(spectrum())["a"].values.tolist() == list(CUTS)
    assert len(FINE_CUTS) == 161 and FINE_CUTS[0] == 1.0 and FINE_CUTS[-1] == pytest.approx(1e-16)


def test_curves_are_the_sums():
    # 3e-k lies between the values 10^-k and 10^-(k - 0.5), so that no rounding decides.
    cuts = [3e-1, 2e-2, 2e-7, 2e-13, 1.0]
    curves = entropy_curve(spectrum(), cuts)
    for row, cut in enumerate(cuts):
        kept, entropy = slowly(VALUES.tolist(), cut)
        assert int(curves["kept"][row]) == kept
        assert float(curves["entropy"][row]) == pytest.approx(entropy, rel=1e-12)


def test_the_floor_is_the_sum_of_both_over_the_largest():
    assert relative_floor(spectrum()) == pytest.approx(1e-15 + 1e-11, rel=1e-12)
    assert relative_floor(spectrum(), entries=False) == pytest.approx(1e-15, rel=1e-12)
    assert np.isnan(relative_floor(spectrum(entries=np.nan)))
    assert not entropy_curve(spectrum(entries=np.nan), [1e-1, 1e-4])["above_floor"].any()


def test_cuts_below_the_floor_are_marked():
    curves = entropy_curve(spectrum(svd=7e-12, entries=7 * 9.5e-12), [1.1e-11, 1.04e-11, 9.9e-12])
    assert curves["above_floor"].values.tolist() == [True, False, False], "the floor is 1.05e-11"


def test_the_exact_spectrum_has_the_floor_of_the_svd_alone():
    exact = ("index", VALUES[::-1] ** 1.5)
    curves = entropy_curve(spectrum(exact_singular_value=exact), [2e-3, 2e-13, 0.9e-15])
    for row, cut in enumerate(curves["a"].values):
        kept, entropy = slowly((VALUES**1.5).tolist(), cut)
        assert int(curves["exact_kept"][row]) == kept
        assert float(curves["exact_entropy"][row]) == pytest.approx(entropy, rel=1e-12)
    assert curves["exact_above_floor"].values.tolist() == [True, True, False]
    assert curves["above_floor"].values.tolist() == [True, False, False]


def test_an_unknown_exact_spectrum_is_left_out():
    curves = entropy_curve(spectrum(exact_singular_value=("index", np.full(len(VALUES), np.nan))))
    assert sorted(curves.data_vars) == ["above_floor", "entropy", "kept"]


@pytest.mark.parametrize("cut", [0.0, -1e-3, 1.5])
def test_meaningless_cuts_are_refused(cut):
    with pytest.raises(ValueError, match="expected a"):
        entropy_curve(spectrum(), cut)


STEPS = [0, 10, 20, 40]
ENTRIES = [0.0, np.nan, 1e-4, 3e-9]


def course(**more):
    """Spectra that shrink at different rates; that of step 20 is not finite."""
    values = np.stack([3.0 ** np.arange(4)[row] * VALUES ** (0.4 + 0.2 * row) for row in range(4)])
    values[2, 5] = np.nan
    columns = {"singular_value": (("step", "index"), values), "svd_floor": ("step", [1e-15, 2e-12, 1e-15, 1e-15])}
    return xr.Dataset(columns | {"entry_floor": ("step", ENTRIES)} | more, {"step": STEPS}, {"matrix": "a matrix"})


def test_many_steps_are_each_step_alone():
    exact = course()["singular_value"].values ** 1.5
    exact[0] = np.nan
    curves = entropy_curve(several := course(exact_singular_value=(("step", "index"), exact)), [3e-2, 2e-7, 3e-10])
    assert curves["kept"].dims == ("step", "a") and curves["step"].values.tolist() == STEPS
    assert curves.attrs["matrix"] == "a matrix"
    for row in (0, 1, 3):
        alone = entropy_curve(several.isel(step=row), [3e-2, 2e-7, 3e-10])
        for name in alone.data_vars:
            np.testing.assert_array_equal(curves[name].values[row], alone[name].values, err_msg=f"{name} {row}")
        assert ("exact_kept" in alone) == (row > 0)
        np.testing.assert_equal(float(relative_floor(several)[row]), float(relative_floor(several.isel(step=row))))


def test_a_step_without_a_spectrum_has_no_numbers_and_no_cut_above_its_floor():
    curves = entropy_curve(course(), [3e-2, 1.0])
    assert np.isnan(curves["entropy"].values[2]).all() and curves["kept"].values[2].tolist() == [0, 0]
    assert curves["above_floor"].values[2].tolist() == [False, False] and np.isnan(relative_floor(course())[2])
    nothing = entropy_curve(course() * np.nan, [1e-3])
    assert nothing["kept"].values.ravel().tolist() == [0] * 4 and np.isnan(nothing["entropy"].values).all()
    zeros = entropy_curve(course() * 0, [1e-3])
    assert np.isnan(zeros["entropy"].values).all() and not zeros["above_floor"].any()


def test_the_order_of_dimensions_does_not_matter():
    turned = course().transpose("index", "step")
    for name, curve in entropy_curve(turned, [1e-3, 1e-8]).data_vars.items():
        np.testing.assert_array_equal(curve.values, entropy_curve(course(), [1e-3, 1e-8])[name].values)


@pytest.mark.parametrize("entries", [0.0, 1e-4])
def test_cuts_are_compared_with_both_floors(entries):
    values = {"singular_value": (("step", "index"), [[2.0, 1e-3]])}
    floors = {"svd_floor": ("step", [1e-15]), "entry_floor": ("step", [entries])}
    curve = entropy_curve(xr.Dataset(values | floors, {"step": [0]}), [1e-6, 1e-4])
    assert curve["above_floor"].values.tolist() == [[entries == 0.0, True]]

"""K(a) and H(a) against sums written out, and the cuts that lie below the floor."""

import math

import numpy as np
import pytest
import xarray as xr

from dynamics.cuts import DECADES, cut_curves, relative_floor

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
    assert len(DECADES) == 14 and DECADES[0] == 1e-2 and DECADES[-1] == 1e-15


def test_curves_are_the_sums():
    # 3e-k lies between the values 10^-k and 10^-(k - 0.5), so that no rounding decides.
    cuts = [3e-1, 2e-2, 2e-7, 2e-13, 1.0]
    curves = cut_curves(spectrum(), cuts)
    for row, cut in enumerate(cuts):
        kept, entropy = slowly(VALUES.tolist(), cut)
        assert int(curves["kept"][row]) == kept
        assert float(curves["entropy"][row]) == pytest.approx(entropy, rel=1e-12)


def test_the_floor_is_the_sum_of_both_over_the_largest():
    assert relative_floor(spectrum()) == pytest.approx(1e-15 + 1e-11, rel=1e-12)
    assert relative_floor(spectrum(), entries=False) == pytest.approx(1e-15, rel=1e-12)
    assert relative_floor(spectrum(entries=np.nan)) == pytest.approx(1e-15, rel=1e-12)


def test_cuts_below_the_floor_are_marked():
    curves = cut_curves(spectrum(svd=7e-12, entries=7 * 9.5e-12), [1.1e-11, 1.04e-11, 9.9e-12])
    assert curves["above_floor"].values.tolist() == [True, False, False], "the floor is 1.05e-11"


def test_the_exact_spectrum_has_the_floor_of_the_svd_alone():
    exact = ("index", VALUES[::-1] ** 1.5)
    curves = cut_curves(spectrum(exact_singular_value=exact), [2e-3, 2e-13, 0.9e-15])
    for row, cut in enumerate(curves["a"].values):
        kept, entropy = slowly((VALUES**1.5).tolist(), cut)
        assert int(curves["exact_kept"][row]) == kept
        assert float(curves["exact_entropy"][row]) == pytest.approx(entropy, rel=1e-12)
    assert curves["exact_above_floor"].values.tolist() == [True, True, False]
    assert curves["above_floor"].values.tolist() == [True, False, False]


def test_an_unknown_exact_spectrum_is_left_out():
    curves = cut_curves(spectrum(exact_singular_value=("index", np.full(len(VALUES), np.nan))))
    assert sorted(curves.data_vars) == ["above_floor", "entropy", "kept"]


@pytest.mark.parametrize("cut", [0.0, -1e-3, 1.5])
def test_meaningless_cuts_are_refused(cut):
    with pytest.raises(ValueError, match="expected a"):
        cut_curves(spectrum(), cut)

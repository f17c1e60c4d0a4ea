import sys
import types
from pathlib import Path

import h5py
import mpmath
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics import spectra
from dynamics.certified import certified_singular_values
from dynamics.entropy import entropy_curve
from dynamics.spectra import (
    ENTRY_FLOOR,
    SVD_FLOOR,
    TRUST,
    singular_spectrum,
    spectrum_floor,
)
from dynamics.trajectory import TrajectoryError


def singular_values(matrix):
    spectrum = singular_spectrum(matrix, driver="gesdd")
    return spectrum.singular_value.values, float(spectrum.svd_floor)


GOLDEN = Path(__file__).parents[2] / "data" / "golden-spectra.h5"
DRIVERS = ("auto", "gesdd", "gesvd", "pivoted", "jacobi")
EPS = 2.0**-52


def random_orthogonal(size, seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def golden(name):
    with h5py.File(GOLDEN) as file:
        return {key: dataset[()] for key, dataset in file[name].items()}


@pytest.mark.parametrize("driver", [*DRIVERS, "dataset"])
@pytest.mark.parametrize("name", ["graded", "tanh_ad", "tanh_fd", "hilbert"])
def test_golden_spectra(name, driver):
    case = golden(name)
    if driver == "dataset":
        with h5py.File(GOLDEN) as file:
            spectrum = singular_spectrum(file[name]["matrix"], block_rows=17)
    else:
        spectrum = singular_spectrum(case["matrix"], driver=driver)
    values, floor, trusted = (spectrum[key].values for key in ("singular_value", "floor", "trusted"))
    error = np.abs(values - case["stored"])
    assert (error <= floor).all()
    assert (error[trusted] <= 0.01 * case["stored"][trusted]).all()
    assert not (trusted & (values <= TRUST * floor)).any()
    assert not (spectrum.marginal.values & (trusted | (values <= floor))).any()
    # A flag that is always False would pass all of the above.
    worst = error.max() if driver in ("gesdd", "gesvd") or name == "hilbert" else error
    sure = case["stored"] > 1e4 * np.maximum(worst, EPS * (0 if name == "graded" else case["stored"][0]))
    assert trusted[sure].mean() >= 0.9


def test_the_goldens_floors_are_not_too_high():
    for name in ("tanh_ad", "tanh_fd", "hilbert"):
        case = golden(name)
        for driver in ("gesdd", "gesvd", "pivoted"):
            spectrum = singular_spectrum(case["matrix"], driver=driver)
            error = np.abs(spectrum.singular_value.values - case["stored"]).max()
            assert error < spectrum.svd_floor < 30 * error


def test_only_the_scale_robust_drivers_resolve_scaled_columns():
    case = golden("graded")
    for driver, resolved in (("pivoted", 24), ("jacobi", 24), ("auto", 24), ("gesdd", 12), ("gesvd", 12)):
        spectrum = singular_spectrum(case["matrix"], driver=driver)
        assert spectrum.trusted.sum() == resolved
        if resolved == 24:
            assert np.allclose(spectrum.singular_value, case["stored"], rtol=1e-14, atol=0)
            assert float(spectrum.floor[-1]) < 1e-12 * case["stored"][-1]
    assert singular_spectrum(case["matrix"]).driver == "pivoted"
    assert singular_spectrum(case["matrix"].T).trusted.all()


def test_values_of_finite_differences_are_right_to_a_percent_above_their_noise():
    case = golden("tanh_fd")
    noise = case["matrix"] - golden_differences(case)
    spectrum = singular_spectrum(case["matrix"], operator_floor=np.linalg.norm(noise, 2))
    trusted = spectrum.trusted.values
    assert spectrum.floor_origin == ENTRY_FLOOR
    relative = np.abs(case["stored"] - case["same_features"]) / case["same_features"]
    assert 8 <= trusted.sum() < 20 and (relative[trusted] < 0.01).all()
    # Without it the SVD is right, and of the values of the features themselves nothing is.
    assert singular_spectrum(case["matrix"]).trusted.all() and relative[-1] > 1e3


def golden_differences(case):
    from dynamics.certified_features import certified_feature_matrix

    with h5py.File(GOLDEN) as file:
        step = float(file["tanh_fd"].attrs["step"])
    entries = certified_feature_matrix(case["weight"], case["bias"], case["points"], "tanh", 2, step=step)
    return np.array([[float(entry) for entry in row] for row in entries])


def test_against_mpmath():
    hilbert = 1.0 / (np.arange(6)[:, None] + np.arange(5)[None, :] + 1.0)
    with mpmath.workdps(40):
        expected = [float(value) for value in mpmath.svd_r(mpmath.matrix(hilbert.tolist()), compute_uv=False)]
    values, floor = singular_values(hilbert)
    assert np.abs(values - expected).max() < floor
    assert floor == pytest.approx(1.5 * (1.5 + 5**0.5) * EPS * values[0])


def test_graded_matrix_keeps_values_that_a_gram_matrix_loses():
    exact = 10.0 ** -np.arange(0, 14, 1.0)
    matrix = random_orthogonal(20, 1)[:, :14] * exact @ random_orthogonal(14, 2)
    values, floor = singular_values(matrix)
    assert np.abs(values - exact).max() < floor
    assert values[12] == pytest.approx(1e-12, rel=0.01)
    from_gram = np.sqrt(np.abs(np.linalg.eigvalsh(matrix.T @ matrix))[::-1])
    assert abs(from_gram[12] - 1e-12) > 1e-11  # the oracle of what must not be done


@pytest.mark.parametrize("driver", DRIVERS)
def test_rank_k_is_trusted_k_times(driver):
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((40, 3)) @ generator.standard_normal((3, 25))
    spectrum = singular_spectrum(matrix, driver=driver)
    assert spectrum.trusted.sum() == 3 and spectrum.marginal.sum() == 0


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 2**16))
def test_invariant_under_rotation_and_equivariant_under_scale(scale, seed):
    matrix = np.random.default_rng(seed).standard_normal((6, 4))
    values, floor = singular_values(matrix)
    rotated, scaled_floor = singular_values(
        scale * random_orthogonal(6, seed) @ matrix @ random_orthogonal(4, seed + 1)
    )
    assert np.abs(rotated / scale - values).max() < 10 * floor
    assert scaled_floor / scale == pytest.approx(floor, rel=1e-10)


@pytest.mark.parametrize("driver", ["auto", "pivoted"])
@pytest.mark.parametrize("scale", [2.0**-900, 2.0**900])
def test_matrices_whose_squares_leave_the_range(scale, driver):
    matrix = np.random.default_rng(0).standard_normal((7, 4))
    there, here = (singular_spectrum(factor * matrix, driver=driver) for factor in (scale, 1.0))
    for name in ("singular_value", "floor", "entry_floor", "svd_floor"):
        assert np.allclose(there[name] / scale, here[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize(("dtype", "eps"), [(np.float16, 2.0**-10), (np.float32, 2.0**-23), (np.float64, EPS)])
@pytest.mark.parametrize("shape", [(30, 20), (8, 60), (200, 1)])
def test_entry_floor_is_the_norm_of_rounding(dtype, eps, shape):
    matrix = np.random.default_rng(1).uniform(1, 2, shape).astype(np.float64)
    spectrum = singular_spectrum(matrix.astype(dtype))
    # eps / 2 to one side and the other at most, uniform between: what is seen lies near it.
    if dtype != np.float64:
        seen = np.linalg.norm(matrix.astype(dtype) - matrix, 2)
        assert seen < 1.1 * float(spectrum.entry_floor) < 4 * seen
    assert float(spectrum.entry_floor) == pytest.approx(
        eps / 12**0.5 * (np.linalg.norm(matrix, axis=0).max() + np.linalg.norm(matrix, axis=1).max()), rel=1e-3
    )
    assert spectrum.floor_origin == (ENTRY_FLOOR if dtype != np.float64 else SVD_FLOOR)
    assert spectrum.dtype == np.dtype(dtype).name


def test_integers_are_not_rounded():
    spectrum = singular_spectrum(np.arange(6).reshape(2, 3))
    assert spectrum.entry_floor == 0 and spectrum.svd_floor > 0
    assert singular_spectrum(np.eye(3, dtype=bool)).trusted.all()


def test_rounding_of_scaled_columns_is_relative_too():
    matrix = golden("graded")["matrix"]
    rounded = singular_spectrum(matrix.astype(np.float32))
    exact = golden("graded")["stored"]
    assert rounded.trusted.all()
    assert (np.abs(rounded.singular_value.values - exact) < rounded.floor.values).all()
    assert (rounded.floor.values > 2.0**-26 * exact).all()


def test_operator_floor_is_absolute_and_added():
    matrix = golden("graded")["matrix"]
    plain, noisy = singular_spectrum(matrix), singular_spectrum(matrix, operator_floor=1e-10)
    assert np.allclose(noisy.floor, plain.floor + 1e-10, rtol=1e-3)
    assert noisy.entry_floor == 1e-10 and (noisy.floor.values >= 1e-10).all()
    assert noisy.floor_origin == ENTRY_FLOOR
    assert 0 < noisy.trusted.sum() < 12


def test_leading_values_and_what_they_leave_out():
    exact = 10.0 ** -np.arange(0, 10, 0.25)
    matrix = random_orthogonal(60, 1)[:, :40] * exact @ random_orthogonal(40, 2)
    spectrum = singular_spectrum(matrix, leading=4)
    assert spectrum.sizes == {"index": 4} and spectrum.driver == "randomized" and spectrum.random_state == 0
    assert (np.abs(spectrum.singular_value.values - exact[:4]) <= spectrum.floor.values).all()
    tail = np.linalg.norm(exact[14:])
    assert 0.999 * tail <= spectrum.residual_norm < 2 * tail
    assert spectrum.trusted.all()
    assert singular_spectrum(matrix, leading=4).equals(spectrum)


def test_leading_values_of_a_flat_spectrum_are_not_trusted():
    spectrum = singular_spectrum(np.random.default_rng(0).standard_normal((80, 60)), leading=3)
    exact = np.linalg.svd(np.random.default_rng(0).standard_normal((80, 60)), compute_uv=False)
    assert not spectrum.trusted.any()
    assert (np.abs(spectrum.singular_value.values - exact[:3]) < spectrum.floor.values).all()


def test_many_leading_values_are_computed_with_the_rest():
    spectrum = singular_spectrum(np.diag([3.0, 2.0, 1.0]), leading=2)
    assert spectrum.singular_value.values.tolist() == [3.0, 2.0] and spectrum.driver == "gesdd"


def test_dataset_is_streamed(tmp_path):
    matrix = np.random.default_rng(0).standard_normal((500, 12)) * 10.0 ** -np.linspace(0, 18, 12)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["tall"], file["wide"], file["half"] = matrix, matrix.T, matrix.astype("f4")
        seen = []
        streamed = singular_spectrum(file["tall"], block_rows=64, progress=lambda *at: seen.append(at))
        wide, half = singular_spectrum(file["wide"], block_rows=64), singular_spectrum(file["half"])
    exact = certified_singular_values(matrix)
    for spectrum, shape in ((streamed, (500, 12)), (wide, (12, 500))):
        assert (spectrum.rows, spectrum.columns) == shape and spectrum.driver == "tsqr + pivoted"
        assert (np.abs(spectrum.singular_value.values - exact) < spectrum.floor.values).all()
        assert spectrum.trusted.all()
        assert np.allclose(spectrum.entry_floor, singular_spectrum(matrix).entry_floor, rtol=1e-6)
    assert seen[0] == (64, 500) and seen[-1] == (500, 500)
    assert half.dtype == "float32" and half.floor_origin == ENTRY_FLOOR
    assert np.allclose(half.entry_floor, singular_spectrum(matrix.astype("f4")).entry_floor, rtol=1e-6)


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (np.ones(3), "2-D"),
        (1.0, "2-D"),
        (np.ones((0, 3)), "entries"),
        ([[1.0, np.nan], [np.inf, 0.0]], "finite entries, got 2 NaN or infinite of 4"),
        ([[1.0, 1j]], "real"),
        ([["a", "b"]], "real numbers"),
    ],
)
def test_refuses(matrix, said):
    for call in (singular_values, singular_spectrum):
        with pytest.raises(ValueError, match=f"expected.*{said}"):
            call(matrix)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"driver": "gesvdj"}, "unknown driver 'gesvdj'"),
        ({"leading": 0}, "leading as an integer >= 1"),
        ({"leading": 2.0}, "leading as an integer >= 1, got 2.0"),
        ({"leading": 1, "driver": "jacobi"}, "driver 'auto' with leading=1"),
        ({"driver": "magic"}, "driver"),
        ({"block_rows": 4}, "h5py Dataset"),
        ({"operator_floor": -1.0}, "operator_floor >= 0"),
        ({"operator_floor": float("nan")}, "operator_floor >= 0"),
    ],
)
def test_refuses_options(options, said):
    with pytest.raises(ValueError, match=said):
        singular_spectrum(np.eye(3), **options)


def test_refuses_what_does_not_fit_into_memory():
    with pytest.raises(MemoryError, match=r"GiB.*h5py Dataset.*block_rows"):
        singular_spectrum(np.broadcast_to(np.float32(1.0), (10**6, 10**6)))


def test_floor_needs_values():
    with pytest.raises(ValueError, match="at least one"):
        spectrum_floor([], (3, 3))


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (1, 1)])
def test_zero_matrix_has_no_trusted_value(driver, shape):
    spectrum = singular_spectrum(np.zeros(shape), driver=driver)
    assert (spectrum.singular_value == 0).all() and (spectrum.relative == 0).all()
    assert not spectrum.trusted.any() and not spectrum.marginal.any()


@pytest.mark.parametrize("driver", DRIVERS)
def test_rank_one_and_single_rows(driver):
    column = np.arange(1.0, 6.0)[:, None]
    for matrix, size in ((column @ column.T, 5), (column, 1), (column.T, 1)):
        spectrum = singular_spectrum(matrix, driver=driver)
        exact = 55.0 if size == 5 else 55.0**0.5
        assert spectrum.trusted.values.tolist() == [True] + [False] * (size - 1)
        assert float(spectrum.singular_value[0]) == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("driver", ["pivoted", "jacobi"])
def test_zero_rows_and_columns_give_exact_zeros(driver):
    matrix = np.zeros((6, 4))
    matrix[1:4, :3] = np.diag([1.0, 1e-20, 1e-10])
    spectrum = singular_spectrum(matrix, driver=driver)
    assert spectrum.singular_value.values.tolist() == pytest.approx([1.0, 1e-10, 1e-20, 0.0], rel=1e-15, abs=0)
    assert spectrum.trusted.values.tolist() == [True, True, True, False]
    assert spectrum.floor[-1] == spectrum.svd_floor + spectrum.entry_floor > 1e10 * spectrum.floor[2]


class FakeArray(np.ndarray):
    """A numpy array that claims to be cupy's."""


FakeArray.__module__ = "cupy.fake"


def test_cupy_arrays_go_to_cusolver(monkeypatch):
    calls = []
    fake = types.ModuleType("cupy")
    fake.asnumpy = np.asarray
    fake.linalg = types.SimpleNamespace(
        svd=lambda a, compute_uv: calls.append((type(a), compute_uv)) or np.linalg.svd(np.asarray(a), compute_uv=False)
    )
    monkeypatch.setitem(sys.modules, "cupy", fake)
    matrix = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    spectrum = singular_spectrum(matrix.view(FakeArray))
    assert calls == [(FakeArray, False)] and spectrum.driver == "cusolver gesvd"
    assert np.allclose(spectrum.singular_value, singular_values(matrix)[0], rtol=1e-14)
    assert spectrum.entry_floor == pytest.approx(float(singular_spectrum(matrix).entry_floor))
    with pytest.raises(ValueError, match="expected driver 'auto' or 'gesvd' for a cupy array"):
        singular_spectrum(matrix.view(FakeArray), driver="pivoted")
    with pytest.raises(ValueError, match="got 1 NaN"):
        singular_spectrum(np.array([[1.0, np.nan]]).view(FakeArray))


@pytest.mark.cuda
def test_cuda_agrees_with_lapack():
    cupy = pytest.importorskip("cupy", reason="needs cupy and a CUDA device")
    if not cupy.cuda.is_available():
        pytest.skip("needs a CUDA device")
    case = golden("tanh_ad")
    spectrum = singular_spectrum(cupy.asarray(case["matrix"]))
    assert (np.abs(spectrum.singular_value.values - case["stored"]) < spectrum.floor.values).all()


def test_cupy_is_not_imported_for_numpy_arrays():
    assert "cupy" not in vars(spectra)
    singular_spectrum(np.eye(2))


def tree(extra=None, **attrs):
    data = {
        "singular_value": (("step", "index"), [[4.0, 1e-3], [np.nan, np.nan]]),
        "floor": ("step", [1e-10, np.nan]),
    }
    return xr.DataTree.from_dict({"spectra": xr.Dataset(data | (extra or {}), {"step": [0, 5]}, attrs)})


def test_reads_a_trajectory():
    spectrum = singular_spectrum(tree(matrix="jacobian", rows=2))
    assert spectrum.relative.values[0].tolist() == [1.0, 0.00025]
    assert spectrum.trusted.values.tolist() == [[True, True], [False, False]]
    assert spectrum.floor.dims == ("step", "index") and spectrum.floor.values[0].tolist() == [1e-10, 1e-10]
    assert spectrum.attrs == {
        "matrix": "jacobian",
        "rows": 2,
        "driver": "as recorded",
        "floor_origin": SVD_FLOOR,
        "trust_factor": 100.0,
    }
    assert all({"units", "long_name"} <= set(variable.attrs) for variable in spectrum.data_vars.values())


def test_operator_floor_of_an_older_file_is_added_and_named():
    spectrum = singular_spectrum(tree(operator_floor=1e-4, driver="gelsd"))
    assert spectrum.floor.values[0] == pytest.approx([1e-4 + 1e-10] * 2, rel=1e-15)
    assert spectrum.trusted.values[0].tolist() == [True, False]
    assert spectrum.marginal.values[0].tolist() == [False, True]
    assert (spectrum.floor_origin, spectrum.driver) == (ENTRY_FLOOR, "gelsd")
    assert spectrum.entry_floor.values.tolist() == [1e-4, 1e-4]
    assert singular_spectrum(tree(operator_floor=1e-20)).floor_origin == SVD_FLOOR


def test_recorded_entry_floor_comes_before_the_attribute_and_the_callers_before_both():
    both = tree({"entry_floor": ("step", [1e-6, np.nan])}, operator_floor=1e-20)
    spectrum = singular_spectrum(both)
    assert spectrum.entry_floor.values[0] == 1e-6 and spectrum.floor_origin == ENTRY_FLOOR
    assert float(singular_spectrum(both, operator_floor=1e-5).entry_floor[0]) == 1e-5
    assert float(singular_spectrum(both, operator_floor=0.0).floor[0, 0]) == 1e-10
    unknown = tree({"entry_floor": ("step", [np.nan, np.nan])}, operator_floor=1e-7)
    assert singular_spectrum(unknown).entry_floor.values.tolist() == [1e-7, 1e-7]


def test_cuts_are_compared_with_both_floors():
    for floor, above in ((0.0, [True, True]), (1e-4, [False, True])):
        curve = entropy_curve(singular_spectrum(tree(operator_floor=floor)), a=[1e-6, 1e-4])
        assert curve.above_floor.values[0].tolist() == above


def test_truncation_is_passed_through_and_never_trusted_or_not():
    extra = {
        "truncation": (("step", "index"), [[1.0, 1.0], [np.nan, np.nan]]),
        "exact_singular_value": (("step", "index"), [[3.0, 1e-3], [np.nan, np.nan]]),
    }
    spectrum = singular_spectrum(tree(extra))
    assert spectrum.truncation.values[0].tolist() == [1.0, 1.0]
    assert spectrum.exact_singular_value.values[0].tolist() == [3.0, 1e-3]
    assert spectrum.trusted.values[0].all()


def test_a_trajectory_takes_no_driver():
    for options in ({"driver": "pivoted"}, {"leading": 1}, {"block_rows": 2}):
        with pytest.raises(ValueError, match="for a trajectory"):
            singular_spectrum(tree(), **options)


def test_names_the_missing_variable():
    with pytest.raises(TrajectoryError, match="spectra/singular_value"):
        singular_spectrum(xr.DataTree.from_dict({"series": xr.Dataset()}))


@pytest.mark.parametrize("source", ["run.h5", Path("run.h5")])
def test_a_path_is_no_spectrum(source):
    with pytest.raises(ValueError, match=r"open_trajectory\(path\) opens a run"):
        singular_spectrum(source)


def test_the_remainder_of_a_projection_is_named():
    matrix = np.random.default_rng(0).standard_normal((80, 40))
    assert singular_spectrum(matrix, leading=5).floor_origin == "remainder of the randomized projection"


def test_subnormal_entries_are_not_rounded_relatively():
    """Columns of 1e-7 in half precision are whole multiples of 6e-8: their values are off by per cents."""
    exact = np.random.default_rng(0).standard_normal((30, 5)) * [1, 1, 1e-6, 2e-7, 1e-7]
    spectrum = singular_spectrum(exact.astype(np.float16), driver="pivoted")
    off = np.abs(spectrum.singular_value.values / np.linalg.svd(exact, compute_uv=False) - 1)
    assert off[-1] > 0.01
    assert not (spectrum.trusted.values & (off > 0.01)).any()


def test_nothing_is_trusted_where_the_round_off_of_the_entries_is_unknown():
    columns = {"singular_value": (("step", "index"), [[1.0, 0.5], [1.0, 0.5]]), "floor": ("step", [1e-16, 1e-16])}
    columns["entry_floor"] = ("step", [1e-12, np.nan])
    found = singular_spectrum(xr.DataTree.from_dict({"spectra": xr.Dataset(columns, {"step": [0, 1]})}))
    assert found.trusted.values.tolist() == [[True, True], [False, False]]
    assert not found.marginal.values.any()


def test_a_masked_array_is_refused():
    with pytest.raises(ValueError, match="masked array; fill it"):
        singular_spectrum(np.ma.masked_array(np.eye(2), mask=[[0, 1], [0, 0]]))

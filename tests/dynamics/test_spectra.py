import mpmath
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics.spectra import DIFFERENCE_FLOOR, SVD_FLOOR, singular_spectrum, singular_values, spectrum_floor
from dynamics.trajectory import TrajectoryError


def random_orthogonal(size, seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def test_against_mpmath():
    hilbert = 1.0 / (np.arange(6)[:, None] + np.arange(5)[None, :] + 1.0)
    with mpmath.workdps(40):
        expected = [float(value) for value in mpmath.svd_r(mpmath.matrix(hilbert.tolist()), compute_uv=False)]
    values, floor = singular_values(hilbert)
    assert np.abs(values - expected).max() < floor
    assert floor == 2.0**-52 * 6 * values[0]


def test_graded_matrix_keeps_values_that_a_gram_matrix_loses():
    exact = 10.0 ** -np.arange(0, 14, 1.0)
    matrix = random_orthogonal(20, 1)[:, :14] * exact @ random_orthogonal(14, 2)
    values, floor = singular_values(matrix)
    assert np.abs(values - exact).max() < floor
    assert values[12] == pytest.approx(1e-12, rel=0.01)
    from_gram = np.sqrt(np.abs(np.linalg.eigvalsh(matrix.T @ matrix))[::-1])
    assert abs(from_gram[12] - 1e-12) > 1e-11  # the oracle of what must not be done


def test_rank_k_is_trusted_k_times():
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((40, 3)) @ generator.standard_normal((3, 25))
    assert singular_spectrum(matrix).trusted.sum() == 3


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


def test_float32_entries_raise_the_floor():
    assert singular_values(np.eye(3, dtype=np.float32))[1] == pytest.approx(3 * 2.0**-23)
    assert singular_values(np.eye(3, dtype=np.int64))[1] == pytest.approx(3 * 2.0**-52)


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (np.ones(3), "2-D"),
        (np.ones((0, 3)), "entries"),
        ([[1.0, np.nan]], "finite"),
        ([[1.0, 1j]], "real"),
    ],
)
def test_refuses(matrix, said):
    with pytest.raises(ValueError, match=f"expected.*{said}.*got"):
        singular_values(matrix)


def test_floor_needs_values():
    with pytest.raises(ValueError, match="at least one"):
        spectrum_floor([], (3, 3))


def tree(**attrs):
    spectra = xr.Dataset(
        {
            "singular_value": (("step", "index"), [[4.0, 1e-3], [np.nan, np.nan]]),
            "floor": ("step", [1e-10, np.nan]),
        },
        {"step": [0, 5]},
        attrs,
    )
    return xr.DataTree.from_dict({"spectra": spectra})


def test_reads_a_trajectory():
    spectrum = singular_spectrum(tree(matrix="jacobian", rows=2))
    assert spectrum.relative.values[0].tolist() == [1.0, 0.00025]
    assert spectrum.trusted.values.tolist() == [[True, True], [False, False]]
    assert spectrum.attrs == {"matrix": "jacobian", "rows": 2, "floor_origin": SVD_FLOOR}
    assert all({"units", "long_name"} <= set(variable.attrs) for variable in spectrum.data_vars.values())


def test_larger_floor_wins_and_is_named():
    spectrum = singular_spectrum(tree(operator_floor=0.01))
    assert spectrum.floor.values[0] == 0.01
    assert spectrum.trusted.values[0].tolist() == [True, False]
    assert spectrum.floor_origin == DIFFERENCE_FLOOR
    assert singular_spectrum(tree(operator_floor=1e-20)).floor_origin == SVD_FLOOR


def test_zero_matrix_has_no_trusted_value():
    spectrum = singular_spectrum(np.zeros((3, 2)))
    assert not spectrum.trusted.any() and (spectrum.relative == 0).all()


def test_names_the_missing_variable():
    with pytest.raises(TrajectoryError, match="spectra/singular_value"):
        singular_spectrum(xr.DataTree.from_dict({"series": xr.Dataset()}))

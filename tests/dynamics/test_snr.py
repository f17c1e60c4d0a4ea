import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics.snr import (
    gradient_snr,
    normalized_snr_from_gram,
    reference_snr,
    running_median,
    snr_from_gram,
    snr_from_norms,
)
from dynamics.trajectory import TrajectoryError


def with_sum(blocks):
    return np.vstack((blocks, blocks.sum(axis=0)))


def gram_of(blocks):
    rows = with_sum(blocks)
    return rows @ rows.T


def direct_snr(blocks):
    return np.linalg.norm(blocks.mean(axis=0)) / np.linalg.norm(blocks.std(axis=0))


def test_edge_cases_of_the_ratio():
    assert snr_from_norms(2.0, 4.0) == 0.5
    assert snr_from_norms([1.0, 0.0, np.nan, 0.0], [0.0, 0.0, 1.0, 2.0]) == pytest.approx(
        [np.inf, np.nan, np.nan, 0.0], nan_ok=True
    )
    with pytest.raises(ValueError, match=">= 0"):
        snr_from_norms(-1.0, 1.0)


def test_gram_equals_direct_moments():
    generator = np.random.default_rng(3)
    for mean in (0.0, 0.1, 3.0):
        blocks = mean + generator.standard_normal((20, 300))
        assert snr_from_gram(gram_of(blocks)) == pytest.approx(direct_snr(blocks), rel=1e-12)


def test_sum_row_resolves_what_the_blocks_alone_lose():
    generator = np.random.default_rng(4)
    blocks = generator.standard_normal((10, 400))
    blocks -= blocks.mean(axis=0)
    blocks += 1e-11 * generator.standard_normal(400)
    gram = gram_of(blocks)
    expected = direct_snr(blocks)
    assert snr_from_gram(gram) == pytest.approx(expected, rel=1e-4)
    from_blocks = np.sqrt(abs(gram[:-1, :-1].sum())) / 10 / np.linalg.norm(blocks.std(axis=0))
    assert abs(from_blocks / expected - 1) > 0.5


def test_identical_blocks_are_pure_signal():
    gram = gram_of(np.tile(np.random.default_rng(0).standard_normal(50), (7, 1)))
    assert snr_from_gram(gram) == np.inf
    assert normalized_snr_from_gram(gram) == np.inf


def test_pure_noise():
    generator = np.random.default_rng(5)
    blocks, points = 50, 4000
    noise = generator.standard_normal((blocks, points))
    # |mu|^2 / |sigma|^2 -> (1/B) / (1 - 1/B): independent blocks, population deviation
    assert snr_from_gram(gram_of(noise)) == pytest.approx(1 / np.sqrt(blocks - 1), rel=0.05)
    assert normalized_snr_from_gram(gram_of(noise)) == pytest.approx(1 / np.sqrt(blocks - 1), rel=0.05)
    opposed = np.vstack((noise, -noise))
    assert snr_from_gram(gram_of(opposed)) < 1e-15
    assert normalized_snr_from_gram(gram_of(opposed)) < 1e-7


def test_normalized_does_not_see_the_lengths():
    generator = np.random.default_rng(6)
    blocks = 0.3 + generator.standard_normal((6, 40))
    lengths = 10.0 ** generator.uniform(-6, 6, (6, 1))
    first, second = normalized_snr_from_gram(np.stack([gram_of(blocks), gram_of(lengths * blocks)]))
    assert first == pytest.approx(second, rel=1e-9)
    unit = blocks / np.linalg.norm(blocks, axis=1, keepdims=True)
    assert first == pytest.approx(direct_snr(unit), rel=1e-10)
    assert np.isnan(normalized_snr_from_gram(gram_of(np.vstack((blocks, np.zeros(40))))))


@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 2)])
def test_gram_must_be_square_with_two_blocks(shape):
    with pytest.raises(ValueError, match="expected"):
        snr_from_gram(np.ones(shape))


def test_reference_is_free_of_the_blocking():
    """Merging random blocks changes the SNR; at the reference block size it stays."""
    generator = np.random.default_rng(7)
    points = 0.05 + generator.standard_normal((1024, 3000))
    found = [direct_snr(points.reshape(-1, size, 3000).mean(axis=1)) for size in (8, 32, 128)]
    assert found[2] / found[0] > 3
    at_reference = [reference_snr(snr, size, 1024) for snr, size in zip(found, (8, 32, 128), strict=True)]
    assert at_reference == pytest.approx([at_reference[0]] * 3, rel=0.05)


def test_reference_of_the_reference_is_itself():
    assert reference_snr([0.5, np.inf], 256, 25600) == pytest.approx([0.5, np.inf])
    assert reference_snr(0.25, 16, 1024) == pytest.approx(1.0, rel=0.02)
    with pytest.raises(ValueError, match="two blocks"):
        reference_snr(1.0, 100, 100)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=30), st.floats(0.01, 1))
def test_running_median_against_a_slow_loop(values, width):
    step = np.arange(1, len(values) + 1) * 10
    found = running_median(step, values, step, width)
    for place, median in zip(step, found, strict=True):
        distance = np.abs(np.log10(step) - np.log10(place))
        inside = distance <= width
        if inside.sum() < 3:
            inside = np.argsort(distance, kind="stable")[:3]
        assert median == np.median(np.asarray(values)[inside])


def test_running_median_ignores_nan_and_order():
    assert running_median([3, 1, 2], [np.nan, 1.0, 5.0], [0, 2], 2.0).tolist() == [3.0, 3.0]
    assert np.isnan(running_median([1], [np.nan], [1], 1.0)).all()


def tree(**attrs):
    generator = np.random.default_rng(8)
    blocks = 0.2 + generator.standard_normal((3, 5, 30))
    data = {
        "mean_norm_total": ("step", np.linalg.norm(blocks.mean(axis=1), axis=1)),
        "std_norm_total": ("step", np.linalg.norm(blocks.std(axis=1), axis=1)),
        "interior_mean_norm_total": ("step", [0.1, 0.2, 0.3]),
        "mean_norm": (("step", "layer"), [[3.0, 0.0]] * 3),
        "std_norm": (("step", "layer"), [[4.0, 0.0]] * 3),
        "gram": (("step", "row", "column"), np.stack([gram_of(block) for block in blocks])),
    }
    data["gram"][1][1] = np.nan
    dataset = xr.Dataset(data, {"step": [0, 10, 20], "layer": ["a", "b"]}, attrs)
    return xr.DataTree.from_dict({"gradients": dataset}), blocks


def test_analyzer():
    trajectory, blocks = tree(blocks=5, block_size=20, points=100, terms="interior, boundary")
    result = gradient_snr(trajectory)
    expected = [direct_snr(block) for block in blocks]
    assert result.snr.values == pytest.approx(expected)
    assert result.order_parameter.values == pytest.approx(
        [np.linalg.norm(b.mean(axis=0)) / np.sqrt((b**2).mean(axis=0).sum()) for b in blocks]
    )
    assert result.snr_reference.values == pytest.approx(reference_snr(expected, 20, 100))
    assert "20 of 100" in result.reference and result.terms == "interior, boundary"
    assert result.snr_layer.sel(layer="a").values.tolist() == [0.75] * 3 and result.snr_layer[:, 1].isnull().all()
    assert result.snr_interior.values[2] == pytest.approx(0.3 / np.linalg.norm(blocks[2].std(axis=0)))
    assert result.snr_normalized.isnull().values.tolist() == [False, True, False]
    assert result.snr_median.values == pytest.approx([np.median(expected)] * 3)  # three samples: always all of them
    assert all({"units", "long_name"} <= set(variable.attrs) for variable in result.data_vars.values())


def test_analyzer_without_block_size_says_so():
    result = gradient_snr(tree()[0])
    assert result.snr_reference.values.tolist() == result.snr.values.tolist()
    assert "assumed" in result.reference
    assert gradient_snr(tree(blocks=1, block_size=9, points=9)[0]).snr_reference.isnull().all()


def test_analyzer_keeps_infinite_and_zero_medians():
    data = {"mean_norm_total": ("step", [1.0, 1.0, 1.0]), "std_norm_total": ("step", [0.0, 0.0, 0.0])}
    result = gradient_snr(xr.DataTree.from_dict({"gradients": xr.Dataset(data, {"step": [1, 2, 3]})}))
    assert np.isinf(result.snr_median).all() and (result.order_parameter == 1).all()


def test_analyzer_names_the_missing_variable():
    with pytest.raises(TrajectoryError, match="gradients/std_norm_total"):
        gradient_snr(xr.DataTree.from_dict({"gradients": xr.Dataset({"mean_norm_total": ("step", [1.0])})}))

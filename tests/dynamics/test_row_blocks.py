"""Snapshots that are read some rows at a time: the same results, in bounded memory."""

import tracemalloc

import numpy as np
import pytest
import xarray as xr

from dynamics.file import row_blocks as module
from dynamics.file.row_blocks import row_blocks
from dynamics.homogeneity import cell_index, homogeneity, residual_homogeneity
from dynamics.recorder import Recorder
from dynamics.snr import gradient_snr
from dynamics.trajectory import open_trajectory


@pytest.mark.parametrize("block_bytes", [1, 80, 1000, None])
def test_blocks_are_the_rows_in_order(block_bytes):
    values = np.random.default_rng(0).normal(size=(17, 5))
    blocks = list(row_blocks(xr.DataArray(values), block_bytes))
    np.testing.assert_array_equal(np.concatenate(blocks), values)
    assert all(block.nbytes <= max(40, block_bytes or 10**9) for block in blocks)


def test_no_rows_are_one_empty_block():
    (block,) = row_blocks(xr.DataArray(np.zeros((0, 3))))
    assert block.shape == (0, 3)


@pytest.fixture
def snapshots(tmp_path):
    """A run with residuals at 500 points and Gram matrices of 4 blocks, and the arrays themselves."""
    rng = np.random.default_rng(1)
    points, residual = rng.uniform(size=(500, 2)), rng.normal(size=(60, 500))
    gradients = rng.normal(size=(60, 4, 30)) + 0.3
    path = tmp_path / "run.h5"
    with Recorder(path) as recorder:
        recorder.store("points", interior=(("interior_point", "axis"), points))
        for step in range(60):
            rows = np.vstack([gradients[step], gradients[step].sum(axis=0)])
            recorder.record("residuals", step, residual=residual[step])
            recorder.record("gradients", step, gram=rows @ rows.T, mean_norm_total=1.0, std_norm_total=1.0)
    return path, points, residual, gradients


@pytest.mark.parametrize("block_bytes", [1, 9000, 1 << 24])
def test_homogeneity_and_snr_do_not_depend_on_the_block(snapshots, monkeypatch, block_bytes):
    monkeypatch.setattr(module, "BLOCK_BYTES", block_bytes)
    path, points, residual, gradients = snapshots
    with open_trajectory(path) as trajectory:
        phi = residual_homogeneity(trajectory).phi.sel(quantity="residual").values
        found = gradient_snr(trajectory)
        normalized, merged = found.snr_normalized.values, found.snr_merged.sel(merge=2).values
    cells = cell_index(points, points.min(axis=0), points.max(axis=0), 10)
    np.testing.assert_allclose(phi, [homogeneity(np.abs(row), cells) for row in residual], rtol=1e-12)

    def ratio(blocks):
        mean = blocks.mean(axis=1, keepdims=True)
        return np.linalg.norm(mean[:, 0], axis=1) / np.linalg.norm(blocks.std(axis=1), axis=1)

    unit = gradients / np.linalg.norm(gradients, axis=2, keepdims=True)
    np.testing.assert_allclose(normalized, ratio(unit), rtol=1e-9)
    pairs = gradients.reshape(60, 2, 2, 30).sum(axis=2)
    np.testing.assert_allclose(merged, ratio(pairs), rtol=1e-9)


def test_memory_is_that_of_a_block(tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    with Recorder(path) as recorder:
        recorder.store(
            "points", interior=(("interior_point", "axis"), np.random.default_rng(0).uniform(size=(5000, 2)))
        )
        for step in range(400):
            recorder.record("residuals", step, residual=np.full(5000, 1.0 + step))
    monkeypatch.setattr(module, "BLOCK_BYTES", 1 << 20)
    with open_trajectory(path) as trajectory:
        tracemalloc.start()
        residual_homogeneity(trajectory)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # 16 MB of residuals.
    assert peak < 6e6

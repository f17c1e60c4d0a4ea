import h5py
import numpy as np
import pytest

from dynamics.certified import certified_singular_values
from dynamics.drivers import error_constant
from dynamics.tall import (
    BLOCK_BYTES,
    available_memory,
    default_block_rows,
    require_memory,
    row_blocks,
    tall_singular_values,
    triangular_factor,
)

EPS = 2.0**-52


@pytest.fixture
def store(tmp_path):
    with h5py.File(tmp_path / "matrix.h5", "w") as file:
        yield file


def graded(rows, columns, seed=0):
    generator = np.random.default_rng(seed)
    left, right = (np.linalg.qr(generator.standard_normal((size, columns)))[0] for size in (rows, columns))
    return left * 10.0 ** -np.linspace(0, 14, columns) @ right.T


@pytest.mark.parametrize("chunks", [None, (10, 16), (7, 5)])
@pytest.mark.parametrize("block_rows", [None, 1, 3, 16, 64, 299, 300, 1000])
def test_small_values_survive_any_blocks(store, chunks, block_rows):
    matrix = graded(300, 16)
    exact = certified_singular_values(matrix)
    for name, entries in (("tall", matrix), ("wide", matrix.T)):
        sizes = chunks if chunks is None or name == "tall" else chunks[::-1]
        store.create_dataset(name, data=entries, chunks=sizes)
        values = tall_singular_values(store[name], block_rows)
        blocks = -(-300 // (block_rows or 300))
        assert np.abs(values - exact).max() < (error_constant((300, 16)) + 0.1 * blocks) * EPS * exact[0]
    # What must not be done: the Gram matrix loses half of the values.
    gram = np.sqrt(np.abs(np.linalg.eigvalsh(matrix.T @ matrix)))[::-1]
    assert np.abs(gram - exact).max() > 1e-10


def test_factor_is_triangular_and_has_the_gram_matrix():
    matrix = np.random.default_rng(1).standard_normal((50, 7))
    factor = triangular_factor(np.array_split(matrix, 6))
    assert np.array_equal(factor, np.triu(factor)) and factor.shape == (7, 7)
    assert np.allclose(factor.T @ factor, matrix.T @ matrix, rtol=1e-13)


def test_one_buffer_may_serve_all_blocks():
    matrix = np.random.default_rng(1).standard_normal((40, 5))
    buffer = np.empty((8, 5))

    def blocks():
        for start in range(0, 40, 8):
            buffer[:] = matrix[start : start + 8]
            yield buffer

    assert np.allclose(tall_singular_values(blocks()), np.linalg.svd(matrix, compute_uv=False), rtol=1e-14)


def near(values):
    return pytest.approx(values, rel=1e-13, abs=1e-14)


def test_fewer_rows_than_columns_in_all():
    matrix = np.random.default_rng(1).standard_normal((3, 5))
    assert tall_singular_values([matrix[:2], matrix[2:]]) == near(np.linalg.svd(matrix, compute_uv=False))


def test_float32_and_integers_are_converted(store):
    matrix = np.random.default_rng(1).standard_normal((40, 5)).astype("f4")
    store["single"], store["whole"] = matrix, np.arange(20).reshape(10, 2)
    assert next(row_blocks(store["single"])).dtype == np.float64
    assert tall_singular_values(store["single"], 7) == near(np.linalg.svd(matrix.astype("f8"), compute_uv=False))
    whole = np.arange(20.0).reshape(10, 2)
    assert tall_singular_values(store["whole"]) == near(np.linalg.svd(whole, compute_uv=False))


def test_progress_counts_rows(store):
    store["a"] = np.ones((10, 2))
    seen = []
    tall_singular_values(store["a"], 4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_default_blocks_are_whole_chunks_of_about_32_mb(store):
    chunked = store.create_dataset("a", (2_000_000, 256), "f8", chunks=(1000, 256))
    plain = store.create_dataset("b", (100, 2_000_000), "f4")
    broad = store.create_dataset("c", (10**7, 4000), "f8", chunks=(1, 4000))
    assert default_block_rows(chunked) == 16_000 and default_block_rows(plain) == BLOCK_BYTES // 800
    assert default_block_rows(broad) == 8000
    first = next(row_blocks(chunked))
    assert first.shape == (16_000, 256) and not first.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(25, 0), (25, 4), (29, 2)])
def test_names_the_rows_that_are_not_finite(store, bad, place):
    matrix = np.ones((40, 5))
    # A first column of zeros keeps what is wrong in the others out of R's first row.
    matrix[:, 0] = 0.0
    matrix[place] = bad
    store["a"] = matrix
    with pytest.raises(ValueError, match="got 1 NaN or infinite of 50 in rows 20 to 29"):
        tall_singular_values(store["a"], 10)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (np.ones(3), "2-D dataset"),
        (np.ones((0, 3)), "with entries"),
        (np.ones((3, 2)) * 1j, "real numbers, got complex128"),
        (np.array([[b"x"]]), "real numbers"),
    ],
)
def test_refuses_datasets(store, entries, said):
    store["a"] = entries
    with pytest.raises(ValueError, match=f"expected.*{said}"):
        tall_singular_values(store["a"])


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ([], "at least one block"),
        ([np.ones((2, 3)), np.ones((2, 4))], r"\(rows, 3\), got \(2, 4\) at rows 2 to 3"),
        ([np.ones((2, 3)), np.ones((0, 3))], r"got \(0, 3\)"),
        ([np.ones(3)], r"\(rows, n\), got \(3,\)"),
        ([np.ones((2, 3)), 1j * np.ones((2, 3))], "real entries, got complex128 at rows 2 to 3"),
    ],
)
def test_refuses_blocks(blocks, said):
    with pytest.raises(ValueError, match=said):
        tall_singular_values(blocks)


def test_refuses_no_rows_and_no_memory(store):
    store["a"] = np.ones((4, 2))
    for rows in (0, -1, True):
        with pytest.raises(ValueError, match="block_rows >= 1"):
            tall_singular_values(store["a"], rows)
    square = store.create_dataset("b", (10**7, 10**7), "f8", chunks=(100, 100))
    with pytest.raises(MemoryError, match="10000000 x 10000000 factor"):
        tall_singular_values(square)
    require_memory(available_memory() // 2, "half")

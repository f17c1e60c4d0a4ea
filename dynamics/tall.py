"""Singular values of tall matrices that need not fit into memory, by a QR that reads block after block."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np
from scipy.linalg import lapack

BLOCK_BYTES = 32 * 2**20
"""Size of a block in memory; it is held twice."""

PANEL = 32
"""Columns that one compact reflector takes; 16 to 64 differ by 20 %."""

Progress = Callable[[int, int], None]


def triangular_factor(blocks: Iterable[np.ndarray], progress: Progress | None = None, total: int = 0) -> np.ndarray:
    r"""Reduce row blocks to the triangular factor of the matrix that they make up.

    $$ R \leftarrow \text{triangular factor of } \begin{pmatrix} R \\ \text{block} \end{pmatrix} $$

    by LAPACK's tpqrt, which leaves the zeros of R alone and works in place. The singular values of the last R are those
    of the matrix. A^T A is never formed: it would lose what lies below sqrt(eps) sigma_1.

    Args:
        blocks: (rows, n) arrays of any real type, at least one; each is done with before the next is asked for, so that
            one buffer may serve all.
        progress: called with (rows done, `total`) after each block.
        total: number of rows.

    Returns:
        (n, n) upper triangular R, float64.

    Raises:
        ValueError: If there is no block, blocks differ in width, or one is complex or not finite; its rows are named.

    Source: J. Demmel, L. Grigori, M. Hoemmen and J. Langou, "Communication-optimal parallel and sequential QR and LU
    factorizations", SIAM J. Sci. Comput. 34 (2012), the sequential TSQR.

    Cost: 2 m n^2 operations; memory of two blocks and n^2 numbers.

    Example:
        >>> factor = triangular_factor([np.array([[3.0, 0.0]]), np.array([[4.0, 0.0], [0.0, 2.0]])])
        >>> np.abs(np.diag(factor)).tolist()
        [5.0, 2.0]
    """
    factor, buffer, done = None, None, 0
    for block in blocks:
        block = np.asarray(block)
        _check_block(block, done, None if factor is None else len(factor))
        if factor is None:
            factor = np.zeros((block.shape[1],) * 2, order="F")
        if buffer is None or buffer.shape[0] != len(block):
            buffer = np.empty(block.shape, order="F")
        np.copyto(buffer, block)
        factor, *_ = lapack.dtpqrt(0, min(PANEL, len(factor)), factor, buffer, overwrite_a=1, overwrite_b=1)
        # An entry that is not finite makes its column of R so: no other pass over the block is needed to find it.
        if not np.isfinite(factor).all():
            _refuse(block, done)
        done += len(block)
        if progress is not None:
            progress(done, total)
    if factor is None:
        raise ValueError("expected at least one block of rows, got none; pass (rows, n) arrays")
    return factor


def _refuse(block: np.ndarray, done: int) -> None:
    bad = np.count_nonzero(~np.isfinite(block))
    here = f"rows {done} to {done + len(block) - 1}"
    if not bad:
        raise ValueError(f"expected entries below 1e150 or so, got an overflow in {here}; scale the matrix")
    raise ValueError(
        f"expected finite entries, got {bad} NaN or infinite of {block.size} in {here}; "
        "find the step at which the run diverged, or drop those rows"
    )


def _check_block(block: np.ndarray, done: int, width: int | None) -> None:
    here = f"rows {done} to {done + len(block) - 1}" if block.ndim else f"row {done}"
    if block.ndim != 2 or block.size == 0 or width not in (None, block.shape[1]):
        wanted = "(rows, n)" if width is None else f"(rows, {width})"
        raise ValueError(f"expected blocks of shape {wanted}, got {block.shape} at {here}; slice along the rows")
    if np.iscomplexobj(block):
        raise ValueError(
            f"expected real entries, got {block.dtype} at {here}; stack real and imaginary parts as "
            "[[Re, -Im], [Im, Re]] (each singular value then appears twice)"
        )


def row_blocks(dataset: h5py.Dataset, block_rows: int | None = None) -> Iterator[np.ndarray]:
    """Read a dataset along its longer axis, block after block, into one buffer.

    Args:
        dataset: (m, n) of any real type; converted to float64 while it is read.
        block_rows: rows (columns, where those are more) per block; None takes `default_block_rows`.

    Yields:
        (rows, min(m, n)) float64 views of the buffer, overwritten by the next.

    Raises:
        ValueError: If the dataset is not 2-D, is empty or complex, or block_rows is below 1.
    """
    _check_dataset(dataset)
    if block_rows is not None and (isinstance(block_rows, bool) or block_rows < 1):
        raise ValueError(f"expected block_rows >= 1, got {block_rows}; None chooses about 32 MB")
    length, width = max(dataset.shape), min(dataset.shape)
    step = min(default_block_rows(dataset) if block_rows is None else int(block_rows), length)
    require_memory(8 * (2 * step + 3 * width) * width, f"two blocks of {step} x {width} and a {width} x {width} factor")
    wide = dataset.shape[0] < dataset.shape[1]
    buffer = np.empty((width, step) if wide else (step, width))
    for start in range(0, length, step):
        rows = slice(0, min(step, length - start))
        there, here = slice(start, start + rows.stop), (slice(None), rows) if wide else (rows,)
        dataset.read_direct(buffer, (slice(None), there) if wide else there, here)
        yield buffer[here].T if wide else buffer[here]


def _check_dataset(dataset: h5py.Dataset) -> None:
    if len(dataset.shape) != 2:
        raise ValueError(f"expected a 2-D dataset, got shape {dataset.shape}; read one matrix of it as an array")
    if 0 in dataset.shape:
        raise ValueError(f"expected a dataset with entries, got shape {dataset.shape}; a spectrum needs at least one")
    if dataset.dtype.kind not in "fiub":
        raise ValueError(
            f"expected real numbers, got {dataset.dtype}; store complex matrices as [[Re, -Im], [Im, Re]] "
            "(each singular value then appears twice)"
        )


def default_block_rows(dataset: h5py.Dataset) -> int:
    """Return how many rows make about 32 MB, in whole chunks, and at least twice as many as columns.

    Args:
        dataset: (m, n); for m < n rows and columns swap.

    Returns:
        Number of rows.
    """
    axis = int(dataset.shape[0] < dataset.shape[1])
    width = dataset.shape[1 - axis]
    wanted = max(BLOCK_BYTES // (8 * width), 2 * width)
    chunk = dataset.chunks[axis] if dataset.chunks else 1
    return max(wanted // chunk, 1) * chunk


def tall_singular_values(
    source: h5py.Dataset | Iterable[np.ndarray],
    block_rows: int | None = None,
    *,
    progress: Progress | None = None,
) -> np.ndarray:
    r"""Compute all singular values of a matrix given by row blocks, in constant memory.

    A = Q R by `triangular_factor`, then the SVD of R: |error| of about sqrt(n) eps sigma_1 for every value, as for a
    matrix in memory.

    Args:
        source: an h5py Dataset (m, n), read along its longer axis, or row blocks (rows, n).
        block_rows: rows per block of a dataset; None takes about 32 MB.
        progress: called with (rows done, rows) after each block; rows is 0 where it is not known.

    Returns:
        The min(m, n) singular values, float64, largest first; fewer where blocks hold fewer than n rows in all.

    Raises:
        ValueError: If there is nothing to read, or blocks that are complex, not finite or not of one width.
        MemoryError: If two blocks and the triangular factor do not fit.

    Source: see `triangular_factor`.

    Cost: 2 m n^2 operations: 30 s for 2,000,000 x 256 on one core of a busy machine.

    Example:
        >>> tall_singular_values([np.array([[0.0, 2.0]]), np.array([[5.0, 0.0]])]).tolist()
        [5.0, 2.0]
    """
    rows = 0

    def counted(blocks):
        nonlocal rows
        for block in blocks:
            rows += len(block)
            yield block

    total = 0
    if isinstance(source, h5py.Dataset):
        source, total = row_blocks(source, block_rows), max(source.shape)
    factor = triangular_factor(counted(source), progress, total)
    return np.linalg.svd(factor, compute_uv=False)[: min(rows, len(factor))]


def available_memory() -> int:
    """Return the bytes that a process may still take without swapping, as the system estimates them.

    Returns:
        Bytes; a very large number where the system does not say.

    Example:
        >>> available_memory() > 2**20
        True
    """
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**62


def require_memory(needed: int, what: str) -> None:
    """Refuse what would not fit into memory.

    Args:
        needed: bytes.
        what: takes them.

    Raises:
        MemoryError: If that is more than there is.
    """
    free = available_memory()
    if needed > free:
        raise MemoryError(
            f"expected at most {free / 2**30:.1f} GiB for {what}, came {needed / 2**30:.1f} GiB; keep the matrix in an "
            "HDF5 file and pass its h5py Dataset, which is read by row blocks (block_rows= makes them smaller)"
        )

"""How a dataset is stored, looked at before anything of it is read: type, size, filters, and where its bytes lie."""

from __future__ import annotations

import math
from collections.abc import Iterator
from operator import ge

import h5py
from h5py import h5d, h5t

from dynamics.confined.extent import Extent
from dynamics.file.labels import is_dimension_only
from dynamics.file.opening import text

FILTERS = (1, 2, 3)
FILTER_NAMES = {4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf", 32001: "blosc", 32004: "lz4", 32015: "zstd"}
CHUNK_BYTES = 64 << 20
ITEM_BYTES = 1 << 16
RANK = 16
DIMENSION_SIZE = 10**8
REPORTED = 1 << 13
LABELS, TEXT_BYTES = 100_000, 1 << 24


def dangers(path: str, dataset: h5py.Dataset, committed: int | None, extent: Extent) -> Iterator[str]:
    """Name what makes it dangerous to read a dataset.

    Args:
        path: of the dataset in the file.
        dataset: open; only its metadata and its chunk index are read.
        committed: rows that have to be in the file, None for all that it stores.
        extent: what the datasets before it take; this one is added.

    Yields:
        One line per danger.
    """
    found = [*unsafe(path, dataset, extent)]
    yield from found
    if found:
        return
    if not is_chunked(dataset):
        yield from block_dangers(path, dataset, extent)
        return
    wrong = misplaced(path, dataset, committed, extent)
    yield from wrong
    if not wrong:
        _unfold(dataset, extent)


def unsafe(path: str, dataset: h5py.Dataset, extent: Extent) -> Iterator[str]:
    """Name what forbids reading any of a dataset: where its values lie, their type, their filters, their size.

    Args:
        path: of the dataset in the file.
        dataset: open; only its metadata are read.
        extent: of the file.

    Yields:
        One line per danger.
    """
    creation = dataset.id.get_create_plist()
    # Before its shape is asked for: that alone would open the files behind a virtual dataset.
    if creation.get_layout() == h5d.VIRTUAL:
        yield f"{path}: a virtual dataset, data in other files; expected it in the file itself"
        return
    if creation.get_external_count():
        yield f"{path}: data in another file; expected it in the file itself"
        return
    found = [*_filters(path, creation), *_type(path, dataset.id.get_type()), *_shape(path, dataset)]
    if not found and creation.get_layout() == h5d.CHUNKED:
        found += _chunk(path, dataset, extent)
    yield from found


def is_chunked(dataset: h5py.Dataset) -> bool:
    """Whether a dataset is stored in chunks.

    Args:
        dataset: any.

    Returns:
        What its creation properties say.
    """
    return dataset.id.get_create_plist().get_layout() == h5d.CHUNKED


def items_refused(kind: h5t.TypeID) -> str:
    """Return what of a type points elsewhere and is no text: its values would lead a reader anywhere.

    Args:
        kind: the type of a dataset or attribute.

    Returns:
        Its name, "" for numbers, text and what is made of them.
    """
    if kind.detect_class(h5t.REFERENCE):
        return "references"
    return "ragged arrays" if kind.detect_class(h5t.VLEN) else ""


def _filters(path: str, creation: h5py.h5p.PropDCID) -> Iterator[str]:
    for index in range(creation.get_nfilters()):
        code, _, _, name = creation.get_filter(index)
        if code not in FILTERS:
            name = FILTER_NAMES.get(code) or text(name).rstrip("\0") or "unknown"
            yield f"{path}: stored with filter {name} ({code}); expected gzip, shuffle or none: repack it"


def _type(path: str, kind: h5t.TypeID) -> Iterator[str]:
    if what := items_refused(kind):
        yield f"{path}: holds objects or ragged arrays; expected numbers or label strings, came {what}"
    elif kind.get_size() > ITEM_BYTES:
        yield f"{path}: {kind.get_size()} bytes a value; expected at most {ITEM_BYTES}: leave the file alone"


def _shape(path: str, dataset: h5py.Dataset) -> Iterator[str]:
    if dataset.id.rank > RANK:
        yield f"{path}: {dataset.id.rank} dimensions; expected at most {RANK}: leave the file alone"
    elif dataset.shape is not None and math.prod(dataset.shape) * dataset.id.get_type().get_size() >= 1 << 62:
        yield f"{path}: shape {dataset.shape}; expected a size that a file can have: leave the file alone"


def block_dangers(path: str, dataset: h5py.Dataset, extent: Extent) -> Iterator[str]:
    """Name what makes it dangerous to read a dataset that is stored in one piece.

    Args:
        path: of the dataset in the file.
        dataset: not in chunks, and not `unsafe`; labels are read.
        extent: what the datasets before it take; this one is added.

    Yields:
        One line per danger.
    """
    if dataset.shape is None:
        return
    stored, wanted = dataset.id.get_storage_size(), math.prod(dataset.shape) * dataset.id.get_type().get_size()
    offset = dataset.id.get_offset()
    if stored == 0 and is_dimension_only(dataset):
        if dataset.size > DIMENSION_SIZE:
            yield f"{path}: a dimension of {dataset.size}; expected at most {DIMENSION_SIZE}: leave the file alone"
        return
    extent.stored += stored
    extent.unfolded += wanted
    if stored == 0 and _is_text(dataset):
        wanted = 0  # Empty strings, not many: see below.
    if wanted > stored:
        yield f"{path}: shape {dataset.shape} needs {wanted} bytes; expected them in the file, it has {stored}: damaged"
    elif offset is not None and not extent.holds(offset + stored):
        yield f"{path}: lies behind the end of the file; expected at most byte {extent.size}: damaged or truncated"
    elif _is_text(dataset):
        yield from _labels(path, dataset)


def _is_text(dataset: h5py.Dataset) -> bool:
    return dataset.dtype.kind == "O" and h5py.check_string_dtype(dataset.dtype) is not None


def _labels(path: str, dataset: h5py.Dataset) -> Iterator[str]:
    if dataset.size > LABELS:
        yield f"{path}: {dataset.size} strings of varying length; expected at most {LABELS}: leave the file alone"
        return
    total, flat = 0, dataset.size if dataset.ndim == 1 else 0
    for start in range(0, flat, 256):
        total += sum(map(len, dataset[start : start + 256]))
        if total > TEXT_BYTES:
            yield f"{path}: more than {TEXT_BYTES} bytes of text; expected labels: leave the file alone"
            return


def _chunk(path: str, dataset: h5py.Dataset, extent: Extent) -> Iterator[str]:
    whole = math.prod(dataset.chunks) * dataset.id.get_type().get_size()
    # Without filters every chunk lies in the file as large as it is.
    if whole > max(CHUNK_BYTES, 0 if dataset.id.get_create_plist().get_nfilters() else extent.size):
        yield f"{path}: chunks of {whole} bytes; expected at most {CHUNK_BYTES}: repack it where you trust it"
    elif _is_text(dataset):
        yield f"{path}: strings of varying length in chunks; expected them as labels of a dimension only"


def misplaced(path: str, dataset: h5py.Dataset, committed: int | None, extent: Extent) -> list[str]:
    """Name the first chunk that lies outside the file or the dataset, or takes more bytes than it can.

    Args:
        path: of the dataset in the file.
        dataset: in chunks, and not `unsafe`; its chunk index is read.
        committed: rows that have to be in the file, None for all that it stores.
        extent: what the datasets before it take; this one is added.

    Returns:
        One line, or none.
    """
    item, filters = dataset.id.get_type().get_size(), dataset.id.get_create_plist().get_nfilters()
    whole = math.prod(dataset.chunks) * item
    most = whole + whole // 100 + 1024 if filters else whole
    count = stored = 0
    shape, wrong = dataset.shape, []

    def visit(chunk) -> None:
        nonlocal count, stored
        count += 1
        if not count % REPORTED:
            extent.report(0.0)
        if committed is not None and chunk.chunk_offset[0] >= committed:
            return
        stored += chunk.size
        if wrong:
            return
        if not extent.holds(chunk.byte_offset + chunk.size):
            wrong.append(f"rows of {path[1:]} are lost, a chunk lies behind the end of the file at byte {extent.size}")
        elif chunk.size > most or any(map(ge, chunk.chunk_offset, shape)):
            wrong.append(f"{path}: a chunk of {chunk.size} bytes at {chunk.chunk_offset}; expected it in {shape}")

    dataset.id.chunk_iter(visit)
    extent.stored += stored
    extent.unfolded += count * whole
    group = path.rpartition("/")[0]
    extent.longest[group] = max(extent.longest.get(group, 0), shape[0])
    extent.eager += math.prod(shape) * item - 8 * shape[0] if _taken_whole(dataset) else 0
    return [f"{line}: damaged or truncated" for line in wrong]


def _taken_whole(dataset: h5py.Dataset) -> bool:
    """Whether readers take in all of a dataset, as they do with indices and labels."""
    return dataset.is_scale and not is_dimension_only(dataset)


def _unfold(dataset: h5py.Dataset, extent: Extent) -> None:
    """Read what readers take in whole: that compressed chunks unfold to no more than they say shows in reading them."""
    size = math.prod(dataset.shape) * dataset.id.get_type().get_size()
    if dataset.id.get_create_plist().get_nfilters() and _taken_whole(dataset) and size <= extent.most:
        step = max(1, dataset.chunks[0])
        for start in range(0, dataset.shape[0], step):
            dataset[start : start + step]

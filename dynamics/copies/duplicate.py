"""One group or dataset of a file made again in another: type, layout, attributes, and values block by block."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import h5py
import numpy as np

from dynamics.copies.stored_blocks import stored_blocks
from dynamics.file.opening import TrajectoryError
from dynamics.format import COMMITTED, LATE

SCALE_LISTS = ("DIMENSION_LIST", "REFERENCE_LIST")
"""The attributes that tie datasets to their dimension scales: made again by attaching, since they hold addresses."""

FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
}
OWN_STORAGE = (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED)


def members(group: h5py.Group, leave_out: Collection[str] = ()) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Iterate over what a group holds itself; nothing that leads elsewhere is followed.

    Args:
        group: of an open file.
        leave_out: paths that are not touched.

    Yields:
        Names, and groups or datasets.

    Raises:
        TrajectoryError: a soft or external link, or a named type.
    """
    for name in group:
        path = f"{group.name.rstrip('/')}/{name}"
        if path in leave_out:
            continue
        link = group.get(name, getlink=True)
        item = group[name] if isinstance(link, h5py.HardLink) else link
        if not isinstance(item, h5py.Group | h5py.Dataset):
            raise TrajectoryError(
                f"{path}: expected a group or a dataset in the file itself, came {type(item).__name__}: remove it "
                "(h5py: del file[name])"
            )
        yield name, item


def committed(file: h5py.File, leave_out: Collection[str] = ()) -> dict[str, int]:
    """Return the counters of the streams, that of `/late` included.

    Args:
        file: open.
        leave_out: paths of groups that are not touched.

    Returns:
        Rows by stream.
    """
    # Late entries last: the writer promises them before the rows that they belong to.
    names = (name for name in sorted(file, key=lambda name: name == LATE) if f"/{name}" not in leave_out)
    groups = {name: file[name] for name in names if file.get(name, getclass=True, getlink=True) is h5py.HardLink}
    streams = {name: group for name, group in groups.items() if isinstance(group, h5py.Group) and COMMITTED in group}
    return {name: int(group[COMMITTED][()]) for name, group in streams.items()}


def address(item: h5py.Group | h5py.Dataset) -> int:
    """Return where an object lies in its file: the same for two names of one object.

    Args:
        item: a group or dataset.

    Returns:
        The address of its header.
    """
    return h5py.h5o.get_info(item.id).addr


def attribute_names(item: h5py.Group | h5py.Dataset, leave_out: Collection[str] = ()) -> list[str]:
    """Return the names of the attributes that a copy takes over as they are.

    Args:
        item: a group or dataset.
        leave_out: "path@name" of attributes that are not touched, "path@" for all of an object.

    Returns:
        All names but those of the lists of scales.
    """
    if f"{item.name}@" in leave_out:
        return []
    return [name for name in item.attrs if name not in SCALE_LISTS and f"{item.name}@{name}" not in leave_out]


def read_attribute(item: h5py.Group | h5py.Dataset, name: str) -> tuple[h5py.h5a.AttrID, np.ndarray | None]:
    """Read an attribute with its exact type.

    Args:
        item: a group or dataset.
        name: of the attribute.

    Returns:
        The attribute, and its values; None where it has no extent.

    Raises:
        TrajectoryError: it holds references, which mean nothing in another file.
    """
    attribute = h5py.h5a.open(item.id, name.encode())
    if attribute.get_type().detect_class(h5py.h5t.REFERENCE):
        raise TrajectoryError(
            f"{item.name}: expected attributes without references, came {name}: a copy cannot keep it, remove it"
        )
    if attribute.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        return attribute, None
    base, inner = attribute.dtype.subdtype or (attribute.dtype, ())
    values = np.zeros(attribute.shape + inner, base)
    attribute.read(values, mtype=h5py.h5t.py_create(attribute.dtype))
    return attribute, values


def copy_attributes(
    source: h5py.Group | h5py.Dataset, target: h5py.Group | h5py.Dataset, leave_out: Collection[str] = ()
) -> None:
    """Give an object the attributes of another, of the same types.

    Args:
        source: has them.
        target: gets them.
        leave_out: "path@name" of those that are not touched.
    """
    for name in attribute_names(source, leave_out):
        attribute, values = read_attribute(source, name)
        made = h5py.h5a.create(target.id, name.encode(), attribute.get_type(), attribute.get_space())
        if values is not None:
            made.write(values, mtype=h5py.h5t.py_create(attribute.dtype))


def create_group(source: h5py.Group, parent: h5py.Group, name: str) -> h5py.Group:
    """Create an empty group like another, without its attributes.

    Args:
        source: the other.
        parent: where to create it.
        name: its name.

    Returns:
        The new group.
    """
    # A list of the source's own creation properties would carry the address of its links into the other file.
    properties = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    properties.set_link_creation_order(source.id.get_create_plist().get_link_creation_order())
    return h5py.Group(h5py.h5g.create(parent.id, name.encode(), gcpl=properties))


def create_dataset(
    source: h5py.Dataset,
    parent: h5py.Group,
    name: str,
    rows: int | None = None,
    chunk: int | None = None,
    level: int | None = None,
) -> h5py.Dataset:
    """Create a dataset like another: type, fill value, extents; without values and attributes.

    Args:
        source: the other.
        parent: where to create it.
        name: its name.
        rows: length of its first axis, None for the other's.
        chunk: rows of a chunk, which spans the other axes; None keeps chunks and filters as they are.
        level: of gzip, with shuffle, for a chunk that is given; None for no compression.

    Returns:
        The new dataset.

    Raises:
        TrajectoryError: the other holds references, needs a filter that not every HDF5 has, or lies in another file.
    """
    check_storage(source)
    space, properties = source.id.get_space(), source.id.get_create_plist()
    if rows is not None:
        space.set_extent_simple(
            (rows, *source.shape[1:]), (h5py.h5s.UNLIMITED, *space.get_simple_extent_dims(True)[1:])
        )
    if chunk is not None:
        properties.set_chunk((chunk, *(max(1, size) for size in source.shape[1:])))
        while properties.get_nfilters():
            properties.remove_filter(properties.get_filter(0)[0])
        if level is not None:
            properties.set_shuffle()
            properties.set_deflate(level)
    return h5py.Dataset(h5py.h5d.create(parent.id, name.encode(), source.id.get_type(), space, properties))


def check_storage(dataset: h5py.Dataset) -> None:
    """Refuse a dataset whose values cannot be read from this file alone, or mean nothing outside it.

    Args:
        dataset: any.

    Raises:
        TrajectoryError: it holds references, needs a filter that not every HDF5 has, or lies in another file.
    """
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(number) for number in range(properties.get_nfilters())]
    foreign = [entry for entry in filters if entry[0] not in FILTERS]
    if foreign:
        came = f"filter {foreign[0][0]} ({foreign[0][3].decode(errors='replace') or 'without a name'})"
        what = f"no filters but {', '.join(FILTERS.values())}, came {came}: write it anew without"
    elif properties.get_layout() not in OWN_STORAGE or properties.get_external_count():
        what = "values in the file itself, came values that lie elsewhere: write them into it"
    elif dataset.id.get_type().detect_class(h5py.h5t.REFERENCE):
        what = "numbers or text, came references: a copy cannot keep them, remove the dataset"
    else:
        return
    raise TrajectoryError(f"{dataset.name}: expected {what}")


def copy_values(
    source: h5py.Dataset, target: h5py.Dataset, rows: int | None = None, done: Callable[[int], None] | None = None
) -> None:
    """Copy values block by block, bit for bit; what was never written stays so.

    Chunks are not copied raw: that was 1.2 times as fast for 64 KiB, and copies uncommitted rows of the last chunk.

    Args:
        source: from here.
        target: to here, of the same type.
        rows: the first ones only; None for all.
        done: told the bytes of each block.
    """
    if source.shape is None:
        return
    for block in stored_blocks(source, rows, target.chunks[0] if target.chunks else 1):
        values = source[block]
        target[block] = values
        if done is not None:
            done(values.nbytes)

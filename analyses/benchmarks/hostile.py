"""Files made to harm their reader: bombs, links out of the file, shapes without storage, what is no file at all."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from analyses.benchmarks.damage import object_headers, seal

SCALE = "This is a netCDF dimension but not a netCDF variable.%10d"


def attributed(dataset: h5py.Dataset, scale: h5py.Dataset | None = None) -> None:
    """Give a dataset what every dataset of a trajectory has, so that nothing else is wrong with it.

    Args:
        dataset: new.
        scale: of its first axis.
    """
    dataset.attrs.update({"long_name": "hostile", "units": "1"})
    if scale is not None:
        dataset.dims[0].attach_scale(scale)


def _huge_without_storage(file: h5py.File, outside: Path) -> None:
    attributed(file["points"].create_dataset("huge", (10**15,), "f8"))


def _endless_stream(file: h5py.File, outside: Path) -> None:
    for name, item in file["series"].items():
        if name != "committed" and item.maxshape[0] is None:
            item.resize(10**15, axis=0)
    file["series/committed"][...] = 10**15


def _endless_rows(file: h5py.File, outside: Path) -> None:
    item = file["series"].create_dataset("wide", (0, 10**9), "f8", maxshape=(None, 10**9), chunks=(1, 1 << 29))
    attributed(item, file["series/step"])


def _huge_chunk(file: h5py.File, outside: Path) -> None:
    item = file["series"].create_dataset("chunky", (3,), "f8", maxshape=(None,), chunks=(1 << 28,), compression=9)
    attributed(item, file["series/step"])


def _many_axes(file: h5py.File, outside: Path) -> None:
    attributed(file["points"].create_dataset("axes", (1,) * 32, "f8", data=np.zeros((1,) * 32)))


def _huge_dimension(file: h5py.File, outside: Path) -> None:
    file["points"].create_dataset("everything", (10**17,), ">f4").make_scale(SCALE % 10**9)


def _huge_item(file: h5py.File, outside: Path) -> None:
    attributed(file["points"].create_dataset("item", (4,), "S2147483647"))


def _large_attribute(file: h5py.File, outside: Path) -> None:
    file["points"].attrs["bomb"] = np.zeros(40_000_000, "u1")


def _long_text(file: h5py.File, outside: Path) -> None:
    text = "x" * 1_000_000
    file["points"].attrs.create("bomb", [text] * 40, dtype=h5py.string_dtype())


def _many_attributes(file: h5py.File, outside: Path, count: int = 100_000) -> None:
    group = file.create_group("many")
    space, kind = h5py.h5s.create(h5py.h5s.SCALAR), h5py.h5t.NATIVE_INT8
    for index in range(count):
        h5py.h5a.create(group.id, b"%d" % index, kind, space)


def _many_objects(file: h5py.File, outside: Path) -> None:
    group = file.create_group("many")
    for index in range(12_000):
        group.create_group(str(index))


def _many_links(file: h5py.File, outside: Path) -> None:
    for index in range(20_000):
        file[f"points/{index}"] = h5py.SoftLink("/series/loss")


def _soft_link(file: h5py.File, outside: Path) -> None:
    file["series/soft"] = h5py.SoftLink("/series/soft")


def _external_link(file: h5py.File, outside: Path) -> None:
    file["series/link"] = h5py.ExternalLink(str(outside / "secret.h5"), "/secret")


def _external_group(file: h5py.File, outside: Path) -> None:
    file["gradients"] = h5py.ExternalLink(str(outside / "secret.h5"), "/")


def _external_status(file: h5py.File, outside: Path) -> None:
    del file["status"]
    file["status"] = h5py.ExternalLink(str(outside / "secret.h5"), "/secret")


def _external_storage(file: h5py.File, outside: Path) -> None:
    attributed(file["points"].create_dataset("raw", (64,), "u1", external=[(str(outside / "secret.txt"), 0, 64)]))


def _external_counter(file: h5py.File, outside: Path) -> None:
    del file["series/committed"]
    file["series"].create_dataset("committed", (1,), "i8", external=[(str(outside / "secret.txt"), 0, 8)])


def _virtual(file: h5py.File, outside: Path) -> None:
    layout = h5py.VirtualLayout((4,), "f8", maxshape=(None,))
    source = h5py.VirtualSource(str(outside / "secret.h5"), "secret", (4,), maxshape=(None,))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    file["points"].create_virtual_dataset("virtual", layout)


def _circle(file: h5py.File, outside: Path) -> None:
    file["series/again"] = file["/"]


def _deep_circle(file: h5py.File, outside: Path) -> None:
    group = file.create_group("deep/deeper/deepest")
    group["up"] = file["deep"]


def _deep(file: h5py.File, outside: Path) -> None:
    file.create_group("/".join(["deep"] * 3000))


def _object_references(file: h5py.File, outside: Path) -> None:
    file["points"].create_dataset("references", data=np.array([file["series"].ref], dtype=h5py.ref_dtype))


def _region_references(file: h5py.File, outside: Path) -> None:
    region = file["series/loss"].regionref[:1]
    file["points"].create_dataset("regions", data=np.array([region], dtype=h5py.regionref_dtype))


def _reference_attribute(file: h5py.File, outside: Path) -> None:
    file["points"].attrs["reference"] = file["series"].ref


def _ragged(file: h5py.File, outside: Path) -> None:
    item = file["points"].create_dataset("ragged", (1000,), h5py.vlen_dtype(np.float64))
    item[0] = np.zeros(1000)


def _many_labels(file: h5py.File, outside: Path) -> None:
    file["points"].create_dataset("labels", (10**6,), h5py.string_dtype(), data=[""] * 10**6)


def _named_type(file: h5py.File, outside: Path) -> None:
    file["points/type"] = np.dtype([("a", "f8"), ("b", "S5")])


def _compound(file: h5py.File, outside: Path) -> None:
    attributed(file["points"].create_dataset("compound", data=np.zeros(3, np.dtype([("a", "f8"), ("b", "i4")]))))


def _bomb(file: h5py.File, outside: Path) -> None:
    rows = 1 << 21
    item = file["series"].create_dataset("bomb", (0,), "f8", maxshape=(None,), chunks=(rows,), compression=9)
    item.resize(400 * rows, axis=0)
    packed = zlib.compress(bytes(8 * rows), 9)
    for chunk in range(400):
        item.id.write_direct_chunk((chunk * rows,), packed)
    attributed(item, file["series/step"])


def _lying_chunk(file: h5py.File, outside: Path) -> None:
    """A chunk of 16 MB, stored as 2 MB that unfold to 2 GB, in the column that every reader takes in whole."""
    rows = 1 << 21
    del file["series/step"]
    item = file["series"].create_dataset("step", (0,), "i8", maxshape=(None,), chunks=(rows,), compression=9)
    item.resize(file["series/loss"].shape[0], axis=0)
    packer, piece, pieces = zlib.compressobj(9), 1 << 24, 128
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush each piece stands alone, so that one can stand for all; the check sum of zeros is known.
    body = packer.compress(bytes(piece)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = start + pieces * body + b"\x03\x00" + struct.pack(">HH", piece * pieces % 65521, 1)
    item.id.write_direct_chunk((0,), packed)
    item.make_scale("step")
    attributed(item)


def _filter(code: int) -> Callable[[h5py.File, Path], None]:
    def make(file: h5py.File, outside: Path) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1024,))
        plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (2, 4))
        space = h5py.h5s.create_simple((3,), (h5py.h5s.UNLIMITED,))
        made = h5py.h5d.create(file["series"].id, b"filtered", h5py.h5t.NATIVE_INT32, space, plist)
        attributed(h5py.Dataset(made), file["series/step"])

    return make


def _counter(value: object, dtype: str) -> Callable[[h5py.File, Path], None]:
    def make(file: h5py.File, outside: Path) -> None:
        del file["series/committed"]
        file["series"].create_dataset("committed", data=np.array(value, dtype))

    return make


def _status(file: h5py.File, outside: Path) -> None:
    del file["status"]
    file.create_dataset("status", data=np.array(["complete"] * 3, "S16"))


def _no_index(file: h5py.File, outside: Path) -> None:
    del file["series/step"]


def _late_names(file: h5py.File, outside: Path) -> None:
    group = file["late"]
    for name in ("entry", "step", "name", "value"):
        group[name].resize(3, axis=0)
    group["step"][:], group["value"][:] = np.arange(3), np.zeros(3)
    group["name"][:] = [b"\xff\xfe/\x00x", b"no stream", b"../../etc/passwd"]
    group["committed"][...] = 3


def _late_columns(file: h5py.File, outside: Path) -> None:
    count = 20_000
    group = file["late"]
    for name in ("entry", "step", "name", "value"):
        group[name].resize(count, axis=0)
    group["step"][:], group["value"][:] = np.arange(count), np.zeros(count)
    group["name"][:] = [b"new/%d" % index for index in range(count)]
    group["committed"][...] = count


def _terminal(file: h5py.File, outside: Path) -> None:
    file.attrs["device"] = "\x1b]0;owned\x07\x1b[2J[/red]"
    item = file["series"].create_dataset("\x1b[31m[bold]", data=np.zeros(file["series/loss"].shape))
    attributed(item, file["series/step"])


def _deep_json(file: h5py.File, outside: Path) -> None:
    file.attrs["config"] = "[" * 50_000
    file.attrs["versions"] = json.dumps("x" * 50_000)


def _lost_scale(file: h5py.File, outside: Path) -> None:
    term = file["series/term"]
    kept = term.attrs["REFERENCE_LIST"]
    del file["series/term"]
    file["series/loss"].attrs.create("REFERENCE_LIST", kept)


def _version(file: h5py.File, outside: Path) -> None:
    file.attrs["format_version"] = "99999999999999999999.0"


def _attribute_types(file: h5py.File, outside: Path) -> None:
    for name in ("format", "config", "created"):
        file.attrs[name] = np.zeros((3, 3), "c16")


MADE: dict[str, Callable[[h5py.File, Path], None]] = {
    "1e15 rows without storage": _huge_without_storage,
    "1e15 rows counted": _endless_stream,
    "rows of 8 GB": _endless_rows,
    "chunks of 2 GB": _huge_chunk,
    "32 axes": _many_axes,
    "a dimension of 1e17": _huge_dimension,
    "values of 2 GB": _huge_item,
    "an attribute of 40 MB": _large_attribute,
    "an attribute of 40 texts of 1 MB": _long_text,
    "100,000 attributes": _many_attributes,
    "12,000 groups": _many_objects,
    "20,000 soft links": _many_links,
    "soft link to itself": _soft_link,
    "external link": _external_link,
    "external link as a stream": _external_group,
    "external link as status": _external_status,
    "external storage": _external_storage,
    "external storage of a counter": _external_counter,
    "virtual dataset": _virtual,
    "hard link in a circle": _circle,
    "hard links in a deep circle": _deep_circle,
    "3,000 groups deep": _deep,
    "object references": _object_references,
    "region references": _region_references,
    "attribute with a reference": _reference_attribute,
    "ragged arrays": _ragged,
    "1,000,000 labels": _many_labels,
    "named type": _named_type,
    "compound type": _compound,
    "decompression bomb": _bomb,
    "a chunk that unfolds to more than it says": _lying_chunk,
    "filter lzf": _filter(32000),
    "filter szip": _filter(4),
    "filter nbit": _filter(5),
    "filter scaleoffset": _filter(6),
    "filter of a plugin": _filter(32015),
    "negative counter": _counter(-5, "i8"),
    "counter of 2^62": _counter(1 << 62, "i8"),
    "counter of another type": _counter([1.5, 2.5], "f8"),
    "status of another shape": _status,
    "stream without index": _no_index,
    "late entries without names": _late_names,
    "20,000 late columns": _late_columns,
    "names that a terminal obeys": _terminal,
    "configuration nested 50,000 deep": _deep_json,
    "a scale that is gone": _lost_scale,
    "version of 20 digits": _version,
    "attributes of other types": _attribute_types,
}
"""What is written into a healthy, closed file; the second argument is a folder that must not be touched."""


def _forged_text(path: Path, outside: Path) -> None:
    """Write a text attribute whose length says 4 GB."""
    with h5py.File(path, "r+", libver="latest") as file:
        file.create_group("forged").attrs["bomb"] = "x" * 1234
    data = bytearray(path.read_bytes())
    for start, end in list(object_headers(data)):
        place = data.find(struct.pack("<I", 1234), start, end)
        if place >= 0:
            struct.pack_into("<I", data, place, 0xFFFFFFF0)
            seal(data, start, end)
    path.write_bytes(data)


def _sparse(path: Path, outside: Path) -> None:
    # Written in place: a copy would fill the hole.
    with h5py.File(path, "r+", libver="latest") as file:
        file["points"].create_dataset("sparse", (1 << 28,), "f8")[-1] = 1.0


def _user_block(path: Path, outside: Path) -> None:
    path.write_bytes(b"#!/bin/sh\n".ljust(512, b"\n") + path.read_bytes())


def _instead(make: Callable[[Path, Path], object]) -> Callable[[Path, Path], None]:
    def replace(path: Path, outside: Path) -> None:
        path.unlink()
        make(path, outside)

    return replace


def _folder(path: Path, outside: Path) -> None:
    path.mkdir()


def _beside(path: Path, outside: Path) -> None:
    real = path.with_suffix(".real")
    path.rename(real)
    path.symlink_to(real.name)


INSTEAD: dict[str, Callable[[Path, Path], None]] = {
    "a text that says it has 4 GB": _forged_text,
    "2 GB, most of it a hole": _sparse,
    "user block": _user_block,
    "pipe": _instead(lambda path, outside: os.mkfifo(path)),
    "link to a device": _instead(lambda path, outside: path.symlink_to("/dev/zero")),
    "folder": _instead(_folder),
    "empty file": lambda path, outside: path.write_bytes(b""),
    "text file": lambda path, outside: path.write_text("step,loss\n0,1.0\n"),
    "HDF5 signature alone": lambda path, outside: path.write_bytes(b"\x89HDF\r\n\x1a\n"),
    "link to a file outside": _instead(lambda path, outside: path.symlink_to(outside / "secret.txt")),
    "link to itself": _instead(lambda path, outside: path.symlink_to(path)),
    "link to nothing": _instead(lambda path, outside: path.symlink_to(outside / "nothing")),
    "link to a sound file": _beside,
}
"""What is done with the file as a whole."""

"""The labels of a dimension, or its bare size."""

from __future__ import annotations

import h5py

from dynamics.file.opening import text
from dynamics.format import SIZE_ONLY


def is_dimension_only(dataset: h5py.Dataset) -> bool:
    """Whether a dataset is a netCDF dimension without variable: a size, of which nothing is stored.

    Args:
        dataset: any.

    Returns:
        What its attributes say.

    Example:
        >>> with h5py.File("a", "w", driver="core", backing_store=False) as file:
        ...     file.create_dataset("neuron", (7,), ">f4").make_scale(SIZE_ONLY + ".         7")
        ...     is_dimension_only(file["neuron"]), labels_of(file["neuron"])
        (True, 7)
    """
    return "NAME" in dataset.attrs and dataset.is_scale and text(dataset.attrs["NAME"]).startswith(SIZE_ONLY)


def labels_of(scale: h5py.Dataset) -> list | int:
    """Return the labels of a dimension.

    Args:
        scale: its dimension scale.

    Returns:
        str or numbers, or the size where there are none.
    """
    if is_dimension_only(scale):
        return scale.shape[0]
    values = scale.asstr(errors="replace")[:] if h5py.check_string_dtype(scale.dtype) else scale[:]
    return values.tolist()

"""Nested state, such as an optimizer's, as JSON and named arrays, and back: nothing of it can run code."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

TAG = "$"
"""Key of a JSON object that stands for something JSON does not have."""

SAME_BITS = {torch.bfloat16: torch.int16}
"""Types that numpy lacks, and those whose bits they are stored as."""


def pack(value: object) -> tuple[object, dict[str, np.ndarray]]:
    """Take nested values apart into JSON and arrays.

    Args:
        value: dicts, lists, tuples and Counters of numbers, text, None, numpy arrays and tensors.

    Returns:
        The structure, which JSON can hold, and the arrays by name; those of tensors on the CPU share their memory.

    Raises:
        ValueError: anything else in it, named by where it stands.

    Example:
        >>> structure, arrays = pack({"step": 3, "moments": [np.ones(2)], "milestones": Counter({5: 1})})
        >>> structure["moments"], list(arrays)
        ([{'$': 'array', 'name': 'moments.0'}], ['moments.0'])
        >>> unpack(structure, arrays)["milestones"]
        Counter({5: 1})
    """
    arrays: dict[str, np.ndarray] = {}
    return _pack(value, "", arrays), arrays


def unpack(structure: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Put together what `pack` has taken apart.

    Args:
        structure: from it.
        arrays: from it.

    Returns:
        The nested values; tensors are on the CPU and own no other memory than the arrays'.

    Raises:
        ValueError: a structure that `pack` does not make.
    """
    if isinstance(structure, list):
        return [unpack(entry, arrays) for entry in structure]
    if not isinstance(structure, dict):
        return structure
    if TAG not in structure:
        return {name: unpack(entry, arrays) for name, entry in structure.items()}
    try:
        return _tagged(structure, arrays)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"expected a structure that pack() makes, came {str(structure)[:80]} ({error!r})") from error


def _tagged(entry: dict, arrays: Mapping[str, np.ndarray]) -> Any:
    kind = entry[TAG]
    if kind in ("array", "scalar"):
        return arrays[entry["name"]] if kind == "array" else arrays[entry["name"]][()]
    if kind == "tensor":
        tensor = torch.from_numpy(arrays[entry["name"]])
        stored = {str(dtype): dtype for dtype in SAME_BITS}.get(entry["dtype"])
        return tensor if stored is None else tensor.view(stored)
    if kind == "tuple":
        return tuple(unpack(each, arrays) for each in entry["items"])
    if kind in ("dict", "counter"):
        pairs = {unpack(key, arrays): unpack(each, arrays) for key, each in entry["items"]}
        return Counter(pairs) if kind == "counter" else pairs
    raise ValueError(f"expected a structure that pack() makes, came one of the kind {str(kind)[:40]!r}")


def _pack(value: object, where: str, arrays: dict[str, np.ndarray]) -> object:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        plain = value.detach().cpu()
        plain = plain.view(SAME_BITS[value.dtype]) if value.dtype in SAME_BITS else plain
        return {TAG: "tensor", "name": _keep(plain.numpy(), where, arrays), "dtype": str(value.dtype)}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {TAG: kind, "name": _keep(np.asarray(value), where, arrays)}
    if isinstance(value, list | tuple):
        items = [_pack(entry, _below(where, place), arrays) for place, entry in enumerate(value)]
        return items if isinstance(value, list) else {TAG: "tuple", "items": items}
    if isinstance(value, Mapping):
        return _pack_mapping(value, where, arrays)
    raise ValueError(
        f"{where or 'state'}: expected numbers, text, arrays, tensors, and dicts and lists of them, came "
        f"{type(value).__name__}: a checkpoint holds nothing that would have to be run to be read"
    )


def _pack_mapping(value: Mapping, where: str, arrays: dict[str, np.ndarray]) -> object:
    entries = [(key, _pack(entry, _below(where, key), arrays)) for key, entry in value.items()]
    if isinstance(value, Counter):
        return {TAG: "counter", "items": [[_pack(key, where, arrays), entry] for key, entry in entries]}
    if all(type(key) is str and key != TAG for key in value):
        return dict(entries)
    return {TAG: "dict", "items": [[_pack(key, where, arrays), entry] for key, entry in entries]}


def _keep(array: np.ndarray, where: str, arrays: dict[str, np.ndarray]) -> str:
    """Put an array among the others, under a name that tells where it was."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", where) or "value"
    while name in arrays:
        name += "_"
    arrays[name] = array
    return name


def _below(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)

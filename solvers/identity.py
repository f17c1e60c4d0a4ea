"""What a run is, in plain values: two runs of which one may go on with the other's checkpoint have the same."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from dynamics.format import Stream
from solvers.description import describe
from solvers.objective import Objective
from solvers.points import Points
from solvers.probes import Probe

OF_THE_MACHINE = ("versions", "threads")
"""What may change the rounding and nothing else."""

LABELS = 16
"""Labels and entries of a list beyond which a digest stands for them."""


def identity(
    objective: Objective, optimizer: object, attention: object, probes: Sequence[Probe], seed: int
) -> dict[str, object]:
    """Return what makes a training this one and no other.

    Args:
        objective: problem, network, operator and points.
        optimizer: printed, without addresses in memory.
        attention: its rule where the loss uses it, else None.
        probes: what is measured, and when.
        seed: of the points.

    Returns:
        Nested plain values that JSON can hold; points as digests of their coordinates.
    """
    network = objective.network
    # First what the others follow from: a message about many differences names the first of them.
    found: dict[str, object] = {
        "seed": seed,
        "dtype": str(objective.vector.dtype).removeprefix("torch."),
        "device": str(objective.vector.device),
        **describe(objective, optimizer, attention),
    }
    found["network"] = {
        **found["network"],
        "trained": objective.parameters.names,
        "buffers": {name: list(buffer.shape) for name, buffer in network.named_buffers()},
        "evaluating": [name for name, module in network.named_modules() if not module.training],
    }
    found |= {
        "points": points_digests(objective.points),
        "probes": {_name(probe): repr(probe.every) for probe in probes},
        "versions": versions(),
        "threads": torch.get_num_threads(),
    }
    return plain(found)


def _name(probe: Probe) -> str:
    return f"{probe.stream}({', '.join(probe.dims)})"


def points_digests(points: Points) -> dict[str, str]:
    """Return how many points there are of each kind, and a digest of their coordinates.

    Args:
        points: of a training.

    Returns:
        Text by kind.

    Example:
        >>> points_digests(Points(torch.zeros(2, 1)))["interior"].split(", ")[0]
        '2 points'
    """
    kinds = {kind: getattr(points, kind) for kind in ("interior", "boundary", "initial", "ghost")} | dict(points.sets)
    return {kind: f"{len(rows)} points, digest {_digest(rows)}" for kind, rows in kinds.items() if len(rows)}


def _digest(rows: torch.Tensor) -> str:
    array = rows.detach().cpu().contiguous().numpy()
    return hashlib.sha256(f"{array.shape} {array.dtype}".encode() + array.tobytes()).hexdigest()[:8]


def versions() -> dict[str, str]:
    """Return the versions that decide how numbers are rounded.

    Returns:
        By package.
    """
    names = ("pinnscope", "torch", "numpy", "scipy")
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def stream_identity(streams: Sequence[Stream]) -> dict[str, object]:
    """Return what streams are declared as.

    Args:
        streams: of the probes.

    Returns:
        Variables, labels and attributes by name.
    """
    return plain(
        {
            stream.name: {
                "variables": {variable.name: list(variable.dims) for variable in stream.variables},
                "labels": {dim: at if isinstance(at, int) else list(at) for dim, at in stream.coords.items()},
                "attributes": dict(stream.attrs),
            }
            for stream in streams
        }
    )


def plain(value: object) -> object:
    """Return values as they come back from JSON, without addresses in memory and with digests of long lists.

    Args:
        value: nested dicts and lists; anything unknown is printed.

    Returns:
        Nested plain values.

    Example:
        >>> plain({"rate": (1, np.float64(0.5)), "at": "<function f at 0x7f00>"})
        {'rate': [1, 0.5], 'at': '<function f>'}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        entries = [plain(entry) for entry in value]
        if len(entries) <= LABELS:
            return entries
        return f"{len(entries)} entries, digest {_short(json.dumps(entries))}"
    if value is None or isinstance(value, bool | int | float):
        return value
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))


def differences(was: object, now: object, key: str = "") -> list[str]:
    """Return where two nested values differ.

    Args:
        was: from `plain`.
        now: from `plain`.
        key: of both, for the lines.

    Returns:
        Lines "dotted.key: was X, now Y"; NaN equals NaN.

    Example:
        >>> differences({"network": {"width": 20}, "seed": 1}, {"network": {"width": 40}, "seed": 1})
        ['network.width: was 20, now 40']
    """
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        lines = []
        for name in dict.fromkeys([*was, *now]):
            dotted = f"{key}.{name}" if key else str(name)
            lines += differences(was.get(name, ABSENT), now.get(name, ABSENT), dotted)
        return lines
    # As text: NaN is not equal to itself, and 1 is equal to 1.0 and to True.
    return [] if _text(was) == _text(now) else [f"{key}: was {_text(was)}, now {_text(now)}"]


ABSENT = "absent"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value if len(value) <= 200 else f"{value[:160]}... ({len(value)} characters, digest {_short(value)})"
    return json.dumps(value)

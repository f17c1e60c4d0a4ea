"""Where a run comes from: the root attributes of its file."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import h5py
import numpy as np

from dynamics.format import FORMAT, format_version

OVERRIDABLE = ("seed", "dtype", "device")


def root_attributes(config: Mapping | None = None, attrs: Mapping | None = None) -> dict[str, object]:
    """Return the root attributes of a new file, those of `dynamics.format.ROOT_ATTRIBUTES` and any further ones.

    Args:
        config: the run's configuration; stored as JSON, with `str()` for what JSON does not know.
        attrs: further attributes; `seed`, `dtype` and `device` are looked up here, then in `config`.

    Returns:
        The attributes: str, numbers and, for anything else, JSON text.

    Example:
        >>> attributes = root_attributes({"seed": 3, "width": 20})
        >>> attributes["seed"], attributes["config"], attributes["device"]
        (3, '{"seed": 3, "width": 20}', '')
    """
    config, attrs = dict(config or {}), dict(attrs or {})
    attributes = {
        "format": FORMAT,
        "format_version": format_version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": json.dumps(_versions()),
        "config": json.dumps(config, default=str),
        **{name: config.get(name, "") for name in OVERRIDABLE},
        "host": platform.node(),
        "pid": os.getpid(),
        "run_id": uuid.uuid4().hex,
        "git_commit": _git_commit(),
        **attrs,
    }
    return {name: plain(value) for name, value in attributes.items()}


def resumption(earlier: object, rows: Mapping[str, int]) -> dict[str, object]:
    """Return the root attributes of a file that another process goes on with.

    Args:
        earlier: the attribute `resumed` that the file has, None where it was never resumed.
        rows: that were kept, by stream.

    Returns:
        `host` and `pid` of now, and `resumed`: one entry more.

    Example:
        >>> json.loads(resumption(None, {"series": 500})["resumed"])[0]["rows"]
        {'series': 500}
    """
    try:
        entries = list(json.loads(earlier)) if isinstance(earlier, str) else []
    except ValueError:
        entries = []
    entry = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "pid": os.getpid(),
        "versions": _versions(),
        "rows": dict(rows),
    }
    return {"host": platform.node(), "pid": os.getpid(), "resumed": json.dumps([*entries, entry])}


def plain(value: object) -> object:
    """Return a value as HDF5 attributes can hold it without pickling: str or a number, else JSON or `str()`.

    Args:
        value: anything.

    Returns:
        The value itself, its JSON text, or its `str()`.

    Example:
        >>> plain(100), plain(("x", "y")), plain(None)
        (100, '["x", "y"]', '')
    """
    if value is None:
        return ""
    if isinstance(value, str | bool | int | float | np.number):
        return value
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=str)
    return str(value)


def _versions() -> dict[str, str]:
    versions = {
        "pinnscope": _pinnscope_version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "h5py": h5py.__version__,
        "hdf5": h5py.version.hdf5_version,
    }
    # torch is named only where the caller has imported it: writing a file must not cost its import.
    if "torch" in sys.modules:
        versions["torch"] = str(getattr(sys.modules["torch"], "__version__", ""))
    return versions


def _pinnscope_version() -> str:
    try:
        return importlib.metadata.version("pinnscope")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _git_commit() -> str:
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=2)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""

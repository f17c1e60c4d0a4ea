"""What kind of log a file is, told from its first bytes, not from its name."""

from __future__ import annotations

import csv
import struct
from pathlib import Path

from dynamics.importers.event_records import masked_crc32c
from dynamics.trajectory import TrajectoryError

LOOKED_AT = 65536
READERS = {
    "DeepXDE loss.dat": "read_deepxde_log",
    "Lightning metrics.csv": "read_lightning_log",
    "TensorBoard event file": "read_tensorboard_log",
    "W&B CSV export": "read_wandb_log",
    "published log": "read_published_log",
}
MAGIC = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (a trajectory is opened by open_trajectory)",
    b"PK\x03\x04": "a zip archive (a torch checkpoint, or logs that must be unpacked first)",
    b"\x1f\x8b": "a gzip archive (unpack it first)",
    b"\x89PNG": "a PNG image",
    b"CDF": "a netCDF-3 file",
    b"SQLite format 3": "an SQLite database",
    b":W&B": "W&B's own binary log (export the run's history as CSV)",
    b"\x93NUMPY": "a numpy array",
}
PUBLISHED = frozenset(("mean_norm", "std_norm", "adam_mean_norm", "rba_cell_mean"))


def kind_of(path: Path) -> str:
    r"""Say what a file or folder holds.

    Args:
        path: of a file, or a folder of event files or published text files.

    Returns:
        A key of `READERS`, or what it looks like instead, in words that start with an article.

    Raises:
        TrajectoryError: There is nothing, or it cannot be read.

    Cost: the first 64 KiB.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "log"
        >>> _ = path.write_text("# step, loss_train, loss_test, metrics_test\n0 1.0 1.0\n")
        >>> kind_of(path)
        'DeepXDE loss.dat'
    """
    try:
        if path.is_dir():
            return _of_folder(path)
        if not path.is_file():
            came = "no regular file" if path.exists() else "nothing"
            raise TrajectoryError(f"{path}: expected the log of a training, came {came}: check the path")
        with path.open("rb") as file:
            start = file.read(LOOKED_AT)
    except OSError as error:
        raise TrajectoryError(f"{path}: expected a log that can be read, came {error}: check the path") from error
    return _of_bytes(start)


def expect(path: Path, *kinds: str) -> None:
    """Refuse a file that is of none of the kinds, saying what it is and who reads it.

    Args:
        path: of the file or folder.
        kinds: keys of `READERS`.

    Raises:
        TrajectoryError: It is something else.
    """
    found = kind_of(path)
    if found not in kinds:
        advice = f"read it with {READERS[found]}" if found in READERS else "pass the log itself, as it was written"
        came = f"a {found}" if found in READERS else found
        raise TrajectoryError(f"{path}: expected a {' or '.join(kinds)}, came {came}: {advice}")


def _of_folder(path: Path) -> str:
    names = {entry.name for entry in path.iterdir()}
    if any("tfevents" in name for name in names):
        return "TensorBoard event file"
    if names & {"grad_stats.txt", "grad_stats0.txt", "grad_stats2.txt", "grad_rms.txt", "res_rms.txt", "losses.txt"}:
        return "published log"
    logs = sorted(names & {"loss.dat", "metrics.csv"})
    if logs:
        return f"a folder with {', '.join(logs)} (pass the file)"
    if any("tfevents" in inner.name for name in names if (path / name).is_dir() for inner in (path / name).iterdir()):
        return "TensorBoard event file"
    return "a folder without event files"


def _of_bytes(start: bytes) -> str:
    if not start.strip():
        return "an empty file"
    for magic, name in MAGIC.items():
        if start.startswith(magic):
            return name
    if len(start) >= 12 and struct.unpack("<I", start[8:12])[0] == masked_crc32c(start[:8]):
        return "TensorBoard event file"
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return "a pickle (never loaded: it could run anything)"
    if b"\0" in start:
        return "a binary file of unknown kind"
    try:
        lines = start.decode("utf-8-sig", errors="strict" if len(start) < LOOKED_AT else "ignore").splitlines()
    except UnicodeDecodeError:
        return "a text in another encoding than UTF-8, or a binary file"
    return _of_lines([line for line in lines if line.strip()])


def _of_lines(lines: list[str]) -> str:
    first = lines[0].strip()
    if first.startswith("#"):
        return "DeepXDE loss.dat" if "loss_train" in first else f"a text that begins with {first[:40]!r}"
    if first[0] in "{[":
        return "JSON (export it as CSV)"
    names = [name.strip() for name in next(csv.reader([first]), [])]
    if "_step" in names or (names[0] == "Step" and any(" - " in name for name in names[1:])):
        return "W&B CSV export"
    if any(name.endswith(("__MIN", "__MAX")) for name in names):
        return "W&B CSV export"
    if "iteration" in names and PUBLISHED.intersection(names):
        return "published log"
    if "step" in names and len(names) > 1:
        return "Lightning metrics.csv"
    if len(names) > 1:
        return f"a table with the columns {', '.join(names[:5])[:80]!r}"
    return f"a text that begins with {first[:40]!r}"

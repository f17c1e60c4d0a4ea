"""A new HDF5 file on a disk that may be full: HDF5 never learns of a write that failed, since it would not survive it.

Where a write fails while HDF5 closes a dataset, the error is lost, and the process crashes when it ends.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import h5py


class Sink(io.FileIO):
    """A new file that takes every write, and remembers the first one that failed.

    Args:
        path: of the file, which must not exist.

    Example:
        >>> import tempfile
        >>> with Sink(os.path.join(tempfile.mkdtemp(), "new")) as sink:
        ...     sink.write(b"all of it"), sink.failure
        (9, None)
    """

    def __init__(self, path: str):
        super().__init__(path, "x+")
        self.failure: OSError | None = None

    def write(self, data) -> int:
        """Write at the present position, if nothing has failed so far.

        Args:
            data: the bytes.

        Returns:
            Their number, always.
        """
        view = memoryview(data).cast("B")
        try:
            start = 0
            while self.failure is None and start < len(view):
                start += super().write(view[start:])
        except OSError as error:
            self.failure = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Change the length of the file, if nothing has failed so far.

        Args:
            size: in bytes; None for the present position.

        Returns:
            The length, always.
        """
        size = self.tell() if size is None else size
        try:
            return size if self.failure is not None else super().truncate(size)
        except OSError as error:
            self.failure = error
        return size

    def check(self) -> None:
        """Find out whether everything was written.

        Raises:
            OSError: it was not.
        """
        if self.failure is not None:
            raise OSError(
                self.failure.errno,
                f"cannot be written ({self.failure.strerror}): free space, or name another",
                self.name,
            )


@contextmanager
def new_file(path: str) -> Iterator[tuple[h5py.File, Sink]]:
    """Create an HDF5 file that is on the disk at the end, or not there at all.

    Args:
        path: of the file, which must not exist.

    Yields:
        The file, open for writing, in the format that SWMR mode needs; and what it is written to.

    Raises:
        OSError: it cannot be created or written.
    """
    with Sink(path) as sink:
        try:
            with h5py.File(sink, "w", libver="latest") as file:
                yield file, sink
            sink.check()
            os.fsync(sink.fileno())
        except BaseException:
            with suppress(OSError):
                os.remove(path)
            sink.check()
            raise

"""Recorders that a program leaves open are closed when it ends."""

from __future__ import annotations

import atexit
import os
from contextlib import suppress
from typing import Protocol
from weakref import WeakKeyDictionary


class Closing(Protocol):
    """What can be closed by itself."""

    def close_left(self) -> None:
        """Close, or do nothing where that was done."""


_open: WeakKeyDictionary[Closing, int] = WeakKeyDictionary()


def close_at_exit(recorder: Closing) -> None:
    r"""Have a recorder closed when this process ends, but for a kill; processes that it forks leave it alone.

    Args:
        recorder: open; forgotten where nothing else holds it.

    Example:
        >>> import subprocess, sys
        >>> code = '''
        ... from dynamics.left_open import close_at_exit
        ... class Left:
        ...     def close_left(self):
        ...         print("closed")
        ... left = Left()
        ... close_at_exit(left)
        ... '''
        >>> subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        'closed\n'
    """
    if not _open:
        atexit.unregister(_close)
        atexit.register(_close)
    _open[recorder] = os.getpid()


def _close() -> None:
    for recorder, process in list(_open.items()):
        if process == os.getpid():
            with suppress(Exception):
                recorder.close_left()

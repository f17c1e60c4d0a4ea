"""Threads that share compiled work, which runs without the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="taylor")


if hasattr(os, "register_at_fork"):
    # A forked process has the pool, but none of its threads.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def share(threads: int, work: Callable[[int], None]) -> None:
    """Call `work` once a thread, the first time in this one, and return when all are done.

    Args:
        threads: at least one.
        work: gets the index of its thread.

    Example:
        >>> seen = []
        >>> share(3, seen.append)
        >>> sorted(seen)
        [0, 1, 2]
    """
    if threads == 1:
        work(0)
        return
    others = [_pool().submit(work, thread) for thread in range(1, threads)]
    try:
        work(0)
    finally:
        # Whatever interrupts this thread, the others still write into memory that must not be freed before.
        _wait(others)
    for other in others:
        other.result()


def _wait(others: list[Future]) -> None:
    interrupted = None
    while not all(other.done() for other in others):
        try:
            wait(others)
        except KeyboardInterrupt as interrupt:
            interrupted = interrupt
    if interrupted is not None:
        raise interrupted

"""Trainings side by side, some steps of each in turn: what else the machine does then slows all of them alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

Training = Callable[[Callable[[], None]], None]
"""A whole training; calls what it is given after each of its steps."""

PLAIN = ("plain", "plain again")
"""What the others are compared with, twice: how far the two are apart shows how exact that is."""


def in_turns(trainings: Mapping[str, Training], piece: int) -> dict[str, float]:
    """Return the CPU time of trainings of as many steps each, run in threads of their own, one at a time.

    Args:
        trainings: by name.
        piece: steps of a turn.

    Returns:
        Seconds by name, from the call to its end.

    Raises:
        BaseException: what a training raised first, after all have ended.

    Example:
        >>> done = []
        >>> def training(name):
        ...     return lambda turn: [(done.append(name), turn()) for _ in range(4)]
        >>> sorted(in_turns({"a": training("a"), "b": training("b")}, 2))
        ['a', 'b']
        >>> "".join(done)
        'aabbaabb'
    """
    names, errors, seconds = list(trainings), [], dict.fromkeys(trainings, 0.0)
    turns = {name: threading.Semaphore(0) for name in names}
    following = dict(zip(names, [*names[1:], names[0]], strict=True))

    def run(name: str) -> None:
        steps = 0

        def begin() -> None:
            turns[name].acquire()
            seconds[name] -= time.process_time()

        def end() -> None:
            seconds[name] += time.process_time()
            turns[following[name]].release()

        def turn() -> None:
            nonlocal steps
            steps += 1
            if steps % piece == 0:
                end()
                begin()

        begin()
        try:
            trainings[name](turn)
        except BaseException as error:
            errors.append(error)
        ended.add(name)
        end()
        # One that ends early hands on the turns that come round to it, and holds nobody up.
        while len(ended) < len(names):
            if turns[name].acquire(timeout=0.1):
                turns[following[name]].release()

    ended: set[str] = set()
    threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    turns[names[0]].release()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return seconds


def overheads(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return how much longer than the two plain trainings the others took, and by how much those two differ.

    Args:
        seconds: by name, of "plain", "plain again" and others.

    Returns:
        Shares by name, 0.1 for a tenth more than the mean of the two; "noise" is half their difference.

    Example:
        >>> overheads({"plain": 2.0, "recorded": 2.5, "plain again": 2.0})
        {'recorded': 0.25, 'noise': 0.0}
    """
    plain = [seconds[name] for name in PLAIN]
    mean = sum(plain) / len(plain)
    found = {name: took / mean - 1 for name, took in seconds.items() if name not in PLAIN}
    return {**found, "noise": abs(plain[0] - plain[1]) / 2 / mean}

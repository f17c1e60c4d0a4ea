"""Ctrl-C and requests to end, turned into exceptions that wait while the recorder is at work."""

from __future__ import annotations

import signal
import threading

CAUGHT = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(SystemExit):
    """The process was asked to end by a signal; unhandled, it ends with the code that shells expect, 128 + signal.

    Args:
        number: of the signal.

    Example:
        >>> str(Terminated(15)), Terminated(15).code
        ('SIGTERM', 143)
    """

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.number = number

    def __str__(self) -> str:
        return signal.Signals(self.number).name


class Termination:
    """Between `begin` and `end`, SIGINT raises KeyboardInterrupt and SIGTERM and SIGHUP raise `Terminated`.

    They do so in the main thread, and only those that the program has left at their defaults: a handler of somebody
    else stays. While `busy` is above zero they wait; `leave` lowers it and raises what came meanwhile.

    Example:
        >>> import os, signal
        >>> termination = Termination()
        >>> termination.begin()
        >>> termination.busy += 1
        >>> os.kill(os.getpid(), signal.SIGTERM)
        >>> try:
        ...     termination.leave()
        ... except Terminated as error:
        ...     print(error)
        SIGTERM
        >>> termination.end()
    """

    def __init__(self):
        self.busy = 0
        self._came: int | None = None
        self._before: dict[int, object] = {}

    def begin(self) -> None:
        """Take the signals that are at their defaults; nothing in threads other than the main one."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in CAUGHT:
            before = signal.getsignal(number)
            if before in (signal.SIG_DFL, signal.default_int_handler):
                self._before[number] = before
                signal.signal(number, self._handle)

    def end(self) -> None:
        """Give the signals back; one that somebody else took meanwhile stays theirs."""
        for number, before in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, before)
        self._before.clear()

    def leave(self) -> None:
        """End a stretch of work that must not be interrupted.

        Raises:
            KeyboardInterrupt: SIGINT came during the work.
            Terminated: SIGTERM or SIGHUP came during the work.
        """
        self.busy -= 1
        if not self.busy and self._came is not None:
            number, self._came = self._came, None
            raise _exception(number)

    def _handle(self, number: int, frame: object) -> None:
        if self.busy:
            self._came = number
        else:
            raise _exception(number)


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)

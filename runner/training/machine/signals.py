"""SIGINT and SIGTERM take effect between two steps; a second SIGINT takes effect at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Interrupted(BaseException):
    """The run was told to stop. Not an Exception, so that a sweep stops with it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Signals:
    """While this context is open the signals are only noted."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._waits = True
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
            outer = getattr(handler, "__self__", None)
            if isinstance(outer, Signals):  # what came too late for this block is for the one around it
                outer._received = outer._received or self._received

    def stop(self) -> Interrupted | None:
        """What to end with, if a signal has come."""
        return None if self._received is None else Interrupted(self._received)

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if (reason := self.stop()) is not None:
            raise reason

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Around a block that only waits for others: a signal ends it."""
        self.check()
        self._waits = False
        try:
            yield
        finally:
            self._waits = True

    def _note(self, number: int, _: FrameType | None) -> None:
        again = self._received is not None and number == signal.SIGINT
        self._received = number
        if again or not self._waits:
            self._waits = True
            raise Interrupted(number)

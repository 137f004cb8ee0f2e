"""SIGINT and SIGTERM take effect between two steps; a second SIGINT takes effect at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Interrupted(BaseException):
    """A signal ends the run. Not an Exception, so that a sweep ends with it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Signals:
    """A context manager in which SIGINT and SIGTERM only set a mark; `stop` and `check` read it."""

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
            if isinstance(outer, Signals):  # a signal that came too late for this block
                outer._received = outer._received or self._received

    def stop(self) -> Interrupted | None:
        """Return the error to end with if a signal has come; None if not."""
        return None if self._received is None else Interrupted(self._received)

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if (reason := self.stop()) is not None:
            raise reason

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal end the block at once, for one that only waits."""
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

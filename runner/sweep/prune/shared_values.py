"""The values that a sweep's jobs tell each other while they run: a file that all of them append to."""

import json
import os
from pathlib import Path

from runner.training.pruners import Looks


class SharedLooks:
    """The file, and what has been read of it.

    A look is one line, written at once with O_APPEND, so that processes of one machine can write together. On a file
    system over a network a line may get lost, which costs the others one competitor.
    """

    def __init__(self, path: Path, mode: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._looks, self._read = path, Looks(mode), 0

    def add(self, job: int, epoch: int, value: float) -> None:
        # A process that died may have left half a line, so that a new one begins with its own end of line.
        line = f"\n{json.dumps({'job': job, 'epoch': epoch, 'value': value})}\n".encode()
        no_link = getattr(os, "O_NOFOLLOW", 0)  # a stranger's folder may hold one to another file
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | no_link, 0o666)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)

    def now(self) -> Looks:
        """Everything that was told so far; only what is new is read."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
            self._read += len(whole)
            for line in whole.splitlines():
                self._take(line)
        return self._looks

    def _take(self, line: bytes) -> None:
        try:
            told = json.loads(line)
            self._looks.add(int(told["job"]), int(told["epoch"]), float(told["value"]))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return  # an empty line, or half of one

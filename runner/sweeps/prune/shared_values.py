"""The metric values that a sweep's jobs share while they run: a file that all of them append to."""

import json
import os
from pathlib import Path

from runner.sweeps.prune.rules import JobValues


class SharedValues:
    """The file, and the values read from it so far.

    A value is one line, written at once with O_APPEND, so that processes of one machine can write together. On a
    network file system a line may get lost; the others are then compared with one value less.
    """

    def __init__(self, path: Path, mode: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._values, self._read = path, JobValues(mode), 0

    def add(self, job: int, epoch: int, value: float) -> None:
        """Append the metric value of a job after an epoch."""
        # A process that died may have left half a line, so that each line begins with an end of line.
        line = f"\n{json.dumps({'job': job, 'epoch': epoch, 'value': value})}\n".encode()
        no_link = getattr(os, "O_NOFOLLOW", 0)  # the folder may hold a link that somebody else made to another file
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | no_link, 0o666)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)

    def now(self) -> JobValues:
        """Return all values so far; only lines that are new are read."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
            self._read += len(whole)
            for line in whole.splitlines():
                self._take(line)
        return self._values

    def _take(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
            self._values.add(int(entry["job"]), int(entry["epoch"]), float(entry["value"]))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return  # an empty line, or half of one

"""Standard output after its reader has gone, as in `runner runs | head`: it is dropped, and the command goes on."""

import io
import os
import stat
import sys
from typing import Any


class _Pipe(io.FileIO):
    """A pipe to write into; after its reader has gone, what is written is dropped."""

    def write(self, data: Any) -> int:
        """Write, or drop the data if nobody reads any more; return the number of bytes."""
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def outlive_readers() -> None:
    """Let standard output and error, where they are pipes, outlive their readers: a training is not ended by `head`."""
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(sys.stderr)


def _outliving(stream: Any) -> Any:
    """Return a stream that outlives its reader, if it is a pipe; any other stream as it is."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # no file of the system
        return stream
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return stream
    pipe = io.TextIOWrapper(
        io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    pipe.before = stream  # type: ignore[attr-defined]  # which would close the pipe if nobody held it
    return pipe

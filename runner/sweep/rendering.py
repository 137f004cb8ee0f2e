"""Pictures of many runs written by other processes: three quarters of a plot's time go into its pixels.

A figure is handed over as a pickle, through a pipe that this process alone can write into.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING

from runner import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Processes at most; each takes 100 MB.
MOST = 4
SERVER = """
import sys
from runner.sweep import rendering
answers, sys.stdout = sys.stdout.buffer, sys.stderr
rendering.serve(sys.stdin.buffer, answers)
"""


class Renderer:
    """`save` takes a figure and returns at once; `wait` until the files in a folder are there."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool, self._own = pool, threading.local()
        self._begun: list[tuple[Path, bytes, Future[None]]] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def save(self, figure: "Figure", path: Path) -> None:
        """The same as plots.save, later. A figure that cannot be handed over is written here."""
        try:
            told = pickle.dumps(figure)
        except Exception:  # a user's plot may hold anything
            plots.save(figure, path)
            return
        self._begun.append((path, told, self._pool.submit(self._ask, told, path)))

    def wait(self, folder: Path) -> None:
        """Until what was to be written into `folder` is there; what another process could not is written here."""
        mine = [entry for entry in self._begun if entry[0].is_relative_to(folder)]
        self._begun = [entry for entry in self._begun if entry not in mine]
        for path, told, future in mine:
            if future.exception() is not None:
                plots.save(pickle.loads(told), path)

    def ready(self, folder: Path) -> bool:
        """Whether `wait` would not wait."""
        return all(future.done() for path, _, future in self._begun if path.is_relative_to(folder))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        for process in self._processes:
            _ended(process)

    def _ask(self, told: bytes, path: Path) -> None:
        if not hasattr(self._own, "process"):
            self._own.process = _started()
            self._processes.append(self._own.process)
        try:
            _written(self._own.process, told, path)
        except BaseException:  # what it answers from now on may belong to this picture; the next has another process
            self._own.process.kill()
            del self._own.process
            raise


class Itself:
    """The same of one run alone: to start a process takes longer than to write its pictures here."""

    def save(self, figure: "Figure", path: Path) -> None:
        plots.save(figure, path)

    def wait(self, folder: Path) -> None:
        pass

    def ready(self, folder: Path) -> bool:
        return True


@contextlib.contextmanager
def rendering(runs: int) -> Iterator[Renderer | Itself]:
    """What writes the pictures of so many runs: as many processes as there are cores."""
    if runs < 2:
        yield Itself()
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    renderer = Renderer(ThreadPoolExecutor(min(cores, MOST), "rendering"))
    try:
        yield renderer
    finally:
        renderer.close()


def serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    """Write figures until there are no more: the other process."""
    with contextlib.suppress(EOFError):
        while True:
            told, path = pickle.load(asked)
            plots.save(pickle.loads(told), path)
            answers.write(b"done\n")
            answers.flush()


def _written(process: subprocess.Popen[bytes], told: bytes, path: Path) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    pickle.dump((told, str(path)), process.stdin)
    process.stdin.flush()
    if process.stdout.readline() != b"done\n":
        raise RuntimeError("the picture was not written")


def _ended(process: subprocess.Popen[bytes]) -> None:
    """Killed, since it has nothing to do any more: Python's own end takes a third of a second."""
    with contextlib.suppress(OSError), process:  # which closes both pipes and waits
        process.kill()


def _started() -> subprocess.Popen[bytes]:
    # A session of its own: an interrupt on the terminal is for the sweep, which decides what becomes of its pictures.
    return subprocess.Popen(
        [sys.executable, "-P", "-c", SERVER],  # -P: a pickle.py of the working directory is not ours
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )

"""Pictures of many runs drawn and written by other processes: for a small model, plots take longer than its training.

What our own plots need is handed over as a pickle, through a pipe that this process alone can write into; of a plot of
the user's, which may look at anything, the figure.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from runner import plots
from runner.sweep.run.subject import portrait
from runner.training import finish
from runner.training.machine import cores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from runner.training.subject import Subject

#: Processes at most; each takes 300 MB.
MOST = 4
#: Bytes of what is handed over at once.
LARGEST = 2**25
DONE, FAILED = b"done\n", b"failed\n"
SERVER = """
import sys
from runner.sweep.run import drawing
answers, sys.stdout = sys.stdout.buffer, sys.stderr
drawing.serve(sys.stdin.buffer, answers)
"""

#: A pickle.py of the working directory is not ours.
FLAGS = ("-P",)

#: Pictures to write: (file, what is drawn, the name of the plot; without one what is drawn is the figure itself).
Asked = list[tuple[Path, Any, str | None]]


class Renderer:
    """`draw` takes a run that is trained and returns at once; `wait` until the files in a folder are there."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool, self._own = pool, threading.local()
        self._begun: list[tuple[Path, Callable[[], None], Future[None]]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closed = False

    def draw(self, subject: "Subject", folder: Path) -> None:
        """Do what `finish.draw` does, later. What cannot be handed over is drawn or written here."""
        named = subject.run.parts.plots
        ours = [name for name in named if name in plots.names()]
        done = ours if ours and self._hand_over_run(subject, ours, folder) else []
        left = [name for name in named if name not in done]
        plots.each(left, lambda name: self.save(named[name](subject), plots.file(name, folder)))

    def save(self, figure: "Figure", path: Path) -> None:
        """The same as plots.save, later."""
        if not self._hand_over(path, [(path, figure, None)], lambda: plots.save(figure, path)):
            plots.save(figure, path)

    def wait(self, folder: Path) -> None:
        """Until what was to be written into `folder` is there; what another process could not is written here."""
        mine = [entry for entry in self._begun if entry[0].is_relative_to(folder)]
        self._begun = [entry for entry in self._begun if entry not in mine]
        failed = []
        for _, here, future in mine:
            if future.exception() is not None:
                try:
                    here()
                except Exception as error:
                    failed.append(error)
        if failed:
            raise failed[0]

    def ready(self, folder: Path) -> bool:
        """Whether `wait` would not wait."""
        return all(future.done() for path, _, future in self._begun if path.is_relative_to(folder))

    def close(self) -> None:
        self._closed = True
        for process in self._processes:
            process.kill()  # before the pool, which would wait for what it writes
        self._pool.shutdown(cancel_futures=True)
        for process in self._processes:
            _ended(process)

    def _hand_over_run(self, subject: "Subject", names: list[str], folder: Path) -> bool:
        """False if it cannot be: what is wrong is told by the plots themselves, when they are drawn here."""
        try:
            shown = portrait(subject, names)
        except Exception:  # a user's layers and data may hold anything
            shown = None
        asked: Asked = [(plots.file(name, folder), shown, name) for name in names]
        return shown is not None and self._hand_over(folder, asked, lambda: finish.draw(subject, folder, names))

    def _hand_over(self, place: Path, asked: Asked, here: Callable[[], None]) -> bool:
        """False if it cannot be: a user's layers and plots may hold anything. here: does it in this process."""
        try:
            told = pickle.dumps(asked)
        except Exception:
            return False
        if len(told) > LARGEST:
            return False
        self._begun.append((place, here, self._pool.submit(self._ask, told)))
        return True

    def _ask(self, told: bytes) -> None:
        if self._closed:
            raise RuntimeError("nobody waits for pictures any more")
        if not hasattr(self._own, "process"):
            self._own.process = _started()
            self._processes.append(self._own.process)
        try:
            answer = _answered(self._own.process, told)
        except BaseException:  # what it answers from now on may belong to these pictures; the next have another process
            self._own.process.kill()
            del self._own.process
            raise
        if answer == FAILED:
            raise RuntimeError("another process could not draw them")


class Itself:
    """The same of one run alone: to start a process takes longer than to draw its pictures here."""

    def draw(self, subject: "Subject", folder: Path) -> None:
        finish.draw(subject, folder)

    def wait(self, folder: Path) -> None:
        pass

    def ready(self, folder: Path) -> bool:
        return True


@contextlib.contextmanager
def rendering(runs: int) -> Iterator[Renderer | Itself]:
    """What draws the pictures of so many runs: as many processes as there are cores."""
    if runs < 2:
        yield Itself()
        return
    renderer = Renderer(ThreadPoolExecutor(min(cores.affinity(), MOST), "rendering"))
    try:
        yield renderer
    finally:
        renderer.close()


def serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    """Write pictures until there are no more to write: the other process."""
    import torch

    torch.set_num_threads(1)  # the cores are taken, and those who train go first
    if hasattr(os, "nice"):
        os.nice(10)
    with contextlib.suppress(EOFError):
        while True:
            told = pickle.load(asked)
            try:
                _write(pickle.loads(told))
                answers.write(DONE)
            except Exception:  # it fails where it is asked for as well, and is told there
                answers.write(FAILED)
            answers.flush()


def _write(asked: Asked) -> None:
    for path, what, name in asked:
        draw = plots.find(name) if name is not None else None
        plots.save(what if draw is None else draw(what), path)


def _answered(process: subprocess.Popen[bytes], told: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    pickle.dump(told, process.stdin)
    process.stdin.flush()
    answer = process.stdout.readline()
    if answer not in (DONE, FAILED):
        raise RuntimeError("the pictures were not written")
    return answer


def _ended(process: subprocess.Popen[bytes]) -> None:
    """Killed, since it has nothing to do any more: Python's own end takes a third of a second."""
    with contextlib.suppress(OSError), process:  # which closes both pipes and waits
        process.kill()


def _started() -> subprocess.Popen[bytes]:
    # A session of its own: an interrupt on the terminal is for the sweep, which decides what becomes of its pictures.
    return subprocess.Popen(
        [sys.executable, *FLAGS, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )

"""Plots of many runs, drawn and written by other processes: for a small model, plots take longer than its training.

For the built-in plots, a portrait of the run is sent as a pickle, through a pipe that only this process can write into.
A user's plot may read anything, so that it is drawn here and its figure is sent.
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
from runner.sweeps.run.subject import portrait
from runner.training import finish
from runner.training.machine import cores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from runner.training.subject import Subject

#: Most processes; each takes 300 MB.
MOST = 4
#: Most bytes sent at once.
LARGEST = 2**25
DONE, FAILED = b"done\n", b"failed\n"
SERVER = """
import sys
from runner.sweeps.run import drawing
answers, sys.stdout = sys.stdout.buffer, sys.stderr
drawing.serve(sys.stdin.buffer, answers)
"""

#: Keeps the working directory out of sys.path: a pickle.py there must not be imported.
FLAGS = ("-P",)

#: Plots to write: (file, portrait, name of the plot), or (file, figure, None).
Requests = list[tuple[Path, Any, str | None]]


class Renderer:
    """A pool of processes that draw plots. `draw` returns at once, `wait` returns when the files are written."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool, self._own = pool, threading.local()
        self._begun: list[tuple[Path, Callable[[], None], Future[None]]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closed = False

    def draw(self, subject: "Subject", folder: Path) -> None:
        """Draw the plots of a trained run into `folder`, as `finish.draw` does. What cannot be sent is drawn here."""
        draws = subject.run.parts.plots
        built_in = [name for name in draws if name in plots.names()]
        sent = built_in if built_in and self._send_run(subject, built_in, folder) else []
        remaining = [name for name in draws if name not in sent]
        plots.each(remaining, lambda name: self.save(draws[name](subject), plots.file(name, folder)))

    def save(self, figure: "Figure", path: Path) -> None:
        """Write a figure to a file, as `plots.save` does."""
        if not self._send(path, [(path, figure, None)], lambda: plots.save(figure, path)):
            plots.save(figure, path)

    def wait(self, folder: Path) -> None:
        """Return when all files of `folder` are written; what another process could not write is written here."""
        entries = [entry for entry in self._begun if entry[0].is_relative_to(folder)]
        self._begun = [entry for entry in self._begun if entry not in entries]
        failed = []
        for _, draw_here, future in entries:
            if future.exception() is not None:
                try:
                    draw_here()
                except Exception as error:
                    failed.append(error)
        if failed:
            raise failed[0]

    def ready(self, folder: Path) -> bool:
        """Return whether `wait` would return at once."""
        return all(future.done() for path, _, future in self._begun if path.is_relative_to(folder))

    def close(self) -> None:
        """End all processes; plots that are not written yet are dropped."""
        self._closed = True
        for process in self._processes:
            process.kill()  # before the pool, which would wait for what it writes
        self._pool.shutdown(cancel_futures=True)
        for process in self._processes:
            _end(process)

    def _send_run(self, subject: "Subject", names: list[str], folder: Path) -> bool:
        """Return whether the run could be sent. If not, the plots report the reason when they are drawn here."""
        try:
            shown = portrait(subject, names)
        except Exception:  # a user's layers and data may hold anything
            shown = None
        requests: Requests = [(plots.file(name, folder), shown, name) for name in names]
        return shown is not None and self._send(folder, requests, lambda: finish.draw(subject, folder, names))

    def _send(self, place: Path, requests: Requests, draw_here: Callable[[], None]) -> bool:
        """Return whether the requests could be sent; a user's layers and plots may hold what cannot be pickled.

        draw_here: does the same in this process.
        """
        try:
            message = pickle.dumps(requests)
        except Exception:
            return False
        if len(message) > LARGEST:
            return False
        self._begun.append((place, draw_here, self._pool.submit(self._ask, message)))
        return True

    def _ask(self, message: bytes) -> None:
        if self._closed:
            raise RuntimeError("the renderer is closed")
        if not hasattr(self._own, "process"):
            self._own.process = _start()
            self._processes.append(self._own.process)
        try:
            answer = _answer(self._own.process, message)
        except BaseException:  # a later answer may belong to these plots, so that the next get another process
            self._own.process.kill()
            del self._own.process
            raise
        if answer == FAILED:
            raise RuntimeError("another process could not draw the plots")


class InlineRenderer:
    """A Renderer that draws in this process: for one run, starting another process takes longer than drawing."""

    def draw(self, subject: "Subject", folder: Path) -> None:
        """Draw the plots of a trained run into `folder`."""
        finish.draw(subject, folder)

    def wait(self, folder: Path) -> None:
        """Return at once: all is drawn."""

    def ready(self, folder: Path) -> bool:
        """Return True: `draw` returns when all is drawn."""
        return True


@contextlib.contextmanager
def rendering(runs: int) -> Iterator[Renderer | InlineRenderer]:
    """Yield a renderer for so many runs; it has a process for each core, at most MOST."""
    if runs < 2:
        yield InlineRenderer()
        return
    renderer = Renderer(ThreadPoolExecutor(min(cores.affinity(), MOST), "rendering"))
    try:
        yield renderer
    finally:
        renderer.close()


def serve(messages: IO[bytes], answers: IO[bytes]) -> None:
    """Draw and write plots until `messages` ends, and answer DONE or FAILED to each; runs in the other process."""
    import torch

    torch.set_num_threads(1)  # the cores are taken by training, which goes first
    if hasattr(os, "nice"):
        os.nice(10)
    with contextlib.suppress(EOFError):
        while True:
            message = pickle.load(messages)
            try:
                _write(pickle.loads(message))
                answers.write(DONE)
            except Exception:  # the process that asked draws it too, and reports the same error
                answers.write(FAILED)
            answers.flush()


def _write(requests: Requests) -> None:
    for path, subject, name in requests:
        draw = plots.find(name) if name is not None else None
        plots.save(subject if draw is None else draw(subject), path)


def _answer(process: subprocess.Popen[bytes], message: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    pickle.dump(message, process.stdin)
    process.stdin.flush()
    answer = process.stdout.readline()
    if answer not in (DONE, FAILED):
        raise RuntimeError("the plots were not written")
    return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that has nothing left to do: Python's own exit takes a third of a second."""
    with contextlib.suppress(OSError), process:  # which closes both pipes and waits
        process.kill()


def _start() -> subprocess.Popen[bytes]:
    # A session of its own: an interrupt on the terminal goes to the sweep, which decides about its plots.
    return subprocess.Popen(
        [sys.executable, *FLAGS, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )

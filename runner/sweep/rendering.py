"""Pictures of many runs written by other processes: three quarters of a plot's time go into its pixels."""

import contextlib
import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Renderer:
    """`save` takes a figure and returns at once; `wait` until the files in a folder are there."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool
        self._begun: dict[Path, list[Future[None]]] = {}  # folder -> what is being written there

    def save(self, figure: "Figure", path: Path) -> None:
        """The same as plots.save, later. A figure that cannot be handed over is written here."""
        try:
            told = pickle.dumps(figure)
        except Exception:  # a user's plot may hold anything
            plots.save(figure, path)
            return
        self._begun.setdefault(path.parent, []).append(self._pool.submit(_write, told, str(path)))

    def wait(self, folder: Path) -> None:
        """Raises what has gone wrong."""
        for place in [place for place in self._begun if place.is_relative_to(folder)]:
            for future in self._begun.pop(place):
                future.result()


@contextlib.contextmanager
def rendering() -> Iterator[Renderer]:
    """A renderer with as many processes as there are cores, at most four."""
    cores = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 4)
    # Not forked: threads that deliver and compute are at work here.
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), _begin) as pool:
        try:
            yield Renderer(pool)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep's own process decides what is to become of it


def _write(told: bytes, path: str) -> None:
    figure: Any = pickle.loads(told)
    plots.save(figure, path)

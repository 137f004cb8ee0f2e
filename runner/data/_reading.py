"""Batches of a dataset that is read one example at a time, by worker processes that live as long as their reader."""

import contextlib
import hashlib
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset, default_collate, get_worker_info

from runner.data import _nests as nests
from runner.data._streams import collates, innermost
from runner.settings import random_state, torch_private
from runner.settings.errors import ConfigError
from runner.settings.values import lookup

#: A number from which the dataset's random draws start, and the indices of a batch's examples.
Chunk = tuple[int, list[int]]


def chunk(seed: int, epoch: int, number: int, index: Tensor) -> Chunk:
    """Return batch `number` of an epoch. What its dataset draws at random depends on these three and nothing else.

    index: of its examples, int64 of shape (batch,).
    """
    text = f"{seed} {epoch} {number}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big"), index.tolist()


class Reader:
    """Reads batches of a dataset; each worker prepares two of them before they are asked for.

    source: a torch map-style dataset of pairs (x, y), each a tensor or a nest of tensors.
    workers: processes that read, from the first pass until `close`; 0: this process reads, and nothing is prepared.
    pinned: put batches into pinned memory, from which a GPU fetches them by itself.
    collated: gives the batch of a chunk; None: the examples as they are, `Collated`.

        reader = Reader(source, workers=2)
        for x, y in reader.read([(0, [3, 1]), (1, [0, 2])]): ...
        reader.close()
    """

    def __init__(self, source: Any, workers: int = 0, pinned: bool = False, collated: Any = None) -> None:
        self.source, self.workers, self.pinned = source, workers, pinned
        self._collated = Collated(source) if collated is None else collated
        self._chunks = Chunks()
        self._loader: DataLoader[Any] | None = None
        self._batches: Any = None
        self._pass: object = None  # the one that is under way

    def read(self, chunks: Iterable[Chunk]) -> Iterator[tuple[nests.Nest, nests.Nest]]:
        """Yield the batch of each chunk, in their order. A pass that is left before its end drops what is on its way.

        chunks: may be without end; they are drawn as they are needed.
        """
        assert self._pass is None, "a reader makes one pass at a time"
        own = self._pass = object()
        self._chunks.coming = chunks
        if self._loader is None:
            self._loader = self._new_loader()
        try:
            with _no_sigterm():
                self._batches = iter(self._loader)
            yield from ((x, y) for x, y in self._batches)
        finally:
            if self._pass is own:  # one that was suspended as the reader was closed may end during the next
                self._pass = None

    def close(self) -> None:
        """End the workers; a pass that is still to come begins others."""
        if self._batches is not None and self.workers:
            torch_private.end_workers(self._batches)
        self._loader = self._batches = self._pass = None

    def _new_loader(self) -> DataLoader[Any]:
        return DataLoader(
            self._collated,
            batch_size=None,
            sampler=self._chunks,
            collate_fn=_as_it_is,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=self.pinned,
            worker_init_fn=_leave_signals_to_the_run,
            # It draws a seed for its workers: from a generator of its own, so that the model's draws stay the same.
            generator=torch.Generator(),
        )


class Chunks:
    """The chunks of the coming pass, as DataLoader's `sampler`."""

    coming: Iterable[Chunk] = ()

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.coming)


class Collated(torch.utils.data.Dataset[Any]):
    """The batches of a dataset, by their chunks.

    Random generators are started anew for each batch, so that batches are the same with any number of workers and in a
    run that goes on; those of the run's own process continue as if nothing had been drawn.
    """

    def __init__(self, source: Any, collate: Callable[[Any], Any] | None = None) -> None:
        self.source, self.collate = source, collate or collated
        ours = type(innermost(source)).__module__.startswith("runner.")  # which draw nothing
        self.draws = not ours or collates(source)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a worker that is no fork of this process, with where the user's modules are."""
        package = sys.modules.get("experiments")
        return {**vars(self), "source": pickle.dumps(self.source), "folders": list(getattr(package, "__path__", []))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for folder in reversed(state.pop("folders")):
            lookup.use_folder(Path(folder))
        vars(self).update(state, source=pickle.loads(state["source"]))

    def __getitem__(self, chunk: Chunk) -> Any:
        start, indices = chunk
        alone = self.draws and get_worker_info() is None
        if self.draws and not alone:
            random_state.start(start)
        with random_state.started(start) if alone else contextlib.nullcontext():
            own = None if self.collate is not collated else batch(self.source, indices)
            return self.collate([self.source[i] for i in indices]) if own is None else Nested(own)


def batch(source: Any, indices: Sequence[int]) -> tuple[nests.Nest, nests.Nest] | None:
    """Return the batch that `data.collate` makes of these examples of a source; None where it has no collate."""
    if isinstance(source, Subset):
        return batch(source.dataset, [source.indices[index] for index in indices])
    make = getattr(source, "batch", None) if type(source).__module__.startswith("runner.") else None
    return None if make is None else make(indices)


def _as_it_is(batch: Any) -> Any:
    """Return the batch: torch's own function would make lists of tuples."""
    return batch


def collated(items: list[Any]) -> Any:
    """Return the batch of examples (x, y), as torch's collate does; of tuples inside of x or y that makes lists."""
    try:
        if all(not isinstance(part, tuple | list | dict) for part in items[0]):
            return default_collate(items)
        parts = zip(*items, strict=True)
        return Nested(tuple(nests.mapped(lambda *leaves: default_collate(list(leaves)), *part) for part in parts))
    except RuntimeError:
        check_alike(items)
        raise


def check_alike(items: list[Any]) -> None:
    """Raise ConfigError for examples of unequal sizes, of which torch makes no batch."""
    forms = [nests.described(tuple(item)) for item in items]
    if other := next((form for form in forms if form != forms[0]), None):
        raise ConfigError(
            "data.collate",
            f"missing; examples are of unequal size, as (x, y) of {forms[0]} and {other}: pad fills them up in a batch,"
            " and a function of your own, experiments.mine.collate, makes a batch of a list of them",
        )


class Nested(tuple[Any, ...]):
    """A batch of nests, which DataLoader leaves as it is: of a plain tuple that it pins it makes lists."""

    def pin_memory(self) -> "Nested":
        """Return the batch in pinned memory."""
        return Nested(nests.mapped(torch.Tensor.pin_memory, part) for part in self)


@contextlib.contextmanager
def _no_sigterm() -> Iterator[None]:
    """Hold SIGTERM back from this thread and from the workers it begins, which let go of it when they are prepared."""
    if not hasattr(signal, "sigwaitinfo"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_signals_to_the_run(worker: int) -> None:
    """Let a signal that is sent to all processes of a run, as by Ctrl-C, not end a worker before the run is saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_for, args=(os.getppid(),), daemon=True).start()


def _end_for(parent: int) -> None:
    """End this process at the first SIGTERM that `parent` sends."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)

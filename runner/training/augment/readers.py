"""The training batches of a run whose examples are sampled, transformed or mixed."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from runner.data import Batch, Data, Source, Tensors, count, nests, order_of
from runner.data._reading import Chunk, Collated, Nested, Reader, chunk
from runner.model import host
from runner.settings import Settings
from runner.training.augment import balance, draws
from runner.training.augment.augment import Augment
from runner.training.augment.treatment import Treatment, augmenter, mixer
from runner.training.parts.readers import Readers


class TreatedReaders:
    """Gives what `Readers` gives, and treated batches for training.

    treatment, data: of the run. What is drawn for an example depends on (seed, epoch, example), and what is drawn for
    a batch on (seed, epoch, number of the batch).
    """

    def __init__(self, settings: Settings, pinned: bool, treatment: Treatment, data: Data) -> None:
        self.settings, self.pinned = settings, pinned
        self._plain = Readers(settings, pinned)
        self._augment = augmenter(treatment, data) if treatment.augment else None
        self._mix = mixer(treatment, data) if treatment.mixes else None
        self._classes = balance.labels(data, "data.sample") if treatment.sample else None
        self._reader: Reader | None = None

    def repeats(self, source: Source) -> bool:
        """Return whether all steps have the same batch: False."""
        return False

    def epochs(self, source: Source, epochs: range, start: int, copies: bool) -> Iterator[Iterator[Batch]]:
        """Yield the batches of each epoch that is left; see `Readers.epochs`."""
        trainer = self.settings.trainer
        total = len(source)  # type: ignore[arg-type]
        if isinstance(source, Tensors):
            for epoch in epochs:
                begin = start if epoch == epochs[0] else 0
                yield self._mixed(self._in_memory(source, epoch, begin), epoch, begin)
            return
        if self._reader is None:
            collated = Augmenting(source, self._augment)
            self._reader = Reader(source, trainer.workers, self.pinned, collated)
        stream = self._reader.read(self._chunks(total, epochs, start))
        each = count(source, trainer.batch_size, trainer.drop_last)
        for epoch in epochs:
            begin = start if epoch == epochs[0] else 0
            yield self._mixed(islice(stream, each - begin), epoch, begin)

    def whole(self, source: Source, copies: bool) -> Iterator[Batch]:
        """Yield all of `source` in order, as it is."""
        return self._plain.whole(source, copies)

    def seen(self, source: Source, examples: Sequence[int], epoch: int, end: int) -> list[Batch | None]:
        """Return x and y of these examples as the first `end` batches of an epoch have them, on the source's device.

        They are those of whole batches, made as training makes them, as an example may be mixed with others of its own.
        None: the example is in none of these batches. One that comes several times is as it came first.
        """
        made: dict[int, Batch] = {}
        for number, (index, key) in enumerate(islice(self._parts(len(source), epoch, 0), end)):  # type: ignore[arg-type]
            if len(made) == len(examples):
                break
            places = {one: place for place, one in reversed([*enumerate(host.numbers(index))])}
            if wanted := [one for one in examples if one in places and one not in made]:
                batch = self._batch(source, index, key, epoch, number)
                made |= {one: nests.picked(tuple(batch), places[one]) for one in wanted}
        return [made.get(one) for one in examples]

    def close(self) -> None:
        """End all workers."""
        self._plain.close()
        if self._reader is not None:
            self._reader.close()

    def _in_memory(self, source: Tensors, epoch: int, start: int) -> Iterator[Batch]:
        for index, key in self._parts(len(source), epoch, start):
            yield self._picked(source, index, key)

    def _picked(self, source: Tensors, index: Tensor, key: Tensor) -> Batch:
        at = index.to(source.x.device)
        x, y = nests.picked(source.x, at), nests.picked(source.y, at)
        return (x, y) if self._augment is None else self._augment(x, y, key.to(x.device))

    def _batch(self, source: Source, index: Tensor, key: Tensor, epoch: int, number: int) -> Batch:
        """Return one batch of an epoch, as `epochs` yields it."""
        if isinstance(source, Tensors):
            batch = self._picked(source, index, key)
        else:
            keyed = chunk(self.settings.seed, epoch, number, index), host.numbers(key)
            batch = Augmenting(source, self._augment)[keyed]
        return batch if self._mix is None else self._mix(batch, self.settings.seed, epoch, number)

    def _chunks(self, total: int, epochs: range, start: int) -> Iterator[Any]:
        for epoch in epochs:
            begin = start if epoch == epochs[0] else 0
            for number, (index, key) in enumerate(self._parts(total, epoch, begin), begin):
                yield chunk(self.settings.seed, epoch, number, index), host.numbers(key)

    def _parts(self, total: int, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the examples of each batch and their keys, both int64 of shape (batch,)."""
        trainer, seed = self.settings.trainer, self.settings.seed
        size = min(trainer.batch_size or total, total)
        if self._classes is not None:
            order = balance.order(self._classes, seed, epoch)
            numbers = balance.numbered(order, total)
        else:
            order = order_of(total, seed, epoch) if trainer.shuffle and size < total else torch.arange(total)
            numbers = order
        end = total - total % size if trainer.drop_last else total
        keys = draws.keys(seed, epoch, numbers)
        yield from zip(
            torch.split(order[start * size : end], size), torch.split(keys[start * size : end], size), strict=True
        )

    def _mixed(self, stream: Iterator[Batch], epoch: int, start: int) -> Iterator[Batch]:
        if self._mix is None:
            yield from stream
            return
        for number, batch in enumerate(stream, start):
            yield self._mix(batch, self.settings.seed, epoch, number)


class Augmenting(torch.utils.data.Dataset[Any]):
    """The batches of a dataset by their chunks and keys, for workers."""

    def __init__(self, source: Any, augment: Augment | None) -> None:
        self.plain, self.augment = Collated(source, list), augment

    def __getitem__(self, keyed: tuple[Chunk, list[int]]) -> Any:
        chunk, key = keyed
        pairs = [tuple(nests.mapped(torch.as_tensor, part) for part in pair) for pair in self.plain[chunk]]
        if self.augment is None:
            return torch.utils.data.default_collate(pairs)
        x, y = self.augment.examples(pairs, torch.tensor(key))
        return (x, y) if isinstance(y, Tensor) else Nested((x, y))

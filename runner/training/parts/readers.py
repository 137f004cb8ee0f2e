"""The readers of a run's data that is not in memory: one for training, and one for each part that is evaluated."""

from collections.abc import Iterator
from itertools import islice

from runner.data import Batch, Source, Tensors, batches, chunks, count, evaluation_size
from runner.data._reading import Chunk, Reader
from runner.settings import Settings


class Readers:
    """Gives the batches of a run, in memory or not. Worker processes live from a part's first batch until `close`.

    settings: of the run. pinned: read into pinned memory.
    """

    def __init__(self, settings: Settings, pinned: bool) -> None:
        self.settings, self.pinned = settings, pinned
        self._training: Reader | None = None
        self._evaluating: list[Reader] = []

    def repeats(self, source: Source) -> bool:
        """Return whether all steps have the same batch, all of `source` in memory."""
        return isinstance(source, Tensors) and count(source, self.settings.trainer.batch_size) == 1

    def epochs(self, source: Source, epochs: range, start: int, copies: bool) -> Iterator[Iterator[Batch]]:
        """Yield the batches of each epoch that is left; workers prepare those of the next one before this one ends.

        epochs: their numbers; the first one is without its first `start` batches. copies: see Tensors.whole.
        """
        trainer, seed = self.settings.trainer, self.settings.seed
        if isinstance(source, Tensors):
            for epoch in epochs:
                yield batches(
                    source,
                    trainer.batch_size,
                    epoch=epoch,
                    seed=seed,
                    shuffle=trainer.shuffle,
                    drop_last=trainer.drop_last,
                    start=start if epoch == epochs[0] else 0,
                    copies=copies,
                )
            return
        if self._training is None:
            self._training = Reader(source, trainer.workers, self.pinned)
        stream = self._training.read(self._chunks(len(source), epochs, start))  # type: ignore[arg-type]
        each = count(source, trainer.batch_size, trainer.drop_last)
        for epoch in epochs:
            yield islice(stream, each - (start if epoch == epochs[0] else 0))

    def whole(self, source: Source, copies: bool) -> Iterator[Batch]:
        """Yield all of `source` in order, in the batches of an evaluation."""
        trainer = self.settings.trainer
        size = evaluation_size(source, trainer)
        if isinstance(source, Tensors):
            return batches(source, size, copies=copies)
        reader = next((reader for reader in self._evaluating if reader.source is source), None)
        if reader is None:
            reader = Reader(source, trainer.workers, self.pinned)
            self._evaluating.append(reader)
        return reader.read(chunks(len(source), size))  # type: ignore[arg-type]

    def close(self) -> None:
        """End all workers."""
        for reader in (self._training, *self._evaluating):
            if reader is not None:
                reader.close()

    def _chunks(self, total: int, epochs: range, start: int) -> Iterator[Chunk]:
        trainer = self.settings.trainer
        for epoch in epochs:
            yield from chunks(
                total,
                trainer.batch_size,
                epoch=epoch,
                seed=self.settings.seed,
                shuffle=trainer.shuffle,
                drop_last=trainer.drop_last,
                start=start if epoch == epochs[0] else 0,
            )

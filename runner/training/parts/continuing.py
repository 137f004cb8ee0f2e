"""Batches in which each example goes on where that of the batch before ended: for states that are carried over."""

from collections.abc import Iterator

import torch
from torch import Tensor

from runner.data import Batch, Source, Tensors
from runner.data import _nests as nests
from runner.data._reading import Chunk, Reader, chunk
from runner.training.parts.readers import Readers


def order(total: int, size: int, drop_last: bool) -> list[Tensor]:
    """Return the indices of the examples of each batch of an epoch: `size` stretches of the data, read side by side.

    The last stretch may be shorter, so that later batches have an example less; drop_last leaves the rest out instead.

        order(7, 3, False)   # [0, 3, 6], [1, 4], [2, 5]
    """
    length = total // size if drop_last else -(-total // size)
    starts = torch.arange(size) * length
    return [index[index < total] for index in (starts + place for place in range(length))]


class Continuing(Readers):
    """Readers whose training batches follow one another; each epoch has the same order."""

    def epochs(self, source: Source, epochs: range, start: int, copies: bool) -> Iterator[Iterator[Batch]]:
        """Yield the batches of each epoch that is left; see `Readers.epochs`."""
        trainer, total = self.settings.trainer, len(source)  # type: ignore[arg-type]
        indices = order(total, min(trainer.batch_size or total, total), trainer.drop_last)
        if isinstance(source, Tensors):
            on_device = [index.to(nests.leaves(source.x)[0].device) for index in indices]
            for epoch in epochs:
                rest = on_device[start if epoch == epochs[0] else 0 :]
                yield (source[index] for index in rest)
            return
        self._training = self._training or Reader(source, trainer.workers, self.pinned)
        stream = self._training.read(self._following(indices, epochs, start))
        for epoch in epochs:
            left = len(indices) - (start if epoch == epochs[0] else 0)
            yield (batch for _, batch in zip(range(left), stream, strict=False))

    def _following(self, indices: list[Tensor], epochs: range, start: int) -> Iterator[Chunk]:
        for epoch in epochs:
            first = start if epoch == epochs[0] else 0
            for number, index in enumerate(indices[first:], first):
                yield chunk(self.settings.seed, epoch, number, index)

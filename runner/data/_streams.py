"""Streams: datasets without places, of which examples are read in their order."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Dataset, IterableDataset

from runner.settings.errors import ConfigError


class Streamed(Dataset[Any]):
    """The first `length` examples of a stream, by their places in it.

    They are read in their order; one that lies before the last begins the stream anew, and what lies between is read
    and left out, as where a run goes on in the middle of an epoch.
    """

    def __init__(self, inner: Any, length: int) -> None:
        self.inner, self.length = inner, length
        self._examples: Iterator[Any] | None = None
        self._next = 0

    def __len__(self) -> int:
        return self.length

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a worker, which reads the stream from its beginning."""
        return {**vars(self), "_examples": None, "_next": 0}

    def __getitem__(self, index: int) -> Any:
        if self._examples is None or index < self._next:
            self._examples, self._next = iter(self.inner), 0
        while True:
            example = next(self._examples, None)
            if example is None:
                raise ConfigError(
                    "data",
                    f"the stream has ended after {self._next:,} examples, and Data has length={self.length:,}; give the"
                    " number that it has, or fewer",
                )
            self._next += 1
            if self._next > index:
                return example


def streamed(source: Any, length: int | dict[str, int] | None, part: str) -> Any:
    """Return a stream as a dataset with places; any other source as it is.

    length: examples of the training stream, or of each part's. Raises ConfigError where that is unknown.
    """
    if not isinstance(source, IterableDataset):
        return source
    number = length.get(part) if isinstance(length, dict) else length if part == "train" else None
    if number is None:
        try:
            number = len(source)  # type: ignore[arg-type]
        except TypeError:
            example = "length=60_000" if part == "train" else f"length={{'train': 60_000, {part!r}: 10_000}}"
            raise ConfigError(
                "data",
                f"the {part} set is a stream of unknown length; give the examples of an epoch, Data(..., {example})",
            ) from None
    return Streamed(source, number)


def innermost(source: Any) -> Any:
    """Return the dataset inside of this package's own, which only change what it gives."""
    while type(source).__module__.startswith("runner.") and hasattr(source, "inner"):
        source = source.inner
    return source


def collates(source: Any) -> bool:
    """Return whether batches of a source are made by `data.collate`."""
    while source is not None and not hasattr(type(source), "COLLATES"):
        source = getattr(source, "inner", getattr(source, "dataset", None))
    return source is not None


def is_stream(source: Any) -> bool:
    """Return whether a source, or a dataset inside of it, has no places of its own."""
    return isinstance(innermost(source), IterableDataset)

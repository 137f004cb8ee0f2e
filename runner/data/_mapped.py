"""An .npy file whose examples are read as they are needed, through a map of the file into memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from runner.data._values import Array, Values, floats
from runner.settings.errors import ConfigError
from runner.settings.files import filenames

#: Bytes of x.npy above which it is mapped where `data.mmap` does not say.
ABOVE = 2**32
#: Bytes that are read at once to know the examples again.
AT_ONCE = 2**24


class Mapped(Dataset[Any]):
    """Pairs of an example of an .npy file and its target: the numbers that the whole file in memory would give.

    whole: the file holds whole numbers, which stay whole. y: the targets of all of the file. index: of the examples
    that are taken; None: all.
    """

    def __init__(self, path: Path, whole: bool, y: Tensor | None = None, index: Tensor | None = None) -> None:
        self.path, self.whole, self.y, self.index = path.absolute(), whole, y, index
        self._array: Array | None = None

    def __len__(self) -> int:
        return len(self._open()) if self.index is None else len(self.index)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        place = number if self.index is None else int(self.index[number])
        assert self.y is not None
        return self._read(np.array([place]))[0], self.y[place]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a worker, which maps the file by itself."""
        return {**vars(self), "_array": None}

    def with_targets(self, y: Tensor) -> "Mapped":
        """Return the same examples with their targets."""
        return Mapped(self.path, self.whole, y)

    def at(self, index: Tensor) -> "Mapped":
        """Return the examples with these numbers."""
        return Mapped(self.path, self.whole, self.y, index)

    def stacked(self, index: Tensor) -> Iterator[tuple[torch.dtype, tuple[int, ...], Iterator[Tensor]]]:
        """Yield type and shape of the inputs with these numbers, and then of the targets, with their values in parts.

        What of these is hashed is what would be hashed of the same examples in memory.
        """
        places = index if self.index is None else self.index[index]
        assert self.y is not None
        first, y = self._read(places[:1].numpy()), self.y[places]
        size = max(1, AT_ONCE // max(1, first.nbytes))
        parts = (self._read(some.numpy()) for some in torch.split(places, size))
        yield first.dtype, (len(places), *first.shape[1:]), parts
        yield y.dtype, tuple(y.shape), iter([y])

    def _open(self) -> Array:
        if self._array is None:
            try:
                self._array = np.lib.format.open_memmap(self.path, mode="r")  # refuses Python objects
            except (OSError, ValueError) as error:
                raise ConfigError("data.x", f"{str(self.path)!r} cannot be mapped into memory ({error})") from error
        return self._array

    def _read(self, places: Any) -> Tensor:
        array = np.asarray(self._open()[places])
        if self.whole:
            numbers = torch.from_numpy(array.astype(np.int64))
        else:
            try:
                numbers = floats(Values(array, "x", "data.x"))
            except ConfigError as error:
                raise ConfigError("data.x", f"example {int(places[0])} or one after it: {error}") from error
        return numbers.unsqueeze(1) if numbers.ndim == 1 else numbers


def is_mapped(x: Any, mmap: bool | None) -> bool:
    """Return whether the inputs are to be mapped. x: the .npy file's name, several by name, or None beside an .npz.

    Raises ConfigError where they cannot be.
    """
    if mmap and not isinstance(x, str):
        what = "x is several files" if isinstance(x, dict) else "an .npz file is a packed archive"
        raise ConfigError("data.mmap", f"true, and {what}; expected one .npy file, as in data.x=x.npy data.y=y.npy")
    if mmap is not None or not isinstance(x, str):
        return bool(mmap)
    path = filenames.path(x)
    return filenames.is_file(path) and path.stat().st_size > ABOVE

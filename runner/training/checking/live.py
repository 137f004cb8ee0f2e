"""The bytes of tensors that are alive, counted operation by operation while a step is rehearsed without numbers."""

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from runner.settings import torch_private

#: What a program reads of a tensor without numbers: any number will do, as no size depends on it.
READ = "_local_scalar_dense"


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the memory behind every tensor that an operation returns, as long as that lives.

    block: allocations are of so many bytes, or a multiple.
    """

    def __init__(self, block: int = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.block, self.bytes, self.peak = block, 0, 0
        self._there: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do an operation, and count what it allocates."""
        if func.overloadpacket.__name__ == READ:
            return False if args[0].dtype == torch.bool else 1
        result = func(*args, **(kwargs or {}))
        self.count(value for value in tree_leaves(result) if isinstance(value, Tensor))
        return result

    def count(self, tensors: Iterable[Tensor]) -> None:
        """Count the memory behind `tensors` as long as it lives, each piece once."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = id(storage)  # the object lives as long as its memory
            if key not in self._there:
                size = -(-storage.nbytes() // self.block) * self.block
                self._there.add(key)
                weakref.finalize(storage, self._gone, key, size)
                self.bytes += size
                self.peak = max(self.peak, self.bytes)

    def _gone(self, key: int, size: int) -> None:
        self._there.discard(key)
        self.bytes -= size


@contextlib.contextmanager
def without_numbers(block: int = 1) -> Iterator[tuple[Live, Callable[[Callable[[], Any]], int]]]:
    """Yield a counter, and a function that does work with it and returns the most bytes that were alive meanwhile.

    Tensors that are made in the block have shapes and no numbers.
    """
    live = Live(block)

    def peak(work: Callable[[], Any]) -> int:
        live.peak = live.bytes
        with live:
            work()
        return live.peak

    with torch_private.without_numbers():
        yield live, peak

"""How many different indices the inputs may hold, which an Embedding that gets them needs to know."""

from typing import TYPE_CHECKING

from torch import Tensor

from runner.data import _nests as nests

if TYPE_CHECKING:
    from runner.data import Data


def rows(data: "Data") -> list[int]:
    """Return a number for each tensor of the inputs in the order of `nests.leaves`; 0 where there is none.

    It is the size of the vocabulary that the data notes, or one more than the largest index of all parts in memory.
    """
    parts = [part.x for part in (data.train, data.valid, data.test) if part is not None and hasattr(part, "x")]
    if not parts or len(parts) < sum(part is not None for part in (data.train, data.valid, data.test)):
        parts = []
    leaves = list(zip(*(nests.leaves(x) for x in parts), strict=True))
    counts = [_most(tensors) for tensors in leaves]
    vocabulary = data.notes.get("vocabulary")
    return [max(len(vocabulary), counts[0])] if len(counts) == 1 and counts[0] and vocabulary else counts


def remembered(example: nests.Nest, rows: list[int]) -> nests.Nest:
    """Return a batch whose tensors remember these numbers, for the plan of a model."""
    for tensor, number in zip(nests.leaves(example), rows, strict=False):
        tensor.rows = number  # type: ignore[attr-defined]
    return example


def _most(tensors: tuple[Tensor, ...]) -> int:
    if any(one.is_meta or one.is_floating_point() or one.is_complex() or not one.numel() for one in tensors):  # unread
        return 0
    low, high = min(int(one.min()) for one in tensors), max(int(one.max()) for one in tensors)
    return high + 1 if low >= 0 else 0

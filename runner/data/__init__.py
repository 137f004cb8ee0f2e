"""What training needs to know of its data, and the batches in which it is read."""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]
Task = Literal["regression", "binary", "multiclass"]


@dataclass(frozen=True)
class Tensors:
    """Examples held in memory: `x` and `y` share their first dimension, the examples."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Batch:
        return self.x[index], self.y[index]

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "Tensors":
        """A copy on `device`; floating-point values become `dtype` if one is given."""
        return Tensors(_to(self.x, device, dtype), _to(self.y, device, dtype))


#: In memory, or a torch map-style dataset of (x, y) pairs that is read from disk as needed.
Source = Tensors | torch.utils.data.Dataset[Batch]


@dataclass(frozen=True)
class Data:
    """A training set, and as far as they exist a validation and a test set.

    task: "regression" (y holds numbers), "binary" or "multiclass" (y holds class indices, int64).
    classes: the classes' names in the order of their indices; empty for regression.
    notes: what was done to the data that a later user of the model must repeat, as plain values:
        e.g. {"features": [...], "mean": [...], "std": [...]} for a standardized table.
    """

    train: Source
    valid: Source | None = None
    test: Source | None = None
    task: Task = "regression"
    classes: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)


def batches(
    source: Source,
    size: int | None,
    *,
    epoch: int = 0,
    seed: int = 0,
    shuffle: bool = False,
    drop_last: bool = False,
    start: int = 0,
    workers: int = 0,
) -> Iterator[Batch]:
    """The batches of one epoch: a pure function of its arguments, whatever was drawn elsewhere.

    size: examples per batch; None: all of them in one.
    epoch, seed: choose the order when `shuffle` is true.
    start: how many batches to leave out at the beginning, so that an epoch can be continued.
    workers: DataLoader processes for a source that is not in memory.
    """
    total = len(source)  # type: ignore[arg-type]
    size = min(size or total, total)
    if isinstance(source, Tensors) and size == total:
        if start == 0:
            yield source.x, source.y
        return
    order = _order(total, seed, epoch) if shuffle else torch.arange(total)
    chunks = list(order.split(size))[start:]
    if drop_last and chunks and len(chunks[-1]) < size:
        chunks.pop()
    if isinstance(source, Tensors):
        for index in chunks:
            index = index.to(source.x.device)
            yield source.x[index], source.y[index]
    else:
        yield from _load(source, [chunk.tolist() for chunk in chunks], workers, seed, epoch)


def count(source: Source, size: int | None, drop_last: bool = False) -> int:
    """How many batches an epoch has."""
    total = len(source)  # type: ignore[arg-type]
    size = min(size or total, total)
    return total // size if drop_last else -(-total // size)


def split(
    total: int, valid: float, test: float, seed: int, strata: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Disjoint index tensors (train, valid, test) covering range(total), drawn from `seed`.

    valid, test: fractions of the whole, each rounded to whole examples.
    strata: a class per example; every class is then split in the same proportions, as nearly as whole
        examples allow.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = [torch.arange(total)] if strata is None else [(strata == c).nonzero().flatten() for c in strata.unique()]
    parts: tuple[list[Tensor], ...] = ([], [], [])
    debt = [0.0, 0.0]  # fractions of an example owed to valid and test by the groups so far
    for group in groups:
        group = group[torch.randperm(len(group), generator=generator)]
        sizes = []
        for i, fraction in enumerate((valid, test)):
            debt[i] += len(group) * fraction
            sizes.append(round(debt[i]))
            debt[i] -= sizes[-1]
        a, b = sizes[0], sizes[0] + sizes[1]
        for part, index in zip(parts, (group[b:], group[:a], group[a:b]), strict=True):
            part.append(index)
    train_index, valid_index, test_index = (torch.cat(part).sort().values for part in parts)
    return train_index, valid_index, test_index


def find(name: str) -> Any:
    """The data source `runner/data/<name>.py`, whose function has the file's name."""
    return getattr(importlib.import_module(f"{__name__}.{name}"), name) if name in names() else None


def names() -> list[str]:
    """The data sources that come with the package: one file each."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def _to(tensor: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(device, dtype if tensor.is_floating_point() else None)


def _order(total: int, seed: int, epoch: int) -> Tensor:
    # One generator per epoch: the order of epoch 7 can be had without drawing the six before it.
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(total, generator=generator)


def _load(source: Any, chunks: list[list[int]], workers: int, seed: int, epoch: int) -> Iterator[Batch]:
    # The loader draws a seed for its workers: from a generator of its own, so that the model's draws stay put.
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    loader = torch.utils.data.DataLoader(source, batch_sampler=chunks, num_workers=workers, generator=generator)
    for x, y in loader:
        yield x, y

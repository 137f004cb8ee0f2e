"""Data as training takes it: examples, their parts and their meaning, and the batches in which they are read."""

import importlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from runner.data import _nests as nests
from runner.data._items import Items
from runner.data._nests import Nest as Nest
from runner.data._order import chunks as chunks
from runner.data._order import count as count
from runner.data._order import order, whole_size
from runner.data._order import order_of as order_of
from runner.data._reading import Reader
from runner.data._splitting import split as split
from runner.data._streams import streamed
from runner.settings import EARLIER, Trainer, torch_private
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.values import lookup

#: Examples of a dataset that is not in memory, read at once for an evaluation where no number is configured.
FEW = 256

#: Bytes of batches that are picked from data in memory at once.
BLOCK = 2**18
#: Bytes of which addresses of torch's memory are multiples.
ALIGNED = 64

#: Inputs and targets; each a tensor, or a tuple, list or dict of tensors.
Batch = tuple[Nest, Nest]
Task = Literal["regression", "binary", "multiclass", "multilabel"]
Guess = Literal["decimals", "whole", "words"]


@dataclass(frozen=True)
class Tensors:
    """Examples held in memory.

    x: inputs, of shape (N, ...). y: targets, of shape (N, ...) with the same N. Each may be a tuple, list or dict of
    such tensors, {"image": a, "text": b}.
    Raises ConfigError where two of them differ in length.
    """

    x: Nest
    y: Nest

    def __post_init__(self) -> None:
        for name, part in (("x", self.x), ("y", self.y)):
            if not nests.is_nest(part):
                raise ConfigError("data", f"{name} is {nests.described(part)}; expected tensors, or some by name")
        inputs, targets = nests.length(self.x), nests.length(self.y, "y")
        if inputs != targets:
            raise ConfigError("data", f"x has {inputs} examples and y has {targets}; expected as many of both")

    def __len__(self) -> int:
        return len(self.x) if isinstance(self.x, Tensor) else nests.length(self.x)

    def __getitem__(self, index: int | Tensor | slice) -> Batch:
        return nests.picked(self.x, index), nests.picked(self.y, index)

    def whole(self, copies: bool = True) -> Iterator[Batch]:
        """Yield all examples in one batch, without end.

        copies: the inputs are a copy, made anew after something has written into it; False where nothing does.
        """
        while True:
            x = nests.mapped(Tensor.clone, self.x) if copies else self.x
            count = _writes(x)
            while _writes(x) == count:
                yield x, self.y
            assert copies, "a layer or a loss has written into the data"

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "Tensors":
        """Return the examples on `device`; floating-point values become `dtype` if one is given.

        What is there already, in this type, is not copied.
        """

        def there(t: Tensor) -> Tensor:
            return t.to(device, dtype if t.is_floating_point() else None)

        return Tensors(nests.mapped(there, self.x), nests.mapped(there, self.y))


#: In memory, or a torch map-style dataset of (x, y) pairs that is read from disk as needed. A dataset must give
#: the same pair for the same index every time, or continuing an interrupted run is not exact.
Source = Tensors | torch.utils.data.Dataset[Batch]


@dataclass(frozen=True)
class Data:
    """A training set, as far as they exist a validation and a test set, and what they mean.

    train, valid, test: `Tensors(x, y)`, or a torch map-style dataset of (x, y) pairs; None: there is no such set. x and
        y are tensors, or tuples, lists or dicts of tensors.
    task: "regression" (y holds numbers), "binary" or "multiclass" (y holds class indices, int64, or the classes'
        probabilities, float32 of shape (N, classes)) or "multilabel" (y holds 0 and 1 for every label, float32);
        "classification" becomes binary or multiclass by the number of classes, which without names are counted.
    classes: the classes' or labels' names in the order of their indices; empty for regression.
    notes: what was done to the data and has to be done to the inputs of the trained model too, as plain values:
        e.g. {"features": [...], "mean": [...], "std": [...]} for a standardized table.
    report: lines for people on how the source has read its files: first a summary, which counts and names what was left
        out, then a line for each column or folder.
    guess: what y holds in its file, where the task was taken from that and not from a setting: "decimals", "whole"
        (numbers) or "words" (text, true and false). The loss may decide otherwise.
    ignored: the class index of targets that the loss leaves out, and so do metrics and plots; set from the loss.
    target: where a dataset's items are dicts or larger tuples: the target's name or place, or a list of several;
        None once it is applied.
    places: where the examples of `valid` are among all of the source, int64, if they are a fold (`data.folds`).
    length: the examples of an epoch where `train` is a stream, a torch IterableDataset; {"train": n, "valid": m} for
        streams in several parts. Each pass begins the stream anew.
    Raises ConfigError for an unknown task, an empty set, a stream of unknown length, and a classification whose classes
        cannot be counted.

    A data source is a function that returns one:

        def spirals(points: int = 500, seed: int = 0) -> Data:
            x, y = ...  # float32 of shape (points, 2), int64 of shape (points,)
            return Data(Tensors(x[100:], y[100:]), valid=Tensors(x[:100], y[:100]), task="classification")
    """

    train: Source
    valid: Source | None = None
    test: Source | None = None
    task: Any = (
        "regression"  # of several targets a task for each name, {"digit": "classification", "age": "regression"}
    )
    classes: Any = ()  # of several targets likewise, {"digit": ("0", "1")}
    notes: dict[str, Any] = field(default_factory=dict)
    report: tuple[str, ...] = ()
    guess: Guess | None = None
    ignored: Any = None
    places: Tensor | None = None
    target: Any = None
    length: int | dict[str, int] | None = None

    def __post_init__(self) -> None:
        for task in self.task.values() if isinstance(self.task, dict) else [self.task]:
            if task not in (*get_args(Task), "classification"):
                hint = did_you_mean(str(task), get_args(Task))
                raise ConfigError("data", f"Data(task={task!r}) is not one of {', '.join(get_args(Task))}{hint}")
        for part in ("train", "valid", "test"):
            object.__setattr__(self, part, streamed(getattr(self, part), self.length, part))
        for part in ("train", "valid", "test") if self.target is not None else ():
            if (source := getattr(self, part)) is not None and not isinstance(source, Tensors | Items):
                object.__setattr__(self, part, Items(source, self.target))
        object.__setattr__(self, "target", None)  # whose items are pairs now, in a copy of this, too
        for part in ("train", "valid", "test"):
            source = getattr(self, part)
            if source is not None and len(source) == 0:
                raise ConfigError("data", f"the {part} set has no examples; expected at least one, or no {part} set")
        one_target = not isinstance(self.train, Tensors) or isinstance(self.train.y, Tensor)
        if self.task == "classification" and one_target:  # of several, the loss of each is asked first
            object.__setattr__(self, "classes", tuple(self.classes) or _numbered(self))
            object.__setattr__(self, "task", "binary" if len(self.classes) == 2 else "multiclass")


def _numbered(data: Data) -> tuple[str, ...]:
    """Return names for the classes of targets in memory that are whole numbers from 0: `0`, `1`, ..."""
    sources = [source for source in (data.train, data.valid, data.test) if source is not None]
    targets = [source.y for source in sources if isinstance(source, Tensors) and isinstance(source.y, Tensor)]
    if len(targets) == len(sources) and all(y.shape[1:] == (1,) and bool(((y == 0) | (y == 1)).all()) for y in targets):
        return ("0", "1")
    held = [y[y != -100] for y in targets]  # which torch's losses leave out
    if len(targets) < len(sources) or any(y.is_floating_point() or not y.numel() or y.min() < 0 for y in held):
        raise ConfigError(
            "data",
            "Data(task='classification') has no classes, and they cannot be counted; expected their names,"
            " Data(..., classes=('cat', 'dog')), or targets of int64 from 0",
        )
    return tuple(map(str, range(int(max(y.max() for y in held)) + 1)))


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
    copies: bool = True,
) -> Iterator[Batch]:
    """Yield the batches of one epoch: pairs (x, y) of at most `size` examples, on the source's device.

    A pure function of its arguments: nothing drawn elsewhere changes it, and it draws from no generator but its own.

        for x, y in batches(data.train, 32, epoch=3, seed=0, shuffle=True): ...

    size: examples per batch; None, or more than there are: all of them in one, in their own order.
    epoch, seed: choose the order when `shuffle` is true.
    drop_last: leave out a last batch of fewer than `size` examples.
    start: the number of batches to leave out at the beginning, so that an epoch can be continued.
    workers: DataLoader processes for a source that is not in memory.
    copies: see Tensors.whole.
    """
    total = len(source)  # type: ignore[arg-type]
    size = whole_size(size, total)
    if isinstance(source, Tensors) and size == total:
        yield from itertools.islice(source.whole(copies), 1 if start == 0 else 0)
        return
    if isinstance(source, Tensors):
        indices = order(total, size, epoch, seed, shuffle, drop_last)[start * size :].to(
            nests.leaves(source.x)[0].device
        )
        for index in torch.split(indices, size * at_once(source, size, copies)) if len(indices) else ():
            picked = (nests.split(nests.picked(part, index), size) for part in (source.x, source.y))
            yield from zip(*picked, strict=True)
        return
    reader = Reader(source, workers)
    try:
        coming = chunks(total, size, epoch=epoch, seed=seed, shuffle=shuffle, drop_last=drop_last, start=start)
        yield from reader.read(coming)
    finally:
        reader.close()


def at_once(source: Tensors, size: int, copies: bool) -> int:
    """Return the number of batches of `size` examples that are picked from `source` together, at least 1.

    It is 1 where a batch is written into, as autograd counts writes by memory, and where a batch of several would begin
    at another address than memory of its own could: a product may add up in another order there.
    """
    parts = [*nests.leaves(source.x), *nests.leaves(source.y)]
    bytes_ = [size * part[:1].numel() * part.element_size() for part in parts]
    return 1 if copies or any(one % ALIGNED for one in bytes_) else max(1, BLOCK // max(1, sum(bytes_)))


def evaluation_size(source: Source, trainer: Trainer) -> int | None:
    """Return the number of examples of a batch of `source` that nothing is trained on; None: all."""
    in_memory, size = isinstance(source, Tensors), trainer.eval_batch_size or trainer.batch_size
    if size == EARLIER:
        size = max(trainer.batch_size, FEW) if in_memory and trainer.batch_size else trainer.batch_size
    return size if size or in_memory else FEW


def labels_of(y: Tensor, task: str) -> Tensor:
    """Return the class of every example, or 0 and 1 for every label, as int64: of probabilities, the most probable.

    y: targets as `Data` describes them. task: of the data.
    """
    if not y.is_floating_point():
        return y.long()
    if task == "multiclass" and y.dim() == 1:
        return y.long()
    if task == "multiclass" or (task == "binary" and y.dim() == 2 and y.shape[1] == 2):
        return y.argmax(1)
    return (y > 0.5).long()


def find(name: str) -> Any:
    """Return the data source `runner/data/<name>.py`, a function of the file's name; None where there is none."""
    return getattr(importlib.import_module(f"{__name__}.{name}"), name) if name in names() else None


def names() -> list[str]:
    """Return the names of the data sources that come with the package: one file each."""
    return lookup.modules(__path__)


def _writes(nest: Nest) -> int:
    return sum(map(torch_private.writes, nests.leaves(nest)))

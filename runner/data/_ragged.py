"""Examples of unequal length, and `data.collate`: what makes a batch of a list of examples."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from runner.data import Data, Tensors, nests
from runner.data._datasets import PARTS, class_names, tensor
from runner.data._streams import innermost
from runner.settings import random_state
from runner.settings.errors import ConfigError, did_you_mean, labelled
from runner.settings.values import lookup
from runner.settings.values.lookup import Kind

KEY = "data.collate"


def pad(items: list[Any], padding: float = 0, targets: float | None = None, lengths: bool = False) -> Any:
    """Return a batch (x, y) of examples that are filled up at their ends to the longest of them.

    padding: the number that x is filled up with. targets: the same of y; None: -100 for whole numbers, which losses of
        classes leave out; numbers with a decimal point are refused, since nothing says that they do not count.
    lengths: x becomes {values, lengths}, or gets name_lengths for each of its tensors: the first size of each example.
    """
    x, y = ([item[part] for item in items] for part in (0, 1))
    batch = nests.mapped(lambda *leaves: _filled(leaves, padding), *x)
    if lengths:
        batch = _with_lengths(batch, x)
    return batch, nests.mapped(lambda *leaves: _filled(leaves, targets, "y"), *y)


#: What `data.collate` may name.
COLLATE = Kind(
    "a collate",
    (__name__,),
    lambda v: v is pad or ((inspect.isfunction(v) or inspect.isclass(v)) and lookup.is_users(v)),
)


@dataclass(frozen=True)
class Collate:
    """A function of a list of examples that returns their batch (x, y).

    own: it is the user's, and gets the examples as their dataset gives them.
    """

    function: Callable[[list[Any]], Any]
    own: bool


def resolve(value: Any) -> Collate | None:
    """Look up `data.collate`: a name, {name: {argument: value}} or {name: ..., argument: value}; None for null."""
    if value is None:
        return None
    spec = {"name": value} if isinstance(value, str) else value
    if isinstance(spec, dict) and len(spec) == 1 and "name" not in spec:
        [(name, arguments)] = spec.items()
        spec = {"name": name, **arguments} if isinstance(arguments, dict) else spec
    if not isinstance(spec, dict) or "name" not in spec:
        raise ConfigError(KEY, f"{value!r} is not understood; expected pad, or a function, as experiments.mine.collate")
    name, arguments = lookup.component(spec, KEY)
    if "." not in str(name) and name != pad.__name__:
        hint = did_you_mean(str(name), [pad.__name__])
        raise ConfigError(KEY, f"{name!r} is not pad, or a function of your own, as experiments.mine.collate{hint}")
    target = lookup.find(name, COLLATE, KEY)
    of_class = inspect.isclass(target)
    lookup.bind(target, arguments, KEY, free=[] if of_class else list(lookup.parameters(target))[:1])
    if of_class:
        return Collate(lookup.made(target, arguments, KEY), True)
    return Collate(partial(target, **arguments), target is not pad)


class Ragged(Dataset[Any]):
    """A dataset whose batches a collate makes; an example is the batch of it alone, without its first dimension."""

    COLLATES = True

    def __init__(self, inner: Any, collate: Collate) -> None:
        self.inner, self.collate = inner, collate

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        with random_state.started(0):  # what a collate draws for an example alone is in no batch
            x, y = self.batch([index])
        return nests.mapped(lambda leaf: leaf[0], x), nests.mapped(lambda leaf: leaf[0], y)

    def batch(self, indices: Sequence[int]) -> tuple[Any, Any]:
        """Return x and y of these examples. Raises ConfigError for what is no batch of as many."""
        items = [self.inner[index] for index in indices]
        try:
            made = self.collate.function(items)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(KEY, f"failed with {labelled(error)}") from error
        if not isinstance(made, tuple | list) or len(made) < 2:
            raise ConfigError(KEY, f"returned {nests.described(made)}; expected a pair (x, y) of a batch")
        *x, y = map(tensor, made)
        inputs = x[0] if len(x) == 1 else tuple(x)
        for name, leaf in nests.named((inputs, y)):
            if not leaf.dim() or len(leaf) != len(items):
                what = f"y{name[1:]}" if name[0] == "1" else f"x{name[1:]}"
                raise ConfigError(
                    KEY,
                    f"returned {what} of shape {tuple(leaf.shape)} for {len(items)} examples; expected the examples in"
                    " the first dimension of each tensor (pad in the place of offsets)",
                )
        return inputs, y


def collated(data: Data, collate: Collate) -> Data:
    """Return data whose batches the collate makes. Raises ConfigError where it has nothing to do."""
    if isinstance(data.train, Tensors) and not collate.own:
        raise ConfigError(KEY, "pad has nothing to fill up: the examples are in memory, and of one size; leave it out")
    sources = {part: source for part in PARTS if (source := getattr(data, part)) is not None}
    parts: dict[str, Any] = {part: Ragged(source, collate) for part, source in sources.items()}
    train = parts["train"]
    y = train[0][1]
    names = class_names(innermost(data.train))
    parts["notes"] = {**data.notes, "ragged": True}
    classes = isinstance(y, Tensor) and not y.dim() and not y.is_floating_point() and names
    if data.task == "regression" and not data.classes and classes:
        return replace(data, **parts, task="classification", classes=names)
    return replace(data, **parts)


def lined_up(batches: Sequence[Any]) -> Any:
    """Return the examples of all batches, filled up to the longest: with -100 whole numbers, with NaN others."""
    return nests.mapped(lambda *leaves: torch.cat(_alike(leaves)), *batches)


def _alike(leaves: Sequence[Tensor]) -> list[Tensor]:
    shape = [max(sizes) for sizes in zip(*(leaf.shape[1:] for leaf in leaves), strict=True)]
    fill = float("nan") if leaves[0].is_floating_point() else -100
    return [_grown(leaf, (len(leaf), *shape), fill) for leaf in leaves]


def _filled(leaves: Sequence[Tensor], fill: float | None, name: str = "x") -> Tensor:
    """Return one tensor of these, of equal numbers of dimensions and any sizes."""
    first = leaves[0]
    if all(leaf.shape == first.shape for leaf in leaves):
        return torch.stack(list(leaves))
    if len({leaf.dim() for leaf in leaves}) > 1:
        raise ConfigError(KEY, f"pad: {name} has examples of {_dims(leaves)} dimensions; expected as many of all")
    if fill is None and first.is_floating_point():
        raise ConfigError(
            KEY,
            "pad: targets of unequal length have decimal points, and nothing says that what they are filled up with"
            " does not count; give it, {pad: {targets: 0.0}}, or write a collate with a mask and a loss that reads it",
        )
    shape = [max(sizes) for sizes in zip(*(leaf.shape for leaf in leaves), strict=True)]
    return torch.stack([_grown(leaf, shape, -100 if fill is None else fill) for leaf in leaves])


def _grown(leaf: Tensor, shape: Sequence[int], fill: float) -> Tensor:
    if leaf.shape == torch.Size(shape):
        return leaf
    whole = leaf.new_full(tuple(shape), fill)
    whole[tuple(slice(size) for size in leaf.shape)] = leaf
    return whole


def _dims(leaves: Sequence[Tensor]) -> str:
    return " and ".join(str(dims) for dims in sorted({leaf.dim() for leaf in leaves}))


def _with_lengths(batch: Any, x: list[Any]) -> Any:
    if isinstance(batch, Tensor):
        return {"values": batch, "lengths": _lengths(x)}
    if not isinstance(batch, dict):
        raise ConfigError(KEY, "pad: lengths needs inputs with names; let the dataset give a dict")
    several = {name: [item[name] for item in x] for name in batch}
    further = {f"{name}_lengths": _lengths(each) for name, each in several.items() if _is_sequence(each[0])}
    return {**batch, **further}


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0


def _lengths(leaves: list[Tensor]) -> Tensor:
    return torch.tensor([len(leaf) if leaf.dim() else 1 for leaf in leaves])

"""Datasets whose items are no pairs (x, y): tuples of more tensors, and dicts, of which one or some are the targets."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from runner.data._nests import described
from runner.settings.errors import ConfigError, did_you_mean

#: Parts of an item that are no inputs or targets by themselves.
_UNCLEAR = (tuple, list, dict, str, bytes)
#: The names or places of the targets in an item.
Target = str | int | list[str] | list[int] | tuple[str, ...] | tuple[int, ...]


class Items(torch.utils.data.Dataset[Any]):
    """A dataset of pairs (x, y), made of the items of another one.

    inner: its items are tuples, lists or dicts of tensors; those of a named tuple or a dataclass go by their names.
    target: the name or place of the target in an item, or a list or tuple of several, which become a dict or a tuple.
        What is left is x: a single tensor, or a dict or tuple.
    """

    def __init__(self, inner: Any, target: Target) -> None:
        self.inner, self.target = inner, target
        self._names: list[Any] = list(target) if isinstance(target, list | tuple) else [target]

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return x and y of an item. Raises ConfigError for one without the target."""
        item = _by_name(self.inner[index])
        if hasattr(item, "_asdict") and not any(isinstance(name, int) for name in self._names):
            item = item._asdict()
        parts = dict(item) if isinstance(item, dict) else dict(enumerate(item))
        several = isinstance(self.target, list | tuple)
        names = [name + len(parts) if isinstance(name, int) and name < 0 else name for name in self._names]
        for name in names:
            if name not in parts:
                there = ", ".join(map(str, parts))
                raise ConfigError("data", f"Data(target={self.target!r}): an item of the dataset has {there}")
        y = {name: parts.pop(name) for name in names}
        named = isinstance(item, dict)
        left = parts if named else tuple(parts.values())
        x = next(iter(parts.values())) if len(parts) == 1 else left
        return x, (y if named else tuple(y.values())) if several else y[names[0]]


def _by_name(item: Any) -> Any:
    """Return the fields of a dataclass as a dict; another item as it is."""
    if not dataclasses.is_dataclass(item):
        return item
    return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}


def paired(source: Any, subject: str) -> tuple[Any, str]:
    """Return a dataset of pairs, and a line that says what was taken for x and y where the items are larger tuples.

    subject: the words before the name of its class in a message. Raises ConfigError for items that may mean anything.
    """
    item = _by_name(source[0])
    kind = type(source).__name__
    if isinstance(item, dict):
        raise ConfigError(
            "data.name",
            f"{subject}{kind} with items {described(item)}; say which is the target, Data(..., target="
            f"{list(item)[-1]!r})",
        )
    if isinstance(item, tuple | list) and len(item) > 2 and not any(isinstance(part, _UNCLEAR) for part in item):
        line = f"items of {len(item)} parts: the first {len(item) - 1} are the inputs, the last is the target"
        return Items(source, -1), line
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise ConfigError("data.name", f"{subject}{kind} without pairs of tensors (x, y)")
    return source, ""


def check_chosen(target: str, inputs: list[str], there: Sequence[str], kind: str) -> None:
    """Raise ConfigError for a target or an input that an item has not, and where nothing is left to predict from.

    there: the names of an item's parts. kind: of these, in the message, such as "column".
    """
    for key, names in (("data.target", [target]), ("data.inputs", inputs)):
        if wrong := [name for name in names if name not in there]:
            hint = did_you_mean(wrong[0], there)
            raise ConfigError(key, f"there is no {kind} {wrong[0]!r}{hint} (there are {', '.join(there)})")
    if not inputs or target in inputs:
        raise ConfigError("data.inputs", f"{inputs} leaves nothing to predict {target!r} from; name other {kind}s")

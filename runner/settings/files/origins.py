"""The file and line that set each key of a configuration."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from runner.settings.files import places
from runner.settings.values import short
from runner.settings.values.keys import COMPONENTS

#: Lists and layers, where the place of a key above is useful too: `Linear: 10` sets its out_features.
_DEEP = (("model", "layers"), ("metrics",), ("plots",))


class Origins:
    """Files in the order in which later ones override earlier ones, and the keys that the command line sets."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}
        self._typed: set[str] = set()

    def read(self, path: Path, package: str, values: Any = None) -> None:
        """Note the keys of a YAML file, which applies to `package` of the configuration.

        values: what is left of the file where some of its values are replaced; None: all.
        """
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=loader)
        if root is None:
            return
        for key, line, replaces in _keys(root, package):
            if values is not None and not _holds(values, key):
                continue
            if replaces:
                self._forget(key)
            if key:
                self._places[key] = f"{shown(path)}:{line}"

    def override(self, key: str) -> None:
        """Note a key that the command line sets, so that no file does any more."""
        self._typed.add(plain(key))
        self._forget(plain(key))

    def _forget(self, key: str) -> None:
        self._places = {k: v for k, v in self._places.items() if k != key and not k.startswith(f"{key}.")}

    def of(self, key: str) -> str:
        """Return `file.yaml:3`, or "" if no file sets the key."""
        words = plain(key).split(".")
        if any(".".join(words[:length]) in self._typed for length in range(1, len(words) + 1)):
            return ""
        if place := self._places.get(".".join(words)):
            return place
        if len(words) == 2 and words[0] in COMPONENTS and words[1] == "name":  # `loss: experiments.mine.Loss`
            return self._places.get(words[0], "")
        for root in _DEEP:
            if tuple(words[: len(root)]) == root:
                for length in range(len(words) - 1, len(root), -1):
                    if place := self._places.get(".".join(words[:length])):
                        return place
        return ""

    def below(self, key: str) -> list[str]:
        """Return the names directly below `key`."""
        start = f"{plain(key)}."
        return list(dict.fromkeys(k[len(start) :].partition(".")[0] for k in self._places if k.startswith(start)))


def plain(key: str) -> str:
    """Return `model.layers[0].Linear` as `model.layers.0.Linear`."""
    return re.sub(r"\[(\d+)\]", r".\1", key)


def shown(path: Path) -> str:
    """Return the path as a person would write it: relative to the working directory, or to where the package is."""
    for folder in (Path.cwd(), places.conf().parent):
        if path.is_relative_to(folder):
            return str(path.relative_to(folder))
    return str(path)


def _holds(values: Any, key: str) -> bool:
    """Return whether nested mappings and lists have a value at a key."""
    for name in key.split(".") if key else ():
        if isinstance(values, list) and name.isdecimal() and int(name) < len(values):
            values = values[int(name)]
        elif isinstance(values, dict) and any(str(other) == name for other in values):
            values = next(value for other, value in values.items() if str(other) == name)
        else:
            return False
    return True


def _keys(node: Any, key: str) -> Iterator[tuple[str, int, bool]]:
    """Yield each key with its line, and whether its value replaces the former one, as all but a mapping does."""
    yield key, node.start_mark.line + 1, not isinstance(node, yaml.MappingNode)
    if isinstance(node, yaml.MappingNode):
        layer = key == "model" and short.model({name.value: value.value for name, value in node.value})
        if layer:
            yield "model.layers", node.start_mark.line + 1, True
        for name, value in node.value:
            above = "model.layers.0" if layer and name.value not in short.MODEL else key
            below = f"{above}.{name.value}" if above else str(name.value)
            if not key and name.value in ("defaults", "hydra"):
                continue
            for inner, line, replaces in _keys(value, below):
                yield inner, (name.start_mark.line + 1 if inner == below else line), replaces
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _keys(value, f"{key}.{index}")

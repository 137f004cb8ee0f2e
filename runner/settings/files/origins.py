"""Where a configuration was said: the file and the line of each key."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from runner.settings.files import places

#: Lists and layers, where a place above that of the key is still of use: `Linear: 10` says its out_features.
_DEEP = (("model", "layers"), ("metrics",), ("plots",))


class Origins:
    """Files read in the order in which a later one overrides an earlier one."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}
        self._typed: set[str] = set()

    def read(self, path: Path, package: str) -> None:
        """Note every key of a YAML file, which applies to `package` of the configuration."""
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=loader)
        if root is None:
            return
        for key, line, replaces in _keys(root, package):
            if replaces:
                self._forget(key)
            if key:
                self._places[key] = f"{shown(path)}:{line}"

    def override(self, key: str) -> None:
        """The command line says this key, so that no file does any more."""
        self._typed.add(plain(key))
        self._forget(plain(key))

    def _forget(self, key: str) -> None:
        self._places = {k: v for k, v in self._places.items() if k != key and not k.startswith(f"{key}.")}

    def of(self, key: str) -> str:
        """`file.yaml:3`, or nothing if no file has said it."""
        words = plain(key).split(".")
        if any(".".join(words[:length]) in self._typed for length in range(1, len(words) + 1)):
            return ""
        if found := self._places.get(".".join(words)):
            return found
        for root in _DEEP:
            if tuple(words[: len(root)]) == root:
                for length in range(len(words) - 1, len(root), -1):
                    if found := self._places.get(".".join(words[:length])):
                        return found
        return ""

    def below(self, key: str) -> list[str]:
        """The names directly below `key`."""
        start = f"{plain(key)}."
        return list(dict.fromkeys(k[len(start) :].partition(".")[0] for k in self._places if k.startswith(start)))


def plain(key: str) -> str:
    """`model.layers[0].Linear` as `model.layers.0.Linear`."""
    return re.sub(r"\[(\d+)\]", r".\1", key)


def shown(path: Path) -> str:
    """The path as a person would say it: relative to where they are, or to where this package keeps its files."""
    for folder in (Path.cwd(), places.conf().parent):
        if path.is_relative_to(folder):
            return str(path.relative_to(folder))
    return str(path)


def _keys(node: Any, key: str) -> Iterator[tuple[str, int, bool]]:
    """Each key with its line; and whether its value replaces what was there, as all but a mapping does."""
    yield key, node.start_mark.line + 1, not isinstance(node, yaml.MappingNode)
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            below = f"{key}.{name.value}" if key else str(name.value)
            if not key and name.value in ("defaults", "hydra"):
                continue
            for inner, line, replaces in _keys(value, below):
                yield inner, (name.start_mark.line + 1 if inner == below else line), replaces
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _keys(value, f"{key}.{index}")

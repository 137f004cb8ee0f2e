"""Shards: .tar files whose members are the parts of examples, as WebDataset writes them, 000042.jpg and 000042.cls."""

import io
import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from runner.data import Data
from runner.data._held import divided
from runner.data._items import check_chosen
from runner.data._kept_files import digest
from runner.data._members import Example, examples, paths
from runner.settings.errors import ConfigError, did_you_mean, labelled

#: Endings of members that hold one whole number or one word, which are classes as targets.
WORDS = ("cls", "cls2", "id", "index", "inx", "txt", "text")
NUMPY, TORCH = ("npy",), ("pt", "pth")
#: Endings of members that hold Python objects, which can run code.
OBJECTS = ("pkl", "pickle", "pyd", "npz")


def shards(
    path: str | list[str] | None = None,
    target: str = "cls",
    inputs: str | list[str] | None = None,
    valid_path: str | list[str] | None = None,
    test_path: str | list[str] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    length: int | None = None,
    classes: list[str] | None = None,
    task: Literal["regression", "classification"] | None = None,
    seed: int = 0,
) -> Data:
    """Read .tar files: members of one name but for their ending are one example. Any example is read by its place.

    path: shards/train-{000..009}.tar, shards/*.tar, a folder, or a list of these. Not compressed.
    target: the ending of the member to predict: cls, or another whole number or word (txt), json, npy or pt.
    inputs: the endings of those to predict it from; of one x is a tensor, of several a dict. None: all others.
    valid_path, test_path: shards of these parts. valid, test: fractions of `path` where there are none, every class
        alike. seed: of that division; it is not the run's seed.
    length: the first so many examples of `path`; None: all of them.
    classes: the classes' names, where the targets are their numbers.
    task: "regression": whole numbers in the target are numbers.
    Raises ConfigError for shards that cannot be read, and for examples without one of these members.
    """
    parts = {"path": path, "valid_path": valid_path, "test_path": test_path}
    return _data(parts, target, inputs, (valid, test, seed), length, classes, task)


def again(noted: dict[str, Any], **arguments: Any) -> Data:
    """Read other shards with the classes of a recorded run. noted: what the run has noted of its data."""
    options: dict[str, Any] = {"path": None, "valid_path": None, "test_path": None, "target": "cls", "inputs": None}
    options |= {"valid": 0.15, "test": 0.15, "seed": 0, "length": None, "task": None, **arguments}
    parts = {key: options[key] for key in ("path", "valid_path", "test_path")}
    division = options["valid"], options["test"], options["seed"]
    names = list(noted["classes"]) or None
    task = "regression" if noted["task"] == "regression" else options["task"]
    return _data(parts, options["target"], options["inputs"], division, options["length"], names, task)


class Shards(Dataset[Any]):
    """Pairs of the members of shards. `targets` and `classes` are as torchvision's datasets have them.

    codes: value of the target -> class; None: the target is a number, or an array.
    """

    def __init__(self, examples: list[Example], inputs: list[str], target: str) -> None:
        self.examples, self.inputs, self.target = examples, inputs, target
        self.codes: dict[Any, int] | None = None
        self.targets: list[int] = []
        self.classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        x = {name: self.read(index, name) for name in self.inputs}
        y = self.targets[index] if self.codes is not None else self.read(index, self.target)
        return (x[self.inputs[0]] if len(x) == 1 else x), y

    def read(self, index: int, ending: str) -> Any:
        """Return what a member of an example holds. Raises ConfigError for one that is missing or cannot be read."""
        example = self.examples[index]
        if ending not in example.members:
            raise ConfigError(
                "data.target" if ending == self.target else "data.inputs",
                f"example {example.name!r} of {example.shard} has {', '.join(example.members)} and no {ending!r}"
                f"{did_you_mean(ending, list(example.members))}",
            )
        try:
            return decoded(example.read(ending), ending)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                "data.path", f"{example.name}.{ending} of {example.shard} cannot be read: {labelled(error)}"
            ) from error


def decoded(content: bytes, ending: str) -> Any:
    """Return what the bytes of a member stand for. Raises ConfigError for an ending that stands for nothing safe."""
    kind = ending.rpartition(".")[2].lower()
    if kind in WORDS:
        text = content.decode().strip()
        return int(text) if text.lstrip("-").isdigit() else text
    if kind == "json":
        return _numbers(json.loads(content), ending)
    if kind in NUMPY:
        return np.load(io.BytesIO(content), allow_pickle=False)
    if kind in TORCH:
        return torch.load(io.BytesIO(content), weights_only=True)
    if kind in OBJECTS:
        raise ConfigError(
            "data.path", f"holds members .{ending}, which may run code or unfold; save them as .npy or .pt"
        )
    return _picture(content)


def _numbers(value: Any, ending: str) -> Any:
    if isinstance(value, str | bool | int | float):
        return value
    array = np.asarray(value) if isinstance(value, list) else np.empty(0, object)
    if array.dtype.kind not in "biuf":
        raise ConfigError(
            "data.inputs", f"members .{ending} hold more than numbers; leave them out, or save .npy files"
        )
    return array


def _picture(content: bytes) -> Any:
    from PIL import Image

    from runner.data._images.image_file import readable_formats

    picture = Image.open(io.BytesIO(content), formats=readable_formats())
    picture.load()
    return picture


def _data(
    parts: dict[str, Any],
    target: str,
    inputs: str | list[str] | None,
    division: tuple[Any, float, int],
    length: int | None,
    classes: list[str] | None,
    task: str | None,
) -> Data:
    files = {key: paths(value, f"data.{key}") for key, value in parts.items() if value or key == "path"}
    found = {key: examples(places, f"data.{key}") for key, places in files.items()}
    total = len(found["path"])
    if length is not None and length > total:
        raise ConfigError("data.length", f"{length:,} is more than the {total:,} examples of the shards; leave it out")
    found["path"] = found["path"][:length]
    members = list(found["path"][0].members)
    target, chosen = target.removeprefix("."), [inputs] if isinstance(inputs, str) else inputs
    chosen = [
        name.removeprefix(".") for name in chosen or [name for name in members if name not in (target, "__key__")]
    ]
    check_chosen(target, chosen, members, "member")
    sets = {key: Shards(each, chosen, target) for key, each in found.items()}
    if task != "regression" and target.rpartition(".")[2].lower() in WORDS:
        _give_classes(sets, classes)
    flat = [place for places in files.values() for place in places]
    above = Path(os.path.commonpath([place.absolute().parent for place in flat]))
    notes = {"files": digest([place.absolute() for place in flat], above), "inputs": chosen, "target": target}
    valid, test, seed = division
    return divided(sets["path"], sets.get("valid_path"), sets.get("test_path"), valid, test, seed, notes)


def _give_classes(sets: dict[str, Shards], classes: list[str] | None) -> None:
    """Give each part the classes of its examples: the target holds their numbers, or their names."""
    values = {key: [one.read(i, one.target) for i in range(len(one))] for key, one in sets.items()}
    different = {value for each in values.values() for value in each}
    if all(isinstance(value, int) for value in different):
        most = len(classes) if classes else max(max(different) + 1, 2)
        names = tuple(map(str, classes or range(most)))
        if wrong := [value for value in different if not 0 <= value < most]:
            raise ConfigError("data.classes", f"the shards hold the class {wrong[0]}; expected 0 to {most - 1}")
        codes: dict[Any, int] = {value: value for value in different}
    else:
        names = tuple(classes or sorted(map(str, different)))
        if unknown := sorted(str(value) for value in different if str(value) not in names):
            raise ConfigError("data.classes", f"the shards hold {unknown[0]!r}, and the classes are {', '.join(names)}")
        codes = {value: names.index(str(value)) for value in different}
    for key, one in sets.items():
        one.codes, one.targets, one.classes = codes, [codes[value] for value in values[key]], names

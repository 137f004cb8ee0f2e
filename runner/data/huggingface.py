"""Hugging Face datasets on this machine: a folder of `save_to_disk`, or a .parquet, .csv or .json file of examples."""

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch.utils.data import Dataset

from runner.data import Data
from runner.data._files import existing
from runner.data._held import divided
from runner.data._items import check_chosen
from runner.data._kept_files import digest
from runner.settings.errors import ConfigError, labelled

#: The names that a dataset's parts have.
PARTS = {"train": ("train",), "valid": ("validation", "valid", "val", "dev"), "test": ("test",)}
READERS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json"}
EXAMPLE = "rows.parquet"


def huggingface(
    path: str | None = None,
    target: str | None = None,
    inputs: list[str] | str | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    task: Literal["regression", "classification"] | None = None,
) -> Data:
    """Read a dataset of the package `datasets`, without network. Numbers, lists of them and pictures become tensors.

    path: a folder that `save_to_disk` has written, or one file. The parts train, validation and test of a folder are
        taken as they are.
    target: the column to predict. Whole numbers, texts, true/false and ClassLabels are classes.
    inputs: the columns to predict it from; of one x is a tensor, of several a dict. None: all others. Numbers with a
        decimal point are float32 of shape (N, 1), whole ones int64 of shape (N,), as Embedding takes them.
    valid, test: fractions of the train part, where there is no such part; every class alike.
    seed: of that division; it is not the run's seed.
    task: "regression": whole numbers in the target are numbers.
    Raises ConfigError for columns that are not there, or hold what no tensor is made of.

        datasets.load_dataset("mnist").save_to_disk("data/mnist")  # where there is a network
    """
    return _data(path, target, inputs, valid, test, seed, task, None)


def again(noted: dict[str, Any], **arguments: Any) -> Data:
    """Read another dataset with the classes of a recorded run. noted: what the run has noted of its data."""
    usual = {"path": None, "target": None, "inputs": None, "valid": 0.15, "test": 0.15, "seed": 0, "task": None}
    return _data(**{**usual, **arguments}, names=tuple(noted["classes"]) or None)


class Rows(Dataset[Any]):
    """Pairs of the rows of a dataset. `targets` and `classes` are as torchvision's datasets have them.

    codes: value of the target -> class; None: the target is a number.
    """

    def __init__(self, rows: Any, inputs: list[str], target: str, codes: dict[Any, int] | None) -> None:
        self.rows, self.inputs, self.target, self.codes = rows, inputs, target, codes
        self.targets: list[int] = []
        self.classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        row = self.rows[index]
        x = {name: _value(row[name], name) for name in self.inputs}
        y = row[self.target]
        if self.codes is not None:
            return (x[self.inputs[0]] if len(x) == 1 else x), self.codes[y]
        number = float(y) if isinstance(y, bool | int | float) else _value(y, self.target)
        return (x[self.inputs[0]] if len(x) == 1 else x), number


def _data(
    path: str | None,
    target: str | None,
    inputs: list[str] | str | None,
    valid: Any,
    test: float,
    seed: int,
    task: str | None,
    names: tuple[str, ...] | None,
) -> Data:
    place = existing(path, "data.path", "a folder of save_to_disk, or a .parquet, .csv or .json file", EXAMPLE)
    parts = _parts(place, path or "")
    columns = list(parts["train"].column_names)
    if not target:
        raise ConfigError("data.target", f"missing; give the column to predict, of {', '.join(columns)}")
    chosen = [inputs] if isinstance(inputs, str) else [name for name in columns if name != target]
    chosen = inputs if isinstance(inputs, list) else chosen
    check_chosen(target, chosen, columns, "column")
    codes, classes = _classes(parts, target, task, names)
    pairs = {part: Rows(rows, chosen, target, codes) for part, rows in parts.items()}
    for one in pairs.values() if codes is not None else ():
        one.targets, one.classes = [codes[value] for value in one.rows[target]], classes  # type: ignore[index]
    files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
    notes = {"files": digest(files, place if place.is_dir() else place.parent), "inputs": chosen, "target": target}
    return divided(pairs["train"], pairs.get("valid"), pairs.get("test"), valid, test, seed, notes)


def _parts(place: Path, path: str) -> dict[str, Any]:
    """Return the rows of each part. Raises ConfigError for what is no dataset."""
    if place.is_file() and place.suffix not in READERS:
        raise ConfigError("data.path", f"{path!r} ends in {place.suffix!r}; expected {', '.join(READERS)}, or a folder")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read by the package as it is imported
    try:
        import datasets
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise
        raise ConfigError(
            "data.name", "the package datasets is not installed: pip install 'runner-torch[huggingface]'"
        ) from error
    datasets.disable_progress_bars()
    try:
        if place.is_file():
            return {"train": datasets.load_dataset(READERS[place.suffix], data_files=str(place), split="train")}
        read = datasets.load_from_disk(str(place))
    except Exception as error:
        raise ConfigError("data.path", f"{path!r} is no dataset that can be read: {labelled(error)}") from error
    if not isinstance(read, datasets.DatasetDict):
        return {"train": read}
    found = {part: next((read[name] for name in names if name in read), None) for part, names in PARTS.items()}
    if found["train"] is None:
        there = ", ".join(read)
        raise ConfigError("data.path", f"{path!r} has no part called train (there are {there}); name the folder of one")
    return {part: rows for part, rows in found.items() if rows is not None}


def _classes(
    parts: dict[str, Any], target: str, task: str | None, names: tuple[str, ...] | None
) -> tuple[dict[Any, int] | None, tuple[str, ...]]:
    """Return the class of each value of the target, and the classes' names; None and () for numbers."""
    feature = parts["train"].features[target]
    listed = getattr(feature, "names", None)  # of a ClassLabel
    values = [] if listed else [value for rows in parts.values() for value in rows.unique(target)]
    if None in values:
        raise ConfigError("data.target", f"{target} has rows without a value; leave them out before, by filter()")
    kinds = {type(value) for value in values}
    if task == "regression" or (task is None and not listed and not kinds <= {int, str, bool}):
        if listed or not kinds <= {int, float, bool, list}:
            raise ConfigError("data.task", f"regression, and {target} holds no numbers; leave it out")
        return None, ()
    found = list(range(len(listed))) if listed else sorted(set(values))
    called = tuple(listed) if listed else tuple(map(str, found))
    if names is None or listed:
        return {value: code for code, value in enumerate(found)}, called
    if unknown := [name for name in called if name not in names]:
        raise ConfigError("data", f"{target} is {unknown[0]!r} somewhere, and the model knows {', '.join(names)}")
    return {value: names.index(str(value)) for value in found}, names


def _value(value: Any, name: str) -> Any:
    """Return what a tensor can be made of. Raises ConfigError with the column's name for text and empty places."""
    if isinstance(value, list):
        try:
            array = np.asarray(value)
        except ValueError:
            array = np.empty(0, dtype=object)
        if array.dtype.kind in "biuf":
            return array
    if value is None or isinstance(value, str | list):
        kind = (
            "no value" if value is None else "text" if isinstance(value, str) else "lists that are no grid of numbers"
        )
        raise ConfigError(
            "data.inputs",
            f"{name} holds {kind} somewhere; expected numbers, lists of as many or pictures: turn it into these before,"
            " by the dataset's map(), or name the other columns",
        )
    return np.array([value], dtype=np.float32) if isinstance(value, float) else value

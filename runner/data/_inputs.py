"""Inputs of `runner predict`: an array, a table, a text or a folder of images, as a recorded run's model takes them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from runner.data import _nests as nests
from runner.data._files import existing
from runner.data._images.folder import heads, pictures, summary
from runner.data._images.image_file import decode, reason_against
from runner.data._nests import Nest
from runner.data._numpy import read_npy, read_npz
from runner.data._tables.raw import refuse_ending
from runner.data._values import Array
from runner.data._vocabulary import encode, split_up
from runner.data._vocabulary import read as read_text
from runner.settings.errors import ConfigError, batch_shape

#: Examples that go through the model at once.
BATCH = 1024
#: Images that are decoded at once.
IMAGES = 64


class Inputs(NamedTuple):
    """Batches of inputs as they were before the data source standardized them, in the order of `names`."""

    batches: Iterator[Nest]
    heading: str  # of the names: row | file
    names: list[str]
    remarks: str = ""  # files that were left out, and columns that are doubtful


def read(path: str, noted: dict[str, Any]) -> Inputs:
    """Return the examples at `path`: a file of arrays, a table, a text, an image or a folder of images.

    noted: what the run has noted of its data: `task`, `classes`, `notes` and `example`, its shape and type.
    Raises ConfigError for other inputs than the run was trained on.
    """
    what = "an .npy, .npz, .csv or .parquet file, a text, or a folder of images"
    place = existing(path, "inputs", what, "x.npy")
    if "vocabulary" in noted["notes"] and place.is_file() and place.suffix.lower() not in (".npy", ".npz"):
        return _text(place, noted["notes"])
    if place.suffix.lower() in (".csv", ".parquet") and place.is_file():
        return _rows(place, path, noted)
    if place.is_dir() or not reason_against(place):
        return _images(place, path, noted)
    if "columns" in noted["notes"] and place.suffix.lower() not in (".npy", ".npz"):
        refuse_ending(place, "inputs")
    if "shape" not in noted["example"]:
        return _several(place, path, noted)
    x = _fitting(_array(place), path, _as_long(noted["example"], noted))
    return Inputs(iter(torch.split(x, BATCH)), "row", list(map(str, range(len(x)))))


def _several(place: Path, path: str, noted: dict[str, Any]) -> Inputs:
    """Return inputs of several tensors, from the arrays of their names in an .npz file."""
    form = nests.of_form(noted["example"], 1, "meta")
    parts = dict(nests.named(form))
    if place.suffix.lower() != ".npz":
        takes = ", ".join(parts)
        raise ConfigError("inputs", f"{path!r} is one array, and the model takes {takes}; give an .npz file with these")
    arrays = read_npz(place, "inputs", list(parts), ())
    tensors = iter([_fitting(arrays[name], path, _as_long(nests.noted(one[0]), noted)) for name, one in parts.items()])
    x = nests.mapped(lambda one: next(tensors), form)
    return Inputs(nests.split(x, BATCH), "row", list(map(str, range(nests.length(x)))))


def _array(place: Path) -> Array:
    if place.suffix.lower() != ".npz":
        return read_npy(place, "inputs")
    others = ["y", "x_valid", "y_valid", "x_test", "y_test"]
    return read_npz(place, "inputs", ["x"], others, brief=others)["x"]


def _rows(place: Path, path: str, noted: dict[str, Any]) -> Inputs:
    from runner.data._tables.encoding import encode as encode_rows
    from runner.data._tables.encoding import is_coded, numbers, read_recorded
    from runner.data._tables.frame import naming_file
    from runner.data._windows import sort_by_time

    notes = noted["notes"]
    if "features" not in notes or "size" in notes:
        raise ConfigError("inputs", f"{path!r} is a table, and the run was not trained on one: give {_kind(noted)}")
    frame = sort_by_time(read_recorded(place, "inputs", noted), notes.get("time"), "inputs")
    with naming_file(place):
        x = (
            encode_rows(frame, notes, "inputs")
            if is_coded(notes)
            else torch.from_numpy(numbers(frame, notes, "inputs"))
        )
    if "window" in notes:
        return _series(x, notes)
    doubts = "; ".join(f"column {name!r} {words}" for name, words in frame.attrs.get("swallowed", {}).items())
    return Inputs(nests.split(x, BATCH), "row", list(map(str, range(len(frame)))), doubts)


def _images(place: Path, path: str, noted: dict[str, Any]) -> Inputs:
    notes = noted["notes"]
    if not {"size", "channels"} <= notes.keys():
        what = "a folder" if place.is_dir() else "an image"
        raise ConfigError("inputs", f"{path!r} is {what}, and the run was not trained on images: give {_kind(noted)}")
    files, left_out = pictures(place) if place.is_dir() else ([place], [])
    others = f"left out: {summary(left_out)}" if left_out else ""
    if not files:
        raise ConfigError("inputs", f"{path!r} holds no image, such as .jpg, .png or .webp; {others or 'it is empty'}")
    names = [file.relative_to(place).as_posix() if place.is_dir() else file.name for file in files]
    height, width = notes["size"]
    with _as_inputs():
        heads(files)

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(files), IMAGES):
            part = files[start : start + IMAGES]
            with _as_inputs():
                x = torch.stack([decode(file, (height, width), notes["channels"]) for file in part])
            yield x

    return Inputs(batches(), "file", names, others)


def _series(rows: Tensor, notes: dict[str, Any]) -> Inputs:
    """Return every window of a series, each named by its last row: the last is followed by rows that are not there."""
    from runner.data._windows import inputs

    window = notes["window"]
    if len(rows) < window:
        raise ConfigError("inputs", f"has {len(rows):,} rows; expected at least {window}, what the model looks back on")
    x = inputs(rows, window)
    return Inputs(iter(torch.split(x, BATCH)), "last row", list(map(str, range(window - 1, len(rows)))))


def _text(place: Path, notes: dict[str, Any]) -> Inputs:
    """Return the windows of a text, one after the other; the last ends with the text and may overlap the one before."""
    numbers = encode(split_up(read_text(place, "inputs"), notes["tokens"], notes["lower"]), notes, "inputs")
    length = min(notes["length"], len(numbers))
    starts = [*range(0, len(numbers) - length, length), len(numbers) - length]
    x = numbers[torch.tensor(starts).unsqueeze(1) + torch.arange(length)]
    return Inputs(iter(torch.split(x, BATCH)), "token", list(map(str, starts)))


@contextlib.contextmanager
def _as_inputs() -> Iterator[None]:
    """Give errors the key `inputs`: files that cannot be read are not of the data that the run was trained on."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError("inputs", str(error).removeprefix(f"{error.key}: ")) from error


def _kind(noted: dict[str, Any]) -> str:
    """Return words for the inputs that the run was trained on."""
    if "vocabulary" in noted["notes"]:
        return "a text, or an .npy file of tokens' numbers"
    if "features" in noted["notes"]:
        return "a .csv or .parquet file with its columns, or an .npy file"
    folder = "a folder of images, or " if {"size", "channels"} <= noted["notes"].keys() else ""
    return f"{folder}an .npy file of {batch_shape(noted['example']['shape'])}"


def _as_long(example: dict[str, Any], noted: dict[str, Any]) -> dict[str, Any]:
    """Return the form of an example, with a mark if examples are of unequal length."""
    return {**example, "ragged": noted["notes"].get("ragged", False)}


def _fitting(x: Array, name: str, example: dict[str, Any]) -> Tensor:
    """Return the array as the model's input. Raises ConfigError when its shape or its numbers are others."""
    expected = tuple(example["shape"])
    floating = example["dtype"].startswith("float")
    alike = len(x.shape) == len(expected) + 1 if example.get("ragged") else x.shape[1:] == expected
    if not alike or not x.shape:
        remedy = "; for a single example save x[None]" if x.shape == expected else ""
        raise ConfigError(
            "inputs", f"{name!r} has the shape {x.shape}; the run was trained on {batch_shape(expected)}{remedy}"
        )
    if x.dtype.kind not in ("fiub" if floating else "iu"):
        words = "numbers" if floating else "whole numbers"
        raise ConfigError("inputs", f"{name!r} holds {x.dtype}; the run was trained on {words}: x.astype(...)")
    if not len(x):
        raise ConfigError("inputs", f"{name!r} holds no examples; expected at least one")
    if floating and not np.isfinite(x).all():
        place = list(map(int, np.argwhere(~np.isfinite(x))[0]))
        raise ConfigError("inputs", f"{name!r} holds {x[tuple(place)]} at {place}; expected finite numbers")
    # Standardization is done in double precision, as in training.
    return torch.from_numpy(x.astype("float64" if floating else "int64"))

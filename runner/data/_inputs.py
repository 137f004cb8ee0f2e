"""What `runner predict` is given: an array, a table or a folder of images, as the model of a recorded run wants it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from runner.data._files import existing
from runner.data._images.folder import heads, pictures, summary
from runner.data._images.image_file import decode, reason_against
from runner.data._numpy import read_npy, read_npz
from runner.data._tables.raw import refuse_ending
from runner.data._values import Array
from runner.settings.errors import ConfigError

#: Examples that go through the model at once.
BATCH = 1024
#: Images that are decoded at once.
IMAGES = 64


class Inputs(NamedTuple):
    """Batches of inputs as they were before the data source standardized them, in the order of `names`."""

    batches: Iterator[Tensor]
    heading: str  # what the names are: row | file
    names: list[str]
    said: str = ""  # what was left out, or is doubtful


def read(path: str, noted: dict[str, Any]) -> Inputs:
    """The examples at `path`: an .npy or .npz file, a .csv or .parquet file, an image, or a folder of images.

    noted: what the run has noted of its data. Raises ConfigError for other inputs than the run was trained on.
    """
    what = "an .npy, .npz, .csv or .parquet file, or a folder of images"
    found = existing(path, "inputs", what, "x.npy")
    if found.suffix.lower() in (".csv", ".parquet") and found.is_file():
        return _rows(found, path, noted)
    if found.is_dir() or not reason_against(found):
        return _images(found, path, noted)
    if "columns" in noted["notes"] and found.suffix.lower() not in (".npy", ".npz"):
        refuse_ending(found, "inputs")
    x = _fitting(_array(found), path, noted["example"])
    return Inputs(iter(torch.split(x, BATCH)), "row", list(map(str, range(len(x)))))


def _array(found: Path) -> Array:
    if found.suffix.lower() != ".npz":
        return read_npy(found, "inputs")
    others = ["y", "x_valid", "y_valid", "x_test", "y_test"]
    return read_npz(found, "inputs", ["x"], others, brief=others)["x"]


def _rows(found: Path, path: str, noted: dict[str, Any]) -> Inputs:
    from runner.data._tables.encoding import numbers, read_recorded
    from runner.data._tables.frame import naming_file

    notes = noted["notes"]
    if "features" not in notes or "size" in notes:
        raise ConfigError("inputs", f"{path!r} is a table, and the run was not trained on one: give {_kind(noted)}")
    frame = read_recorded(found, "inputs", noted)
    with naming_file(found):
        x = torch.from_numpy(numbers(frame, notes, "inputs"))
    said = "; ".join(f"column {name!r} {words}" for name, words in frame.attrs.get("swallowed", {}).items())
    return Inputs(iter(torch.split(x, BATCH)), "row", list(map(str, range(len(x)))), said)


def _images(found: Path, path: str, noted: dict[str, Any]) -> Inputs:
    notes = noted["notes"]
    if not {"size", "channels"} <= notes.keys():
        what = "a folder" if found.is_dir() else "an image"
        raise ConfigError("inputs", f"{path!r} is {what}, and the run was not trained on images: give {_kind(noted)}")
    files, left_out = pictures(found) if found.is_dir() else ([found], [])
    others = f"left out: {summary(left_out)}" if left_out else ""
    if not files:
        raise ConfigError("inputs", f"{path!r} holds no image, such as .jpg, .png or .webp; {others or 'it is empty'}")
    names = [file.relative_to(found).as_posix() if found.is_dir() else file.name for file in files]
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


@contextlib.contextmanager
def _as_inputs() -> Iterator[None]:
    """Files that cannot be read are those of `inputs`, not of the data that the run was trained on."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError("inputs", str(error).removeprefix(f"{error.key}: ")) from error


def _kind(noted: dict[str, Any]) -> str:
    if "features" in noted["notes"]:
        return "a .csv or .parquet file with its columns, or an .npy file"
    folder = "a folder of images, or " if {"size", "channels"} <= noted["notes"].keys() else ""
    return f"{folder}an .npy file of {_shape(noted['example']['shape'])}"


def _shape(shape: list[int]) -> str:
    return "(" + ", ".join(["N", *map(str, shape)]) + ("," if not shape else "") + ")"


def _fitting(given: Array, name: str, example: dict[str, Any]) -> Tensor:
    """The array as the model's input; ConfigError when its shape or its numbers are others."""
    wanted, found = tuple(example["shape"]), given.shape
    floating = example["dtype"].startswith("float")
    if found[1:] != wanted or not found:
        remedy = "; for a single example save x[None]" if found == wanted else ""
        raise ConfigError(
            "inputs", f"{name!r} has the shape {found}; the run was trained on {_shape(example['shape'])}{remedy}"
        )
    if given.dtype.kind not in ("fiub" if floating else "iu"):
        words = "numbers" if floating else "whole numbers"
        raise ConfigError("inputs", f"{name!r} holds {given.dtype}; the run was trained on {words}: x.astype(...)")
    if not len(given):
        raise ConfigError("inputs", f"{name!r} holds no examples; expected at least one")
    if floating and not np.isfinite(given).all():
        place = list(map(int, np.argwhere(~np.isfinite(given))[0]))
        raise ConfigError("inputs", f"{name!r} holds {given[tuple(place)]} at {place}; expected finite numbers")
    # Standardization is done in double precision, as in training.
    return torch.from_numpy(given.astype("float64" if floating else "int64"))

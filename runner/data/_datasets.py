"""Datasets as people have them: pairs of numbers, arrays and pictures become tensors."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from runner.data import Data, Tensors, nests
from runner.data._streams import innermost
from runner.settings.errors import ConfigError, labelled

PARTS = ("train", "valid", "test")


class Converted(Dataset[Any]):
    """A dataset whose pairs hold numbers, NumPy arrays or pictures: tensors are made of them, one pair at a time."""

    def __init__(self, inner: Any, vectors: bool = False) -> None:
        self.inner, self.vectors = inner, vectors

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        x, y = self.inner[index]
        return tensor(x, self.vectors), tensor(y, self.vectors)


def converted(data: Data, vectors: bool = False) -> Data:
    """Return data whose datasets give pairs of tensors; classes come from a dataset's `classes` or `targets`.

    vectors: a list of numbers is one tensor, as long as the list; else a nest of as many.
    Raises ConfigError for a dataset whose examples are no pairs, or hold what no tensor is made of.
    """
    parts = {part: _converted(getattr(data, part), part, vectors) for part in PARTS}
    if all(parts[part] is getattr(data, part) for part in PARTS):
        return data
    x, y = map(shown_kind, parts["train"].inner[0]) if isinstance(parts["train"], Converted) else ("", "")
    line = f"pairs of {x} and {y} are read as tensors" if x else "pairs are read as tensors"
    data = replace(data, **parts, report=(*data.report, line))
    whole = isinstance(y, str) and y == "a whole number"
    if data.task != "regression" or data.classes or not whole:
        return data
    names = class_names(innermost(data.train))
    if not names:
        return data
    return replace(data, task="classification", classes=names)


def tensor(value: Any, vectors: bool = False) -> Any:
    """Return a tensor of a number, a NumPy array or a picture; a nest of such as a nest of tensors.

    Whole numbers and truth values become int64, numbers with a decimal point float32. A picture becomes float32 of
    shape (channels, height, width), 0 to 1. Raises ConfigError for anything else.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, bool | int | np.bool_ | np.integer):
        return torch.tensor(int(value))
    if isinstance(value, float | np.floating):
        return torch.tensor(float(value), dtype=torch.float32)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        made = torch.from_numpy(np.ascontiguousarray(value))
        return made.float() if value.dtype.kind == "f" else made if value.dtype == np.uint8 else made.long()
    if hasattr(value, "getbands") and hasattr(value, "convert"):  # a picture of Pillow
        return _pixels(value)
    if isinstance(value, dict) and value:
        return {key: tensor(part, vectors) for key, part in value.items()}
    if vectors and isinstance(value, list) and all(isinstance(part, bool | int | float) for part in value):
        decimal = any(isinstance(part, float) for part in value)
        return torch.tensor(value, dtype=torch.float32 if decimal else torch.int64)
    if isinstance(value, tuple | list) and value:
        parts = [tensor(part, vectors) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    raise ConfigError(
        "data",
        f"an example holds {shown_kind(value)}; expected tensors, numbers, NumPy arrays or pictures: convert it in the"
        " dataset's __getitem__",
    )


def _pixels(picture: Any) -> Tensor:
    if picture.mode not in ("L", "RGB", "RGBA"):
        picture = picture.convert("L" if picture.mode in ("1", "I", "I;16", "F") else "RGB")
    pixels = np.asarray(picture, dtype=np.float32)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(pixels)) / 255


def _converted(source: Any, part: str, vectors: bool) -> Any:
    if vectors and isinstance(source, Converted):
        return Converted(source.inner, vectors)
    if source is None or isinstance(source, Tensors | Converted) or not isinstance(source, Dataset):
        return source
    try:
        pair = source[0]
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError("data", f"the first example of the {part} set cannot be read: {labelled(error)}") from error
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        return source  # which is refused, or read by the names of its parts
    return source if all(map(nests.is_nest, pair)) else Converted(source, vectors)


def shown_kind(value: Any) -> str:
    """Return words for what an example holds in one place."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, bool | int | np.bool_ | np.integer):
        return "a whole number"
    if isinstance(value, float | np.floating):
        return "a number"
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    if hasattr(value, "getbands"):
        return f"a picture ({value.mode}, {value.size[0]}x{value.size[1]}), 0 to 1,"
    return f"a {type(value).__name__}"


def class_names(source: Any) -> tuple[str, ...]:
    """Return the names in a dataset's `classes`, or the numbers up to the largest of its `targets`; () without both."""
    while hasattr(source, "dataset") and not hasattr(source, "classes"):  # a Subset
        source = source.dataset
    names = getattr(source, "classes", None)
    if isinstance(names, list | tuple) and len(names) > 1:
        return tuple(map(str, names))
    targets = getattr(source, "targets", None)
    if targets is None or not len(targets):
        return ()
    return tuple(map(str, range(int(torch.as_tensor(np.asarray(targets)).max()) + 1)))

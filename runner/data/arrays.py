"""Arrays of one's own: `x` and `y` in an .npz file, or in two .npy files."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from runner.data import Data, Tensors
from runner.data._files import file
from runner.data._folds import refuse
from runner.data._mapped import Mapped, is_mapped
from runner.data._numpy import read_npy, read_npz
from runner.data._parts import divide, parts
from runner.data._targets import guess, strata, targets
from runner.data._values import Array, Values, column, kind
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.files import filenames

PARTS = {"train": ("x", "y"), "valid": ("x_valid", "y_valid"), "test": ("x_test", "y_test")}
EXAMPLE = "xy.npz, or data.x=x.npy data.y=y.npy"


def arrays(
    path: str | None = None,
    x: str | dict[str, str] | None = None,
    y: str | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    task: Literal["regression", "classification", "multilabel"] | None = None,
    classes: list[str] | None = None,
    indices: bool | list[str] | None = False,
    mmap: bool | None = None,
) -> Data:
    """Read arrays: x as float32 of shape (N, ...); y, classes as int64, or numbers as float32.

    path: an .npz file with the arrays x and y, and x_valid, y_valid, x_test, y_test as far as they exist.
    x, y: two .npy files, instead of `path`. All paths are relative to the working directory. A plain list of N numbers
        becomes (N, 1). Values keep their scale: divide pixels by 255 before you save them. x may be several files by
        name, {image: image.npy, text: text.npy}, as the inputs of a model are.
    valid, test: fractions of x and y, from every class alike; unused for a part that the file holds.
    seed: chooses which examples go where; it is not the run's seed.
    task: None: y with a decimal point means regression; whole numbers, true/false and text mean classes, which
        are numbered from 0 in sorted order over all parts. y of shape (N, ...) has a class for each place: of a pixel,
        (N, H, W), or of a word, (N, length). "multilabel": y of shape (N, labels) has a 0 or 1 for each label.
    classes: the classes' names; text in y is looked up here, and whole numbers in y are indices of this list.
    indices: x holds whole numbers that stay whole (int64), for a model that begins with Embedding; of several inputs
        the names of those that do. null: false.
    mmap: x.npy is mapped, and its examples are read as they are needed, instead of all into memory: the same numbers.
        None: where it is larger than 4 GiB.
    Raises ConfigError when a file is missing, unreadable, holds Python objects, values that are not finite or lengths
    that do not match, and when a fraction is not one.

        numpy.savez("xy.npz", x=pixels / 255, y=labels)  # then: runner data=arrays data.path=xy.npz
    """
    if isinstance(x, dict):
        rest = {"path": path, "y": y, "valid": valid, "test": test, "seed": seed, "task": task, "classes": classes}
        return _several(arrays, x, indices, {**rest, "mmap": is_mapped(x, mmap)})
    pairs, inputs = _opened(path, x, y, indices, mmap)
    return _data(pairs, inputs, valid, test, seed, task, classes)


def brief(
    path: str | None = None,
    x: Any = None,
    y: str | None = None,
    indices: Any = False,
    mmap: bool | None = None,
    **further: Any,
) -> Data:
    """Read arrays as `arrays` does, without the inputs, which have a shape and a type on the meta device, no values.

    Indices are read: how many different ones there are says how many rows an Embedding has.
    """
    if isinstance(x, dict):
        return _several(brief, x, indices, {"path": path, "y": y, "mmap": is_mapped(x, mmap), **further})
    pairs, inputs = _opened(path, x, y, indices, mmap, brief=True)
    return _data(pairs, inputs, **{"valid": 0.15, "test": 0.15, "seed": 0, "task": None, "classes": None, **further})


def again(noted: dict[str, Any], **arguments: Any) -> Data:
    """Read another file's examples with the classes of a recorded run, of which it may hold some only.

    noted: what the run has noted of its data. arguments: those of `arrays`.
    """
    options = {"valid": 0.15, "test": 0.15, "seed": 0, "classes": None, "indices": False, **arguments}
    if isinstance(options.get("x"), dict):
        rest = {name: value for name, value in options.items() if name not in ("x", "indices")}
        return _several(partial(again, noted), options["x"], options["indices"], rest)
    path, x, y = (options.get(name) for name in ("path", "x", "y"))
    pairs, inputs = _opened(path, x, y, options["indices"], options.get("mmap"))
    of_noted = noted["task"] if noted["task"] in ("regression", "multilabel") else "classification"
    task = options.get("task") or ("classification" if of_noted == "multilabel" and _are_decimal(pairs) else of_noted)
    names = options["classes"]
    if task == "multilabel":
        names = names or list(noted["classes"])
    elif noted["classes"] and not names and all(_are_classes(y.array) for _, y in pairs.values()):
        names = list(noted["classes"])
        pairs = {part: (x, y._replace(array=_as_text(y.array))) for part, (x, y) in pairs.items()}
    return _data(pairs, inputs, options["valid"], options["test"], options["seed"], task, names)


def _opened(
    path: Any, x: Any, y: Any, indices: Any, mmap: Any, brief: bool = False
) -> tuple[dict[str, tuple[Values, Values]], list[Any]]:
    """Return (x, y) by part as they are in their files, and the inputs of each part as tensors or mapped."""
    whole, mapped = _truth(indices), is_mapped(x, mmap)
    brief = brief and not whole
    pairs = _pairs(_read(path, x, y, brief or mapped))
    shapes = _shape_of if brief or mapped else _inputs
    inputs: list[Any] = [shapes(values, whole) for values, _ in pairs.values()]
    return pairs, [Mapped(filenames.path(x), whole)] if mapped else inputs


def _several(read: Callable[..., Data], x: dict[str, str], indices: Any, rest: dict[str, Any]) -> Data:
    """Return data whose inputs are several by name: each is read with the same targets, which divide all alike."""
    if wrong := [name for name in indices if name not in x] if isinstance(indices, list) else []:
        raise ConfigError("data.indices", f"{wrong[0]!r} is not one of {', '.join(x)}{did_you_mean(wrong[0], list(x))}")
    each: dict[str, Data] = {}
    for name, file_ in x.items():
        of_indices = name in indices if isinstance(indices, list) else indices
        try:
            each[name] = read(x=file_, indices=of_indices, **rest)
        except ConfigError as error:
            key = f"data.x.{name}" if error.key == "data.x" else error.key
            raise ConfigError(key, str(error).removeprefix(f"{error.key}: ")) from error
    first = next(iter(each.values()))
    parts: dict[str, Any] = {}
    for part in ("train", "valid", "test"):
        sources = {name: getattr(data, part) for name, data in each.items()}
        if (own := getattr(first, part)) is not None:
            parts[part] = Tensors({name: source.x for name, source in sources.items()}, own.y)
    report = tuple(f"x.{name}: {line}" for name, data in each.items() for line in data.report)
    return replace(first, **parts, report=report)


def _truth(indices: Any) -> bool:
    """Return whether the only x holds indices. Raises ConfigError for the names of several."""
    if isinstance(indices, list):
        raise ConfigError("data.indices", f"{indices} names inputs, and x is one array; expected true or false")
    return bool(indices)


def _are_decimal(pairs: dict[str, tuple[Values, Values]]) -> bool:
    """Return whether targets are probabilities of labels, not 0 and 1."""
    return any(bool(((y.array != 0) & (y.array != 1)).any()) for _, y in pairs.values())


def _are_classes(array: Any) -> bool:
    """Return whether these are classes, and no probabilities of them."""
    return array.dtype.kind != "f" or bool((array == np.round(array)).all())


def _as_text(array: Any) -> Any:
    """Return the names of classes: their numbers, texts or truth values."""
    flat = array.reshape(len(array)) if array.shape[1:] == (1,) else array
    if flat.dtype.kind == "S":
        return np.char.decode(flat, "utf-8", "replace")
    return (flat.astype(np.int64) if flat.dtype.kind == "f" else flat).astype(str)


def _data(
    pairs: dict[str, tuple[Values, Values]],
    inputs: list[Any],
    valid: float,
    test: float,
    seed: int,
    task: str | None,
    classes: list[str] | None,
) -> Data:
    ys = [values for _, values in pairs.values()]
    outputs, kind_of_task, names = targets(ys, task, classes)
    in_file = {part: _with_targets(a, b) for part, a, b in zip(pairs, inputs, outputs, strict=True)}
    train, valid_set, test_set = _divide(in_file, valid, test, seed, strata(outputs[0], kind_of_task))
    return Data(
        train,
        in_file.get("valid", valid_set),
        in_file.get("test", test_set),
        kind_of_task,
        names,
        report=_report(pairs),
        guess=None if task or classes else guess(ys),
    )


def _with_targets(x: Any, y: Tensor) -> Any:
    return x.with_targets(y) if isinstance(x, Mapped) else Tensors(x, y)


def _report(pairs: dict[str, tuple[Values, Values]]) -> tuple[str, ...]:
    """Return one line: the arrays' shapes and types, and what of x is not as images and numbers usually are."""
    words = [f"{values.name} {values.array.shape} {values.array.dtype}" for pair in pairs.values() for values in pair]
    doubts = _doubts(pairs["train"][0].array)
    return (", ".join(words) + (f"; doubtful: {'; '.join(doubts)}" if doubts else ""),)


def _doubts(x: Array) -> list[str]:
    doubts = []
    if x.dtype == np.uint8 and x.ndim > 2:
        doubts.append("x is uint8 and keeps its scale, for pixels 0 to 255: x / 255 trains better")
    if x.ndim == 4 and x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        doubts.append(
            f"the channels of x seem to be its last dimension, and torch takes the second, of {x.shape[1]}:"
            " x.transpose(0, 3, 1, 2)"
        )
    whole = x.dtype.kind in "iu" and x.dtype.itemsize > 2 and 0 not in x.strides  # strides of 0: not read
    if whole and x.size and max(abs(int(x.min())), abs(int(x.max()))) > 2**24:
        doubts.append("x holds whole numbers above 16,777,216, which float32 rounds (data.indices=true keeps them)")
    return doubts


def _read(path: str | None, x: str | None, y: str | None, brief: bool = False) -> dict[str, Values]:
    if x is None and y is None:
        _refuse_table(path, "data.path")
        existing = file(path, "data.path", "an .npz file that holds the arrays x and y", EXAMPLE)
        inputs = [x for x, _ in PARTS.values()] if brief else []
        contents = read_npz(existing, "data.path", PARTS["train"], PARTS["valid"] + PARTS["test"], inputs)
        return {name: Values(array, name, "data.path") for name, array in contents.items()}
    if path is not None:
        raise ConfigError("data.path", "stands beside data.x or data.y; give either one .npz file or two .npy files")
    return {name: _read_npy(text, name, f"data.{name}", brief) for name, text in (("x", x), ("y", y))}


def _read_npy(path: str | None, name: str, key: str, brief: bool) -> Values:
    _refuse_table(path, key)
    existing = file(path, key, f"the .npy file that holds {name}", f"{name}.npy")
    return Values(read_npy(existing, key, brief and name == "x"), name, key)


def _refuse_table(path: str | None, key: str) -> None:
    if path and path.lower().endswith((".csv", ".parquet")):
        raise ConfigError(key, f"{path!r} is a table; use data=table data.path={path} data.target=COLUMN")


def _pairs(arrays: dict[str, Values]) -> dict[str, tuple[Values, Values]]:
    """Return (x, y) by part. Raises ConfigError where they differ in length, or examples differ in shape."""
    pairs = {}
    for part, (x, y) in PARTS.items():
        for name, partner in ((x, y), (y, x)):
            if name in arrays and partner not in arrays:
                raise ConfigError(arrays[name].key, f"{name} is there without {partner}; give both or neither")
        if x in arrays:
            pairs[part] = _check_shapes(arrays[x], arrays[y], arrays)
    return pairs


def _check_shapes(x: Values, y: Values, arrays: dict[str, Values]) -> tuple[Values, Values]:
    for values, first in ((x, arrays["x"]), (y, arrays["y"])):
        if not values.array.ndim:
            raise ConfigError(values.key, f"{values.name} is a single value; expected one per example")
        if values.array.shape[1:] != first.array.shape[1:]:
            raise ConfigError(
                values.key,
                f"an example of {values.name} has the shape {values.array.shape[1:]}, and one of {first.name}"
                f" {first.array.shape[1:]}; expected the same in both",
            )
    if len(x.array) != len(y.array):
        raise ConfigError(
            y.key,
            f"{x.name} has {len(x.array):,} examples and {y.name} has {len(y.array):,}; expected as many of both",
        )
    return x, y


def _shape_of(values: Values, indices: bool) -> Tensor:
    """Return what `_inputs` would return, on the meta device: without its numbers."""
    one = values._replace(array=np.zeros((1,) * values.array.ndim, values.array.dtype))
    shape = values.array.shape if values.array.ndim > 1 else (len(values.array), 1)
    return torch.empty(shape, dtype=_inputs(one, indices).dtype, device="meta")


def _inputs(values: Values, indices: bool) -> Tensor:
    if not indices:
        return column(values)
    if values.array.dtype.kind not in "iu":
        raise ConfigError("data.indices", f"{values.name} holds {kind(values.array)}; expected whole numbers")
    numbers = torch.from_numpy(values.array.astype(np.int64))
    return numbers.unsqueeze(1) if numbers.ndim == 1 else numbers


def _divide(
    in_file: dict[str, Any], valid: float, test: float, seed: int, classes: Tensor | None
) -> tuple[Any, Any, Any]:
    whole = in_file["train"]
    if "valid" in in_file:
        refuse(valid, "the file has a validation part of its own, x_valid; leave data.folds out, or that part")
    valid, test = (0.0 if part in in_file else fraction for part, fraction in (("valid", valid), ("test", test)))
    return divide(whole, parts(len(whole), valid, test, seed, classes))

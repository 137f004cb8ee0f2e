"""Arrays that came from a file, and what may be read from them: finite numbers."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.settings.errors import ConfigError

Array = NDArray[Any]


class Values(NamedTuple):
    """An array, what to call it in a message, and the key that led to it."""

    array: Array
    name: str
    key: str


def column(values: Values) -> Tensor:
    """Finite numbers as float32 of shape (N, ...): (N, 1) when they come as a plain list."""
    numbers = floats(values)
    return numbers.unsqueeze(1) if numbers.ndim == 1 else numbers


def floats(values: Values) -> Tensor:
    """Finite numbers as float32, or a ConfigError that says where the first other value is."""
    if values.array.dtype.kind not in "biuf":
        raise ConfigError(values.key, f"{values.name} holds {kind(values.array)}; expected numbers")
    if values.array.ndim == 0:
        raise ConfigError(values.key, f"{values.name} is a single value; expected one per example")
    with np.errstate(over="ignore"):
        numbers = torch.from_numpy(values.array.astype(np.float32))
    _refuse_infinite(numbers, values)
    return numbers


def kind(array: Array) -> str:
    """What the array holds, in words."""
    words = {"f": "numbers with a decimal point", "b": "true and false", "O": "Python objects"}
    words |= dict.fromkeys("iu", "whole numbers") | dict.fromkeys("US", "text")
    return words.get(array.dtype.kind, f"values of type {array.dtype}")


def _refuse_infinite(numbers: Tensor, values: Values) -> None:
    wrong = ~torch.isfinite(numbers)
    if not wrong.any():
        return
    place = tuple(wrong.nonzero()[0].tolist())
    raise ConfigError(
        values.key,
        f"{values.name}{list(place)} is {values.array[place]:g}{_limit(values.array[place])};"
        f" {int(wrong.sum()):,} of its {numbers.numel():,} values are not finite; remove or replace them",
    )


def _limit(value: Any) -> str:
    return ", more than float32 can hold" if np.isfinite(value) else ""

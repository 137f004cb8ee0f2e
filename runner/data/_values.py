"""Arrays that came from a file, and the finite numbers that they have to hold."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.settings.errors import ConfigError

Array = NDArray[Any]
#: Numbers of one tensor that is made up rather than read.
MOST = 100_000_000


class Values(NamedTuple):
    """An array, its name in messages, and the key of the configuration that named it."""

    array: Array
    name: str
    key: str


def column(values: Values) -> Tensor:
    """Return finite numbers as float32 of shape (N, ...): (N, 1) for a plain list. Raises ConfigError as `floats`."""
    numbers = floats(values)
    return numbers.unsqueeze(1) if numbers.ndim == 1 else numbers


def floats(values: Values) -> Tensor:
    """Return finite numbers as float32. Raises ConfigError with the place of the first other value."""
    if values.array.dtype.kind not in "biuf":
        raise ConfigError(values.key, f"{values.name} holds {kind(values.array)}; expected numbers")
    if values.array.ndim == 0:
        raise ConfigError(values.key, f"{values.name} is a single value; expected one per example")
    with np.errstate(over="ignore"):
        numbers = torch.from_numpy(values.array.astype(np.float32))
    _refuse_infinite(numbers, values)
    return numbers


def kind(array: Array) -> str:
    """Return words for what the array holds."""
    words = {"f": "numbers with a decimal point", "b": "true and false", "O": "Python objects"}
    words |= dict.fromkeys("iu", "whole numbers") | dict.fromkeys("US", "text")
    return words.get(array.dtype.kind, f"values of type {array.dtype}")


def _refuse_infinite(numbers: Tensor, values: Values) -> None:
    wrong = ~torch.isfinite(numbers)
    if not wrong.any():
        return
    place = tuple(wrong.nonzero()[0].tolist())
    limit = ", more than float32 can hold" if np.isfinite(values.array[place]) else ""
    raise ConfigError(
        values.key,
        f"{values.name}{list(place)} is {values.array[place]:g}{limit};"
        f" {int(wrong.sum()):,} of its {numbers.numel():,} values are not finite; remove or replace them",
    )

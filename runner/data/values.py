"""Inputs that are written down: literally, or as a shape to fill."""

from math import prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from runner.data import Data, Tensors
from runner.data._targets import targets
from runner.data._values import MOST, Values, floats
from runner.settings.errors import ConfigError


def values(
    x: list[Any] | None = None,
    shape: list[int] | None = None,
    fill: Literal["arange", "ones"] | None = None,
    y: list[Any] | None = None,
    task: Literal["regression", "classification"] | None = None,
) -> Data:
    """Return the inputs `x`, or a tensor of `shape` filled with 0, 1, 2, ... ("arange") or with ones; float32.

    x: a list of N examples, each a number or a grid of numbers.
    shape: the first dimension counts the examples. Given together with `x`, x takes this shape.
    fill: instead of x.
    y: one number, or one grid of numbers, per example; without it y has shape (N, 0), which no loss can use.
    task: None: numbers, unless the loss needs classes; text and true/false are classes.
    Raises ConfigError for grids whose rows differ in length, numbers that are not finite, and shapes that do not fit.
    """
    inputs = _filled(fill, _checked(shape)) if x is None else _shaped(x, shape, fill)
    if y is None:
        return Data(Tensors(inputs, torch.empty(len(inputs), 0)))
    grid = _grid(y, "y")
    words = grid.array.dtype.kind not in "iuf"
    (target,), kind, classes = targets([grid], task or ("classification" if words else "regression"))
    return Data(Tensors(inputs, target), task=kind, classes=classes, guess=None if task or words else "decimals")


def _filled(fill: str | None, shape: list[int] | None) -> Tensor:
    if fill is None:
        raise ConfigError("data.x", "missing; give the inputs, or data.fill=arange (or ones) with data.shape")
    if shape is None:
        raise ConfigError("data.shape", f"missing; data.fill={fill} needs it, as in data.shape=[1,1,4,4]")
    return torch.ones(shape) if fill == "ones" else torch.arange(float(prod(shape))).reshape(shape)


def _shaped(x: list[Any], shape: list[int] | None, fill: str | None) -> Tensor:
    if fill is not None:
        raise ConfigError("data.fill", f"{fill!r} stands beside data.x; expected one of them, the other null")
    inputs = floats(_grid(x, "x"))
    if shape is None:
        return inputs
    if prod(_checked(shape) or []) != inputs.numel():
        raise ConfigError(
            "data.shape",
            f"{shape} holds {' * '.join(map(str, shape))} = {prod(shape)} numbers, and data.x has {inputs.numel()};"
            " change one of them",
        )
    return inputs.reshape(shape)


def _checked(shape: list[int] | None) -> list[int] | None:
    if shape is not None and not (shape and all(type(n) is int and n > 0 for n in shape)):
        raise ConfigError("data.shape", f"{shape} is no shape; expected whole numbers of at least 1, as in [1,1,4,4]")
    if shape is not None and prod(shape) > MOST:
        raise ConfigError("data.shape", f"{shape} holds {prod(shape):,} numbers; expected at most {MOST:,}")
    return shape


def _grid(numbers: list[Any], name: str) -> Values:
    key = f"data.{name}"
    try:
        return Values(np.array(numbers), name, key)
    except ValueError:
        raise ConfigError(key, "its rows differ in length; expected a grid, as in [[1,2],[3,4]]") from None

"""Standardization: the mean and standard deviation of columns, and what they do to values."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def moments(rows: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Each column's mean and standard deviation; 1 for a constant column, whose deviation cannot divide.

    Constant is decided by comparing values: rounding gives 1,000 times 0.1 a deviation of 1e-17, not 0, and the mean of
    numbers of 17 digits is 6 beside them.
    """
    constant = rows.min(axis=0) == rows.max(axis=0)
    mean, std = np.where(constant, rows[0], rows.mean(axis=0)), np.where(constant, 1.0, rows.std(axis=0))
    return mean.tolist(), std.tolist()


def scale(rows: NDArray[np.float64], notes: dict[str, Any]) -> Tensor:
    """(rows - mean) / std as float32, with the `mean` and `std` of `notes`."""
    return torch.from_numpy((rows - np.asarray(notes["mean"])) / np.asarray(notes["std"])).float()

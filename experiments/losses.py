"""Data and a loss for experiments/losses.yaml: a line with points far off it, and a loss that torch lacks."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from runner.data import Data, Tensors
from runner.data.line import line


def outliers(every: int = 10, by: float = 3.0, **arguments: Any) -> Data:
    """Return `line` with each `every`th training point from x = 0 on moved up by `by`; the validation data has none."""
    clean = line(**arguments)
    x, y = clean.train.x, clean.train.y.clone()
    y[::every] += by * (x[::every] >= 0)
    return Data(Tensors(x, y), clean.valid, clean.test)


class LogCosh(nn.Module):
    """mean(log(cosh(output - target))): squared near 0, absolute further out, and smooth everywhere."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of a batch, a scalar; output and target have the same shape."""
        error = output - target
        # log(cosh(e)) = e + log(1 + exp(-2 e)) - log(2), which does not overflow.
        return torch.mean(error + softplus(-2 * error) - math.log(2))

"""Containers and layers that torch.nn lacks."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """`layers(x) + shortcut(x)`; without a shortcut, `layers(x) + x`, which must have the shape of x."""

    def __init__(self, layers: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = layers
        self.shortcut = shortcut if shortcut is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        x = self.shortcut(x)
        if y.shape != x.shape:
            raise ValueError(f"the layers give {tuple(y.shape[1:])} and the shortcut {tuple(x.shape[1:])}")
        return y + x


class Repeat(nn.Sequential):
    """The same layers `times` times in a row, each time with parameters of their own."""

    def __init__(self, layers: Sequence[nn.Module], times: int) -> None:
        assert len(layers) == times
        super().__init__(*layers)


class Parallel(nn.Module):
    """Every branch sees the same input; the outputs are concatenated along `dim`, or summed.

    dim: counts the batch as dimension 0, so 1 is the channels.
    """

    def __init__(self, branches: Sequence[nn.Module], combine: Literal["cat", "sum"] = "cat", dim: int = 1) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.combine, self.dim = combine, dim

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches]
        if self.combine == "cat":
            return torch.cat(outputs, self.dim)
        if len({output.shape for output in outputs}) > 1:
            raise ValueError(f"the branches give {', '.join(str(tuple(o.shape[1:])) for o in outputs)}")
        return torch.stack(outputs).sum(0)


class Select(nn.Module):
    """One item of a tuple: after an LSTM, whose output is (values, state), `Select: 0` takes the values."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: Any) -> Any:
        return x[self.index]


class Last(nn.Module):
    """The last step of a sequence: (batch, length, features) becomes (batch, features)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1]

"""Containers and layers that torch.nn lacks."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """A sum: `layers(x) + shortcut(x)`; without a shortcut, `layers(x) + x`, where `layers` must keep the shape.

    Source: He, Zhang, Ren & Sun 2016, "Deep residual learning for image recognition".

        - Residual: {layers: [{Conv2d: {out_channels: 8, kernel_size: 3, padding: 1}}, ReLU]}
    """

    def __init__(self, layers: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = layers
        self.shortcut = shortcut if shortcut is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum. Raises ValueError where the shapes of its terms differ."""
        y: Tensor = self.layers(x)
        x = self.shortcut(x)
        if y.shape != x.shape:
            raise ValueError(f"the layers give {tuple(y.shape[1:])} and the shortcut {tuple(x.shape[1:])}")
        return y + x


class Repeat(nn.Sequential):
    """A sequence of the same layers, `times` times in a row, each time with parameters of their own.

    - Repeat: {times: 3, layers: [{Linear: 16}, ReLU]}
    """

    def __init__(self, layers: Sequence[nn.Module], times: int) -> None:
        assert len(layers) == times
        super().__init__(*layers)


class Parallel(nn.Module):
    """Branches of the same input, whose outputs are concatenated along `dim`, or summed.

    combine: "cat" or "sum".
    dim: counts the batch as dimension 0, so 1 is the channels.

        - Parallel: {branches: [[{Linear: 4}], [{Linear: 8}, Tanh]]}
    """

    def __init__(self, branches: Sequence[nn.Module], combine: Literal["cat", "sum"] = "cat", dim: int = 1) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.combine, self.dim = combine, dim

    def forward(self, x: Tensor) -> Tensor:
        """Return the combined outputs. Raises ValueError where shapes that are to be summed differ."""
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
        """Return item `index` of a tuple, a list or a tensor."""
        return x[self.index]


class Permute(nn.Module):
    """Dimensions in another order, as `torch.permute` has them: after `Permute: [0, 2, 1]`, (N, length, classes) is
    (N, classes, length), which CrossEntropyLoss takes for targets of shape (N, length).

    dims: the input's dimensions in their new order. The batch, dimension 0, stays first, and may be left out.
    """

    def __init__(self, dims: list[int]) -> None:
        super().__init__()
        self.dims = tuple(dims) if 0 in dims else (0, *dims)
        if self.dims[0] != 0:
            raise ValueError(f"the batch, dimension 0, must stay first in dims, and they are {list(dims)}")

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with its dimensions in the order of `dims`."""
        return x.permute(self.dims)


class Last(nn.Module):
    """The last step of a sequence: (batch, length, features) becomes (batch, features)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the last step, of shape (batch, features)."""
        return x[:, -1]

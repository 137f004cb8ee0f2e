"""Containers and layers that torch.nn lacks."""

from collections.abc import Sequence
from functools import reduce
from typing import Any, Literal

import torch
from torch import Tensor, nn

from runner.model.attention import (
    Mask as Mask,
)
from runner.model.attention import (
    MultiheadAttention as MultiheadAttention,
)
from runner.model.attention import (
    Transformer as Transformer,
)
from runner.model.attention import (
    TransformerDecoder as TransformerDecoder,
)
from runner.model.attention import (
    TransformerDecoderLayer as TransformerDecoderLayer,
)
from runner.model.attention import (
    TransformerEncoder as TransformerEncoder,
)
from runner.model.attention import (
    TransformerEncoderLayer as TransformerEncoderLayer,
)
from runner.model.given import given as given
from runner.model.sequences import (
    CausalConv1d as CausalConv1d,
)
from runner.model.sequences import (
    ClassToken as ClassToken,
)
from runner.model.sequences import (
    Columns as Columns,
)
from runner.model.sequences import (
    First as First,
)
from runner.model.sequences import (
    Lengths as Lengths,
)
from runner.model.sequences import (
    Max as Max,
)
from runner.model.sequences import (
    Mean as Mean,
)
from runner.model.sequences import (
    Positions as Positions,
)
from runner.model.sequences import (
    RepeatVector as RepeatVector,
)
from runner.model.sequences import (
    Sum as Sum,
)
from runner.model.sequences import (
    TimeDistributed as TimeDistributed,
)
from runner.model.sequences import (
    check_lengths,
)


class Normalize(nn.Module):
    """(x - mean) / std of pictures: the first layer of a model whose inputs are 0 to 1, in training and everywhere.

    mean, std: a number for each channel, or one for all. They are no weights, and not in the state_dict.

        - Normalize: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float | list[float], std: float | list[float]) -> None:
        super().__init__()
        self.given = (mean, std)
        for name, value in (("mean", mean), ("std", std)):
            numbers = [value] if isinstance(value, int | float) else list(value)
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.get_default_dtype()), persistent=False)
            if name == "std" and not all(number > 0 for number in numbers):
                raise ValueError(f"std={value} must be above 0")

    def forward(self, x: Tensor) -> Tensor:
        """Return x of the same shape, (N, channels, ...). Raises ValueError for another number of channels."""
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, x.shape[1]):
                raise ValueError(f"{name} has {len(getattr(self, name))} numbers, and there are {x.shape[1]} channels")
        shape = (-1,) + (1,) * (x.dim() - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)

    def extra_repr(self) -> str:
        """Return the numbers, for a printed model."""
        return f"mean={self.given[0]}, std={self.given[1]}"


class CenterCrop(nn.Module):
    """The middle of pictures, as torchvision's: (N, ..., H, W) becomes (N, ..., height, width).

    Training examples that `data.augment` has cut to this size stay as they are; larger ones of validation and
    prediction lose their edges. A smaller one is refused, where torchvision fills it up with zeros.

    size: [height, width], or one number for both.

        - CenterCrop: 224
    """

    def __init__(self, size: int | list[int]) -> None:
        super().__init__()
        sides = [size] if isinstance(size, int) else list(size)
        if len(sides) not in (1, 2) or min(sides) < 1:
            raise ValueError(f"size={size} must be one number above 0, or a height and a width")
        self.size = (sides[0], sides[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return the middle of x. Raises ValueError for pictures that are smaller."""
        height, width = self.size
        down, right = x.shape[-2] - height, x.shape[-1] - width
        if down < 0 or right < 0:
            raise ValueError(f"size is {list(self.size)}, and pictures are smaller, {list(x.shape[-2:])}")
        top, left = round(down / 2), round(right / 2)
        return x[..., top : top + height, left : left + width]

    def extra_repr(self) -> str:
        """Return the size, for a printed model."""
        return f"size={self.size}"


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
    """One item of a tuple or a dict: after an LSTM, whose output is (values, state), `Select: 0` takes the values.

    index: a number, or the name of a field, as in `Select: logits`.
    """

    def __init__(self, index: int | str) -> None:
        super().__init__()
        self.index = index

    def forward(self, x: Any) -> Any:
        """Return the item of a tuple, a list or a mapping."""
        return x[self.index]


class From(nn.Module):
    """The output of an earlier layer, with which the stack goes on: `From: conv2`."""

    def forward(self, x: Any) -> Any:
        """Return x."""
        return x


class Concat(nn.Module):
    """Outputs of earlier layers, one after the other along `dim`: `Concat: [up, conv1]`.

    dim: counts the batch as dimension 0, so 1 is the channels.
    """

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return one tensor, whose size along `dim` is the sum of the inputs' sizes there."""
        return torch.cat(inputs, self.dim)


class Add(nn.Module):
    """The sum of outputs of earlier layers: `Add: [conv2, conv1]`. A size of 1 is spread over the others' size."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the sum. Raises ValueError for shapes of different length, and for other examples."""
        _check_alike(inputs)
        return reduce(torch.add, inputs)


class Multiply(nn.Module):
    """The product of outputs of earlier layers: `Multiply: [features, gate]`, with sizes of 1 spread as by Add."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the product. Raises ValueError for shapes of different length, and for other examples."""
        _check_alike(inputs)
        return reduce(torch.mul, inputs)


#: Layers that are written with the names of the layers they read from, as in `Concat: [up, conv1]`.
COMBINING = (From, Concat, Add, Multiply)


def _check_alike(inputs: Sequence[Tensor]) -> None:
    """Torch would spread an example over the features of another."""
    if len({(x.dim(), *x.shape[:1]) for x in inputs}) > 1:
        raise ValueError(f"their shapes are {' and '.join(str(tuple(x.shape[1:])) for x in inputs)} for an example")


class Permute(nn.Module):
    """Dimensions in another order, as `torch.permute` has them.

    After `Permute: [0, 2, 1]`, (N, length, classes) is (N, classes, length), as CrossEntropyLoss takes it for targets
    of shape (N, length).
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
    """The last step of a sequence: (batch, length, features) becomes (batch, features).

    lengths, of `forward`: the last step of each example is that before its length. `Last: {lengths: lengths}`
    """

    BESIDE = ("lengths",)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the last step, of shape (batch, features)."""
        if lengths is None:
            return x[:, -1]
        check_lengths(x, lengths)
        return x[torch.arange(x.shape[0], device=x.device), lengths.reshape(-1).long() - 1]

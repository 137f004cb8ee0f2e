"""The parts of a worked layer: padded input, predicted shape, elements, and the agreement with torch."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from runner.model import host

Array = NDArray[np.float64]
Index = tuple[int, ...]
#: One range of positions per dimension; outside of 0..size-1 is padding.
Window = tuple[range, ...]

#: The largest difference between an element worked by hand and torch's, relative to the largest number in it or to 1.
TOLERANCE = 1e-5


class Disagreement(ArithmeticError):
    """The arithmetic worked here and torch's differ: one of them is wrong."""


@dataclass(frozen=True)
class Padded:
    """An input together with the padding around it."""

    values: Array  # with the padding
    before: Index  # cells of padding before position 0, by dimension
    shape: Index  # without the padding

    def __getitem__(self, cell: Index) -> float:
        return float(self.values[tuple(c + before for c, before in zip(cell, self.before, strict=True))])

    def is_padding(self, cell: Index) -> bool:
        """Return whether a position is outside of the input."""
        return any(not 0 <= c < size for c, size in zip(cell, self.shape, strict=True))

    def bounds(self, dim: int) -> range:
        """Return the positions along `dim`, padding included."""
        return range(-self.before[dim], self.values.shape[dim] - self.before[dim])


@dataclass(frozen=True)
class Predicted:
    """The output shape that follows from the input's, and the lines of its arithmetic."""

    shape: Index
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Kernel:
    """The numbers that multiply a window."""

    name: str
    values: Array
    taps: Window  # those that meet an input number; all of them but in a transposed convolution


@dataclass(frozen=True)
class Element:
    """One number of the output, written out."""

    index: Index
    lines: tuple[str, ...]  # the arithmetic, the last line ends in the value
    value: float  # computed here, in double precision
    scale: float  # the largest number that went into it: rounding is relative to that
    window: Window  # the input's numbers that it is made of
    kernel: Kernel | None = None
    notes: tuple[str, ...] = ()
    torch: float = math.nan  # the layer's own output

    def checked(self, name: str, layer: nn.Module, torch: float) -> "Element":
        """Return the element with torch's value beside it. Raises Disagreement where they differ."""
        place = f"layer {name!r} ({type(layer).__name__}), output[{', '.join(map(str, self.index))}]"
        agree(place, self.value, torch, self.scale)
        return replace(self, torch=torch)


@dataclass(frozen=True)
class Explained:
    """One layer, worked for one input."""

    name: str  # with dots, as in the state_dict
    layer: nn.Module
    depth: int  # 0 for the stack's own layers, 1 for those inside of one of them
    input: Padded | None
    output: Array | None  # None when it is no tensor
    axes: tuple[str, ...] = ()  # the words for the dimensions after the batch
    predicted: Predicted | None = None
    elements: list[Element] = field(default_factory=list)
    note: str = ""  # why there is no arithmetic
    taken: str = ""  # the shapes of all inputs in words, where there are several or a nest of them
    given: str = ""  # likewise of what it returns

    @property
    def parameters(self) -> int:
        """The number of the layer's parameters."""
        return sum(p.numel() for p in self.layer.parameters())


class Family(Protocol):
    """A file of `kinds`: the layers that are worked in the same way."""

    @property
    def KINDS(self) -> Mapping[Any, tuple[int, ...]]:
        """Layer class -> the numbers of dimensions, batch included, that it is worked for; () is any."""

    @property
    def AXES(self) -> Mapping[int, tuple[str, ...]]:
        """Number of dimensions -> the words for those after the batch."""

    def shape(self, layer: Any, size: Index) -> Predicted:
        """Return the output's shape for an input of shape `size`, both with the batch."""

    def pad(self, layer: Any, x: Array) -> Padded:
        """Return the input with the layer's padding around it."""

    def element(self, layer: Any, x: Padded, index: Index) -> Element:
        """Return the number at `index` of the output, worked by hand."""


def agree(place: str, value: float, torch: float, scale: float) -> None:
    """Raise Disagreement, with the place and both numbers, for a value that is not torch's.

    scale: the largest number that went into it.
    """
    allowed = tolerance(value, scale)
    if value == torch or (math.isnan(value) and math.isnan(torch)) or abs(value - torch) <= allowed:
        return
    raise Disagreement(f"{place}: worked by hand {value:.9g}, torch gives {torch:.9g}; {allowed:.1g} apart is allowed")


def tolerance(value: float, scale: float) -> float:
    """Return the largest allowed difference from torch."""
    size = max(1.0, abs(value), scale)
    return TOLERANCE * size if math.isfinite(size) else TOLERANCE


def array(tensor: Tensor) -> Array:
    """Return the tensor's numbers in double precision."""
    return host.array(host.tensor(tensor).double())


def bare(layer: Any, x: Array) -> Padded:
    """Return an input without padding."""
    return Padded(x, (0,) * x.ndim, x.shape)


def cells(window: Window) -> Iterator[Index]:
    """Yield the positions in a window, last dimension fastest."""
    return product(*window)


def same_shape(layer: Any, size: Index) -> Predicted:
    """Return the input's shape, for layers that give one number for every number."""
    return Predicted(size, ("one number out for every number in: the shape stays",))


def whole(shape: Index) -> Window:
    """Return the window of all positions of a tensor of this shape."""
    return tuple(range(size) for size in shape)


def single(index: Index) -> Window:
    """Return the window of one position."""
    return tuple(range(i, i + 1) for i in index)

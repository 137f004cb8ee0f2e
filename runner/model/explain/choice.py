"""The choice of the layers that are worked, and of the elements of their outputs."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np

from runner.model.explain.parts import Index


class NoSuchLayer(LookupError):
    """The stack has no layer of this name."""


class NoSuchElement(LookupError):
    """The layer's output has no element there."""


@dataclass(frozen=True)
class Choice:
    """The layers and elements to work.

    count: of elements of each output. index: one element instead, with the batch.
    layer: the name of one layer, which takes those inside of it along; "" for all.
    """

    count: int = 1
    index: Index | None = None
    layer: str = ""

    def takes(self, name: str) -> bool:
        """Return whether the layer of this name is chosen."""
        return not self.layer or f"{name}.".startswith(f"{self.layer}.")

    def elements(self, shape: Index) -> list[Index]:
        """Return positions in an output of this shape. Raises NoSuchElement for an index outside of it."""
        if self.index is None:
            return spread(shape, self.count)
        if len(self.index) != len(shape) or not all(0 <= i < n for i, n in zip(self.index, shape, strict=True)):
            raise NoSuchElement(f"{list(self.index)} is not in the output, whose shape is {shape}")
        return [self.index]

    def check(self, names: Iterable[str]) -> None:
        """Raise NoSuchLayer where none of these is chosen."""
        names = list(names)
        if not any(map(self.takes, names)):
            raise NoSuchLayer(f"there is no layer {self.layer!r} (layers: {', '.join(names)})")


#: The first element of every layer.
FIRST = Choice()


def spread(shape: Index, count: int) -> list[Index]:
    """Return the first position, the last, and evenly spread ones between."""
    flat = sorted({int(f) for f in np.linspace(0, prod(shape) - 1, count)}) if prod(shape) else []
    return [tuple(int(i) for i in np.unravel_index(f, shape)) for f in flat]

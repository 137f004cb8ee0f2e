"""A window that slides along one dimension: the number of its positions, and the cells that each covers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LETTERS = {1: "L", 2: "HW", 3: "DHW"}


@dataclass(frozen=True)
class Span:
    """One dimension of a convolution or a pooling; everything in cells."""

    size: int
    kernel: int
    stride: int
    padding: tuple[int, int]
    dilation: int = 1
    ceil: bool = False

    @property
    def reach(self) -> int:
        """The number of cells from the window's first to its last."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def out(self) -> int:
        """The size of the output along this dimension."""
        return self._rounded() - 1 if self._starts_outside() else self._rounded()

    @property
    def text(self) -> str:
        """The output size's formula (torch.nn.Conv2d, torch.nn.MaxPool2d) in numbers."""
        before, after = self.padding
        padding = f"2*{before}" if before == after else f"{before} + {after}"
        inside = f"{self.size} + {padding} - {self.dilation}*({self.kernel} - 1) - 1"
        return f"{'ceil' if self.ceil else 'floor'}(({inside})/{self.stride} + 1) = {self._rounded()}{self._last()}"

    def window(self, position: int) -> range:
        """Return the cells under the window, cut off where the padded input ends."""
        start = position * self.stride - self.padding[0]
        return range(start, min(start + self.reach, self.size + self.padding[1]), self.dilation)

    def _rounded(self) -> int:
        steps = self.size + sum(self.padding) - self.reach
        return (-(-steps // self.stride) if self.ceil else steps // self.stride) + 1

    def _starts_outside(self) -> bool:
        """Return whether rounding up adds a window that starts in the padding behind, which torch drops."""
        return self.ceil and (self._rounded() - 1) * self.stride >= self.size + self.padding[0]

    def _last(self) -> str:
        if not self.ceil or self._rounded() < 1:
            return ""
        last = self._rounded() - 1
        start = f"; last window at ({last + 1} - 1)*{self.stride} = {last * self.stride}"
        if self._starts_outside():
            return f"{start} >= {self.size} + {self.padding[0]}: dropped, {self.out} left"
        return f"{start} < {self.size} + {self.padding[0]}: counts"


def formula(spans: Sequence[Span]) -> tuple[str, ...]:
    """Return the formula in words, then in the numbers of each dimension."""
    ceil = "ceil" if spans[0].ceil else "floor"
    padding = "2*padding" if all(s.padding[0] == s.padding[1] for s in spans) else "left + right padding"
    words = f"{ceil}((size + {padding} - dilation*(kernel - 1) - 1)/stride + 1)"
    rule = ("a window that starts at size + padding or later is dropped",) if spans[0].ceil else ()
    return (f"size out = {words}", *rule, *(f"{d}: {s.text}" for d, s in zip(LETTERS[len(spans)], spans, strict=True)))


def per_dimension(value: Any, dims: int) -> tuple[Any, ...]:
    """Return a value for each dimension: `2` means (2, 2), as in torch."""
    return tuple(value) if isinstance(value, tuple | list) else (value,) * dims

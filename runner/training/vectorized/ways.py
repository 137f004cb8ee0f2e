"""Ways to take one optimizer step of many models: a formula for all, or torch's fused step for equal settings."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.training.vectorized.optimizers import Rule
from runner.training.vectorized.schedules import Columns
from runner.training.vectorized.stacked import Stacked

#: Most steps of a block, for which there is room in the tables of numbers.
MOST = 64
#: Numbers of the stack that are updated together: what is written stays in the processor's cache until it is read.
BLOCK = 2**16
#: Numbers of the stack up to which all parameters are updated at once, with the settings repeated for each number.
WHOLE, WHOLE_ELSEWHERE = 2**14, 2**22

Owner = NDArray[np.int64]
Taken = NDArray[np.int64]


class Formula:
    """The rule's formula, with numbers that differ from model to model.

    On the device is a table of the numbers of every step of a block; `row` says which of them the next step takes.
    """

    def __init__(self, rule: Rule, stacked: Stacked, states: Sequence[Tensor], row: Tensor) -> None:
        self.rule, self.like, self.row = rule, stacked.flat, row
        everything = (stacked.flat, stacked.gradient, *states)
        on_cpu = stacked.flat.device.type == "cpu"
        self._whole = stacked.flat.numel() <= (WHOLE if on_cpu else WHOLE_ELSEWHERE)
        if self._whole:
            self._pieces: list[tuple[slice, Sequence[Tensor]]] = [(slice(None), everything)]
            models = torch.arange(stacked.count, device=stacked.flat.device)
            self._places = torch.cat([models.repeat_interleave(size) for size in stacked.sizes])  # of every number
        else:
            block = BLOCK if on_cpu else stacked.flat.numel()
            self._pieces = list(pieces([stacked.parts(flat) for flat in everything], block))
        self._table = torch.empty(0)
        self._owner: Owner | None = None

    def begin(self, columns: Columns, taken: Taken, owner: Owner) -> None:
        """Write the numbers of a block's steps to the device."""
        numbers = np.stack([np.broadcast_to(part, taken.shape) for part in self.rule.numbers(columns, taken)], 1)
        if owner is not self._owner:
            self._owner, self._kinds = owner, torch.from_numpy(owner).to(self.like.device)
        if not self._table.numel():
            shape = (MOST, numbers.shape[1], len(owner))
            self._table = torch.empty(shape, dtype=self.like.dtype, device=self.like.device)
        on_device = torch.from_numpy(numbers).to(self.like.device, self.like.dtype)
        torch.index_select(on_device, 2, self._kinds, out=self._table[: len(numbers)])

    def step(self) -> None:
        """Take a step with the gradients that the stack holds."""
        table = self._table.index_select(0, self.row)[0]
        # Of each number (N, 1), or one for every number of the stack.
        columns = list(table.index_select(1, self._places) if self._whole else table.unsqueeze(2))
        for rows, parts in self._pieces:
            self.rule.formula(*parts, *(column[rows] for column in columns))


def pieces(flats: Sequence[Sequence[Tensor]], block: int) -> Iterator[tuple[slice, Sequence[Tensor]]]:
    """Yield (models, their rows in each of `flats`) with at most about `block` numbers of one parameter."""
    for parts in zip(*flats, strict=True):
        n, size = parts[0].shape
        rows = min(n, max(1, block // max(size, 1)))
        for start in range(0, n, rows):
            chosen = slice(start, start + rows)
            yield chosen, [part[chosen] for part in parts]


class _Neighbours:
    """Torch's own step, once for each piece of the stack whose models follow each other and have the same settings."""

    def __init__(self, rule: Rule, stacked: Stacked, states: Sequence[Tensor], steps: Tensor) -> None:
        assert rule.fused is not None
        self.take, self._steps = rule.fused, steps
        self._flats = [stacked.parts(flat) for flat in (stacked.flat, stacked.gradient, *states)]
        self._starts: list[int] = []
        self._pieces: list[tuple[list[Tensor], list[list[Tensor]]]] = []

    def _cut(self, values: NDArray[Any]) -> None:
        """Cut the stack where `values`, of shape (settings, N), differ from one model to the next."""
        starts = [0, *(int(i) + 1 for i in (values[:, 1:] != values[:, :-1]).any(0).nonzero()[0])]
        if starts != self._starts:
            self._starts, ends = starts, [*starts[1:], values.shape[1]]
            self._pieces = [self._piece(i, j) for i, j in zip(starts, ends, strict=True)]

    def _piece(self, start: int, end: int) -> tuple[list[Tensor], list[list[Tensor]]]:
        return list(self._steps[start].unbind()), [[part[start:end] for part in of] for of in self._flats]


class Fused(_Neighbours):
    """Torch's own step on the processor, with numbers of Python's."""

    def __init__(self, rule: Rule, stacked: Stacked, states: Sequence[Tensor], row: Tensor, steps: Tensor) -> None:
        super().__init__(rule, stacked, states, steps.clone())

    def begin(self, columns: Columns, taken: Taken, owner: Owner) -> None:
        """Prepare the numbers of a block's steps."""
        self._owner, self._counts = owner, taken[0, owner]
        self._left = [dict(zip(columns, of, strict=True)) for of in np.stack(list(columns.values()), 1)][::-1]

    def step(self) -> None:
        """Take a step with the gradients that the stack holds."""
        self._steps += 1
        of = self._left.pop()
        self._cut(np.stack([*(values[self._owner] for values in of.values()), self._counts]))
        for start, (steps, parts) in zip(self._starts, self._pieces, strict=True):
            self.take({name: float(values[self._owner[start]]) for name, values in of.items()}, steps, *parts)


class FusedThere(_Neighbours):
    """Torch's own step on an accelerator, with learning rates from a table on the device; `row` says which of them."""

    def __init__(self, rule: Rule, stacked: Stacked, states: Sequence[Tensor], row: Tensor, steps: Tensor) -> None:
        super().__init__(rule, stacked, states, steps.to(row.device))
        self.row, self._table = row, torch.empty(0)
        self._owner: Owner | None = None
        self._settings: dict[str, NDArray[np.float64]] = {}  # of every model, (1, N)

    def fits(self, columns: Columns, owner: Owner) -> bool:
        """Return whether all settings but the learning rate are what they were, as a recorded step needs them."""
        self._owner = owner if self._owner is None else self._owner
        if self._owner is not owner:
            return False
        settings = {name: values[:, owner] for name, values in columns.items() if name != "lr"}
        first = {name: values[:1] for name, values in settings.items()}
        same = all((values == self._settings.get(name, first[name])).all() for name, values in settings.items())
        self._settings = self._settings or first
        return same

    def begin(self, columns: Columns, taken: Taken, owner: Owner) -> None:
        """Write the learning rates of a block's steps to the device."""
        if not self._table.numel():
            self._cut(owner[None])
            self._table = torch.empty((MOST, len(self._starts)), dtype=torch.float32, device=self.row.device)
        rates = torch.from_numpy(columns["lr"][:, owner[self._starts]])
        self._table[: len(rates)].copy_(rates)

    def step(self) -> None:
        """Take a step with the gradients that the stack holds."""
        self._steps.add_(1)
        rates = self._table.index_select(0, self.row)[0].unbind()
        for start, rate, (steps, parts) in zip(self._starts, rates, self._pieces, strict=True):
            settings = {name: float(values[0, start]) for name, values in self._settings.items()}
            self.take(settings | {"lr": rate}, steps, *parts)

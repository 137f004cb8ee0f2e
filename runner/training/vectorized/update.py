"""One optimizer step of many models at once. Each optimizer's own state becomes views of the program's."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from runner.training.vectorized.optimizers import Rule, rule
from runner.training.vectorized.stacked import Stacked

#: Numbers of the stack that are updated together: what is written stays in the processor's cache until it is read.
BLOCK = 2**16
#: Numbers of the stack up to which all parameters are updated at once, with the settings repeated for each number.
WHOLE, WHOLE_ELSEWHERE = 2**14, 2**22
#: Numbers of one model from which torch's fused Adam, called for models of equal settings, is the fastest way.
FUSED = 4000

#: Of every model, the settings of its optimizer.
Settings = list[dict[str, Any]]


class Update:
    """The steps of `optimizers`, one for each of the stacked models."""

    def __init__(self, stacked: Stacked, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.stacked, self.optimizers = stacked, optimizers
        self.rule = rule(optimizers[0])
        self.states = [self._gathered(name) for name in self.rule.names]  # each as `stacked.flat`
        counts = [[float(_state(o, p).get("step", 0.0)) for p in _parameters(o)] for o in optimizers]
        self.steps = torch.tensor(counts, dtype=torch.float32)
        self._taken = [_taken(optimizer) for optimizer in optimizers]
        self._handed_out = False
        fuses = stacked.flat.device.type == "cpu" and self.rule.fused is not None and sum(stacked.sizes) >= FUSED
        self._way = (_Fused if fuses else _Formula)(self.rule, stacked, self.states, self.steps)

    def step(self) -> None:
        """Take a step with the gradients that the stack holds."""
        self.steps += 1
        self._taken = [taken + 1 for taken in self._taken]
        self._way.step([optimizer.param_groups[0] for optimizer in self.optimizers], self._taken)
        if not self._handed_out:
            self._hand_out()

    def _gathered(self, name: str) -> Tensor:
        flat = torch.zeros_like(self.stacked.flat)
        for own, optimizer in zip(self._by_model(flat), self.optimizers, strict=True):
            for place, parameter in zip(own, _parameters(optimizer), strict=True):
                if (value := _state(optimizer, parameter).get(name)) is not None:
                    place.copy_(value)
        return flat

    def _hand_out(self) -> None:
        self._handed_out = True
        if not self.rule.names:
            return
        states = [self._by_model(flat) for flat in self.states]
        for i, optimizer in enumerate(self.optimizers):
            for j, parameter in enumerate(_parameters(optimizer)):
                state = optimizer.state[parameter]
                if self.rule.counts:
                    state["step"] = self.steps[i, j]
                for name, models in zip(self.rule.names, states, strict=True):
                    state[name] = models[i][j]

    def _by_model(self, flat: Tensor) -> list[list[Tensor]]:
        """Return views of a tensor like `stacked.flat`: for each model, one tensor for each of its parameters."""
        shapes = [leaf.shape for leaf in self.stacked.leaves.values()]
        parts = [part.view(shape).unbind() for part, shape in zip(self.stacked.parts(flat), shapes, strict=True)]
        return [list(row) for row in zip(*parts, strict=True)]


class _Formula:
    """The rule's formula, with numbers that differ from model to model."""

    def __init__(self, rule: Rule, stacked: Stacked, states: Sequence[Tensor], steps: Tensor) -> None:
        self.rule, self.like = rule, stacked.flat
        everything = (stacked.flat, stacked.gradient, *states)
        on_cpu = stacked.flat.device.type == "cpu"
        self._whole = stacked.flat.numel() <= (WHOLE if on_cpu else WHOLE_ELSEWHERE)
        if self._whole:
            self._pieces: list[tuple[slice, Sequence[Tensor]]] = [(slice(None), everything)]
            models = torch.arange(len(steps), device=stacked.flat.device)
            self._owner = torch.cat([models.repeat_interleave(size) for size in stacked.sizes])  # of every number
        else:
            block = BLOCK if on_cpu else stacked.flat.numel()
            self._pieces = list(_pieces([stacked.parts(flat) for flat in everything], block))
        self._numbers: list[tuple[float, ...]] = []
        self._columns: list[Tensor] = []  # of each number (N, 1), or one for every number of the stack

    def step(self, settings: Settings, taken: Sequence[int]) -> None:
        numbers = [self.rule.numbers(own, count) for own, count in zip(settings, taken, strict=True)]
        if numbers != self._numbers:  # a schedule or the count of steps has changed them
            self._numbers = numbers
            table = torch.tensor(numbers, dtype=torch.float64).t().to(self.like.device, self.like.dtype)
            self._columns = list(table.index_select(1, self._owner) if self._whole else table.unsqueeze(2))
        for rows, parts in self._pieces:
            self.rule.formula(*parts, *(column[rows] for column in self._columns))


class _Fused:
    """Torch's own step, once for all neighbours whose settings are the same."""

    def __init__(self, rule: Rule, stacked: Stacked, states: Sequence[Tensor], steps: Tensor) -> None:
        assert rule.fused is not None
        self.take = rule.fused
        self._parts = [stacked.parts(flat) for flat in (stacked.flat, stacked.gradient, *states)]
        self._steps = steps
        self._pieces: list[tuple[int, list[Tensor], list[list[Tensor]]]] = []

    def step(self, settings: Settings, taken: Sequence[int]) -> None:
        rows = [(s["lr"], s["betas"], s["weight_decay"], s["eps"], n) for s, n in zip(settings, taken, strict=True)]
        # Settings and steps are looked up by a piece's first model: only the starts of pieces are remembered.
        starts = [i for i, row in enumerate(rows) if i == 0 or row != rows[i - 1]]
        if starts != [start for start, *_ in self._pieces]:
            self._pieces = [self._piece(i, j) for i, j in zip(starts, [*starts[1:], len(rows)], strict=True)]
        for start, steps, parts in self._pieces:
            self.take(settings[start], steps, *parts)

    def _piece(self, start: int, end: int) -> tuple[int, list[Tensor], list[list[Tensor]]]:
        parts = [[part[start:end] for part in of] for of in self._parts]
        return start, list(self._steps[start].unbind()), parts


def _pieces(flats: Sequence[Sequence[Tensor]], block: int) -> Iterator[tuple[slice, Sequence[Tensor]]]:
    """Yield (models, their rows in each of `flats`) with at most about `block` numbers of one parameter."""
    for parts in zip(*flats, strict=True):
        n, size = parts[0].shape
        rows = min(n, max(1, block // max(size, 1)))
        for start in range(0, n, rows):
            chosen = slice(start, start + rows)
            yield chosen, [part[chosen] for part in parts]


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return list(optimizer.param_groups[0]["params"])


def _state(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    return dict(optimizer.state.get(parameter, {}))


def _taken(optimizer: torch.optim.Optimizer) -> int:
    """Return the number of steps of an optimizer's state. SGD counts none: 0, or 1 if it has a momentum."""
    state = _state(optimizer, _parameters(optimizer)[0])
    return int(state.get("step", state.get("momentum_buffer") is not None))

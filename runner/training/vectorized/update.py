"""One optimizer step of many models at once. Each optimizer's own state becomes views of the program's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from runner.training.capture import rates
from runner.training.run import Run
from runner.training.vectorized.optimizers import rule
from runner.training.vectorized.schedules import Schedules
from runner.training.vectorized.stacked import Stacked
from runner.training.vectorized.ways import Formula, Fused, FusedThere

#: Numbers of one model from which torch's fused Adam, called for models of equal settings, is the fastest way.
FUSED = 4000
#: Most calls of torch's fused step on an accelerator, one for all neighbours of equal settings.
CALLS = 16


class Update:
    """The steps of the optimizers of `runs`, one for each of the stacked models.

    row: on the models' device, the number of the step within the block that `begin` has prepared.
    """

    def __init__(self, stacked: Stacked, runs: Sequence[Run], row: Tensor) -> None:
        self.stacked, self.optimizers = stacked, [run.state.optimizer for run in runs]
        self.rule = rule(self.optimizers[0])
        # Of every model and parameter, the optimizer's own state.
        self._own = [[_state(o, p) for p in _parameters(o)] for o in self.optimizers]
        self.states = [self._gathered(name) for name in self.rule.names]  # each as `stacked.flat`
        counts = [[float(state.get("step", 0.0)) for state in own] for own in self._own]
        self.steps = torch.tensor(counts, dtype=torch.float32)
        self.schedules = Schedules(runs, [_taken(own[0]) for own in self._own])
        # Alone, torch's fused optimizers read the rate from a tensor of the accelerator, see `capture.rates`.
        alone, graph, wide = self.optimizers[0], runs[0].settings.trainer.graph, stacked.flat.dtype == torch.float64
        self._rounds = stacked.flat.device.type != "cpu" and graph is not None and rates.fuses(alone) and not wide
        self._handed_out = False
        self._parts = (self.rule, stacked, self.states, row)
        fuses = self.rule.fused is not None and sum(stacked.sizes) >= FUSED
        if stacked.flat.device.type == "cpu":
            self.way: Formula | Fused | FusedThere = Fused(*self._parts, self.steps) if fuses else Formula(*self._parts)
        else:
            few = (np.diff(self.schedules.owner) != 0).sum() < CALLS
            self.way = FusedThere(*self._parts, self.steps) if fuses and few and not wide else Formula(*self._parts)

    def begin(self, n: int) -> bool:
        """Bring the numbers of the next `n` steps to the device. Return whether steps are taken in another way now."""
        columns, taken = self.schedules.ahead(n)
        owner = self.schedules.owner
        if self._rounds:
            columns["lr"] = columns["lr"].astype(np.float32).astype(np.float64)
        changes = isinstance(self.way, FusedThere) and not self.way.fits(columns, owner)
        if changes:
            self.way = Formula(*self._parts)
        self.way.begin(columns, taken, owner)
        return changes

    def step(self) -> None:
        """Take a step with the gradients that the stack holds."""
        self.way.step()

    def end(self, n: int) -> None:
        """Count the steps of a block."""
        self.steps += n
        if not self._handed_out:
            self._hand_out()

    def release(self, chosen: Sequence[int]) -> None:
        """Copy the state of finished models' optimizers out of the stack."""
        names = [*self.rule.names, *(["step"] if self.rule.counts else [])] if self._handed_out else []
        steps = [list(row.unbind()) for row in self.steps[list(chosen)].unbind()]
        states = [*(self.stacked.rows(flat, chosen) for flat in self.states), steps]
        for name, rows in zip(names, states, strict=False):
            for i, own in zip(chosen, rows, strict=True):
                for state, row in zip(self._own[i], own, strict=True):
                    state[name] = row

    def _gathered(self, name: str) -> Tensor:
        values = [[state.get(name) for state in own] for own in self._own]
        if all(value is not None for own in values for value in own):
            return torch.cat([value.reshape(-1) for of in zip(*values, strict=True) for value in of])
        flat = torch.zeros_like(self.stacked.flat)
        for places, own in zip(self._by_model(flat), values, strict=True):
            for place, value in zip(places, own, strict=True):
                if value is not None:
                    place.copy_(value)
        return flat

    def _hand_out(self) -> None:
        self._handed_out = True
        if not self.rule.names:
            return
        self._own = [[o.state[p] for p in _parameters(o)] for o in self.optimizers]
        if self.rule.counts:
            for own, steps in zip(self._own, self.steps.unbind(), strict=True):
                for state, step in zip(own, steps.unbind(), strict=True):
                    state["step"] = step
        for name, flat in zip(self.rule.names, self.states, strict=True):
            for own, rows in zip(self._own, self._by_model(flat), strict=True):
                for state, row in zip(own, rows, strict=True):
                    state[name] = row

    def _by_model(self, flat: Tensor) -> list[list[Tensor]]:
        """Return views of a tensor like `stacked.flat`: for each model, one tensor for each of its parameters."""
        shapes = [leaf.shape for leaf in self.stacked.leaves.values()]
        parts = [part.view(shape).unbind() for part, shape in zip(self.stacked.parts(flat), shapes, strict=True)]
        return [list(row) for row in zip(*parts, strict=True)]


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return list(optimizer.param_groups[0]["params"])


def _state(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    return dict(optimizer.state.get(parameter, {})) if optimizer.state else {}


def _taken(state: dict[str, Any]) -> int:
    """Return the number of steps of an optimizer's state. SGD counts none: 0, or 1 if it has a momentum."""
    return int(state.get("step", state.get("momentum_buffer") is not None))

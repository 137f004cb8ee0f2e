"""Copies of everything that an optimizer step changes, so that two ways to take it can be compared."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from runner.model import host
from runner.training.loop import State
from runner.training.state import generators

#: Share of a step's change, or of a loss, by which it may differ from another time where a device adds up in any order.
NEAR = 1e-2


@dataclass(frozen=True)
class Copies:
    """Copies on the host of what a step reads and changes: weights, buffers, the optimizer's and random states.

    groups: the numbers of the optimizer's groups, which an optimizer of one's own may count up.
    """

    tensors: list[Tensor]
    others: list[Any]
    groups: list[dict[str, Any]]
    scaler: dict[str, Any]
    random: dict[str, Any]

    def same_as(self, other: "Copies") -> bool:
        """Return whether every bit of the tensors is the same."""
        return len(self.tensors) == len(other.tensors) and all(map(_same, self.tensors, other.tensors))

    def near(self, other: "Copies", before: "Copies") -> bool:
        """Return whether two steps from `before` have come to about the same place."""
        floating = [
            (a.double(), b.double(), c.double())
            for a, b, c in zip(self.tensors, other.tensors, before.tensors, strict=True)
            if a.is_floating_point()
        ]
        apart = sum(float((a - b).square().sum()) for a, b, _ in floating)
        moved = sum(float((b - c).square().sum()) for _, b, c in floating)
        return apart <= NEAR**2 * moved

    def drew_past_torch(self, after: "Copies") -> bool:
        """Return whether random numbers of Python's or NumPy's were drawn between these copies and `after`."""
        return any(repr(self.random[name]) != repr(after.random[name]) for name in ("python", "numpy"))


def copies(state: State, device: torch.device) -> Copies:
    """Copy what a step of `state` reads and changes."""
    values = _values(state)
    return Copies(
        [host.copied(value) for value in values if isinstance(value, Tensor)],
        [copy.deepcopy(value) for value in values if not isinstance(value, Tensor)],
        [copy.deepcopy(_numbers(group)) for group in state.optimizer.param_groups],
        state.scaler.state_dict(),
        generators.random_state(device),
    )


@torch.no_grad()
def restore(before: Copies, state: State, device: torch.device) -> None:
    """Write the copies back into the tensors that `state` has now."""
    for tensor, value in zip([v for v in _values(state) if isinstance(v, Tensor)], before.tensors, strict=True):
        tensor.copy_(value)
    others = iter(before.others)
    for own in state.optimizer.state.values():
        own.update({name: copy.deepcopy(next(others)) for name, v in own.items() if not isinstance(v, Tensor)})
    for group, numbers in zip(state.optimizer.param_groups, before.groups, strict=True):
        group.update(copy.deepcopy(numbers))
    if before.scaler:
        state.scaler.load_state_dict(before.scaler)
    generators.set_random_state(before.random, device)


def close(one: Tensor, other: Tensor) -> bool:
    """Return whether losses or outputs differ by rounding alone, measured by their size."""
    apart = torch.nan_to_num(one.double() - other.double()).norm()
    return bool(apart <= NEAR * torch.nan_to_num(other.double()).norm())


def _values(state: State) -> list[Any]:
    of_model = [*state.model.parameters(), *state.model.buffers(), *state.counters]
    return [*of_model, *(value for own in state.optimizer.state.values() for value in own.values())]


def _numbers(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and host.same(one, other)

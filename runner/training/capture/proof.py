"""Copies of everything that an optimizer step changes, so that two ways to take it can be compared."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from runner.model import host
from runner.training.loop import State
from runner.training.state import generators

#: Share of a loss, or of the change of an optimizer's state, by which it may differ from another time where a device
#: adds up in any order.
NEAR = 1e-2
#: The same for parameters of an optimizer with a state: where a gradient is rounding alone, as before a normalization,
#: such a step moves a parameter as far as any other, in any direction.
FAR = 0.5


@dataclass(frozen=True)
class Copies:
    """Copies on the host of what a step reads and changes: weights, buffers, the optimizer's and random states."""

    tensors: list[Tensor]
    roles: list[str]  # of each: weights, buffers, counters, or the name of an optimizer's state
    others: list[Any]
    numbers: list[Any]  # that the optimizer counts outside of its state
    scaler: dict[str, Any]
    random: dict[str, Any]

    def drew_past_torch(self, after: "Copies") -> bool:
        """Return whether random numbers of Python's or NumPy's were drawn between these copies and `after`."""
        one, two = ([random["python"][1], *random["numpy"][1:3]] for random in (self.random, after.random))
        return not all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(one, two, strict=True))

    def same_as(self, other: "Copies") -> bool:
        """Return whether every bit of the tensors is the same."""
        return len(self.tensors) == len(other.tensors) and all(map(_same, self.tensors, other.tensors))

    def near(self, other: "Copies", before: "Copies") -> bool:
        """Return whether two steps from `before` have come to about the same place, in each role."""
        apart, moved = dict.fromkeys(self.roles, 0.0), dict.fromkeys(self.roles, 0.0)
        for role, one, two, start in zip(self.roles, self.tensors, other.tensors, before.tensors, strict=True):
            if not one.dim() or not one.is_floating_point():  # counts
                if not _same(one, two):
                    return False
            else:
                apart[role] += float((one.double() - two.double()).square().sum())
                moved[role] += float((two.double() - start.double()).square().sum())
        has_state = bool(apart.keys() - {"weights", "buffers", "counters"})
        most = {role: FAR if role == "weights" and has_state else NEAR for role in apart}
        return all(apart[role] <= most[role] ** 2 * moved[role] for role in apart)


def copies(state: State, device: torch.device) -> Copies:
    """Copy what a step of `state` reads and changes."""
    values = list(_values(state))
    return Copies(
        [host.copied(value) for _, value in values if isinstance(value, Tensor)],
        [role for role, value in values if isinstance(value, Tensor)],
        [copy.deepcopy(value) for _, value in values if not isinstance(value, Tensor)],
        _numbers(state),
        state.scaler.state_dict(),
        generators.random_state(device),
    )


@torch.no_grad()
def restore(before: Copies, state: State, device: torch.device) -> None:
    """Write the copies back into the tensors that `state` has now."""
    for tensor, value in zip([v for _, v in _values(state) if isinstance(v, Tensor)], before.tensors, strict=True):
        tensor.copy_(value)
    others = iter(before.others)
    for own in state.optimizer.state.values():
        own.update({name: next(others) for name, value in own.items() if not isinstance(value, Tensor)})
    for group, numbers in zip(_dicts(state), before.numbers, strict=True):
        group.update(numbers)
    if before.scaler:
        state.scaler.load_state_dict(before.scaler)
    generators.set_random_state(before.random, device)


def close(one: Tensor, other: Tensor) -> bool:
    """Return whether losses or outputs differ by rounding alone, measured by their size; NaN is as near as itself."""
    if not torch.equal(one.isnan(), other.isnan()):
        return False
    one, other = (torch.nan_to_num(value.double()) for value in (one, other))
    return bool((one - other).norm() <= NEAR * other.norm())


def _values(state: State) -> Iterator[tuple[str, Any]]:
    yield from (("weights", parameter) for parameter in state.model.parameters())
    yield from (("buffers", buffer) for buffer in state.model.buffers())
    yield from (("counters", counter) for counter in state.counters)
    for own in state.optimizer.state.values():
        yield from own.items()


def _dicts(state: State) -> list[dict[str, Any]]:
    """Return where an optimizer of anyone's may count its steps outside of its state."""
    return [*state.optimizer.param_groups, vars(state.optimizer)]


def _numbers(state: State) -> list[dict[str, Any]]:
    plain = (bool, int, float, str, tuple, type(None))
    return [{k: v for k, v in one.items() if isinstance(v, plain)} for one in _dicts(state)]


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and host.same(one, other)

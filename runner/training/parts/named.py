"""Losses with named parts: one for each output of a model, or the parts that a loss returns beside its total."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch
from runner.model import host
from runner.settings.errors import ConfigError, did_you_mean
from runner.training.loop import Cost, Parts, State, Weigh, multiple

#: Values of a loss's parts, by name, detached.
Values = dict[str, Tensor]
#: Batches whose parts are remembered at most, for a step or an evaluation that reads them.
MOST = 4096


@dataclass
class Shared:
    """The targets of one of the batches of a step, and the share of each output's loss in the step's, by name."""

    targets: Any
    shares: dict[str, float | Tensor]


class ByOutput(nn.Module):
    """The sum of several losses, each of the output and the target of its name.

    losses: by the names of outputs. shares: the factor of each in the sum.
    """

    def __init__(self, losses: dict[str, nn.Module], shares: dict[str, float]) -> None:
        super().__init__()
        self.names = list(losses)
        self.losses = nn.ModuleList(losses.values())
        self.shares = shares

    def items(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield each name with its loss."""
        return zip(self.names, self.losses, strict=True)

    def forward(self, output: Any, target: Any) -> Values:
        """Return the sum as "loss", and the loss of each output as "<name>/loss".

        output: a dict, tuple or list of the model's outputs. target: likewise, or one tensor, the target of all; of a
            batch of several of a step they are `Shared`, and what is returned is what adds up to the step's.
        """
        parts, total = Values(), torch.zeros(())
        shares = target.shares if isinstance(target, Shared) else {}
        for name, loss in self.items():
            value = loss(picked(output, name), target_of(target, name))
            own = value if isinstance(value, Mapping) else {"loss": value}
            if name in shares:
                own = {part: (one * shares[name]).to(one.dtype) for part, one in own.items()}
            parts.update({f"{name}/{part}": one for part, one in own.items()})
            total = total.to(own["loss"].device) + self.shares[name] * own["loss"]
        return {"loss": total, **parts}

    def total(self, values: Mapping[str, float]) -> float:
        """Return the sum of the losses' values, "<name>/loss" each."""
        return sum(self.shares[name] * values[f"{name}/loss"] for name in self.names)


def picked(nest: Any, name: str) -> Any:
    """Return the output or target of this name: of a dict by its key, of a tuple or list by its place."""
    return nest[name] if isinstance(nest, dict) else nest[int(name)]


def target_of(target: Any, name: str) -> Any:
    """Return the target of this name; a single tensor is the target of all outputs."""
    target = target.targets if isinstance(target, Shared) else target
    return target if isinstance(target, Tensor) else picked(target, name)


def names_of(nest: Any) -> list[str]:
    """Return the names of a nest's parts: keys of a dict, places of a tuple or list; none of a tensor."""
    if isinstance(nest, dict):
        return list(map(str, nest))
    return [str(place) for place in range(len(nest))] if isinstance(nest, tuple | list) else []


def check_names(loss: ByOutput, output: Any, target: Any) -> None:
    """Raise ConfigError for a name that is no output of the model, or no target of the data."""
    for name, own in loss.items():
        if name not in (there := names_of(output)):
            one = f"has one output; write loss={{name: {type(own).__name__}}}, or let the model return several by name"
            raise ConfigError(
                f"loss.{name}",
                "is the loss of an output of this name, and the model"
                f" {one if not there else 'gives ' + ', '.join(there)}{did_you_mean(name, there)}",
            )
        if name not in (there := names_of(target)) and not isinstance(target, Tensor):
            raise ConfigError(
                f"loss.{name}", f"needs a target of this name, and the data has {', '.join(there)}"
                f"{did_you_mean(name, there)}"
            )  # fmt: skip


class WithParts:
    """A cost, see runner.training.loop, of a loss that may return parts by name, of which it remembers the newest.

    cost: returns the loss as the loss module gives it: a tensor, or a mapping with "loss" among its names.
    """

    def __init__(self, cost: Callable[[nn.Module, Batch], tuple[Any, Any]]) -> None:
        self.cost = cost
        self.parts: deque[Values] = deque(maxlen=MOST)

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Any]:
        """Return the loss of a batch, of shape (), and the model's output."""
        value, output = self.cost(model, batch)
        if isinstance(value, Tensor):
            return value, output
        self.parts.append({name: one.detach() for name, one in value.items() if name != "loss"})
        return value["loss"], output


class Reported:
    """A step that returns the parts of its loss by name as well, each summed over its batches with their shares.

    step: one of torch's own ways, see runner.training.step. A step that evaluates its loss several times, as LBFGS
    does, reports its first evaluation, as it does of the loss.
    """

    def __init__(self, step: Callable[[State, Parts], Any]) -> None:
        self.step = step

    def __call__(self, state: State, parts: Parts) -> Any:
        """Take one step and return its loss, or losses by name."""
        newest = state.loss_parts
        assert newest is not None
        newest.clear()
        loss = self.step(state, parts)
        if not newest:
            return loss
        shares = [share if len(parts) > 1 else 1.0 for share, _ in parts]
        several = list(newest)[: len(parts)]
        newest.clear()
        sums = {name: sum(share * one[name] for share, one in zip(shares, several, strict=True)) for name in several[0]}
        return {"loss": loss, **sums}


class Means:
    """The parts of a loss over all batches of an evaluation as if they were one.

    newest: `State.loss_parts`; None: the loss has no parts. loss: of the run. weigh: see `losses.weigh`.
    """

    def __init__(self, newest: "deque[Values] | None", loss: nn.Module, weigh: Callable[[nn.Module], Weigh]) -> None:
        self.newest, self.loss, self.weigh = newest, loss, weigh
        self._rows: list[tuple[Values, dict[str, Any]]] = []

    def following(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches; when the next one is asked for, the loss of the one before has been computed."""
        if self.newest is not None:
            self.newest.clear()
        for batch in batches:
            yield batch
            if self.newest:
                self._rows.append((self.newest.pop(), self._weights(batch)))

    def values(self) -> dict[str, float]:
        """Return the value of each part by name, and the "loss" where that is the sum of several losses."""
        if not self._rows:
            return {}
        parts = {name: self._mean(name) for name in self._rows[0][0]}
        return {"loss": self.loss.total(parts), **parts} if isinstance(self.loss, ByOutput) else parts

    def _weights(self, batch: Batch) -> dict[str, Any]:
        """Return the weight of a batch for the parts of each loss; None: they add up."""
        if not isinstance(self.loss, ByOutput):
            weigh = self.weigh(self.loss)
            return {"": weigh(batch) if weigh else None}
        each = {name: self.weigh(loss) for name, loss in self.loss.items()}
        return {name: weigh((batch[0], target_of(batch[1], name))) if weigh else None for name, weigh in each.items()}

    def _mean(self, name: str) -> float:
        output = name.partition("/")[0] if isinstance(self.loss, ByOutput) else ""
        weights = [weights[output] for _, weights in self._rows]
        if weights[0] is None:
            return host.number(sum((values[name] for values, _ in self._rows), torch.zeros(())))
        total: Any = sum(values[name] * multiple(w) for (values, _), w in zip(self._rows, weights, strict=True))
        return host.number(total / sum(weights))


def parts_of(cost: Cost) -> "deque[Values] | None":
    """Return where a cost puts the parts of its loss; None where that has none."""
    return cost.parts if isinstance(cost, WithParts) else None

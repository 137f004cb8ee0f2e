"""Training as a generator: it stands still after every step, and whoever pulls decides whether it goes on."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch
from runner.model import modes
from runner.training.events import Step, taken

#: (loss, the model's output) for one batch.
Cost = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]
#: The batches that make one optimizer step, each with its share of the step's loss; usually [(1.0, batch)].
Parts = Sequence[tuple[float | Tensor, Batch]]
#: How much a batch's loss counts beside others': its examples where the loss is their mean. None: losses add up.
Weigh = Callable[[Batch], float | Tensor] | None


@dataclass
class State:
    """What an optimizer step changes, and what the loss of a batch costs."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    cost: Cost
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler(enabled=False))
    step: int = 0


def train(
    state: State, batches: Iterable[Parts], step: Callable[[State, Parts], Tensor | Mapping[str, Tensor]]
) -> Iterator[Step]:
    """Take one optimizer step per item of `batches`; step: see runner.training.step.

    Training stands still between steps: look at `state` all you like, and stop pulling to stop training.
    """
    state.model.train()
    for parts in batches:
        loss = step(state, parts)
        state.step += 1
        yield taken(state.step, loss)


def multiple(weight: Any) -> Any:
    """By what a batch's mean becomes its sum again: `weight`, or 1 where nothing counts and the sum was not divided."""
    return weight + (weight == 0)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    cost: Cost,
    watch: Callable[[Tensor, Tensor], None] | None = None,
    weigh: Weigh = lambda batch: len(batch[0]),
) -> Tensor:
    """The loss of all batches as if they were one, as a tensor without dimensions on the model's device.

    watch: is shown every batch's (output, target); for metrics and predictions.
    The model is in evaluation mode meanwhile, and returns to the mode it was in.
    """
    losses, weights = [], []
    with modes.evaluating(model):
        for batch in batches:
            loss, output = cost(model, batch)
            losses.append(loss)
            weights.append(weigh(batch) if weigh else 1)
            if watch is not None:
                watch(output, batch[1])
    if len(losses) == 1:
        return losses[0] / (weights[0] != 0)  # NaN, as of several batches, where nothing counts
    total = sum((loss * multiple(weight) for loss, weight in zip(losses, weights, strict=True)), torch.zeros(()))
    return total / sum(weights) if weigh else total

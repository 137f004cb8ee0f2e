"""Training as a generator: it stands still after every step, and whoever pulls decides whether it goes on."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch
from runner.training.events import Step

#: (loss, the model's output) for one batch.
Cost = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]
#: The batches that make one optimizer step, each with its share of the step's loss; usually [(1.0, batch)].
Parts = Sequence[tuple[float | Tensor, Batch]]
#: How much a batch's loss counts beside others': its examples where the loss is their mean. None: losses add up.
Weigh = Callable[[Batch], float | Tensor] | None


@dataclass
class State:
    """What an optimizer step changes."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler(enabled=False))
    step: int = 0


def train(state: State, batches: Iterable[Parts], cost: Cost) -> Iterator[Step]:
    """Take one optimizer step per item of `batches`.

    Training stands still between steps: look at `state` all you like, and stop pulling to stop training.
    """
    searches = isinstance(state.optimizer, torch.optim.LBFGS)  # it evaluates the loss several times a step
    state.model.train()
    for parts in batches:
        if searches:
            loss: Any = state.optimizer.step(partial(gradients, state, parts, cost))  # type: ignore[arg-type]
        else:
            loss = gradients(state, parts, cost)
            state.scaler.unscale_(state.optimizer)  # so that clipping sees true gradients
            state.scaler.step(state.optimizer)
            state.scaler.update()
        state.step += 1
        yield Step(state.step, loss)


def gradients(state: State, parts: Parts, cost: Cost) -> Tensor:
    """Leave the gradients of the step's loss in the parameters, and return that loss."""
    _forget_gradients(state.optimizer)
    total: Tensor | None = None
    for share, batch in parts:
        loss, _ = cost(state.model, batch)
        loss = loss if len(parts) == 1 else (loss * share).to(loss.dtype)
        state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        total = loss.detach() if total is None else total + loss.detach()
    assert total is not None
    return total


def _forget_gradients(optimizer: torch.optim.Optimizer) -> None:
    """What `zero_grad` does, without its entry for the profiler, which takes a tenth of a small model's step."""
    if type(optimizer).zero_grad is not torch.optim.Optimizer.zero_grad:
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


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
    was_training = model.training
    model.eval()
    losses, weights = [], []
    for batch in batches:
        loss, output = cost(model, batch)
        losses.append(loss)
        weights.append(weigh(batch) if weigh else 1)
        if watch is not None:
            watch(output, batch[1])
    model.train(was_training)
    if len(losses) == 1:
        return losses[0] / (weights[0] != 0)  # NaN, as of several batches, where nothing counts
    total = sum((loss * multiple(weight) for loss, weight in zip(losses, weights, strict=True)), torch.zeros(()))
    return total / sum(weights) if weigh else total

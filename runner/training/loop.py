"""Training as a generator: it pauses after every step, and the caller decides whether it goes on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch, nests
from runner.model import modes
from runner.training.events import Step, taken

#: (loss, the model's output) for one batch.
Cost = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]
#: The batches that make one optimizer step, each with its share of the step's loss; usually [(1.0, batch)].
Parts = Sequence[tuple[float | Tensor, Batch]]
#: The weight of a batch's loss beside others': its number of examples where the loss is a mean. None: losses add up.
Weigh = Callable[[Batch], float | Tensor] | None


@dataclass
class State:
    """The model, its optimizer and all else that an optimizer step reads and changes."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    cost: Cost  # the loss of one batch
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler(enabled=False))
    step: int = 0  # optimizer steps so far
    counters: list[Tensor] = field(default_factory=list)  # what a step changes beside these, as of dropout's streams
    still: list[nn.Module] = field(default_factory=list)  # layers in evaluation mode while the others are trained
    loss_parts: deque[dict[str, Tensor]] | None = None  # the named parts of the newest losses; None: the loss has none

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimizers by their names where the settings name several, as in `optimizers["generator"]`."""
        return dict(getattr(self.optimizer, "each", {}))

    def begin(self) -> None:
        """Put the model into training mode, all but the layers that stay as they are."""
        self.model.train()
        for module in self.still:
            module.eval()


def train(
    state: State, batches: Iterable[Parts], step: Callable[[State, Parts], Tensor | Mapping[str, Tensor]]
) -> Iterator[Step]:
    """Take one optimizer step for each item of `batches`, and yield an event after each.

    state: of the model and its optimizer. Between two steps it may be read, saved or changed; what is to be kept of a
        gradient is to be copied, as the next step may write into it.
    batches: for each step, the batches whose gradients add up, with their shares of the loss.
    step: takes one step and returns its loss, see runner.training.step.
    To stop training, stop iterating:

        for event in train(run.state, run.batches(), run.step):
            if event.read() < 0.01:
                break
    """
    state.begin()
    for parts in batches:
        loss = step(state, parts)
        state.step += 1
        yield taken(state.step, loss)


def multiple(weight: Any) -> Any:
    """Return the factor that turns a batch's mean into its sum: `weight`; 1 where that is 0, as nothing was divided."""
    return weight + (weight == 0)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    cost: Cost,
    watch: Callable[[Tensor, Tensor], None] | None = None,
    weigh: Weigh = lambda batch: nests.length(batch[0]),
) -> Tensor:
    """Return the loss of all batches as if they were one: a tensor of shape () on the model's device.

    cost: returns (loss, output) of the model for one batch.
    watch: is called with the output and the targets of every batch; for metrics and predictions.
    weigh: returns the weight of a batch; the loss is the weighted mean. None: the loss is the sum.
    The model is in evaluation mode meanwhile, without gradients, and returns to its mode afterwards.
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

"""What a run's model gives for data: outputs, losses and metrics, batch by batch and without gradients."""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from runner.data import Batch, Data, Source, batches, evaluation_size
from runner.model import host, modes
from runner.settings import Settings
from runner.training.loop import State, evaluate
from runner.training.parts import losses, metrics

#: The loss of the whole training set with the weights as they are; measured where `train/loss` is monitored.
EVAL_LOSS = "train/eval_loss"


class Measured(Protocol):
    """What is asked of a run: its parts, and its batches on its device."""

    settings: Settings
    data: Data
    state: State
    loss: nn.Module
    metrics: dict[str, Any]

    @property
    def monitor(self) -> str:
        """Return the metric that decides what is best."""

    @property
    def copies(self) -> bool:
        """Return True if a layer may write into a batch."""

    def moved(self, stream: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches on the run's device."""


def reading(run: Measured, source: Source) -> Iterator[Batch]:
    """Yield all of `source` in order, in batches on the run's device."""
    trainer = run.settings.trainer
    size = evaluation_size(source, trainer.batch_size)
    return run.moved(batches(source, size, workers=trainer.workers, copies=run.copies))


def outputs(run: Measured, source: Source) -> tuple[Tensor, Tensor]:
    """Return targets and outputs for every example of `source`, in order, on the CPU."""
    rows = []
    with torch.no_grad(), modes.evaluating(run.state.model):
        for batch in reading(run, source):
            rows.append(tuple(map(host.tensor, (batch[1], run.state.cost(run.state.model, batch)[1]))))
    y, output = (torch.cat(parts) for parts in zip(*rows, strict=True))
    return y, output


def values(run: Measured, source: Source, prefix: str) -> dict[str, float]:
    """Return loss and metrics of the model as it is on all of `source`, as `prefix/loss` and so on."""
    watch = metrics.watch(run.metrics, run.data, run.loss, run.state.model)
    loss = evaluate(run.state.model, reading(run, source), run.state.cost, watch, losses.weigh(run.loss))
    measured = {"loss": host.number(loss), **metrics.values(run.metrics)}
    return {f"{prefix}/{name}": value for name, value in measured.items()}


def validate(run: Measured) -> dict[str, float]:
    """Return loss and metrics on the validation data; where `train/loss` is monitored, the loss on all training data.

    Both are of the weights as they are now: the losses of the steps were measured before each update, and of a
    model that was another one at every step.
    """
    measured = values(run, run.data.valid, "valid") if run.data.valid is not None else {}
    if run.monitor == "train/loss":
        weigh = losses.weigh(run.loss)
        loss = evaluate(run.state.model, reading(run, run.data.train), run.state.cost, weigh=weigh)
        measured[EVAL_LOSS] = host.number(loss)
    return measured

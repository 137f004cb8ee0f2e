"""Outputs, losses and metric values of a run's model for data, batch by batch and without gradients."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from runner.data import Batch, Data, Nest, Source, nests
from runner.data._ragged import lined_up
from runner.data._streams import collates
from runner.model import host, modes
from runner.settings import random_state
from runner.training.augment.readers import TreatedReaders
from runner.training.loop import Cost, State, evaluate
from runner.training.parts import losses, named, outputs_apart
from runner.training.parts.batches import is_own
from runner.training.parts.readers import Readers
from runner.training.state import generators

#: torch's layers that draw in evaluation mode.
DRAWING = (nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)
#: The loss of the whole training set with the weights as they are; measured where `train/loss` is monitored.
EVAL_LOSS = "train/eval_loss"


#: Makes the block around an evaluation, see `drawing_of`.
Drawing = Callable[[], contextlib.AbstractContextManager[None]]
#: Is called with output and targets of every batch.
Watch = Callable[[Nest, Nest], None] | None


@dataclass
class Tested:
    """Outputs and test values of the weights that a run is tested with, measured together with those of other runs."""

    source: Source  # the part of the run's data that the outputs are of
    outputs: tuple[Nest, Nest] | None  # targets and outputs on the CPU, as `outputs` returns them; None: too many
    values: dict[str, float] | None  # as `values` returns them; None: the test data is not measured together


class Measured(Protocol):
    """The part of a run that measuring needs."""

    data: Data
    state: State
    loss: nn.Module
    metrics: dict[str, Any]
    device: torch.device

    @property
    def drawing(self) -> Drawing:
        """The block in which data is evaluated."""

    @property
    def model(self) -> nn.Module:
        """The model, that of `state`."""

    @property
    def cost(self) -> Cost:
        """The loss and output of a batch that is not trained on."""

    @property
    def monitor(self) -> str:
        """The name of the loss or metric that decides which weights are best."""

    @property
    def readers(self) -> Readers | TreatedReaders:
        """The readers of its data."""

    @property
    def copies(self) -> bool:
        """True if a layer, the loss or a metric may write into a batch."""

    def moved(self, stream: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches on the run's device."""


def drawing_of(modules: Iterable[nn.Module], seed: int, device: torch.device) -> Drawing:
    """Return what makes the block around each evaluation of a run.

    modules: model and loss, with all in them. Code of the user's own may draw random numbers in an evaluation too, as a
    variational autoencoder does. There the generators start from the run's seed, and go on afterwards as if nothing had
    been evaluated: the same weights have the same values whenever they are measured, and the training does not depend
    on how often it is.
    """
    if not any(is_own(module) or isinstance(module, DRAWING) for module in modules):
        return contextlib.nullcontext

    @contextlib.contextmanager
    def started() -> Iterator[None]:
        with generators.undrawn(device):
            random_state.start(seed)
            if device.type != "cpu":
                torch.manual_seed(seed)
            yield

    return started


def reading(run: Measured, source: Source) -> Iterator[Batch]:
    """Yield all of `source` in order, in batches on the run's device."""
    return run.moved(run.readers.whole(source, run.copies))


def outputs(run: Measured, source: Source) -> tuple[Nest, Nest]:
    """Return targets and outputs for every example of `source`, in order, on the CPU."""
    rows = []
    with run.drawing(), torch.no_grad(), modes.evaluating(run.state.model):
        for batch in reading(run, source):
            output = run.cost(run.state.model, batch)[1]
            rows.append(tuple(nests.mapped(host.tensor, part) for part in (batch[1], output)))
    y, output = map(lined_up if collates(source) else nests.concatenated, zip(*rows, strict=True))
    return y, output


def values(run: Measured, source: Source, prefix: str) -> dict[str, float]:
    """Return the loss and metric values of the present weights on all of `source`, as `prefix/loss` and so on."""
    metrics = outputs_apart.metric_values(run)
    watch = metrics.update_one if run.metrics else None
    loss, parts = _loss(run, source, watch)
    measured = {"loss": loss, **parts, **metrics.values()[0]}
    return {f"{prefix}/{name}": value for name, value in measured.items()}


def validate(run: Measured) -> dict[str, float]:
    """Return the values of a validation: `valid/loss` and `valid/<metric>`, where there is validation data.

    Where `train/loss` is monitored, `train/eval_loss` is the loss of the present weights on all training data; the
    losses of the steps are of one batch each, before its update.
    """
    measured = values(run, run.data.valid, "valid") if run.data.valid is not None else {}
    if run.monitor == "train/loss":
        measured[EVAL_LOSS], _ = _loss(run, run.data.train)
    return measured


def _loss(run: Measured, source: Source, watch: Watch = None) -> tuple[float, dict[str, float]]:
    """Return the loss of all of `source`, and its named parts."""
    means = named.Means(run.state.loss_parts, run.loss, losses.weigh)
    stream = means.following(reading(run, source))
    with run.drawing():
        loss = evaluate(run.state.model, stream, run.cost, watch, losses.weigh(run.loss))
    parts = means.values()
    return parts.pop("loss", host.number(loss)), parts

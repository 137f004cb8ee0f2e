"""A run: its parts, its progress, and what follows from a step."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from runner.data import Batch, Data, Nest, Tensors, batches
from runner.model import stack
from runner.settings import Settings
from runner.settings.errors import ConfigError, did_you_mean
from runner.training import checkpoints, measure
from runner.training.augment.readers import TreatedReaders
from runner.training.capture import choice
from runner.training.debugging.undebugged import Undebugged
from runner.training.events import Epoch, Event, Snapshot, Step
from runner.training.finite import check_loss
from runner.training.health import Health
from runner.training.loop import Cost, Parts, State
from runner.training.parts import averages, groups, scheduling
from runner.training.parts.batches import grouped, may_write
from runner.training.parts.components import Components
from runner.training.parts.continuing import Continuing
from runner.training.parts.dropout import Streams
from runner.training.parts.freezing import Frozen
from runner.training.parts.length import Length, length
from runner.training.parts.placement import Placement, placement
from runner.training.parts.readers import Readers
from runner.training.parts.start import Start
from runner.training.seen import Unseen
from runner.training.state import checkpoint, generators, progress
from runner.training.state.best import Best
from runner.training.state.history import History, Points
from runner.training.state.snapshots import Snapshots
from runner.training.step import TrainStep
from runner.training.unpictured import Unpictured

#: Returns the losses and metric values of a run's present weights.
Validate = Callable[["Run"], dict[str, float]]
#: The learning rates of a step by the names under which they are recorded.
Rates = dict[str, float]


@dataclass
class Run:
    """A model, its data and everything that trains the one on the other; made by `prepare`.

    `drive` trains it. What a user reads of it: `model`, `data`, `history`, `best`, `epoch`, `state.step`, `settings`.
    """

    name: str
    settings: Settings
    parts: Components
    data: Data
    stack: stack.Stack
    state: State
    step: TrainStep
    loss: nn.Module
    schedule: scheduling.Schedule
    metrics: dict[str, Any]
    device: torch.device
    folder: Path  # for files on their way to the tracking store
    best: Best
    written: Snapshots
    threads: int = 1  # for one operation on the processor
    epoch: int = 0
    stopped: str = ""  # the reason why training ends before its last epoch; "": it does not
    tags: dict[str, str] = field(default_factory=dict)  # of its record, beside those that every run has
    recorder: History = field(default_factory=History)
    ready: dict[str, Any] = field(default_factory=dict)  # the random generators as training begins or goes on
    streams: Streams = field(default_factory=Streams)  # of dropout
    seen: Unseen = field(default_factory=Unseen)  # metric values of the batches that are trained on
    pictures: Unpictured = field(default_factory=Unpictured)  # the plots that are drawn while it trains
    debugging: Undebugged = field(default_factory=Undebugged)  # looks into it, by trainer.debug
    health: Health = field(default_factory=Health)  # warns of gradients
    average: averages.Unaveraged = field(default_factory=averages.Unaveraged)
    start: Start = field(default_factory=Start)  # weights of before that it has started from
    drawing: measure.Drawing = contextlib.nullcontext  # makes the block around an evaluation
    loaded: dict[str, str] = field(default_factory=dict)  # runs that code of the user's own has loaded; `Loaded`
    frozen: Frozen = field(default_factory=lambda: Frozen({}, nn.Module()))
    rng_state: Callable[[], dict[str, Any]] | None = None  # reads this run's generators where they are not process-wide
    stop: Callable[[], BaseException | None] = lambda: None  # returns the error that is to end the run
    keeps: Callable[["Run"], bool] = lambda run: True  # asked at the end: are checkpoint, predictions, plots written?
    kept: bool = True  # the answer
    together: measure.Tested | None = None  # measured with other runs at the end; None: the run measures itself

    @property
    def model(self) -> nn.Module:
        """The model with its present weights, on `device`."""
        return self.state.model

    @property
    def history(self) -> dict[str, Points]:
        """Losses and metric values by name, such as `train/loss`: sequences of (optimizer steps so far, value)."""
        return self.recorder.points

    @property
    def trains(self) -> bool:
        """True if there are epochs; without, the inputs are only pushed through the model, and there is no loss."""
        return self.settings.trainer.trains

    @property
    def monitor(self) -> str:
        """The name of the loss or metric that decides which weights are best."""
        return self.settings.trainer.monitor or ("train/loss" if self.data.valid is None else "valid/loss")

    @property
    def tested(self) -> tuple[str, int]:
        """The checkpoint that test values, predictions and plots at the end are of: its name and step."""
        name = self.settings.trainer.test_checkpoint
        return name, self.best.step if name == "best" and self.best.copied is not None else self.state.step

    @property
    def title(self) -> str:
        """The title of plots: the run's name and the checkpoint that they show."""
        name, step = self.tested
        return f"{self.name} ({name} weights, step {step:,})" if self.trains else self.name

    @cached_property
    def placement(self) -> Placement:
        """The device, type and order of all batches."""
        return placement(self.settings.trainer, self.device)

    @cached_property
    def readers(self) -> Readers | TreatedReaders:
        """The worker processes that read data which are not in memory; they end with the training."""
        if self.parts.treatment:
            return TreatedReaders(self.settings, self.placement.pinned, self.parts.treatment, self.data)
        kind = Continuing if self.settings.trainer.carry else Readers
        return kind(self.settings, self.placement.pinned)

    @cached_property
    def copies(self) -> bool:
        """True if a layer or a step may write into a batch, which then must be no part of the data itself."""
        return self.parts.step is not None or may_write([self.model, self.loss, *self.metrics.values()])

    @cached_property
    def cost(self) -> Cost:
        """The loss and output of a batch that is not trained on, captured where the steps are."""
        return choice.evaluation(self.state.cost, self.step)

    @cached_property
    def rated(self) -> dict[str, int]:
        """The names of the learning rates and the optimizer's groups that have them."""
        return groups.rated(self.state.optimizer)

    @cached_property
    def length(self) -> Length:
        """The length of the training, and the steps after which an epoch ends or a validation follows."""
        return length(self.settings, self.data)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return self.length.per_epoch

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.length.steps

    def batches(self) -> Iterator[Parts]:
        """Yield every optimizer step's batches, from the present step to the last one."""
        return islice(self._batches(), max(self.steps - self.state.step, 0))

    def _batches(self) -> Iterator[Parts]:
        """Yield every optimizer step's batches, from the present step to the end of the last epoch."""
        trainer = self.settings.trainer
        if self.readers.repeats(self.data.train):
            assert isinstance(self.data.train, Tensors)
            yield from ([(1.0, batch)] for batch in self.data.train.whole(self.copies))
            return
        first, offset = divmod(self.state.step, self.steps_per_epoch)
        on_device = isinstance(self.data.train, Tensors)  # moved there as a whole
        epochs = range(first, self.length.epochs)
        for stream in self.readers.epochs(self.data.train, epochs, offset * trainer.accumulate, self.copies):
            moved = stream if on_device else self.moved(stream)
            yield from grouped(moved, trainer.accumulate, self.loss, own=self.parts.step is not None)

    def batch_of(self, size: int) -> Nest:
        """Return the first `size` training inputs, on the run's device."""
        return next(self.moved(batches(self.data.train, size)))[0]

    def moved(self, stream: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches on the run's device and, with fp64, as that type."""
        return self.placement.moved(stream)

    def after(self, step: Step, validate: Validate = measure.validate) -> Iterator[Event]:
        """Move the schedule and the epoch on, and yield what follows from a step.

        Where a validation is due, that is its event, after the best weights and early stopping have seen the values;
        then the files of a checkpoint, if one is due.

        validate: returns the losses and metric values of the present weights, such as {"valid/loss": 0.1}.
        Raises Diverged for a loss of the validation, or weights of a checkpoint, that are not finite; ConfigError if
        the monitored metric is not among the values.
        """
        rates = groups.rates(self.state.optimizer, self.rated)
        self.average.after_step()
        if step.step < self.steps:
            self.schedule.after_step()
        yield from self.ended(step.step, rates, validate, self.schedule)

    def ended(self, step: int, rates: Rates, validate: Validate, schedule: scheduling.Moves) -> Iterator[Event]:
        """Yield what follows from `step` once the schedule has seen it: a validation, and a checkpoint.

        rates: of the step, see `groups.rates`. schedule: is moved on after epochs and validations. Others: see `after`.
        """
        if self.length.ends_epoch(step):
            self.epoch += 1
            self.frozen.at(self.epoch)
            self.average.after_epoch(self.epoch)
            schedule.after_epoch()
        if self.length.validates_after(step):
            with self.average.shown(self):
                event = self._validated(step, validate(self) | self.seen.values(), rates, schedule)
            yield event
        yield from self.pictures.after(self, step)
        if self.parts.due.is_now(step, self.steps_per_epoch):
            yield from self.snapshots()

    def _validated(self, step: int, values: dict[str, float], rates: Rates, schedule: scheduling.Moves) -> Epoch:
        """Give the values of a validation to the schedule, the best weights and early stopping."""
        for name in ("valid/loss", measure.EVAL_LOSS):
            check_loss(name, values.get(name, 0.0), step)
        values |= rates
        value = values.get(measure.EVAL_LOSS if self.monitor == "train/loss" else self.monitor)
        if value is None:
            names = [name for name in values if name not in (*rates, measure.EVAL_LOSS)] + ["train/loss"]
            raise ConfigError("trainer.monitor", f"{self.monitor!r} is not measured{did_you_mean(self.monitor, names)}")
        schedule.after_validation(value)
        self.best.compare(value, step, self.model)
        self.stop_if_stale()
        return Epoch(self.epoch, step, {**values, "epoch": self.length.epoch(step)})

    def stop_if_stale(self) -> None:
        """Stop if nothing has been better for `trainer.patience` validations."""
        patience = self.settings.trainer.patience
        if patience is not None and self.best.stale >= patience:
            self.stopped = f"no better {self.monitor} than {self.best.value:.6g} for {self.best.stale} validations"

    def weights(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Put the weights of a checkpoint, best, last or averaged, into the model for a block, then its own again."""
        return checkpoints.weights(self, name)

    def snapshots(self) -> Iterator[Snapshot]:
        """Write the present weights and the best so far, and yield an event for each; skip those written already."""
        return checkpoints.snapshots(self)

    def best_snapshot(self) -> Iterator[Snapshot]:
        """Write the best weights so far, and yield the event; nothing if they are written already."""
        return checkpoints.best(self)

    def last_values(self) -> dict[str, Any]:
        """Return the newest value of every loss and metric by name."""
        left_out = ("lr", "epoch")
        return {k: v[-1][1] for k, v in self.history.items() if v and k.partition("/")[0] not in left_out}

    def state_dict(self) -> dict[str, Any]:
        """Return everything beside the weights that the next step depends on, as tensors and plain values."""
        return progress.state_dict(self)

    def random_state(self) -> dict[str, Any]:
        """Return the states of generators and streams."""
        return self.rng_state() if self.rng_state else generators.random_state(self.device) | self.streams.state_dict()

    def load_state_dict(self, weights: dict[str, Any], training: dict[str, Any]) -> None:
        """Let a run that has just been prepared go on from the state of another one.

        weights: the other model's state_dict. training: from the other run's `state_dict`.
        Raises CheckpointError where one of them is damaged or does not fit this run.
        """
        checkpoint.fill(self.model, weights)
        progress.load_state_dict(self, training)

    def close(self) -> None:
        """End what reads data, and delete `folder`. Call it when the run is over and its artifacts are delivered."""
        self.readers.close()
        shutil.rmtree(self.folder, ignore_errors=True)

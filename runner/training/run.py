"""One experiment under way: its parts, what follows from a step, and what is left at the end."""

import contextlib
import io
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from runner import plots
from runner.data import Batch, Data, Source, Tensors, batches, count, evaluation_size
from runner.model import host, stack
from runner.settings import Settings, memory
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.files import durable
from runner.training import forward, in_place, on_host
from runner.training.events import Epoch, Event, Finished, Kept, Observer, Snapshot, Step
from runner.training.finite import Finite, check_loss, check_model
from runner.training.loop import Cost, Parts, State, evaluate, train
from runner.training.parts import losses, metrics, scheduling
from runner.training.parts.batches import grouped
from runner.training.parts.components import Components
from runner.training.state import checkpoint, exact, pieces
from runner.training.state.best import Best
from runner.training.state.history import History, Points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Inputs, targets and outputs.
Predicted = tuple[Tensor, Tensor, Tensor]

#: The loss of the whole training set with the weights as they are; measured where `train/loss` is monitored.
EVAL_LOSS = "train/eval_loss"


@dataclass
class Run:
    """A model, its data and everything that trains the one on the other."""

    name: str
    settings: Settings
    parts: Components
    data: Data
    stack: stack.Stack
    state: State
    cost: Cost
    loss: nn.Module
    schedule: scheduling.Schedule
    metrics: dict[str, Any]
    device: torch.device
    folder: Path  # for files on their way to the tracking store
    best: Best
    threads: int = 1  # for one operation on the processor
    epoch: int = 0
    stopped: str = ""  # why training ends before its last epoch
    pruned: int | None = None  # the epoch after which a sweep has given it up
    history_: History = field(default_factory=History)
    written: dict[str, int] = field(default_factory=dict)  # checkpoint -> the step of its newest files
    pieces: list[Path] = field(default_factory=list)  # of the history, which no event has told of yet
    ready: dict[str, Any] = field(default_factory=dict)  # the random generators as training begins or goes on
    random: Callable[[], dict[str, Any]] | None = None  # the same now, of a run whose draws are not the process's
    draw: Callable[["Run", Path], None] = lambda run, folder: run.draw_here(folder)  # writes the plots
    stop: Callable[[], BaseException | None] = lambda: None  # what is to end the run, if anything is
    looked: dict[str, float] | None = None  # valid/..., where many models have just been looked at together
    _outputs: list[tuple[Source, tuple[Tensor, Tensor]]] | None = None  # what `outputs` gave while it is finished

    @property
    def model(self) -> nn.Module:
        return self.state.model

    @property
    def history(self) -> dict[str, Points]:
        return self.history_.points

    @property
    def trains(self) -> bool:
        """Without epochs the inputs are only pushed through, and there is no loss."""
        return self.settings.trainer.epochs > 0

    @property
    def monitor(self) -> str:
        """The metric that decides what is best."""
        return self.settings.trainer.monitor or ("train/loss" if self.data.valid is None else "valid/loss")

    @property
    def tested(self) -> tuple[str, int]:
        """The checkpoint that test figures, predictions and plots are made with at the end, and its step."""
        name = self.settings.trainer.test_checkpoint
        return name, self.best.step if name == "best" and self.best.weights is not None else self.state.step

    @property
    def title(self) -> str:
        """Name of the run and of the weights that its plots show."""
        name, step = self.tested
        return f"{self.name} ({name} weights, step {step:,})" if self.trains else self.name

    @cached_property
    def copies(self) -> bool:
        """Whether somebody may write into a batch, which then must be no part of the data itself."""
        return in_place.may_write([self.model, self.loss, *self.metrics.values()])

    @cached_property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.settings, self.data)

    @cached_property
    def steps(self) -> int:
        """Of the whole training."""
        return self.settings.trainer.epochs * self.steps_per_epoch

    @property
    def looks(self) -> bool:
        """Whether the epoch under way ends with a look at the validation data."""
        trainer, epoch = self.settings.trainer, self.epoch + 1
        return epoch % trainer.validate_every == 0 or epoch == trainer.epochs

    def batches(self) -> Iterator[Parts]:
        """Every optimizer step's batches, from the present step to the last epoch."""
        trainer = self.settings.trainer
        if isinstance(self.data.train, Tensors) and count(self.data.train, trainer.batch_size) == 1:
            whole = self.data.train.whole(self.copies)
            yield from ([(1.0, batch)] for batch in islice(whole, self.steps - self.state.step))
            return
        first, offset = divmod(self.state.step, self.steps_per_epoch)
        for epoch in range(first, trainer.epochs):
            start = offset * trainer.accumulate if epoch == first else 0
            stream = batches(
                self.data.train,
                trainer.batch_size,
                epoch=epoch,
                seed=self.settings.seed,
                shuffle=trainer.shuffle,
                drop_last=trainer.drop_last,
                start=start,
                workers=trainer.workers,
                copies=self.copies,
            )
            here = isinstance(self.data.train, Tensors)  # moved to the device as a whole
            yield from grouped(stream if here else self._moved(stream), trainer.accumulate, losses.weigh(self.loss))

    def after(self, step: Step) -> Iterator[Event]:
        """What follows from a step: a look at the validation data where an epoch ends, a checkpoint if one is due."""
        rate = self.state.optimizer.param_groups[0]["lr"]
        if step.step < self.steps:
            self.schedule.after_step()
        if step.step % self.steps_per_epoch == 0:
            looks = self.looks
            self.epoch += 1
            if looks:
                yield self._look(step, float(rate))
            else:
                self.schedule.after_epoch(None)
        if self.parts.due.is_now(step.step, self.steps_per_epoch):
            yield from self.snapshots()

    def predict(self, source: Source) -> Predicted:
        """Inputs, targets and outputs for every example of `source`, in order, on the CPU: copies of all of them."""
        y, output = self.outputs(source)
        whole = iter([(source.x, source.y)]) if isinstance(source, Tensors) else None
        inputs = self.reading(source) if whole is None else self._moved(whole)
        return torch.cat([host.tensor(x) for x, _ in inputs]), y, output

    def outputs(self, source: Source) -> tuple[Tensor, Tensor]:
        """Targets and outputs for every example of `source`, in order, on the CPU."""
        for known, found in self._outputs or ():
            if known is source:
                return found
        was_training = self.model.training
        self.model.eval()
        rows = []
        with torch.no_grad():
            for batch in self.reading(source):
                rows.append(tuple(map(host.tensor, (batch[1], self.cost(self.model, batch)[1]))))
        self.model.train(was_training)
        y, output = (torch.cat(parts) for parts in zip(*rows, strict=True))
        if self._outputs is not None:
            self._outputs.append((source, (y, output)))
        return y, output

    def batch_of(self, size: int) -> Tensor:
        """The first `size` training inputs, on the run's device."""
        return next(self._moved(batches(self.data.train, size)))[0]

    def look_at(self, source: Source, prefix: str) -> dict[str, float]:
        """Loss and metrics of the model as it is, on all of `source`."""
        watch = metrics.watch(self.metrics, self.data, self.loss, self.model)
        loss = evaluate(self.model, self.reading(source), self.cost, watch, losses.weigh(self.loss))
        found = {"loss": host.number(loss), **metrics.values(self.metrics)}
        return {f"{prefix}/{name}": value for name, value in found.items()}

    def validate(self) -> dict[str, float]:
        """Loss and metrics on the validation data; where `train/loss` is monitored, the loss on all training data.

        Both are of the weights as they are now: the losses of the steps were measured before each update, and of a
        model that was another one at every step.
        """
        values = self.look_at(self.data.valid, "valid") if self.data.valid is not None else {}
        if self.monitor == "train/loss":
            weigh = losses.weigh(self.loss)
            loss = evaluate(self.model, self.reading(self.data.train), self.cost, weigh=weigh)
            values[EVAL_LOSS] = host.number(loss)
        return values

    @contextlib.contextmanager
    def weights(self, name: str) -> Iterator[None]:
        """Put the weights of checkpoint `name`, best or last, into the model for a block; then those that it had."""
        if name == "last" or self.best.weights is None:
            yield
            return
        now = checkpoint.copy(self.model)
        try:
            self.model.load_state_dict(self.best.weights)
            yield
        finally:
            self.model.load_state_dict(now)

    def snapshots(self) -> Iterator[Snapshot]:
        """Write the model as it is and the best one so far, unless their newest files are these already."""
        if self.written.get("last") != self.state.step:
            yield self._written("last", self.state.step)
        yield from self.rescued()

    def rescued(self) -> Iterator[Snapshot]:
        """Write the best model so far, unless its newest files are that already."""
        if self.best.weights is not None and self.written.get("best") != self.best.step:
            with self.weights("best"):
                event = self._written("best", self.best.step)
            yield event

    def finish(self) -> Iterator[Event]:
        """The last checkpoint, then predictions, test figures and plots with the weights of `trainer.test_checkpoint`.

        Plots come last: one that fails must not take anything else with it.
        """
        self._outputs = []
        if self.best.weights is None:  # nobody looked at the validation data: this model is all there is
            self.best.keep(self.model, self.state.step)
        yield from self.snapshots()
        name, step = self.tested
        with self.weights(name):
            yield Kept(self._predictions())
            if not self.trains:
                yield Kept(self._forward())
            values = self.look_at(self.data.test, "test") if self.data.test is not None and self.trains else {}
            check_loss("test/loss", values.get("test/loss", 0.0), step)
            done = f"{self.epoch} of {self.settings.trainer.epochs} epochs done"
            reason = self.stopped or (done if self.trains else "inputs pushed through, nothing trained")
            yield Finished(step, values, reason, self._tags())
            if self.settings.plots:
                yield from self._plots()
        self._outputs = None

    def _tags(self) -> dict[str, str]:
        """How good the run is, whether it was pruned, and of which checkpoint test/*, predictions.npy and plots are."""
        tags = {} if self.pruned is None else {"sweep.pruned": str(self.pruned)}
        if self.trains:
            name, step = self.tested
            tags |= {"test.checkpoint": name, "test.step": str(step)}
        if math.isnan(self.best.value):
            return tags
        return {
            **tags,
            "best.metric": self.monitor,
            "best.value": repr(self.best.value),
            "best.step": str(self.best.step),
        }

    def lose_patience(self) -> None:
        """Stop if nothing has been better for `trainer.patience` validations."""
        if self.best.stale >= (self.settings.trainer.patience or math.inf):
            self.stopped = f"no better {self.monitor} than {self.best.value:.6g} for {self.best.stale} validations"

    def last_values(self) -> dict[str, Any]:
        """The newest value of every loss and metric."""
        return {key: points[-1][1] for key, points in self.history.items() if points and key not in ("lr", "epoch")}

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _look(self, step: Step, rate: float) -> Epoch:
        values, self.looked = self.looked, None
        if values is None:
            values = self.validate()
        for name in ("valid/loss", EVAL_LOSS):
            check_loss(name, values.get(name, 0.0), step.step)
        values["lr"] = rate
        value = values.get(EVAL_LOSS if self.monitor == "train/loss" else self.monitor)
        if value is None:
            known = [name for name in values if name not in ("lr", EVAL_LOSS)] + ["train/loss"]
            raise ConfigError("trainer.monitor", f"{self.monitor!r} is not measured{did_you_mean(self.monitor, known)}")
        self.schedule.after_epoch(value)
        self.best.compare(value, step.step, self.model)
        self.lose_patience()
        return Epoch(self.epoch, step.step, {**values, "epoch": self.epoch})

    def _written(self, name: str, step: int) -> Snapshot:
        # A folder of its own: files of an earlier one may still be on their way to the store.
        folder = self.folder / f"{name}-{step}"
        check_model(self.model, step)
        training = self._training() if name == "last" and self.trains else None
        form = self.settings.checkpoint.format
        durable.patiently(lambda: checkpoint.save(folder, self.model, form, training, lasting=False), self.stop)
        self.written[name] = step
        new, self.pieces = self.pieces, []
        return Snapshot(name, step, folder, new)

    def _training(self) -> dict[str, Any]:
        """Return the state that the next step depends on, after writing a piece if there are many new points."""
        place = self.folder / f"history-{self.state.step}"
        if durable.patiently(lambda: pieces.write(self.history_, place), self.stop):
            self.pieces.append(place)
        return exact.taken(self)

    def reading(self, source: Source) -> Iterator[Batch]:
        """All of `source` in order."""
        size = evaluation_size(source, self.settings.trainer.batch_size)
        return self._moved(batches(source, size, workers=self.settings.trainer.workers, copies=self.copies))

    def _moved(self, stream: Iterator[Batch]) -> Iterator[Batch]:
        dtype = torch.float64 if self.settings.trainer.precision == "fp64" else None
        for x, y in stream:
            if x.device != self.device or (dtype and any(t.is_floating_point() and t.dtype != dtype for t in (x, y))):
                moved = Tensors(x, y).to(self.device, dtype)
                x, y = moved.x, moved.y
            yield x, y

    def _predictions(self) -> Path:
        _, output = self.outputs(self.data.valid if self.data.valid is not None else self.data.train)
        folder, content = _folder(self.folder / "predictions"), io.BytesIO()
        np.save(content, host.array(output), allow_pickle=False)
        path = folder / "predictions.npy"
        durable.patiently(lambda: durable.write(path, content.getbuffer(), lasting=False), self.stop)
        return folder

    def _forward(self) -> Path:
        folder, source = _folder(self.folder / "forward"), self.data.train
        forward.keep(self.model, (x for x, _ in self.reading(source)), len(source), folder)  # type: ignore[arg-type]
        forward.work(self.model, self.batch_of(1), folder)
        return folder

    def _plots(self) -> Iterator[Kept]:
        """Raises what the first one raised that cannot be drawn; the others are kept."""
        folder = self.folder / "pictures"
        failed: Exception | None = None
        try:
            self.draw(self, _folder(folder / "plots"))
        except Exception as error:
            failed = error
        yield Kept(folder)
        if failed is not None:
            raise failed

    def draw_here(self, folder: Path, names: Iterable[str] | None = None) -> None:
        """Write plots into `folder`: these, or all."""
        with self.weights(self.tested[0]):
            subject = on_host.subject(self)
            plots.each(
                self.settings.plots if names is None else names,
                lambda name: plots.save(self.drawn(name, subject), plots.file(name, folder)),
            )

    def drawn(self, name: str, subject: plots.Subject | None = None) -> "Figure":
        """A plot, ours or the user's."""
        return self.parts.plots[name](subject or on_host.subject(self))  # type: ignore[no-any-return]


@memory.told
def drive(run: Run, *observers: Observer, stop: Callable[[], BaseException | None] = lambda: None) -> None:
    """Train to the end and tell the observers.

    stop: is asked between two steps; what it gives ends the run there, and is raised after a checkpoint.
    Raises Diverged when the loss is no finite number.
    """
    told, finite, run.stop = (run.history_, *observers), Finite(run.device.type != "cpu"), stop
    try:
        for step in () if run.stopped else train(run.state, run.batches(), run.cost):
            finite.check(step)
            for observer in told:
                observer.record(step)
            tell(told, run.after(step))
            if (reason := stop()) is not None:
                interrupted(run, told, reason)
                raise reason
            if run.stopped:
                break
        finite.check_last()
    except Exception as error:
        run.stop = partial(_same, error)  # a full disk has been waited for
        try:
            tell(told, run.rescued())
        except Exception as another:
            error.add_note(f"and the best model so far cannot be written: {another}")
        raise
    conclude(run, told, stop)


def interrupted(run: Run, told: Iterable[Observer], reason: BaseException) -> None:
    """Write a checkpoint before `reason` ends the run. A disk that does not take it changes nothing in that."""
    try:
        tell(told, run.snapshots())
    except checkpoint.CheckpointError as error:
        reason.add_note(f"and its checkpoint is not saved: {error}")


def conclude(run: Run, told: Iterable[Observer], stop: Callable[[], BaseException | None]) -> None:
    """Tell of the end of a training that is over."""
    for event in run.finish():
        tell(told, [event])
        if (reason := stop()) is not None:
            raise reason


def tell(observers: Iterable[Observer], events: Iterable[Event]) -> None:
    for event in events:
        for observer in observers:
            observer.record(event)


def steps_per_epoch(settings: Settings, data: Data) -> int:
    trainer = settings.trainer
    return -(-count(data.train, trainer.batch_size, trainer.drop_last) // trainer.accumulate)


def _same(error: BaseException) -> BaseException:
    return error


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path

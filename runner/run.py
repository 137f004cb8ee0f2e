"""One experiment under way: its parts, what follows from a step, and what is left at the end."""

import math
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from runner import build, checkpoint, forward, metrics, plots, stack
from runner.data import Batch, Data, Source, Tensors, batches, count
from runner.events import Epoch, Event, Finished, Kept, Observer, Snapshot, Step
from runner.history import History
from runner.lookup import ConfigError, did_you_mean
from runner.loop import Cost, Parts, State, Weigh, evaluate, train
from runner.settings import Settings

#: What torch starts with; a run that asks for another number leaves it to the next run of a sweep.
THREADS = torch.get_num_threads()


@dataclass
class Run:
    """A model, its data and everything that trains the one on the other."""

    name: str
    settings: Settings
    data: Data
    stack: stack.Stack
    state: State
    cost: Cost
    loss: nn.Module
    schedule: build.Schedule
    metrics: dict[str, Any]
    device: torch.device
    folder: Path  # for files on their way to the tracking store
    epoch: int = 0
    stopped: str = ""  # why training ends before its last epoch
    best: dict[str, Tensor] | None = None
    best_value: float = float("nan")
    best_step: int = 0
    stale: int = 0  # validations since the best
    history_: History = field(default_factory=History)
    saved: float = field(default_factory=time.monotonic)
    mode: str = "min"  # which values of `monitor` are better
    written: dict[str, int] = field(default_factory=dict)  # checkpoint -> the step of its newest files

    @property
    def model(self) -> nn.Module:
        return self.state.model

    @property
    def history(self) -> dict[str, list[tuple[int, float]]]:
        return self.history_.points

    @property
    def trains(self) -> bool:
        """Without epochs the inputs are only pushed through, and there is no loss."""
        return self.settings.trainer.epochs > 0

    @property
    def monitor(self) -> str:
        """The metric that decides what is best."""
        return self.settings.trainer.monitor or ("train/loss" if self.data.valid is None else "valid/loss")

    @cached_property
    def every(self) -> tuple[float, str] | None:
        """How often a checkpoint is due: (number, unit)."""
        return build.every(self.settings.checkpoint.every)

    @cached_property
    def steps_per_epoch(self) -> int:
        return _steps_per_epoch(self.settings, self.data)

    def batches(self) -> Iterator[Parts]:
        """Every optimizer step's batches, from the present step to the last epoch."""
        trainer = self.settings.trainer
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
            )
            yield from grouped(self._moved(stream), trainer.accumulate, build.weigh(self.loss))

    def after(self, step: Step) -> Iterator[Event]:
        """What follows from a step: the step itself, an epoch's end, a checkpoint."""
        yield step
        trainer, rate = self.settings.trainer, float(self.state.optimizer.param_groups[0]["lr"])
        if step.step < trainer.epochs * self.steps_per_epoch:
            self.schedule.after_step()
        if step.step % self.steps_per_epoch == 0:
            self.epoch += 1
            if self.epoch % trainer.validate_every == 0 or self.epoch == trainer.epochs:
                yield self._look(step, rate)
            else:
                self.schedule.after_epoch(None)
        if self._is_due(step.step):
            self.saved = time.monotonic()
            yield from self.snapshots()

    def predict(self, source: Source) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, targets and outputs for every example of `source`, in order, on the CPU."""
        was_training = self.model.training
        self.model.eval()
        found = []
        with torch.no_grad():
            for batch in self._reading(source):
                found.append((batch[0].cpu(), batch[1].cpu(), self.cost(self.model, batch)[1].cpu()))
        self.model.train(was_training)
        x, y, output = (torch.cat(parts) for parts in zip(*found, strict=True))
        return x, y, output

    def batch_of(self, size: int) -> Tensor:
        """The first `size` training inputs, on the run's device."""
        return next(self._moved(batches(self.data.train, size)))[0]

    def look_at(self, source: Source, prefix: str) -> dict[str, float]:
        """Loss and metrics of the model as it is, on all of `source`."""
        watch = metrics.watch(self.metrics, self.data, self.loss)
        loss = evaluate(self.model, self._reading(source), self.cost, watch, build.weigh(self.loss))
        found = {"loss": loss.item(), **metrics.values(self.metrics)}
        return {f"{prefix}/{name}": value for name, value in found.items()}

    def snapshots(self) -> Iterator[Snapshot]:
        """Write the model as it is and the best one so far, unless their newest files are these already."""
        if self.written.get("last") != self.state.step:
            yield self._written("last", self.state.step)
        if self.best is not None and self.written.get("best") != self.best_step:
            now = checkpoint.copy(self.model)
            self.model.load_state_dict(self.best)
            event = self._written("best", self.best_step)
            self.model.load_state_dict(now)
            yield event

    def finish(self) -> Iterator[Event]:
        """The last checkpoint, predictions, the figures to remember the run by, and plots.

        Plots come last: one that fails must not take anything else with it.
        """
        if self.best is None:  # nobody looked at the validation data: this model is all there is
            self.best, self.best_step = checkpoint.copy(self.model), self.state.step
        yield from self.snapshots()
        yield Kept(self._predictions())
        if not self.trains:
            yield Kept(self._forward())
        values = self.look_at(self.data.test, "test") if self.data.test is not None and self.trains else {}
        done = f"{self.epoch} of {self.settings.trainer.epochs} epochs done"
        reason = self.stopped or (done if self.trains else "inputs pushed through, nothing trained")
        self.history_.record(Finished(self.state.step, values, reason))
        yield Finished(self.state.step, self.last_values(), reason)
        if self.settings.plots:
            yield Kept(self._plots())

    def last_values(self) -> dict[str, float]:
        """The newest value of every loss and metric."""
        return {key: points[-1][1] for key, points in self.history.items() if points and key not in ("lr", "epoch")}

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _look(self, step: Step, rate: float) -> Epoch:
        values = self.look_at(self.data.valid, "valid") if self.data.valid is not None else {}
        values["lr"] = rate
        mean = self.history_.mean_since_last_epoch()
        value = {"train/loss": mean, **values}.get(self.monitor)
        if value is None:
            known = [name for name in values if name != "lr"] + ["train/loss"]
            raise ConfigError("trainer.monitor", f"{self.monitor!r} is not measured{did_you_mean(self.monitor, known)}")
        self.schedule.after_epoch(value)
        self._compare(value, step.step)
        event = Epoch(self.epoch, step.step, {**values, "epoch": self.epoch})
        self.history_.record(event)
        return event

    def _written(self, name: str, step: int) -> Snapshot:
        # A folder of its own: files of an earlier one may still be on their way to the store.
        folder = self.folder / f"{name}-{step}"
        checkpoint.save(folder, self.model, self.settings.checkpoint.format)
        self.written[name] = step
        return Snapshot(name, step, folder)

    def _compare(self, value: float, step: int) -> None:
        trainer = self.settings.trainer
        gain = self.best_value - value if self.mode == "min" else value - self.best_value
        if self.best is None or gain > trainer.min_delta or math.isnan(self.best_value) > math.isnan(value):
            self.best, self.best_value, self.best_step, self.stale = checkpoint.copy(self.model), value, step, 0
            return
        self.stale += 1
        if trainer.patience is not None and self.stale >= trainer.patience:
            self.stopped = f"no better {self.monitor} than {self.best_value:.6g} for {self.stale} validations"

    def _is_due(self, step: int) -> bool:
        if self.every is None:
            return False
        number, unit = self.every
        if unit == "minutes":
            return time.monotonic() - self.saved >= 60 * number
        return step % (number if unit == "steps" else number * self.steps_per_epoch) == 0

    def _reading(self, source: Source) -> Iterator[Batch]:
        """Batches without gradients can be larger than those trained with."""
        size, workers = self.settings.trainer.batch_size, self.settings.trainer.workers
        if size or not isinstance(source, Tensors):
            size = max(size or 0, 256) if isinstance(source, Tensors) else size or 256
        return self._moved(batches(source, size, workers=workers))

    def _moved(self, stream: Iterator[Batch]) -> Iterator[Batch]:
        dtype = torch.float64 if self.settings.trainer.precision == "fp64" else None
        for x, y in stream:
            if x.device != self.device or (dtype and x.is_floating_point() and x.dtype != dtype):
                moved = Tensors(x, y).to(self.device, dtype)
                x, y = moved.x, moved.y
            yield x, y

    def _predictions(self) -> Path:
        output = self.predict(self.data.valid if self.data.valid is not None else self.data.train)[2]
        folder = _folder(self.folder / "predictions")
        np.save(folder / "predictions.npy", output.numpy(), allow_pickle=False)
        return folder

    def _forward(self) -> Path:
        folder, source = _folder(self.folder / "forward"), self.data.train
        forward.keep(self.model, (x for x, _ in self._reading(source)), len(source), folder)  # type: ignore[arg-type]
        forward.work(self.model, self.batch_of(1), folder)
        return folder

    def _plots(self) -> Path:
        folder = self.folder / "pictures"
        for name in self.settings.plots:
            path = _folder(folder / "plots") / f"{name.rpartition('.')[2]}.png"
            plots.save(build.plot(name, "plots")(self), path)
        return folder


def prepare(settings: Settings, name: str) -> Run:
    """Check everything, read the data and build the parts. Raises ConfigError before any work is done."""
    build.check(settings)
    seed(settings)  # a data source of the user's may draw numbers
    trains = settings.trainer.epochs > 0
    device, loss = build.device(settings.device), build.loss(settings.loss) if trains else forward.Unmeasured()
    data = build.fit_targets(build.data(settings.data), loss)
    example, target = _examples(data.train, settings.trainer.batch_size)
    plan = stack.plan(settings.model.layers, example)
    if trains:
        _check_targets(target)
        _check_probabilities(data, loss)
        build.check_loss(build.loss(settings.loss), plan.output, target, len(data.classes))
    for i, plot in enumerate(settings.plots):
        build.check_plot(plot, f"plots[{i}]", data, plan)
    made = metrics.build(settings.metrics, data, loss) if trains else {}
    _check_monitor(settings, data, list(made))
    _check_batches(settings, data, plan)
    if settings.trainer.epochs and not any(layer.parameters for layer in plan.layers):
        raise ConfigError("model.layers", "no layer has parameters to train; trainer.epochs=0 only runs them forward")
    seed(settings)
    state = build.state(plan.make(), settings.optimizer, settings.trainer, device)
    trainer, mode = settings.trainer, _mode(settings, made)
    steps = trainer.epochs * _steps_per_epoch(settings, data)
    schedule = build.schedule(settings.scheduler, state.optimizer, trainer.epochs, steps, mode)
    return Run(
        name,
        settings,
        _moved(data, device, trainer.precision),
        plan,
        state,
        build.cost(loss.to(device, torch.float64 if trainer.precision == "fp64" else None), trainer, device),
        loss,
        schedule,
        {k: m.to(device) for k, m in made.items()},
        device,
        Path(tempfile.mkdtemp(prefix="runner-")),
        mode=mode,
    )


def drive(run: Run, *observers: Observer, check: Callable[[], None] = lambda: None) -> None:
    """Train to the end and tell the observers.

    check: is called between two steps, and raises to end the run there.
    """
    for step in train(run.state, run.batches(), run.cost):
        run.history_.record(step)
        for event in run.after(step):
            for observer in observers:
                observer.record(event)
        check()
        if run.stopped:
            break
    for event in run.finish():
        check()
        for observer in observers:
            observer.record(event)


def grouped(stream: Iterator[Batch], size: int, weigh: Weigh) -> Iterator[Parts]:
    """`size` batches at a time, each with its share of the step's loss: by weight for a mean, 1 for a sum."""
    if size == 1:
        for batch in stream:
            yield [(1.0, batch)]
        return
    group: list[Batch] = []
    for batch in stream:
        group.append(batch)
        if len(group) == size:
            yield _shared(group, weigh)
            group = []
    if group:
        yield _shared(group, weigh)


def seed(settings: Settings) -> None:
    """Start every random generator from the run's seed, and fix what else decides the last bits."""
    random.seed(settings.seed)
    np.random.seed(settings.seed % 2**32)
    torch.manual_seed(settings.seed)
    if torch.are_deterministic_algorithms_enabled() != settings.trainer.deterministic:  # saying it again costs 2.5 s
        torch.use_deterministic_algorithms(settings.trainer.deterministic)
    if settings.trainer.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS refuses to be deterministic without it
    torch.set_num_threads(settings.trainer.threads or THREADS)


def _examples(source: Source, size: int | None) -> tuple[Tensor, Tensor]:
    """A batch without values; of one example only if there are no more: that would hide what depends on the batch."""
    (x, y), total = source[0], len(source)  # type: ignore[arg-type]
    size = min(max(size or total, 2), total)
    return tuple(torch.empty((size, *t.shape), dtype=t.dtype, device="meta") for t in map(torch.as_tensor, (x, y)))  # type: ignore[return-value]


def _moved(data: Data, device: torch.device, precision: str) -> Data:
    """What is in memory goes to the device as a whole."""

    def move(source: Source) -> Source:
        dtype = torch.float64 if precision == "fp64" else None
        return source.to(device, dtype) if isinstance(source, Tensors) else source

    valid, test = (None if source is None else move(source) for source in (data.valid, data.test))
    return replace(data, train=move(data.train), valid=valid, test=test)


def _check_probabilities(data: Data, loss: nn.Module) -> None:
    """Binary cross-entropy of targets beyond 0 and 1 falls without bound."""
    if isinstance(loss, nn.BCELoss | nn.BCEWithLogitsLoss) and isinstance(data.train, Tensors):
        low, high = data.train.y.min().item(), data.train.y.max().item()
        if low < 0 or high > 1:
            raise ConfigError(
                "loss.name",
                f"{type(loss).__name__} needs targets from 0 to 1, and these go from {low:.4g} to {high:.4g};"
                " try loss=mse, or loss=cross_entropy for more than two classes",
            )


def _steps_per_epoch(settings: Settings, data: Data) -> int:
    trainer = settings.trainer
    return -(-count(data.train, trainer.batch_size, trainer.drop_last) // trainer.accumulate)


def _mode(settings: Settings, made: dict[str, Any]) -> str:
    """What is better of the monitored metric, which torchmetrics knows."""
    metric = made.get(str(settings.trainer.monitor).partition("/")[2])
    return settings.trainer.mode or ("max" if getattr(metric, "higher_is_better", None) else "min")


def _check_batches(settings: Settings, data: Data, plan: stack.Stack) -> None:
    """BatchNorm cannot train on a single example, which a last batch may happen to be."""
    trainer, total = settings.trainer, len(data.train)  # type: ignore[arg-type]
    size = min(trainer.batch_size or total, total)
    norms = [c.__name__ for c in stack.classes(plan) if issubclass(c, nn.modules.batchnorm._BatchNorm)]
    if trainer.epochs and norms and (size == 1 or (total % size == 1 and not trainer.drop_last)):
        raise ConfigError(
            "trainer.batch_size",
            f"{total} training examples in batches of {size} leave a batch of one, on which {norms[0]} cannot train;"
            " use another size, or trainer.drop_last=true",
        )


def _check_targets(target: Tensor) -> None:
    if not target.numel():
        raise ConfigError("data.y", "training needs targets, and there are none; give them, or use trainer.epochs=0")


def _check_monitor(settings: Settings, data: Data, names: list[str]) -> None:
    monitor = settings.trainer.monitor
    known = ["train/loss"] + (["valid/loss", *(f"valid/{n}" for n in names)] if data.valid is not None else [])
    if monitor is not None and monitor not in known:
        raise ConfigError(
            "trainer.monitor", f"{monitor!r} is not one of {', '.join(known)}{did_you_mean(monitor, known)}"
        )


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _shared(group: list[Batch], weigh: Weigh) -> Parts:
    if weigh is None:
        return [(1.0, batch) for batch in group]
    weights = [weigh(batch) for batch in group]
    return [(weight / (sum(weights) or 1.0), batch) for weight, batch in zip(weights, group, strict=True)]

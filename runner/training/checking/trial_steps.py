"""A few steps with a copy of the model, to say about how long an epoch takes and what memory its kernels take."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from runner.data import Tensors, batches, count, evaluation_size
from runner.model import host
from runner.settings import Settings, torch_private
from runner.settings.memory import memory
from runner.training import step
from runner.training.capture import choice
from runner.training.capture.step import WARM
from runner.training.checking import cost, first_weights
from runner.training.checking.checks import Checked
from runner.training.checking.forecast import Forecast, order
from runner.training.events import taken
from runner.training.loop import Parts, evaluate
from runner.training.parts import dropout, freezing, losses, optimizers
from runner.training.parts.batches import grouped, may_write
from runner.training.parts.length import length
from runner.training.parts.placement import placement
from runner.training.state import generators
from runner.training.step import TrainStep

#: Seconds after which no further step is taken.
BUDGET = 0.5
#: Multiply-adds of a step up to which it is tried, and of an evaluation: about a second on the processor, and on a GPU.
WORK = {"cpu": 3e10, "cuda": 1e13}


@dataclass(frozen=True)
class Trial:
    """The time and the memory that the tried steps took."""

    seconds: float  # of an epoch, with its share of the validations
    work: int  # bytes: Forecast.work, as the device's allocator counts it; 0: it does not


def trial(settings: Settings, checked: Checked, expected: Forecast) -> Trial | None:
    """Take steps as the run does, and return what they show.

    checked: by the checks, complete. expected: what they may need.
    Returns None where a step does not fit, would take too long, or fails without the run's own surroundings.
    """
    trainer, parts, data = settings.trainer, checked.parts, checked.data
    where = parts.device
    examples = cost.batch_size(settings, data) * trainer.accumulate
    work = 3 * examples * sum(map(cost.least_work, checked.plan.layers))
    if not trainer.trains or expected.total > memory(where) or work > WORK.get(where.type, WORK["cpu"]):
        return None
    with generators.undrawn(where):
        try:
            return _Trial(settings, checked, expected).result()
        except Exception:  # such as a data source's that another process reads; the run says it in its own words
            return None


class _Trial:
    """A model, an optimizer and a loss of their own, and the data as the source gives it."""

    def __init__(self, settings: Settings, checked: Checked, expected: Forecast) -> None:
        trainer, parts, plan = settings.trainer, checked.parts, checked.plan
        self.settings, self.data, self.where = settings, checked.data, parts.device
        #: What a GPU has given by the time that model, gradients and optimizer are there, without the libraries' own.
        self.there = expected.weights + expected.gradients + expected.optimizer
        self.there += torch.cuda.memory_allocated(self.where) if self.where.type == "cuda" else 0
        self.place = placement(trainer, self.where)
        model = plan.make() if checked.start.model is None else first_weights.copied(checked.start.model, plan)
        loss = losses.counted(losses.copied(parts.loss, settings.loss), checked.data)
        loss.to(self.where, torch.float64 if trainer.precision == "fp64" else None)
        self.loss, cost = loss, losses.cost(loss, trainer, self.where)
        frozen = freezing.Frozen(freezing.read(settings.model.freeze), model)
        # What compiling takes would be all that is measured.
        eager = replace(trainer, compile=False)
        self.state = optimizers.state(self.place.ordered(model), parts.optimizer, cost, eager, self.where)
        self.state.counters, self.state.still = list(loss.buffers()), frozen.still
        frozen.at(0)
        dropout.streamed(self.state, trainer, settings.seed, self.where)
        self.length = length(settings, self.data)
        self.step = choice.choose(self.state, parts.step, trainer, [loss, model], self.length.steps, self.where)
        self.plain = step.choose(self.state, parts.step)
        self.own = parts.step is not None
        self.copies = self.own or may_write([model, loss])
        self.stream = self._steps()
        self.eval_size = evaluation_size(self.data.valid, trainer) if self.data.valid is not None else None

    def result(self) -> Trial:
        """Return the seconds of an epoch and the memory of a step."""
        data = self.data
        self.state.begin()
        self._take(self.plain)  # makes the optimizer's state
        work = self._bytes(self._first_steps, self._gradients()) - order(self.settings, data)
        if isinstance(self.state.optimizer, torch.optim.LBFGS):  # what it remembers would count as work
            work = 0
        seconds, begun = list[float](), time.perf_counter()
        while len(seconds) < 2 or time.perf_counter() - begun < BUDGET:
            seconds.append(_seconds(lambda: self._take(self.step)))
        # The first ones fill what is cached, and find out whether a step can be captured.
        epoch = statistics.median(seconds[len(seconds) // 2 :]) * self.length.per_epoch
        if data.valid is not None:
            self._evaluate()
            once = _seconds(self._evaluate)
            epoch += (
                once * count(data.valid, self.eval_size) * self.length.per_epoch * self.length.parts / self.length.every
            )
            work = max(work, self._bytes(self._evaluate))
        return Trial(epoch, work)

    def _evaluate(self) -> None:
        assert self.data.valid is not None
        stream = self.place.moved(batches(self.data.valid, self.eval_size, copies=self.copies))
        first = itertools.islice(stream, 1)
        host.number(evaluate(self.state.model, first, self.state.cost, weigh=losses.weigh(self.loss)))

    def _gradients(self) -> int:
        """Return the bytes of gradients, which a step frees before it makes them anew."""
        return sum(p.nbytes for group in self.state.optimizer.param_groups for p in group["params"])

    def _take(self, step: TrainStep) -> float:
        return taken(1, step(self.state, next(self.stream))).read()

    def _first_steps(self) -> None:
        """Take the first steps of each size that training meets: after some, they are captured."""
        last = self.length.per_epoch - 1
        for number in (0, last) if last and isinstance(self.data.train, Tensors) else (0,):
            for epoch in range(WARM + 3):
                taken(1, self.step(self.state, next(self._of(epoch, number)))).read()

    def _steps(self) -> Iterator[Parts]:
        for epoch in itertools.count():
            yield from self._of(epoch)

    def _of(self, epoch: int, start: int = 0) -> Iterator[Parts]:
        """Yield the batches of an epoch's steps, from step `start` on."""
        trainer = self.settings.trainer
        stream = batches(
            self.data.train, trainer.batch_size, epoch=epoch, seed=self.settings.seed, shuffle=trainer.shuffle,
            drop_last=trainer.drop_last, start=start * trainer.accumulate, copies=self.copies,
        )  # fmt: skip
        return grouped(self.place.moved(stream), trainer.accumulate, self.loss, own=self.own)

    def _bytes(self, work: Callable[[], object], freed: int = 0) -> int:
        """Return the most bytes that something takes beside weights, gradients and the optimizer's state.

        freed: bytes of these that it frees and makes anew, which the processor's profile does not count.
        """
        if self.where.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.where)
            work()
            return torch.cuda.max_memory_allocated(self.where) - self.there
        if self.where.type != "cpu":
            return 0
        return torch_private.allocated(work) - freed


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun

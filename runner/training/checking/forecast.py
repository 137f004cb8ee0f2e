"""A forecast of the memory that training takes on its device, by a rehearsal without numbers and without memory.

It is of one run, for `runner check`. How many runs fit as one program is `vectorized/forecast.py`'s, by a formula.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch, Data, Source, Tensors, at_once, count, evaluation_size, nests
from runner.model import modes
from runner.model.stack import Stack
from runner.settings import Settings
from runner.training import step
from runner.training.checking import cost
from runner.training.checking.checks import Checked
from runner.training.checking.live import without_numbers
from runner.training.loop import State
from runner.training.parts import freezing, losses, optimizers
from runner.training.parts.batches import may_write
from runner.training.parts.length import length
from runner.training.step import TrainStep

#: Bytes of which a GPU's allocator gives a multiple.
BLOCK = 512


@dataclass(frozen=True)
class Forecast:
    """The memory of a training on its device at the moment when it takes most, in bytes."""

    data: int  # examples that are kept there
    weights: int  # parameters, buffers, and on the processor the best weights so far
    gradients: int
    optimizer: int  # its state
    work: int  # batches, what the layers save for the gradients, and temporary results
    rehearsed: bool = True  # False: a layer or a step cannot be rehearsed without numbers, and `work` is a formula's

    @property
    def total(self) -> int:
        """All of it."""
        return self.data + self.weights + self.gradients + self.optimizer + self.work

    def with_work(self, measured: int) -> "Forecast":
        """Return the forecast with the work that a step was seen to take, if that is more: kernels need memory, too."""
        return replace(self, work=max(self.work, measured))


def forecast(settings: Settings, checked: Checked) -> Forecast:
    """Return the memory of training as `settings` say.

    checked: by the checks, with data that is as long as all of it.
    """
    try:
        return _rehearsed(settings, checked)
    except Exception:  # code of the user's may need numbers, and torch knows some operations with numbers alone
        return _by_formula(settings, checked)


def _by_formula(settings: Settings, checked: Checked) -> Forecast:
    bound, where = checked.parts.optimizer, checked.parts.device
    bill = cost.cost(settings, bound, checked.plan, cost.batch_size(settings, checked.data))
    kept = bill.weights * (1 + (where.type == "cpu"))
    return Forecast(
        _data(settings, checked.data), kept, bill.gradients, bill.optimizer, bill.activations, rehearsed=False
    )


def _rehearsed(settings: Settings, checked: Checked) -> Forecast:
    trainer, parts, data = settings.trainer, checked.parts, checked.data
    # What has no counterpart here computes as the processor does.
    where = parts.device if parts.device.type in ("cpu", "cuda") else torch.device("cpu")
    loss = losses.counted(losses.copied(parts.loss, settings.loss), data) if trainer.trains else nn.Module()
    loss = loss.double() if trainer.precision == "fp64" else loss
    with without_numbers(BLOCK if where.type == "cuda" else 1) as (live, peak):
        model = _model(settings, checked.plan, where)
        loss.to(where)
        frozen = freezing.Frozen(freezing.read(settings.model.freeze), model)
        fuses = optimizers.takes_fused(parts.optimizer, trainer, where)
        state = State(model, optimizers.build(parts.optimizer, model, fuses), losses.cost(loss, trainer, where))
        state.still = frozen.still
        frozen.at(0)
        optimizers.clip(state.optimizer, trainer)
        live.count([*model.parameters(), *model.buffers()])
        weights = most = live.bytes
        rehearsal = _Rehearsal(settings, data, state, step.choose(state, parts.step), may_write([model, loss]), where)
        if trainer.trains:
            most = peak(rehearsal.train)
        gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
        inside = live.bytes - weights - gradients  # what stays of a step is the optimizer's state
        most = max(most, peak(rehearsal.evaluate))
    best = weights if where.type == "cpu" and trainer.trains else 0
    return Forecast(
        _data(settings, data),
        weights + best,
        gradients,
        inside + _history(settings, checked, weights),
        most - weights - gradients - inside,
    )


def _model(settings: Settings, plan: Stack, where: torch.device) -> nn.Module:
    """Return the model on `where`, made in the run's type: what has no numbers cannot be converted in its place."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if settings.trainer.precision == "fp64" else before)
    try:
        with where:
            return plan.make()
    finally:
        torch.set_default_dtype(before)


class _Rehearsal:
    """Steps and evaluations with batches as the run has them."""

    def __init__(
        self, settings: Settings, data: Data, state: State, step: TrainStep, copies: bool, where: torch.device
    ) -> None:
        self.settings, self.data, self.state, self.step, self.where = settings, data, state, step, where
        trainer = settings.trainer
        self.evaluated: Any = data.valid if data.valid is not None else data.train
        self.eval_size = evaluation_size(self.evaluated, trainer)
        self.double = trainer.precision == "fp64"
        #: An example's input and target.
        self.like = {id(source): source[0] for source in (data.train, self.evaluated)}
        #: Batches that are all of the data, and no copies: they are there before anything is counted.
        self.whole = {
            id(source): self._new(source, len(source))
            for source, size in ((data.train, trainer.batch_size), (self.evaluated, self.eval_size))
            if isinstance(source, Tensors) and count(source, size) == 1 and not copies
        }

    def train(self) -> None:
        """Take two steps: the first makes the optimizer's state, the second has it."""
        trainer, source = self.settings.trainer, self.data.train
        self.state.begin()
        number = min(trainer.accumulate, count(source, trainer.batch_size))
        for _ in range(2):
            self.step(self.state, [(1 / number, self._batch(source, trainer.batch_size)) for _ in range(number)])

    @torch.no_grad()
    def evaluate(self) -> None:
        """Evaluate two batches: the results of one are there while the next is computed."""
        kept: Any = None
        with modes.evaluating(self.state.model):
            for _ in range(min(2, count(self.evaluated, self.eval_size))):
                batch = self._batch(self.evaluated, self.eval_size)
                kept = (self.state.cost(self.state.model, batch), batch)  # noqa: F841

    def _batch(self, source: Source, size: int | None) -> Batch:
        total = len(source)  # type: ignore[arg-type]
        return self.whole[id(source)] if id(source) in self.whole else self._new(source, min(size or total, total))

    def _new(self, source: Source, size: int) -> Batch:
        """Return `size` examples of `source`."""

        def several(one: Any) -> Tensor:
            one = torch.as_tensor(one)
            dtype = torch.float64 if self.double and one.is_floating_point() else one.dtype
            return torch.empty((size, *one.shape), dtype=dtype, device=self.where)

        x, y = (nests.mapped(several, part) for part in self.like[id(source)])
        return x, y


def _history(settings: Settings, checked: Checked, weights: int) -> int:
    """Return the bytes of LBFGS's history, which grows with its iterations: two vectors for each that it remembers."""
    bound, trainer = checked.parts.optimizer, settings.trainer
    if bound.target is not torch.optim.LBFGS or not trainer.trains:
        return 0
    iterations = length(settings, checked.data).steps * int(bound.arguments.get("max_iter", 20))
    return 2 * weights * min(int(bound.arguments.get("history_size", 100)), iterations)


def order(settings: Settings, data: Data) -> int:
    """Return the bytes of the order in which an epoch reads examples that are kept on the device."""
    several = isinstance(data.train, Tensors) and count(data.train, settings.trainer.batch_size) > 1
    return 8 * len(data.train) if several else 0  # type: ignore[arg-type]


def _data(settings: Settings, data: Data) -> int:
    """Return the bytes of examples that are kept on the device, of their order, and of batches picked together."""
    parts = [part for part in (data.train, data.valid, data.test) if isinstance(part, Tensors)]
    wide = settings.trainer.precision == "fp64"
    tensors = [tensor for part in parts for tensor in nests.leaves((part.x, part.y))]
    kept = sum(t.numel() * (8 if wide and t.is_floating_point() else t.element_size()) for t in tensors)
    return kept + order(settings, data) + _picked(settings, data)


def _picked(settings: Settings, data: Data) -> int:
    """Return the bytes of batches that are picked together and wait, while others of them are trained on."""
    source, size = data.train, settings.trainer.batch_size
    if not isinstance(source, Tensors) or count(source, size) == 1:
        return 0
    many, bytes_ = (
        at_once(source, size or 1, copies=False),
        [part[:1].nbytes for part in nests.leaves((source.x, source.y))],
    )
    return 2 * (many - 1) * (size or 1) * sum(bytes_)

"""Rehearse a training step and an evaluation on a copy of the model, to find before a run what torch refuses.

For a small model the step is taken with real numbers. For a larger one only the optimizer is made, and batches of one
example are pushed through on the meta device.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch, Data, Source, Tensors, batches, evaluation_size, nests
from runner.data._streams import collates
from runner.model import graph, stack
from runner.settings import Settings
from runner.settings.errors import ConfigError, brief
from runner.settings.values.lookup import Bound
from runner.training.augment.treatment import mixer
from runner.training.checking import cost, first_weights, one_number, own_step
from runner.training.checking.first_weights import Start
from runner.training.checking.own_loss import OwnLoss
from runner.training.loop import State
from runner.training.parts import freezing, losses, optimizers, own_losses
from runner.training.parts.components import Components
from runner.training.parts.placement import placement
from runner.training.state import generators

#: Parameters and multiply-adds up to which a model is made and a step is taken, in hundredths of a second.
PARAMETERS, WORK = 1e6, 1e7
#: Examples of a batch. To torch's layers and ours it matters whether there is one example, and nothing else.
FEW = 2

CPU = torch.device("cpu")


def check(
    settings: Settings,
    parts: Components,
    data: Data,
    plan: stack.Stack,
    threads: int | None = None,
    made: Tensors | None = None,
) -> Start:
    """Raise ConfigError for a batch or an optimizer with which the model cannot be trained or evaluated.

    threads: of a recorded run. made: training examples of another size than those of the data; None: there are none.
    Returns the first weights of a small model, which are those that the run would draw.
    """
    work = max(1.0, sum(map(_work, plan.layers)))
    real = sum(layer.parameters for layer in plan.layers) <= PARAMETERS and FEW * work <= WORK
    start = first_weights.draw(settings, parts, data, plan, threads) if real else Start()
    before = first_weights.digest(start, plan)
    with generators.undrawn(CPU), _single_thread():
        with torch.device("cpu" if real else "meta"):
            model = first_weights.copied(start.model if start.model is not None else plan.planned(), plan)
        model = placement(settings.trainer, CPU).ordered(model)
        double = settings.trainer.precision == "fp64"
        trains = settings.trainer.trains
        loss = losses.copied(parts.loss, settings.loss) if trains else parts.loss
        model = model.double() if double else model
        own = first_weights.has_users(plan) or parts.step is not None
        most = max(FEW, int(WORK / work)) if real and own else FEW
        rehearsal = Rehearsal(settings, parts, data, loss.double() if double else loss, plan, model, most, real, made)
        if trains:
            rehearsal.train()
        rehearsal.evaluate()
    return start if first_weights.digest(start, plan) == before else Start()


def _work(layer: stack.Layer) -> float:
    """Estimate the multiply-adds of one example, too high where they are not known."""
    if inside := stack.stacks(layer):
        return sum(_work(inner) for one in inside for inner in one.layers)
    products = cost.multiply_adds(layer) or layer.parameters * prod(layer.input[1:])
    return products + prod(layer.input) + prod(layer.shape)


@dataclass
class Rehearsal:
    """A copy of a run's model and loss, and the data to try them with."""

    settings: Settings
    parts: Components
    data: Data
    loss: nn.Module
    plan: stack.Stack
    model: nn.Module
    most: int  # examples of a batch
    real: bool  # False: shapes only, on the meta device
    made: Tensors | None = None  # training examples as transforms make them, where that changes their size

    @cached_property
    def tried(self) -> OwnLoss:
        """The loss, where it is one of (model, batch)."""
        return OwnLoss(self.loss, self.parts.loss)

    def train(self) -> None:
        """Take a step with each size of batch that training will meet."""
        if self.parts.step is not None:
            self._own_step(self.parts.step)
            return
        on_cpu = self.parts.device.type == "cpu"
        frozen = freezing.Frozen(freezing.read(self.settings.model.freeze), self.model)
        optimizer, of_model = self._optimizer(), own_losses.of_model(self.loss)
        self.model.train()
        frozen.at(0)
        for size in self._training_sizes():
            x, y = self._training_batch(size)
            problem = partial(self._untrained, size=size)
            if not self.real:
                self._through(x, problem)
                continue
            with self._autocast(on_cpu):
                value = self.tried(self.model, (x, y)) if of_model else self._lost(self._through(x, problem), y)
            try:
                value.float().backward()  # type: ignore[no-untyped-call]
            except Exception as error:
                raise ConfigError("model.layers", f"gradients cannot be computed: {brief(error)}") from error
            if on_cpu:
                self._step(optimizer)

    def _own_step(self, own: Bound) -> None:
        """Try the user's own step with each size of batch, where there are numbers."""
        frozen = freezing.Frozen(freezing.read(self.settings.model.freeze), self.model)
        trainer, optimizer = self.settings.trainer, self._optimizer()
        frozen.at(0)
        if not self.real:
            return
        numbers = trainer
        if self.parts.device.type != "cpu" and trainer.precision != "fp64":  # see `_autocast`
            numbers = replace(trainer, precision="fp32")
        state = State(self.model, optimizer, losses.cost(self.loss, numbers, CPU), still=frozen.still)
        own_step.check(own, state, trainer, map(self._training_batch, self._training_sizes()))

    @torch.no_grad()
    def evaluate(self) -> None:
        """Evaluate batches of each part of the data that a run evaluates, of one example where that occurs."""
        self.model.eval()
        on_cpu = self.parts.device.type == "cpu"
        for part, size, why in self._evaluations():
            x, y = self._batch(getattr(self.data, part), size)
            if own_losses.of_model(self.loss) and self.settings.trainer.trains and self.real:
                with self._autocast(on_cpu):
                    self.tried(self.model, self._batch(getattr(self.data, part), size), part)
            with self._autocast(on_cpu):
                output = self._through(x, partial(self._unevaluated, size=size, why=why))
                if self.settings.trainer.trains and self.real and not own_losses.of_model(self.loss):
                    self._lost(output, y, part)

    def _unevaluated(self, layer: stack.Layer, error: Exception, size: int, why: str) -> ConfigError:
        """Return the error for a layer that cannot be evaluated with a batch of `size`."""
        return ConfigError(
            one_number.key(layer),
            f"cannot take a batch of {size}, and {why}: {brief(error)}; use another layer, such as LayerNorm, or"
            " another trainer.eval_batch_size",
        )

    def _training_sizes(self) -> list[int]:
        trainer, total = self.settings.trainer, len(self.data.train)  # type: ignore[arg-type]
        size = min(trainer.batch_size or total, total)
        last = 0 if trainer.drop_last else total % size
        sizes = [min(n, self.most) for n in (size, last) if n == 1 or (n and self.real)]
        return list(dict.fromkeys(sizes))

    def _evaluations(self) -> Iterator[tuple[str, int, str]]:
        """Yield (part of the data, examples of a batch, why there is such a batch)."""
        trainer = self.settings.trainer
        trains = self.data.valid is None or trainer.monitor == "train/loss"
        for part in ("train", "valid", "test") if trains else ("valid", "test"):
            source = getattr(self.data, part)
            if source is None:
                continue
            total = len(source)
            size = min(evaluation_size(source, trainer) or total, total)
            examples = f"{total:,} example{'s' * (total > 1)}"
            for one in dict.fromkeys(n for n in (size, total % size) if n == 1 or (n and self.real)):
                yield part, min(one, self.most), f"the {part} data of {examples} is read in batches of {size:,}"
        if "feature_maps" in self.parts.plots:
            yield "train", 1, "the plot feature_maps shows one example"
        if not trainer.trains:
            yield "train", 1, "the arithmetic is worked for one example"

    def _training_batch(self, size: int) -> Batch:
        """Return a batch for a step, with targets as mixing makes them."""
        source, treatment = self.data.train, self.parts.treatment
        if self.made is not None:
            source = Tensors(*self.made[torch.arange(size) % len(self.made)])
        batch = self._batch(source, size)
        return mixer(treatment, self.data)(batch, 0, 0, 0) if treatment.mixes and self.real else batch

    def _batch(self, source: Source, size: int) -> Batch:
        """Return a batch of real examples if they are in memory, else of the first one repeated."""
        if isinstance(source, Tensors):
            x, y = source[:size]
        elif collates(source):  # of unequal lengths, some of which a layer may not take
            x, y = next(batches(source, size))
        else:
            x, y = (nests.mapped(lambda t: t.repeat(size, *[1] * t.dim()), part) for part in source[0])
        x, y = nests.mapped(self._as_run, x), nests.mapped(self._as_run, y)
        return placement(self.settings.trainer, nests.leaves(x)[0].device).inputs(x), y

    def _as_run(self, tensor: Tensor) -> Tensor:
        """Return a copy on the model's device and in the run's precision; a meta tensor gets values."""
        if self.real and tensor.is_meta:
            tensor = torch.rand(tensor.shape) if tensor.is_floating_point() else torch.zeros_like(tensor, device="cpu")
        wide = self.settings.trainer.precision == "fp64" and tensor.is_floating_point()
        return tensor.to("cpu" if self.real else "meta", torch.float64 if wide else None, copy=True)

    def _optimizer(self) -> torch.optim.Optimizer:
        try:
            optimizer = optimizers.build(self.parts.optimizer, self.model)
            optimizers.clip(optimizer, self.settings.trainer)
            return optimizer
        except ConfigError as error:
            arguments = self.parts.optimizer.arguments
            if not self.real and arguments.get("fused"):  # of which the meta device knows nothing
                return torch.optim.SGD(self.model.parameters())
            key = error.key if error.key.partition(".")[2] in arguments else "optimizer.name"
            raise self._refused(str(error).removeprefix(f"{error.key}: "), key) from error

    def _step(self, optimizer: torch.optim.Optimizer) -> None:
        try:
            if isinstance(optimizer, torch.optim.LBFGS):
                optimizer.step(lambda: torch.zeros(()))  # type: ignore[no-untyped-call]
            else:
                optimizer.step()
        except Exception as error:
            raise self._refused(brief(error), "optimizer.name") from error

    def _refused(self, message: str, key: str) -> ConfigError:
        name, why = self.parts.optimizer.target.__name__, message.rstrip(".")
        return ConfigError(key, f"{name} refuses this model: {why}; use another, such as optimizer=adam")

    def _autocast(self, on_cpu: bool) -> contextlib.AbstractContextManager[Any]:
        """Return a context of the run's mixed precision, if the run is on the CPU as well."""
        precision = self.settings.trainer.precision
        mixed = on_cpu and precision in ("bf16", "fp16")
        return torch.autocast("cpu", losses.DTYPES[precision]) if mixed else contextlib.nullcontext()

    def _through(self, x: Any, problem: Callable[[stack.Layer, Exception], ConfigError]) -> Any:
        """Push x through the layers. problem: the error to raise for a layer that raises one."""
        layers = {layer.name: layer for layer in self.plan.layers}

        def call(name: str, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
            try:
                return module(*inputs, **named)
            except Exception as error:
                raise problem(layers[name], error) from error

        return graph.through(self.model, x, call)

    def _untrained(self, layer: stack.Layer, error: Exception, size: int) -> ConfigError:
        """Return the error for a layer that cannot be trained with a batch of `size`."""
        if one_number.is_meant(error):
            return one_number.problem(self.settings, self.data, layer, size)
        return ConfigError(one_number.key(layer), f"cannot be trained: {brief(error)}")

    def _lost(self, output: Any, y: Any, part: str = "train") -> Tensor:
        try:
            value = self.loss(output, y)
        except Exception as error:
            outputs, targets = (
                f"of shape {tuple(one.shape)}" if isinstance(one, Tensor) else nests.described(one)
                for one in (output, y)
            )
            raise ConfigError(
                "loss.name",
                f"{type(self.loss).__name__} fails on the {part} data, outputs {outputs} and"
                f" targets {targets}: {brief(error)}; use another loss, or other targets",
            ) from error
        return own_losses.total(value)


@contextlib.contextmanager
def _single_thread() -> Iterator[None]:
    """Use one thread in the block: to wake others takes longer than the step."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""The loss: look it up and make it, compute it for a batch, and weigh batches against each other."""

import copy
import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn

from runner import data as sources
from runner.data import Batch, Data, nests
from runner.model.conventions import TABLE, is_torchs
from runner.settings import Component, Trainer, loaded
from runner.settings.errors import ConfigError, Problems
from runner.settings.values import lookup, ranges
from runner.settings.values.lookup import Kind, made
from runner.training.augment import balanced
from runner.training.loop import Cost, Weigh
from runner.training.parts import outputs_apart, own_losses
from runner.training.parts.losses_of_outputs import OF_OUTPUTS
from runner.training.parts.named import ByOutput, WithParts

DTYPES = {"fp32": torch.float32, "fp64": torch.float64, "bf16": torch.bfloat16, "fp16": torch.float16}

LOSS = Kind(
    "a loss",
    ("torch.nn",),
    lambda v: (
        (inspect.isfunction(v) and lookup.is_users(v) and lookup.is_own(v))
        or (
            isinstance(v, type)
            and issubclass(v, nn.Module)
            and (v.__module__ == "torch.nn.modules.loss" or lookup.is_users(v))
        )
    ),
    own="a function of (output, target), or a class that inherits from torch.nn.Module",
)


def build(spec: Component) -> nn.Module:
    """Make the loss that `spec` names: a class of torch.nn, or a class or function of the user's own.

    spec: its name and arguments, or a loss for each name of an output. Lists for `weight` and `pos_weight` become
        tensors; of `balanced`, `balanced.fill` makes numbers when there are data.
    Raises ConfigError for an unknown name or argument, a value out of range, and a reduction to several numbers.

        build({"name": "CrossEntropyLoss", "weight": [1.0, 4.0]})
        build({"digit": "CrossEntropyLoss", "parity": {"name": "CrossEntropyLoss", "share": 0.5}})
    """
    if not is_by_output(spec):
        return _one(spec, "loss")
    losses, shares, problems = dict[str, nn.Module](), dict[str, float](), Problems()
    for name, value in spec.items():
        with problems.collect():
            losses[str(name)], shares[str(name)] = _of_output(value, f"loss.{name}")
    problems.raise_all()
    return ByOutput(losses, shares)


def is_by_output(spec: Any) -> bool:
    """Return whether `spec` has a loss for each name of an output, and not the name of one loss."""
    return isinstance(spec, dict) and bool(spec) and not spec.keys() & {"name", "_target_"}


def _of_output(value: Any, key: str) -> tuple[nn.Module, float]:
    """Return the loss of one output, and its share in the sum."""
    spec = {"name": value} if isinstance(value, str) else value
    if isinstance(spec, dict) and len(spec) == 1 and isinstance(next(iter(spec.values())), dict | None):
        [(name, arguments)] = spec.items()  # {CrossEntropyLoss: {label_smoothing: 0.1}}, as layers are written
        spec = {"name": name, **(arguments or {})}
    if not isinstance(spec, dict) or not spec.keys() & {"name", "_target_"}:
        raise ConfigError(
            key, f"{value!r} is not a loss; expected a name such as MSELoss, or {{name: MSELoss, share: 0.5}}"
        )
    spec = dict(spec)
    share = spec.pop("share", 1.0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not math.isfinite(share) or share < 0:
        raise ConfigError(f"{key}.share", f"{share!r} is not a number of at least 0")
    loss = _one(spec, key)
    if own_losses.of_model(loss):
        raise ConfigError(key, f"{type(loss).__name__} takes the model and the batch, not an output; use it alone")
    return loss, float(share)


def _one(spec: Component, key: str) -> nn.Module:
    name, arguments = lookup.component(spec, key)
    kind = lookup.find(name, LOSS, f"{key}.name")
    if inspect.isfunction(kind):
        return own_losses.made(kind, arguments, key)
    known = kind in OF_OUTPUTS or (kind in TABLE and not TABLE[kind].refused)
    if kind.__module__ == "torch.nn.modules.loss" and not known:
        why = TABLE[kind].refused if kind in TABLE else "is not known to this version of runner; use another"
        raise ConfigError(f"{key}.name", f"{kind.__name__} {why}")
    filled = balanced.take(kind, arguments, key)
    for one in ("weight", "pos_weight"):  # YAML has no tensors
        if isinstance(arguments.get(one), list) and one in lookup.parameters(kind):
            arguments[one] = _numbers(arguments[one], f"{key}.{one}")
    lookup.bind(kind, {k: v for k, v in arguments.items() if not isinstance(v, Tensor)}, key)
    reductions = ("mean", "sum", "batchmean") if issubclass(kind, nn.KLDivLoss) else ("mean", "sum")
    if arguments.get("reduction", "mean") not in reductions:
        words = " or ".join(reductions) if len(reductions) == 2 else ", ".join(reductions)
        raise ConfigError(f"{key}.reduction", f"{arguments['reduction']!r} gives no single number; use {words}")
    ranges.check(kind, arguments, ranges.LOSS, key)
    loss = made(OF_OUTPUTS.get(kind, kind), arguments, key)
    for parameter in loss.parameters():
        if loaded.is_of_a_run(parameter):  # a teacher's
            parameter.requires_grad_(False)
    if trained := [name for name, parameter in loss.named_parameters() if parameter.requires_grad]:
        raise ConfigError(
            f"{key}.name",
            f"{kind.__name__} has parameters, {', '.join(trained[:3])}, which are not trained: the optimizer has"
            " those of the model. Keep them in a layer, which a loss of (model, batch) reads as model.NAME, or freeze"
            " them by requires_grad_(False)",
        )
    return balanced.marked(loss, filled)


def copied(loss: nn.Module, spec: Component) -> nn.Module:
    """Return a copy of `loss`, or one that is built anew of its settings where it holds what cannot be copied."""
    try:
        return copy.deepcopy(loss)
    except Exception:  # a loss of the user's may hold anything
        return build(spec)


def _numbers(values: list[Any], key: str) -> Tensor:
    try:
        return torch.tensor(values, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(key, f"{values!r} is not a list of numbers") from error


def cost(loss: nn.Module, trainer: Trainer, where: torch.device) -> Cost:
    """Return a function of a model and a batch that returns the batch's loss, of shape (), and the model's output.

    With trainer.precision bf16 or fp16 it computes under autocast on the device `where`; both results are float32 then.
    Of a loss that may have named parts it is a `WithParts`.
    """

    def plain(model: nn.Module, batch: Batch) -> tuple[Any, Any]:
        output = model(batch[0])
        return loss(output, batch[1]), output

    compute = _of_model(loss) if own_losses.of_model(loss) else plain

    def mixed(model: nn.Module, batch: Batch) -> tuple[Any, Any]:
        with torch.autocast(where.type, DTYPES[trainer.precision]):
            value, output = compute(model, batch)
        return nests.mapped(_single, value), nests.mapped(_single, output)

    chosen = compute if trainer.precision in ("fp32", "fp64") else mixed
    return WithParts(chosen) if isinstance(loss, ByOutput) or lookup.is_own(type(loss)) else chosen


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _of_model(loss: nn.Module) -> Cost:
    """Return the cost of a loss that is called with the model and the batch; a step needs no output beside it."""

    def compute(model: nn.Module, batch: Batch) -> tuple[Any, Any]:
        if model.training:
            return loss(model, batch), None
        outer = torch.is_grad_enabled()
        with torch.set_grad_enabled(outer or own_losses.found(loss).gradients):
            value = loss(model, batch)
        return (value if outer else nests.mapped(torch.detach, value)), model(batch[0])

    return compute


def weigh(loss: nn.Module) -> Weigh:
    """Return a function that weighs a batch, so that the weighted mean of batches is the loss of all their examples.

    The weight is the number of examples; for CrossEntropyLoss and NLLLoss of class indices, the sum of the targets'
    class weights. None where losses add up, with reduction "sum".
    """
    if isinstance(loss, Counted):
        loss = loss.loss
    if getattr(loss, "reduction", "mean") == "sum":
        return None
    if not _counts(loss):
        return lambda batch: nests.length(batch[0])

    def class_weights(batch: Batch) -> float | Tensor:
        target = batch[1]
        if target.is_floating_point():
            return len(target)
        # Stays on its device: to read the number would wait for it at every batch. (MPS has no float64.)
        return _weights(loss, target).sum(dtype=torch.float32 if target.device.type == "mps" else torch.float64)

    return class_weights


def _counts(loss: nn.Module) -> bool:
    """Return whether the loss is a weighted mean over targets without `ignore_index`."""
    return isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) and is_torchs(loss)


def _weights(loss: Any, target: Tensor) -> Tensor:
    """Return the weight of each class index, in the shape of `target`: 1 or the class's; 0 where it is ignored."""
    counts: Tensor = target != loss.ignore_index
    if loss.weight is None:
        return counts
    weights: Tensor = loss.weight.to(target.device)[target.where(counts, torch.zeros_like(target))] * counts
    return weights


class Counted(nn.Module):
    """The mean of `loss` over the targets with a weight; where there is none and torch divides by 0, their sum, 0.

    Label smoothing adds to the sum for targets of a class with weight 0, too.
    loss: CrossEntropyLoss or NLLLoss with reduction "mean".
    """

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss
        self.total = copy.deepcopy(loss)
        self.total.reduction = "sum"

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss, of shape (): `output` is (N, classes, ...), `target` class indices or probabilities."""
        if target.is_floating_point():
            return self.loss(output, target)  # type: ignore[no-any-return]
        weight = _weights(self.loss, target).sum()
        total: Tensor = self.total(output, target)
        return total / weight.where(weight != 0, torch.ones_like(weight))


def counted(loss: nn.Module, data: Data) -> nn.Module:
    """Return the loss to train with: `loss`, or `Counted` where a batch of `data` may hold ignored targets only.

    Of losses by output, each for itself.
    """
    if isinstance(loss, ByOutput):
        each = {name: counted(one, outputs_apart.data_of(data, name)) for name, one in loss.items()}
        if all(one is each[name] for name, one in loss.items()):
            return loss
        own_losses.note(by_output := ByOutput(each, loss.shares), own_losses.found(loss))
        return by_output
    if not _counts(loss) or getattr(loss, "reduction", "mean") == "sum":
        return loss

    def leaves_out(source: Any) -> bool:
        y = source.y if isinstance(source, sources.Tensors) else getattr(source, "labels", None)
        if not isinstance(y, Tensor):  # a dataset of the user's own, with any targets
            return not source[0][1].is_floating_point()
        return not y.is_floating_point() and bool((_weights(loss, y) == 0).any())

    parts = (data.train, data.valid, data.test)
    return Counted(loss) if any(leaves_out(part) for part in parts if part is not None) else loss

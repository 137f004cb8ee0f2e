"""The loss: from its settings to what a batch costs, and whether output and targets fit it."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from runner import lookup, ranges
from runner.data import Batch
from runner.lookup import ConfigError, Kind, made
from runner.loop import Cost, Weigh
from runner.push import push
from runner.settings import Component, Trainer

DTYPES = {"fp32": torch.float32, "fp64": torch.float64, "bf16": torch.bfloat16, "fp16": torch.float16}

LOSS = Kind(
    "a loss",
    ("torch.nn",),
    lambda v: (
        isinstance(v, type)
        and issubclass(v, nn.Module)
        and (v.__module__ == "torch.nn.modules.loss" or lookup.is_users(v))
    ),
)


#: Losses that broadcast: an output of (N, 1) against targets of (N,) would silently average N x N differences.
ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCEWithLogitsLoss, nn.BCELoss)


def build(spec: Component) -> nn.Module:
    """The loss, which must come out as one number."""
    name, arguments = lookup.component(spec, "loss")
    found = lookup.find(name, LOSS, "loss.name")
    for key in ("weight", "pos_weight"):  # YAML has no tensors
        if isinstance(arguments.get(key), list) and key in lookup.parameters(found):
            arguments[key] = _numbers(arguments[key], f"loss.{key}")
    lookup.bind(found, {k: v for k, v in arguments.items() if not isinstance(v, Tensor)}, "loss")
    if arguments.get("reduction", "mean") not in ("mean", "sum"):
        raise ConfigError("loss.reduction", f"{arguments['reduction']!r} gives no single number; use mean or sum")
    ranges.check(found, arguments, ranges.LOSS, "loss")
    return made(found, arguments, "loss")  # type: ignore[no-any-return]


def _numbers(values: list[Any], key: str) -> Tensor:
    try:
        return torch.tensor(values, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(key, f"{values!r} is not a list of numbers") from error


def cost(loss: nn.Module, trainer: Trainer, where: torch.device) -> Cost:
    """What a batch costs: the loss of the model's output, under autocast where the precision asks for it."""

    def plain(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        output = model(batch[0])
        return loss(output, batch[1]), output

    if trainer.precision in ("fp32", "fp64"):
        return plain

    def mixed(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        with torch.autocast(where.type, DTYPES[trainer.precision]):
            value, output = plain(model, batch)
        return value.float(), output.float()

    return mixed


def weigh(loss: nn.Module) -> Weigh:
    """What a batch counts beside others, so that the loss of many batches is that of all their examples at once."""
    if getattr(loss, "reduction", "mean") == "sum":
        return None
    if not isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) or (loss.weight is None and loss.ignore_index < 0):
        return lambda batch: len(batch[0])

    def by_class(batch: Batch) -> float:
        # The mean of these losses is one over weights, and leaves out ignore_index.
        target = batch[1]
        if target.is_floating_point():
            return len(target)
        kept = target[target != loss.ignore_index]
        return kept.numel() if loss.weight is None else loss.weight[kept].sum().item()

    return by_class


def check_loss(loss: nn.Module, output: Any, target: Tensor, classes: int) -> None:
    """Push shapes through the loss. output, target: on the meta device, batch first."""
    name = type(loss).__name__
    if not isinstance(output, Tensor):
        raise ConfigError("model.layers", f"the last layer gives a {type(output).__name__}, expected a tensor")
    if isinstance(loss, ELEMENTWISE) and output.shape != target.shape:
        raise ConfigError(
            "model.layers",
            f"the last layer gives {_batch(output)} and the targets have {_batch(target)};"
            f" {name} compares number by number, so they must be the same",
        )
    numbers = target.is_floating_point() and target.dim() < 2 + 1 and not (classes and target.shape == output.shape)
    if isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) and numbers:
        raise ConfigError("loss.name", f"{name} needs classes, and the data has numbers to predict; try loss=mse")
    if (
        isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss)
        and classes
        and output.dim() > 1
        and output.shape[1] < classes
    ):
        raise ConfigError(
            "model.layers",
            f"the last layer gives {output.shape[1]} numbers, and the data has {classes} classes;"
            f" let it give {classes}",
        )
    if isinstance(loss, ELEMENTWISE) and not target.is_floating_point():
        raise ConfigError(
            "loss.name", f"{name} needs numbers to predict, and the data has classes; try loss=cross_entropy"
        )
    if not isinstance(loss, ELEMENTWISE) and target.is_floating_point() and _mixes(output, target):
        raise ConfigError(
            "model.layers",
            f"the last layer gives {_batch(output)} and the targets have {_batch(target)}, which torch would spread to"
            f" {_spread(output, target)}, every example against every other;"
            " give both as many dimensions",
        )
    try:
        value = push(loss.to("meta"), output, target)
    except Exception as error:
        message = str(error).strip().split("\n")[0]
        if isinstance(error, TypeError) and "forward() missing" in message:
            raise ConfigError(
                "loss.name",
                f"{name} takes more than the output and the targets; use another, or write one in experiments/ that"
                " calls it",
            ) from error
        raise ConfigError(
            "loss", f"{name} of output {_batch(output)} and target {_batch(target)}: {message}"
        ) from error
    if value.dim():
        raise ConfigError("loss", f"{name} gives {tuple(value.shape)} numbers, expected one")


def _mixes(output: Tensor, target: Tensor) -> bool:
    """Whether arithmetic between the two would pair the outputs of some examples with the targets of others."""
    if output.dim() == target.dim():
        return False
    try:
        return math.prod(_spread(output, target)) > max(output.numel(), target.numel())
    except RuntimeError:
        return False


def _spread(output: Tensor, target: Tensor) -> tuple[int, ...]:
    return tuple(torch.broadcast_shapes(output.shape, target.shape))  # type: ignore[no-untyped-call]


def _batch(tensor: Tensor) -> str:
    return "(" + ", ".join(["N", *map(str, tensor.shape[1:])]) + ")"

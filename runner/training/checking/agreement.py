"""Whether output and targets are what the loss takes: shapes and types first, then every target's value."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Data, Tensors
from runner.model.conventions import MORE_INPUTS, Convention, convention
from runner.model.shapes import push
from runner.model.stack import Layer, Stack, stacks
from runner.settings.errors import ConfigError, brief

#: Layers that hand on what they are given, in other places or numbers.
PASSES = ("pooling", "flatten", "dropout", "padding", "upsampling")
#: The layers of torch whose output a loss takes that wants no other numbers.
GIVES = {
    "probabilities": (nn.Sigmoid, nn.Hardsigmoid, nn.Softmax, nn.Softmax2d, nn.Softmin, nn.Hardtanh),
    "log_probabilities": (nn.LogSoftmax, nn.LogSigmoid),
}


def check_loss(loss: nn.Module, output: Any, target: Tensor, classes: int, plan: Stack | None = None) -> None:
    """Refuse shapes and types that the loss does not take, or takes by pairing one example with another.

    loss: goes to the meta device. output, target: there, batch first. classes: how many the data has; 0 for numbers.
    """
    name, wanted = type(loss).__name__, convention(loss)
    if not isinstance(output, Tensor):
        raise ConfigError("model.layers", f"the last layer gives a {type(output).__name__}, expected a tensor")
    if wanted is not None and wanted.elementwise:
        _check_same(name, wanted, output, target, classes, plan)
    elif wanted is not None:
        _check_classes(loss, wanted, output, target, classes, plan)
    elif target.is_floating_point() and _mixes(output, target):
        raise ConfigError(
            "model.layers",
            f"the last layer gives {_batch(output)} and the targets have {_batch(target)}, which torch would spread to"
            f" {_spread(output, target)}, every example against every other;"
            " give both as many dimensions",
        )
    if wanted is not None:
        _check_weights(loss, wanted, output)
        _check_last(name, wanted, plan)
    try:
        value = push(loss.to("meta"), output, target)
    except Exception as error:
        message = brief(error)
        if isinstance(error, TypeError) and "forward() missing" in message:
            raise ConfigError("loss.name", f"{name} {MORE_INPUTS}") from error
        raise ConfigError(
            "loss", f"{name} of output {_batch(output)} and target {_batch(target)}: {message}"
        ) from error
    if value.dim():
        raise ConfigError("loss", f"{name} gives {tuple(value.shape)} numbers, expected one")


def check_targets(loss: nn.Module, data: Data, output: Tensor) -> None:
    """Refuse targets whose values the loss does not take: all of those in memory, the first of those that are not.

    output: what the model gives, on the meta device, batch first.
    """
    wanted = convention(loss)
    for part in ("train", "valid", "test") if wanted is not None else ():
        source = getattr(data, part)
        if source is None:
            continue
        y = source.y if isinstance(source, Tensors) else source[0][1].unsqueeze(0)
        if y.numel() and not y.is_meta:
            assert wanted is not None
            _check_values(loss, wanted, y, f"the {part} data", output)
            if isinstance(source, Tensors):
                _check_something_counts(loss, y, f"the {part} data")


def _check_same(
    name: str, wanted: Convention, output: Tensor, target: Tensor, classes: int, plan: Stack | None
) -> None:
    """A loss that compares number by number; torch would repeat one of two shapes to fit the other."""
    if wanted.targets != "label_sets" and not target.is_floating_point():
        if not classes:
            raise ConfigError(
                "data", f"the targets are {_type(target)}; {name} takes floating-point numbers: y.float()"
            )
        raise ConfigError(
            "loss.name", f"{name} needs numbers to predict, and the data has classes; try loss=cross_entropy"
        )
    if output.shape != target.shape:
        mixed = ", every example against every other" if _mixes(output, target) else ""
        raise ConfigError(
            "model.layers",
            f"the last layer gives {_batch(output)} and the targets have {_batch(target)};"
            f" {name} compares number by number, so they must be the same{mixed}{_flatten(plan, output, target, 2)}",
        )
    if wanted.targets == "label_sets" and target.dtype != torch.int64:
        raise ConfigError(
            "loss.name",
            f"{name} needs the indices of the classes that hold, then -1, as whole numbers (int64), and the targets are"
            f" {_type(target)}; targets of 0 and 1 are for MultiLabelSoftMarginLoss",
        )


def _check_classes(
    loss: nn.Module, wanted: Convention, output: Tensor, target: Tensor, classes: int, plan: Stack | None
) -> None:
    """A loss that takes the classes in the second dimension of the output."""
    name, outputs = type(loss).__name__, output.shape[1] if output.dim() > 1 else 0
    shares = wanted.targets == "classes_or_shares" and output.shape == target.shape and outputs > 1
    if target.is_floating_point() and not shares:
        raise ConfigError("loss.name", f"{name} needs classes, and the data has numbers to predict; try loss=mse")
    expected = (len(output), *output.shape[2:])
    if not target.is_floating_point() and (output.dim() < 2 or target.shape != expected):
        needed = ("N", str(classes or "classes"), *map(str, target.shape[1:]))
        raise ConfigError(
            "model.layers",
            f"the last layer gives {_batch(output)} and the targets have {_batch(target)}; {name} takes the classes in"
            f" the second dimension, ({', '.join(needed)}){_flatten(plan, output, target, 1)}",
        )
    if not target.is_floating_point() and outputs < max(classes, 2):
        raise ConfigError(
            "model.layers",
            f"the last layer gives {outputs} number{'s' * (outputs != 1)}, and the data has {classes or 'several'}"
            f" classes; let it give {classes or 'one for each'}",
        )
    if not target.is_floating_point() and target.dtype != torch.int64:
        raise ConfigError("data", f"the targets are {_type(target)}; {name} takes class indices as int64: y.long()")


def _flatten(plan: Stack | None, output: Tensor, target: Tensor, dims: int) -> str:
    """The remedy where a Linear layer works on the last dimension of a picture; targets then have `dims` dimensions."""
    if plan is None or target.dim() != dims or output.dim() <= 2:
        return ""
    linear = [layer for layer in plan.layers if _is(layer, nn.Linear) and len(layer.input) > 1]
    before = f"before {linear[0].key}, which works on the last dimension alone," if linear else "and Linear at the end"
    return f"; Flatten {before} {'is' if linear else 'are'} missing"


def _check_weights(loss: Any, wanted: Convention, output: Tensor) -> None:
    """Class weights are one for each class; those of numbers must fit one example's output without enlarging it."""
    for key in ("weight", "pos_weight"):
        weight = getattr(loss, key, None)
        if not isinstance(weight, Tensor):
            continue
        if not wanted.elementwise and weight.shape != output.shape[1:2]:
            raise ConfigError(
                f"loss.{key}", f"holds {_count(weight)}, and the last layer gives {output.shape[1]}; give one per class"
            )
        if wanted.elementwise and weight.numel() > 1 and not _fits(weight.shape, output.shape[1:]):
            raise ConfigError(
                f"loss.{key}",
                f"has the shape {tuple(weight.shape)}, and the output for one example {tuple(output.shape[1:])};"
                " expected one that fits it",
            )


def _check_last(name: str, wanted: Convention, plan: Stack | None) -> None:
    """A loss of probabilities, after a layer that gives other numbers, fails or falls without bound."""
    last = _last(plan) if plan is not None else None
    if wanted.output == "numbers" or last is None or not str(last.target.__module__).startswith("torch.nn."):
        return
    if isinstance(last.target, type) and not issubclass(last.target, GIVES[wanted.output]):
        remedies = {
            "BCELoss": "let Sigmoid follow, or use loss=bce_with_logits",
            "NLLLoss": "let {LogSoftmax: 1} follow, or use loss=cross_entropy, which contains it",
        }
        raise ConfigError(
            "model.layers",
            f"{name} takes {wanted.output.replace('_', '-')}, and the last layer, {last.target.__name__}, gives other"
            f" numbers; {remedies.get(name, 'let {LogSoftmax: 1} follow')}",
        )


def _last(plan: Stack) -> Layer | None:
    """The last layer that decides which numbers the model gives."""
    for layer in reversed(plan.layers):
        module = str(layer.target.__module__).rpartition(".")[2]
        if layer.target is nn.Sequential and (inner := next((_last(s) for s in stacks(layer)), None)) is not None:
            return inner
        if layer.target is not nn.Identity and module not in PASSES:
            return layer
    return None


def _check_values(loss: Any, wanted: Convention, y: Tensor, where: str, output: Tensor) -> None:
    name, kind = type(loss).__name__, wanted.targets
    if kind in ("classes", "classes_or_shares") and not y.is_floating_point():
        _check_indices(loss, y, where, output.shape[1])
        return
    low, high = (value.item() for value in y.aminmax())
    found = f"those of {where} go from {low:.4g} to {high:.4g}"
    if not math.isfinite(low) or not math.isfinite(high):
        raise ConfigError("data", f"the targets of {where} hold NaN or infinite numbers; remove or replace them")
    if kind == "zero_to_one" and (low < 0 or high > 1):
        raise ConfigError(
            "loss.name",
            f"{name} needs targets from 0 to 1, and {found};"
            " try loss=mse, or loss=cross_entropy for more than two classes",
        )
    if kind == "minus_one_one" and not bool(((y == 1) | (y == -1)).all()):
        flags = bool(((y == 0) | (y == 1)).all())
        remedy = "two classes as whole numbers (data.task=classification) become -1 and 1" if flags else "try loss=mse"
        raise ConfigError("loss.name", f"{name} needs targets of -1 and 1, and {found}; {remedy}")
    if kind == "counts" and low < 0:
        raise ConfigError("loss.name", f"{name} needs counts, 0 or more, as targets, and {found}; try loss=mse")
    if kind == "log_shares" and high > 1e-6:
        raise ConfigError(
            "loss.name",
            f"{name} with log_target=true needs logarithms of probabilities, 0 or less, and {found};"
            " leave loss.log_target out for probabilities",
        )
    if kind in ("shares", "classes_or_shares"):
        _check_shares(name, kind, y, low, where)
    if kind == "label_sets":
        _check_sets(name, y, where, output.shape[-1])


def _check_indices(loss: Any, y: Tensor, where: str, outputs: int) -> None:
    ignored = getattr(loss, "ignore_index", None)
    counts = y if ignored is None else y[y != ignored]
    if not counts.numel():
        return
    low, high = (int(value) for value in counts.aminmax())
    if low < 0 or high >= outputs:
        wrong = low if low < 0 else high
        leave_out = f"; loss.ignore_index={wrong} leaves such targets out" if ignored is not None else ""
        remedy = leave_out if wrong < 0 else f"; let it give {high + 1}"
        raise ConfigError(
            "model.layers",
            f"{where} holds the class {wrong}, and the last layer gives {outputs} numbers, for the classes 0 to"
            f" {outputs - 1}{remedy}",
        )


def _check_something_counts(loss: Any, y: Tensor, where: str) -> None:
    """The mean over nothing is NaN."""
    if y.is_floating_point() or not hasattr(loss, "ignore_index"):
        return
    counts = y[y != loss.ignore_index]
    if not counts.numel():
        raise ConfigError(
            "loss.ignore_index",
            f"every target of {where} is {loss.ignore_index}, which is left out; nothing is left to measure",
        )
    if isinstance(loss.weight, Tensor) and not loss.weight.to(y.device)[counts].any():
        raise ConfigError("loss.weight", f"is 0 for every class that {where} holds; give one of them a weight above 0")


def _check_shares(name: str, kind: str, y: Tensor, low: float, where: str) -> None:
    """Shares add up to 1 over the classes: the second dimension, or for KLDivLoss any that they may lie in."""
    dims = [1] if kind == "classes_or_shares" else [*range(1, y.dim()), tuple(range(1, y.dim()))]
    sums = [y.sum(dim) for dim in dims if y.dim() > 1]
    wrong = [total.sub(1).abs().max().item() for total in sums]
    if low >= 0 and (not wrong or min(wrong) <= 0.01):
        return
    found = f"holds {low:.4g}" if low < 0 else f"holds some that add up to {_furthest(sums[0]):.4g}"
    classes = "classes, or " if kind == "classes_or_shares" else ""
    raise ConfigError(
        "loss.name",
        f"{name} needs {classes}probabilities that add up to 1 for every example as targets, and {where} {found};"
        " try loss=mse, or loss=bce_with_logits where several classes may hold at once",
    )


def _furthest(sums: Tensor) -> float:
    flat = sums.flatten()
    return float(flat[flat.sub(1).abs().argmax()])


def _check_sets(name: str, y: Tensor, where: str, outputs: int) -> None:
    """Indices from the left, each once; what follows the first -1 is not looked at."""
    rows = y.reshape(-1, y.shape[-1])
    held = (rows < 0).cumsum(1) == 0
    if bool(((rows < -1) | (rows >= outputs)).any()):
        low, high = (int(value) for value in rows.aminmax())
        raise ConfigError(
            "loss.name",
            f"{name} needs the indices of the classes that hold, 0 to {outputs - 1}, then -1, and those of {where} go"
            f" from {low} to {high}",
        )
    places = torch.arange(rows.shape[1], device=y.device)
    ordered = rows.where(held, -1 - places).sort(1).values
    twice = (ordered.diff(dim=1) == 0).any(1).nonzero()
    if len(twice):
        raise ConfigError(
            "loss.name",
            f"{name} needs the indices of the classes that hold, each once, then -1, and target {int(twice[0])} of"
            f" {where} is {rows[int(twice[0])].tolist()}; for 0 and 1 per class use MultiLabelSoftMarginLoss",
        )


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


def _fits(shape: Any, other: Any) -> bool:
    """Whether the first shape can be repeated to the second, and the second stays as it is."""
    try:
        return tuple(torch.broadcast_shapes(shape, other)) == tuple(other)  # type: ignore[no-untyped-call]
    except RuntimeError:
        return False


def _is(layer: Layer, kind: type) -> bool:
    return isinstance(layer.target, type) and issubclass(layer.target, kind)


def _count(weight: Tensor) -> str:
    return f"{weight.numel()} number{'s' * (weight.numel() != 1)}"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _batch(tensor: Tensor) -> str:
    return "(" + ", ".join(["N", *map(str, tensor.shape[1:])]) + ")"

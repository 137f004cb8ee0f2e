"""Check that output and targets have the shapes and types that the loss takes."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import nests
from runner.model import looking
from runner.model.conventions import MORE_INPUTS, Convention, convention
from runner.model.shapes import push
from runner.model.stack import Layer, Stack, stacks
from runner.settings.errors import ConfigError, batch_shape, brief
from runner.training.parts import named, own_losses

#: Modules of torch.nn whose layers pass their input's numbers on, in another shape or only some of them.
PASSING = ("pooling", "flatten", "dropout", "padding", "upsampling")
#: The layers of torch whose output suits a loss of probabilities.
OUTPUT = {
    "probabilities": (nn.Sigmoid, nn.Hardsigmoid, nn.Softmax, nn.Softmax2d, nn.Softmin, nn.Hardtanh),
    "log_probabilities": (nn.LogSoftmax, nn.LogSigmoid),
}


def check_loss(
    loss: nn.Module, output: Any, target: nests.Nest, classes: int, plan: Stack | None = None
) -> tuple[str, ...]:
    """Raise ConfigError for shapes and types that the loss does not take, or takes by comparing different examples.

    Returns the names of the loss's parts, see `own_losses.check_value`.
    loss: goes to the meta device. output, target: there, batch first. classes: how many the data has; 0 for numbers.
    """
    name, takes = type(loss).__name__, convention(loss)
    if takes is not None and not isinstance(output, Tensor):
        kind, remedy = type(output).__name__, _by_name(name, output)
        message = f"the last layer gives a {kind}, expected a tensor{remedy}"
        raise ConfigError("model.layers", message)
    if takes is not None and not isinstance(target, Tensor):
        raise ConfigError(
            "loss.name",
            f"{name} takes one tensor of targets, and the data has {nests.described(target)}; give each output its"
            f" loss, as in loss={{{named.names_of(target)[0]}: {name}}}",
        )
    if not isinstance(output, Tensor) or not isinstance(target, Tensor):
        pass  # of a loss of the user's own, which knows what it is given
    elif takes is not None and takes.elementwise:
        _check_same(name, takes, output, target, classes, plan)
    elif takes is not None:
        _check_classes(loss, takes, output, target, classes, plan)
    elif target.is_floating_point() and _mixes(output, target):
        raise ConfigError(
            "model.layers",
            f"the last layer gives {_batch(output)} and the targets have {_batch(target)}, which torch would"
            f" broadcast to {_spread(output, target)}, every example against every other;"
            " give both as many dimensions",
        )
    if takes is not None:
        _check_weights(loss, takes, output)
        _check_last(name, takes, plan)
    try:
        value = _value(loss, output, target)
    except Exception as error:
        message = brief(error)
        if isinstance(error, TypeError) and "forward() missing" in message:
            raise ConfigError("loss.name", f"{name} {MORE_INPUTS}") from error
        raise ConfigError(
            "loss", f"{name} of output {_batch(output)} and target {_batch(target)}: {message}"
        ) from error
    return own_losses.check_value(value, name)


def _value(loss: nn.Module, output: Any, target: Any) -> Any:
    """Return what the loss gives, on the meta device; one that makes tensors of its own is given numbers, all zero.

    They are 1 where it takes no zeros, as a scale of torch.distributions is above 0.
    """
    try:
        return push(loss.to("meta"), output, target)
    except Exception as error:
        if not looking.looks(error):
            raise
        try:
            return looking.of_examples(loss, (output, target), {})
        except ValueError:
            return looking.of_examples(loss, (output, target), {}, number=1)


def _by_name(loss: str, output: Any) -> str:
    """Return the remedy for a model that gives several outputs by name."""
    names = named.names_of(output) if isinstance(output, dict) else []
    return f"; give each of its outputs a loss, as in loss={{{names[0]}: {loss}}}" if names else ""


def _check_same(name: str, takes: Convention, output: Tensor, target: Tensor, classes: int, plan: Stack | None) -> None:
    """Check a loss that compares number by number, for which torch would broadcast different shapes."""
    if takes.targets != "label_sets" and not target.is_floating_point():
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
    if takes.targets == "label_sets" and target.dtype != torch.int64:
        raise ConfigError(
            "loss.name",
            f"{name} needs the indices of the classes that hold, then -1, as whole numbers (int64), and the targets are"
            f" {_type(target)}; targets of 0 and 1 are for MultiLabelSoftMarginLoss",
        )


def _check_classes(
    loss: nn.Module, takes: Convention, output: Tensor, target: Tensor, classes: int, plan: Stack | None
) -> None:
    """Check a loss that takes the classes in the second dimension of the output."""
    name, outputs = type(loss).__name__, output.shape[1] if output.dim() > 1 else 0
    shares = takes.targets == "classes_or_shares" and output.shape == target.shape and outputs > 1
    if target.is_floating_point() and not shares:
        raise ConfigError("loss.name", f"{name} needs classes, and the data has numbers to predict; try loss=mse")
    expected = (len(output), *output.shape[2:])
    if not target.is_floating_point() and (output.dim() < 2 or target.shape != expected):
        output_shape = f"({', '.join(['N', str(classes or 'classes'), *map(str, target.shape[1:])])})"
        raise ConfigError(
            "model.layers",
            f"the last layer gives {_batch(output)} and the targets have {_batch(target)}; {name} takes the classes in"
            f" the second dimension, {output_shape}{_flatten(plan, output, target, 1)}{_permute(output, target)}",
        )
    if not target.is_floating_point() and outputs < max(classes, 2):
        raise ConfigError(
            "model.layers",
            f"the last layer gives {outputs} number{'s' * (outputs != 1)}, and the data has {classes or 'several'}"
            f" classes; let it give {classes or 'one for each'}",
        )
    if not target.is_floating_point() and classes and outputs > classes:
        raise ConfigError(
            "model.layers",
            f"the last layer gives {outputs} numbers, and the data has {classes} classes; let it give {classes}",
        )
    if not target.is_floating_point() and target.dtype != torch.int64:
        raise ConfigError("data", f"the targets are {_type(target)}; {name} takes class indices as int64: y.long()")


def _flatten(plan: Stack | None, output: Tensor, target: Tensor, dims: int) -> str:
    """Return the remedy for a Linear layer that works on the last dimension of an image.

    dims: number of dimensions of the targets in that case.
    """
    if plan is None or target.dim() != dims or output.dim() <= 2:
        return ""
    linear = [layer for layer in plan.layers if _is(layer, nn.Linear) and len(layer.input) > 1]
    before = f"before {linear[0].key}, which works on the last dimension alone," if linear else "and Linear at the end"
    return f"; Flatten {before} {'is' if linear else 'are'} missing"


def _permute(output: Tensor, target: Tensor) -> str:
    """Return the remedy for an output of (N, places, classes) with a target at each place."""
    if target.dim() < 2 or output.shape[:-1] != target.shape:
        return ""
    dims = [0, target.dim(), *range(1, target.dim())]
    return f"; let {{Permute: {dims}}} follow, which puts the last dimension there"


def _check_weights(loss: Any, takes: Convention, output: Tensor) -> None:
    """Check class weights, one for each class, and weights of numbers, which must broadcast to one example's output."""
    for key in ("weight", "pos_weight"):
        weight = getattr(loss, key, None)
        if not isinstance(weight, Tensor):
            continue
        if not takes.elementwise and weight.shape != output.shape[1:2]:
            raise ConfigError(
                f"loss.{key}", f"holds {_count(weight)}, and the last layer gives {output.shape[1]}; give one per class"
            )
        if takes.elementwise and weight.numel() > 1 and not _fits(weight.shape, output.shape[1:]):
            raise ConfigError(
                f"loss.{key}",
                f"has the shape {tuple(weight.shape)}, and the output for one example {tuple(output.shape[1:])};"
                " expected one that fits it",
            )


def _check_last(name: str, takes: Convention, plan: Stack | None) -> None:
    """Check that a loss of probabilities follows a layer that gives these; else it fails or falls without bound."""
    last = _last(plan) if plan is not None else None
    if takes.output == "numbers" or last is None or not str(last.target.__module__).startswith("torch.nn."):
        return
    if isinstance(last.target, type) and not issubclass(last.target, OUTPUT[takes.output]):
        remedies = {
            "BCELoss": "let Sigmoid follow, or use loss=bce_with_logits",
            "NLLLoss": "let {LogSoftmax: 1} follow, or use loss=cross_entropy, which contains it",
        }
        raise ConfigError(
            "model.layers",
            f"{name} takes {takes.output.replace('_', '-')}, and the last layer, {last.target.__name__}, gives other"
            f" numbers; {remedies.get(name, 'let {LogSoftmax: 1} follow')}",
        )


def _last(plan: Stack) -> Layer | None:
    """Return the last layer that decides which numbers the model gives."""
    for layer in reversed(plan.layers):
        module = str(layer.target.__module__).rpartition(".")[2]
        if layer.target is nn.Sequential and (inner := next((_last(s) for s in stacks(layer)), None)) is not None:
            return inner
        if layer.target is not nn.Identity and module not in PASSING:
            return layer
    return None


def _mixes(output: Tensor, target: Tensor) -> bool:
    """Return whether arithmetic would broadcast outputs of some examples to targets of others."""
    if output.dim() == target.dim():
        return False
    try:
        return math.prod(_spread(output, target)) > max(output.numel(), target.numel())
    except RuntimeError:
        return False


def _spread(output: Tensor, target: Tensor) -> tuple[int, ...]:
    return tuple(torch.broadcast_shapes(output.shape, target.shape))  # type: ignore[no-untyped-call]


def _fits(shape: Any, other: Any) -> bool:
    """Return whether the first shape can be broadcast to the second, which stays as it is."""
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


def _batch(tensor: Any) -> str:
    return batch_shape(tensor.shape[1:]) if isinstance(tensor, Tensor) else nests.described(tensor)

"""Checks that a model's outputs, the data's targets and the loss fit each other, output by output."""

from typing import Any

from torch import nn

from runner.data import Data, Tensors
from runner.model.stack import Stack
from runner.settings import Settings
from runner.settings.errors import ConfigError, Problems
from runner.training.checking import agreement, target_values, targets
from runner.training.parts import losses, outputs_apart, own_losses
from runner.training.parts.components import Components
from runner.training.parts.named import ByOutput, check_names, picked, target_of
from runner.training.parts.own_losses import Found


def check(settings: Settings, parts: Components, data: Data, plan: Stack, y: Any) -> None:
    """Check that output, targets and loss fit each other, of one output or of each that has a loss.

    y: a batch of targets on the meta device. A loss of (model, batch) is tried where a step is rehearsed.
    Raises ConfigError, or ConfigErrors with all that is wrong, each under the key of its loss.
    """
    loss = parts.loss
    if own_losses.of_model(loss):
        return
    copied = losses.copied(loss, settings.loss)
    if not isinstance(loss, ByOutput) or not isinstance(copied, ByOutput):
        own_losses.note(loss, Found(_check_one(parts, loss, copied, data, plan.output, y, plan)))
        return
    check_names(loss, plan.output, y)
    if settings.trainer.accumulate > 1 and parts.step is not None:
        _check_shares(loss, data)
    problems, names = Problems(), list[str]()
    for (name, one), its_copy in zip(loss.items(), copied.losses, strict=True):
        view = outputs_apart.data_of(data, name)
        try:
            inner = _check_one(parts, one, its_copy, view, picked(plan.output, name), target_of(y, name), None)
            names += [f"{name}/loss", *(f"{name}/{part}" for part in inner)]
        except ConfigError as error:
            key = f"loss.{name}{error.key.removeprefix('loss')}" if error.key.startswith("loss") else error.key
            message = str(error).removeprefix(f"{error.key}: ").replace("the last layer gives", f"output {name!r} is")
            problems.add(key, message)
    problems.raise_all()
    own_losses.note(loss, Found(tuple(names)))


def _check_shares(loss: ByOutput, data: Data) -> None:
    """Raise ConfigError where the batches of a step of the user's own would need another share for each output.

    It is given one for all: by the number of examples, which is no weight of a sum, of class weights or of ignored
    targets.
    """
    for name, one in loss.items():
        y = target_of(data.train.y, name) if isinstance(data.train, Tensors) else None
        if getattr(one, "reduction", "mean") == "sum":
            why = "is a sum"
        elif getattr(one, "weight", None) is not None and not isinstance(one, nn.BCELoss | nn.BCEWithLogitsLoss):
            why = "has class weights"
        elif y is not None and hasattr(one, "ignore_index") and bool((y == one.ignore_index).any()):
            why = "has ignored targets"
        else:
            continue
        raise ConfigError(
            "trainer.accumulate",
            f"the loss of output {name!r} {why}, and trainer.step is given one share for all outputs of a batch, by its"
            " number of examples; use a larger trainer.batch_size and accumulate=1",
        )


def _check_one(
    parts: Components, loss: nn.Module, copied: nn.Module, data: Data, output: Any, target: Any, plan: Stack | None
) -> tuple[str, ...]:
    """Check one loss, and return the names of its parts. copied: goes to the meta device."""
    targets.check(data, loss, output)
    targets.check_ignored(parts.data, data, loss)
    classes = 0 if isinstance(data.classes, dict) else len(data.classes)
    if target_values.are_beyond(loss, data, output):  # says which part holds a class too many
        target_values.check(loss, data, output)
    names = agreement.check_loss(copied, output, target, classes, plan)
    target_values.check(loss, data, output)
    return names

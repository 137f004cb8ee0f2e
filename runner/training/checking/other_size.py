"""Training examples of another size than those of validation and prediction: whether the model takes both."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from runner.data import Batch, Data, Tensors, nests
from runner.model import graph, looking
from runner.model.shapes import push
from runner.model.stack import Stack
from runner.settings import Settings
from runner.settings.errors import ConfigError, brief
from runner.training.augment import tried
from runner.training.checking import each_output
from runner.training.parts import own_losses
from runner.training.parts.components import Components


def check(settings: Settings, parts: Components, data: Data, plan: Stack, made: Tensors, batch: Batch) -> None:
    """Raise ConfigError where a model that is planned for the plain examples does not take the transformed ones.

    made: examples as the transforms make them. batch: some of these on the meta device.
    The output must have the shape that it has for plain examples, or go with targets that change as the pictures do.
    """
    x, y = batch
    layers = {layer.name: layer for layer in plan.layers}

    def call(name: str, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        try:
            try:
                return push(module.eval(), *inputs, **named)
            except Exception as error:
                if not looking.looks(error):
                    raise
                return looking.of_examples(module, inputs, named)
        except Exception as error:
            layer = layers[name]
            cannot = f"layer {layer.target.__name__} ({layer.key}) takes one of them only: {brief(error)}"
            raise _refused(parts, data, made, cannot) from error

    with torch.no_grad():
        output = graph.through(plan.planned(), x, call)
    if own_losses.of_model(parts.loss) or _of_one(output) == _of_one(plan.output):
        return
    try:
        each_output.check(settings, parts, data, replace(plan, output=output), y)
    except ConfigError as error:
        message = str(error).removeprefix(f"{error.key}: ")
        raise _refused(parts, data, made, f"the model gives another output for each: {message}") from error


def _of_one(output: Any) -> Any:
    """Return shapes and types of an output, without the number of examples."""
    return [(name, one.shape[1:], one.dtype) for name, one in nests.named(output)]


def _refused(parts: Components, data: Data, made: Tensors, why: str) -> ConfigError:
    changed, plain = list(made.x.shape[1:]), list(torch.as_tensor(data.train[0][0]).shape)
    remedy = "leave their size as it is, or change it in the data"
    if len(plain) > 2 and changed[:-2] == plain[:-2]:  # pictures
        cut, size = (sides[0] if sides[0] == sides[1] else sides for sides in (changed[-2:], plain[-2:]))
        smaller = all(one <= other for one, other in zip(changed, plain, strict=True))
        remedy = f"crop or resize to the size of the data, as in {{RandomCrop: {{size: {size}, padding: 4}}}}"
        remedy += f", or let a first layer cut that size out of the middle everywhere, {{CenterCrop: {cut}}}" * smaller
    return ConfigError(
        tried.key_of(parts.treatment.augment),
        f"the transforms make examples of {changed} from {plain}, which validation and prediction see, and {why};"
        f" {remedy}",
    )

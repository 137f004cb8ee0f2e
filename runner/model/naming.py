"""Checks of layers that need no input: their names, their arguments' names, types and ranges."""

import inspect
from collections.abc import Iterable
from typing import Any

from torch import nn

from runner.model import classes, specs, written
from runner.model.attention import MASKED, Mask
from runner.model.layers import Repeat
from runner.model.stack import Layer
from runner.model.wires import Inner
from runner.settings.errors import ConfigError, Problems
from runner.settings.values import lookup, ranges


def check(layers: Any, key: str = "model.layers") -> None:
    """Raise ConfigError, or ConfigErrors, for everything that is wrong with the layers as they are written down."""
    problems = Problems()
    with problems.collect():
        problems.errors += _collect(specs.named(layers, key))
    problems.raise_all()


def problems(named: Iterable[tuple[str, str, Any]]) -> list[ConfigError]:
    """Return what is wrong with these layers, given as `specs.named` gives them."""
    return _collect(named)


def check_masks(layers: list[Layer]) -> None:
    """Raise ConfigError for a `Mask` with no attention after it."""
    for number, layer in enumerate(layers):
        after = [one for later in layers[number + 1 :] for one in (later, *later.inner())]
        if layer.target is Mask and not any(one.target in MASKED for one in after):
            names = ", ".join(kind.__name__ for kind in MASKED)
            raise ConfigError(layer.key, f"no layer comes after it in its stack that it masks, which are {names}")


def _collect(named: Iterable[tuple[str, str, Any]]) -> list[ConfigError]:
    problems = Problems()
    for _, key, spec in named:
        for _, place, one in specs.named(spec.layers, key) if isinstance(spec, Inner) else [("", key, spec)]:
            with problems.collect():
                _check_layer(place, one)
    return problems.errors


def _check_layer(key: str, spec: Any) -> None:
    if written.is_tied(spec):
        return
    layer = written.read(spec, key, classes.find)
    target, key, parameters, arguments = layer.target, layer.key, layer.parameters, layer.arguments
    problems = Problems()
    for inside in [k for k, p in parameters.items() if k in arguments and _holds_layers(target, p)]:
        with problems.collect():
            if _holds_several(target, parameters[inside]):
                for _, branch_key, branch in specs.named(arguments[inside], f"{key}.{inside}"):
                    with problems.collect():
                        check(specs.single(branch, classes.Targets()), branch_key)
            else:
                check(specs.single(arguments[inside], classes.Targets()), f"{key}.{inside}")
    inferred = [*specs.INFERRED, *specs.OF_INPUT.get(target, {})]
    inferred += ["num_embeddings"] if target in specs.INDEXED else ["out_features"] if "weight" in layer.ties else []
    free = [*inferred, *(k for k, p in parameters.items() if _holds_layers(target, p)), "args"]
    plain = {k: v for k, v in arguments.items() if k not in free or k in inferred}
    with problems.collect():
        lookup.bind(target, plain, key, free, parameters)
    with problems.collect():
        ranges.check(target, plain, ranges.LAYER, key)
    problems.raise_all()


def _holds_several(target: Any, parameter: inspect.Parameter) -> bool:
    """Return whether the argument is a list of stacks, and not one stack."""
    return target is not Repeat and specs.holds_modules(parameter.annotation)


def _holds_layers(target: Any, parameter: inspect.Parameter) -> bool:
    if target is nn.Sequential or (target is Repeat and parameter.name == "layers"):
        return True
    return specs.holds_module(parameter.annotation) or specs.holds_modules(parameter.annotation)

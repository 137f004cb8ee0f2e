"""Patterns for layers and parameters of a model, as `optimizer.groups` and `model.freeze` have them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from runner.settings.errors import ConfigError, Problems, did_you_mean

#: Names that a message lists at most.
LISTED = 12


@dataclass(frozen=True)
class Selection:
    """The parts of a model that a pattern means.

    parameters: their names, in the model's order. modules: those of the layers among them and of all layers below.
    """

    parameters: list[str]
    modules: list[str]


def select(pattern: Any, model: nn.Module, key: str) -> Selection:
    """Return the parts of a model that a pattern means.

    pattern: a layer's name with all below it (`conv1`, `block.conv1`, or its number in a list of layers), a layer's
        class (`LayerNorm`), or a parameter's name (`head.bias`); `*`, `?` and `[...]` stand for letters as in file
        names, and `*` for dots too (`*.bias`, `norm*`).
    key: of the configuration, for messages. Raises ConfigError for a pattern that means nothing.

        select("*.bias", model, "model.freeze").parameters   # ["conv1.bias", "head.bias"]
    """
    text = str(pattern)
    modules = dict(model.named_modules(remove_duplicate=False))
    chosen = [name for name, module in modules.items() if name and _is_meant(text, name, module)]
    below = [name for name in modules if any(f"{name}.".startswith(f"{layer}.") for layer in chosen)]
    inside = {id(p) for name in below for p in modules[name].parameters(recurse=False)}
    named = {id(p) for name, p in model.named_parameters(remove_duplicate=False) if fnmatchcase(name, text)}
    parameters = [name for name, p in model.named_parameters() if id(p) in inside | named]
    if not parameters and not chosen:
        raise ConfigError(key, _nothing(text, model))
    return Selection(parameters, below)


def check(patterns: Iterable[Any], model: nn.Module, key: str) -> None:
    """Raise ConfigError, or ConfigErrors, for patterns that mean nothing in the model. key: that they stand below."""
    problems = Problems()
    for pattern in patterns:
        with problems.collect():
            select(pattern, model, f"{key}.{pattern}")
    problems.raise_all()


def _is_meant(pattern: str, name: str, module: nn.Module) -> bool:
    classes = [kind for kind in type(module).__mro__ if kind not in (nn.Module, object)]
    names = [kind.__name__ for kind in classes] + [f"{kind.__module__}.{kind.__qualname__}" for kind in classes]
    return any(fnmatchcase(one, pattern) for one in (name, *names))


def _nothing(pattern: str, model: nn.Module) -> str:
    layers = [name for name, _ in model.named_modules() if name]
    classes = dict.fromkeys(type(module).__name__ for name, module in model.named_modules() if name)
    candidates = [*layers, *(name for name, _ in model.named_parameters()), *classes]
    ends = [name for name in candidates if re.search(rf"\.{re.escape(pattern)}$", name)]
    near = f"; did you mean {ends[0]!r}?" if ends else did_you_mean(pattern, candidates)
    top = [name for name in layers if "." not in name]
    listed = ", ".join(top[:LISTED]) + (", ..." if len(top) > LISTED else "")
    return f"{pattern!r} is no layer, parameter or class of a layer of this model{near} (its layers are {listed})"

"""First weights that are not drawn as torch's layers draw them: `model.init`."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from runner.settings.errors import ConfigError, Problems, brief, did_you_mean
from runner.settings.values import lookup
from runner.settings.values.lookup import Kind

KEY = "model.init"
#: Arguments of torch's functions that are no one's to give: the parameter, and the run's own generator.
FILLED = ("generator",)


def _is_init(value: Any) -> bool:
    if not inspect.isfunction(value):
        return False
    return (value.__module__ == "torch.nn.init" and value.__name__.endswith("_")) or lookup.is_users(value)


INIT = Kind("a function that fills a parameter", ("torch.nn.init",), _is_init)


@dataclass(frozen=True)
class Start:
    """The function that fills one parameter. name: that of the parameter in the state_dict."""

    name: str
    function: Any
    arguments: dict[str, Any]

    def draw(self, model: nn.Module) -> None:
        """Fill the parameter, from the generator of its device."""
        with torch.no_grad():
            self.function(model.get_parameter(self.name), **self.arguments)

    def words(self) -> str:
        """Return the function as one writes it: `normal_(std=0.02)`, or `zeros_`."""
        given = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.function.__name__}({given})" if given else str(self.function.__name__)


@dataclass(frozen=True)
class _Rule:
    """A function and the parameters that it is for."""

    pattern: str  # of a layer's class, its name, or a parameter's name
    parameter: str  # of the layers' parameters, a pattern; "": those that hold weights, or that which is named
    key: str
    function: Any
    arguments: dict[str, Any]

    def takes(self, model: nn.Module, name: str) -> bool:
        """Return whether a parameter is filled by this rule."""
        path, _, own = name.rpartition(".")
        wanted = fnmatchcase(own, self.parameter) if self.parameter else "weight" in own
        above = [path[:end] for end in (*(i for i, c in enumerate(path) if c == "."), len(path))]
        module = model.get_submodule(path)
        if wanted and (_is(module, self.pattern) or any(fnmatchcase(one, self.pattern) for one in above if one)):
            return True
        if self.parameter:
            return False
        kind, _, parameter = self.pattern.rpartition(".")
        return fnmatchcase(name, self.pattern) or (fnmatchcase(own, parameter) and _is(module, kind))


def starts(init: Any, model: nn.Module, fixed: set[int]) -> list[Start]:
    """Return how parameters are filled, in the model's order, by the last rule that names them.

    One that two layers share is filled at each of its names that a rule has, as by nn.Module.apply.

    init: `{Linear: {xavier_uniform_: {gain: 1.0}}, "head.weight": zeros_}`.
    model: as it is planned, on the meta device.
    fixed: ids of its parameters whose values are given.
    Raises ConfigError, or ConfigErrors, for what is no such rule, one that no parameter matches, or a function that
    refuses a parameter.
    """
    if not init:
        return []
    if not isinstance(init, Mapping):
        raise ConfigError(KEY, f"expected layers and functions, as in {{Linear: xavier_uniform_}}, found {init!r}")
    problems, rules = Problems(), list[_Rule]()
    for pattern, value in init.items():
        with problems.collect():
            rules += _read(str(pattern), value, f"{KEY}.{pattern}")
    parameters = [(name, p) for name, p in model.named_parameters() if id(p) not in fixed]
    for rule in rules:
        if not any(rule.takes(model, name) for name, _ in parameters):
            problems.add(rule.key, _unmatched(rule, model))
    problems.raise_all()
    found = list[Start]()
    for name, parameter in parameters:
        fitting = [rule for rule in rules if rule.takes(model, name)]
        if fitting:
            with problems.collect():
                found.append(_start(fitting[-1], name, parameter))
    problems.raise_all()
    return found


def _read(pattern: str, value: Any, key: str) -> Iterator[_Rule]:
    if isinstance(value, Mapping) and value and not any(map(_is_function, value)):  # {weight: ..., bias: ...}
        for parameter, function in value.items():
            yield _Rule(pattern, str(parameter), f"{key}.{parameter}", *_function(function, f"{key}.{parameter}"))
    else:
        yield _Rule(pattern, "", key, *_function(value, key))


def _is_function(name: Any) -> bool:
    return str(name).endswith("_") or "." in str(name) or name in ("name", "_target_") or hasattr(nn.init, f"{name}_")


def _function(value: Any, key: str) -> tuple[Any, dict[str, Any]]:
    """Return a function and its arguments: of `zeros_`, `{constant_: 0.1}`, `{normal_: {std: 0.02}}`."""
    if isinstance(value, Mapping) and ("name" in value or "_target_" in value):
        name, given = lookup.component(dict(value), key)
    elif isinstance(value, Mapping) and len(value) == 1:
        [(name, given)] = value.items()
        key = f"{key}.{name}"
    elif isinstance(value, str):
        name, given = value, {}
    else:
        raise ConfigError(
            key, f"expected one function, as in xavier_uniform_ or {{normal_: {{std: 0.02}}}}, found {value!r}"
        )
    function = lookup.find(name, INIT, key)
    takes = dict(list(lookup.parameters(function).items())[1:])
    arguments = _arguments(name, takes, given, key)
    lookup.refuse(arguments, FILLED, key, "is the run's own, by `seed`; leave it out")
    lookup.bind(function, arguments, key, takes=takes)
    return function, arguments


def _arguments(name: str, takes: Mapping[str, inspect.Parameter], given: Any, key: str) -> dict[str, Any]:
    names = [one for one in takes if one not in FILLED]
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    if isinstance(given, list | tuple) and len(given) <= len(names):
        return dict(zip(names, given, strict=False))
    if isinstance(given, list | tuple) or len(names) != 1:
        takes_ = f"{', '.join(names)} by their names" if names else "no arguments"
        raise ConfigError(key, f"{name} takes {takes_}, found {given!r}")
    return {names[0]: given}


def _start(rule: _Rule, name: str, parameter: nn.Parameter) -> Start:
    start = Start(name, rule.function, rule.arguments)
    if not lookup.is_own(rule.function):
        try:
            rule.function(torch.empty_like(parameter), **rule.arguments)
        except Exception as error:
            shape = tuple(parameter.shape)
            raise ConfigError(
                rule.key, f"{rule.function.__name__} cannot fill {name}, of shape {shape}: {brief(error)}"
            ) from error
    return start


def _unmatched(rule: _Rule, model: nn.Module) -> str:
    layers = [(name, module) for name, module in model.named_modules() if name]
    of = [p for n, m in layers if _is(m, rule.pattern) or fnmatchcase(n, rule.pattern) for p, _ in m.named_parameters()]
    if of:
        wanted, there = rule.parameter or "weight", ", ".join(dict.fromkeys(of))
        return f"these layers have no parameter {wanted!r} to be drawn{did_you_mean(wanted, of)} (they have {there})"
    known = [*dict.fromkeys(type(m).__name__ for _, m in layers if any(True for _ in m.parameters()))]
    known += [name for name, _ in layers] + [name for name, _ in model.named_parameters()]
    return f"no layer's class, no layer and no parameter has this name{did_you_mean(rule.pattern, known)}"


def _is(module: nn.Module, kind: str) -> bool:
    """Return whether a module is of a class of this name, or of one that inherits from it."""
    names = {c.__name__ for c in type(module).__mro__ if c is not nn.Module and issubclass(c, nn.Module)}
    return kind in names or (kind.startswith("torch.nn.") and kind.rpartition(".")[2] in names)

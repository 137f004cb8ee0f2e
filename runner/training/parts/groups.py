"""Groups of parameters that an optimizer treats in another way than the rest: `optimizer.groups`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from runner.model import patterns
from runner.settings.errors import ConfigError, Problems, did_you_mean
from runner.settings.values import lookup, ranges
from runner.settings.values.lookup import Bound
from runner.settings.values.tags import letters

#: Pattern -> arguments of the optimizer for the parameters that it means.
Groups = dict[str, dict[str, Any]]
#: Arguments by which torch chooses how it computes a step, the same for all of an optimizer.
WAYS = ("foreach", "fused", "capturable", "differentiable")
#: Key of a group of parameters with the patterns that its arguments are of, where `optimizer.groups` has made it.
SET_BY = "set_by"


@dataclass(frozen=True)
class Grouped(Bound):
    """An optimizer's class and its arguments, and those that it has for some parameters."""

    groups: Groups = field(default_factory=dict)

    def of(self, model: nn.Module, parameters: list[nn.Parameter]) -> list[Any]:
        """Return what the optimizer is made of: `parameters`, in groups where there are some, the rest first."""
        return parameters if not self.groups else _sorted(self.groups, model, parameters)


def read(target: Any, arguments: dict[str, Any], spec: Any) -> Groups:
    """Return the groups with their arguments checked as the optimizer's own are. Raises ConfigError, or ConfigErrors.

    target, arguments: of the optimizer. spec: `optimizer.groups`, a mapping of patterns to arguments, or None.
    """
    if not spec:
        return {}
    if not isinstance(spec, Mapping):
        raise ConfigError(
            "optimizer.groups", f"{spec!r} does not map patterns to arguments, as in {{head: {{lr: 0.01}}}}"
        )
    if target is torch.optim.LBFGS:
        raise ConfigError("optimizer.groups", "LBFGS has no groups of parameters; leave them out, or use another")
    problems, groups, names = Problems(), dict[str, dict[str, Any]](), dict[str, Any]()
    for pattern, options in spec.items():
        if (name := letters(str(pattern))) in names:
            problems.add(
                f"optimizer.groups.{pattern}", f"is recorded as lr/{name}, as {names[name]!r} is; leave one out"
            )
        names[name] = pattern
        with problems.collect():
            groups[str(pattern)] = _options(target, arguments, options, f"optimizer.groups.{pattern}")
    problems.raise_all()
    return groups


def _options(target: Any, arguments: dict[str, Any], spec: Any, key: str) -> dict[str, Any]:
    if not isinstance(spec, Mapping) or not spec:
        rate = spec if isinstance(spec, int | float) and not isinstance(spec, bool) else 0.01
        raise ConfigError(
            key, f"{spec!r} holds no arguments of the optimizer by name; expected some, as {{lr: {rate}}}"
        )
    options = dict(spec)
    lookup.refuse(options, ["params", "name"], key, "is the same for all groups; leave it out")
    lookup.refuse(options, WAYS, key, "is the same for all groups; set it for the optimizer as a whole")
    lookup.bind(target, {**arguments, **options}, key, free=["params"])
    ranges.check(target, options, ranges.OPTIMIZER, key)
    whole = lookup.made(target, {**arguments, **options}, key, ([nn.Parameter(torch.zeros(2, 2))],))
    for name in options:
        if name not in whole.defaults:
            takes = ", ".join(one for one in whole.defaults if one not in WAYS)
            near = did_you_mean(name, whole.defaults)
            raise ConfigError(
                f"{key}.{name}", f"{target.__name__} takes it for all parameters only{near} (a group takes {takes})"
            )
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def check(groups: Groups, model: nn.Module) -> None:
    """Raise ConfigError for patterns that mean nothing in the model, or whose arguments later ones override all over.

    model: may be on the meta device.
    """
    patterns.check(groups, model, "optimizer.groups")
    problems = Problems()
    used = {(pattern, name) for source in _sources(groups, model).values() for name, pattern in source.items()}
    for pattern, options in groups.items():
        if not patterns.select(pattern, model, "optimizer.groups").parameters:
            problems.add(f"optimizer.groups.{pattern}", "its layers have no parameters; leave it out")
            continue
        for name in options:
            if (pattern, name) not in used:
                problems.add(
                    f"optimizer.groups.{pattern}.{name}",
                    "has no effect: groups after this one set it for all of its parameters; move it behind them",
                )
    problems.raise_all()


def _sources(groups: Groups, model: nn.Module) -> dict[str, dict[str, str]]:
    """Return for each parameter's name the patterns that its arguments are of: of each argument the last one's."""
    sources: dict[str, dict[str, str]] = {name: {} for name, _ in model.named_parameters()}
    for pattern, options in groups.items():
        for name in patterns.select(pattern, model, f"optimizer.groups.{pattern}").parameters:
            sources[name].update(dict.fromkeys(options, pattern))
    return sources


def described(groups: Groups, model: nn.Module) -> dict[str, str]:
    """Return the words for each parameter's group, as in `head (lr=0.01)`; "" for one in none."""
    words = {}
    for name, source in _sources(groups, model).items():
        by_pattern: dict[str, list[str]] = {}
        for argument, pattern in source.items():
            value = groups[pattern][argument]
            by_pattern.setdefault(pattern, []).append(
                f"{argument}={value:g}" if type(value) in (int, float) else f"{argument}={value}"
            )
        words[name] = ", ".join(f"{pattern} ({', '.join(options)})" for pattern, options in by_pattern.items())
    return words


def _sorted(groups: Groups, model: nn.Module, parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
    """Return torch's groups: parameters with equal arguments together, those with the optimizer's own rate first."""
    sources, chosen = _sources(groups, model), set(map(id, parameters))
    together: dict[tuple[tuple[str, str], ...], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in chosen:
            together.setdefault(tuple(sorted(sources[name].items())), []).append(parameter)
    order = sorted(together, key=lambda source: ("lr" in dict(source), bool(source)))
    return [
        {"params": together[source], **{name: groups[pattern][name] for name, pattern in source}, SET_BY: dict(source)}
        for source in order
    ]


def rated(optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """Return the names under which learning rates are recorded, `lr` and `lr/<pattern>` of groups: each its group."""
    named = {"lr": 0}
    for number, group in enumerate(optimizer.param_groups):
        if (pattern := group.get(SET_BY, {}).get("lr")) is not None:
            named.setdefault(f"lr/{letters(pattern)}", number)
    return named


def rates(optimizer: torch.optim.Optimizer, rated: dict[str, int]) -> dict[str, float]:
    """Return the present learning rates by their names, see `rated`."""
    of_groups = optimizer.param_groups
    return {name: float(of_groups[number]["lr"]) for name, number in rated.items()}


def configured(groups: Groups, optimizer: torch.optim.Optimizer) -> list[float]:
    """Return the learning rate that each group of the optimizer is configured with, whatever a schedule made of it."""
    return [
        groups.get(group.get(SET_BY, {}).get("lr", ""), {}).get("lr", optimizer.defaults.get("lr", group["lr"]))
        for group in optimizer.param_groups
    ]

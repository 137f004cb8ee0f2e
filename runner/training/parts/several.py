"""Several optimizers, each with parameters of its own, for a step of the user's own."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from runner.model import patterns
from runner.settings.errors import ConfigError, Problems
from runner.settings.values.tags import letters
from runner.training.parts.groups import SET_BY, Grouped


class Optimizers(torch.optim.Optimizer):
    """Several optimizers as one: its groups are theirs, so that a schedule moves all, and its state is of all.

    each: by their names. A step is taken with each of them alone, as its loss wants it.
    """

    each: dict[str, torch.optim.Optimizer]

    def __init__(self, each: dict[str, torch.optim.Optimizer]) -> None:
        self.each = each
        super().__init__([parameter for group in self.param_groups for parameter in group["params"]], {})

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all, in order."""
        return [group for optimizer in self.each.values() for group in optimizer.param_groups]

    @param_groups.setter
    def param_groups(self, value: Any) -> None:
        """Leave it, as torch's constructor wants to set it."""

    @property
    def state(self) -> defaultdict[torch.Tensor, Any]:
        """The state of every parameter."""
        states = {key: value for optimizer in self.each.values() for key, value in optimizer.state.items()}
        return defaultdict(dict, states)

    @state.setter
    def state(self, value: Any) -> None:
        """Leave it, as torch's constructor wants to set it."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Leave it: the groups are there."""

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step with each of them."""
        for optimizer in self.each.values():
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each by its name."""
        return {name: optimizer.state_dict() for name, optimizer in self.each.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of each."""
        for name, optimizer in self.each.items():
            optimizer.load_state_dict(state_dict[name])


def each_of(optimizer: torch.optim.Optimizer) -> dict[str, torch.optim.Optimizer]:
    """Return the optimizers by their names; one alone is called ""."""
    return optimizer.each if isinstance(optimizer, Optimizers) else {"": optimizer}


@dataclass(frozen=True)
class Several(Grouped):
    """The classes and arguments of several optimizers, and the patterns of the parameters that each is for."""

    each: dict[str, Grouped] = field(default_factory=dict)
    params: dict[str, list[Any]] = field(default_factory=dict)

    def make(self, *first: Any) -> Optimizers:
        """Make all of them. first: parameters by the optimizers' names, as of `of`; or a list, copied for each."""
        [given] = first
        made = {}
        for name, bound in self.each.items():
            alone = [nn.Parameter(p.detach().clone()) for p in given] if isinstance(given, list) else given[name]
            made[name] = bound.make(alone)
            for group in made[name].param_groups:
                group[SET_BY] = dict.fromkeys(made[name].defaults, name)
        return Optimizers(made)

    def of(self, model: nn.Module, parameters: list[nn.Parameter]) -> Any:
        """Return the parameters of each. Raises ConfigError where one belongs to two of them, or to none."""
        problems, owners, chosen = Problems(), dict[str, str](), set(map(id, parameters))
        for name, meant in self.params.items():
            key = f"optimizer.{name}" if meant == [name] else f"optimizer.{name}.params"
            with problems.collect():
                named = [name for pattern in meant for name in patterns.select(pattern, model, key).parameters]
                for one in dict.fromkeys(named):
                    if one in owners:
                        raise ConfigError(key, f"{one} belongs to {owners[one]} too; expected one optimizer for each")
                    owners[one] = name
        problems.raise_all()
        trained = {name: p for name, p in model.named_parameters() if id(p) in chosen}
        if left := [name for name in trained if name not in owners]:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            why = f"belongs to none of {', '.join(self.each)}; name its layer in one's params, or in model.freeze"
            raise ConfigError("optimizer", f"{left[0]}{more} {why}")
        split = {name: [p for one, p in trained.items() if owners[one] == name] for name in self.each}
        if empty := [name for name, some in split.items() if not some]:
            raise ConfigError(f"optimizer.{empty[0]}", "has no parameters that are trained; leave it out")
        return split


def check(bound: Any, model: nn.Module, frozen: set[str]) -> None:
    """Raise ConfigError where parameters belong to two of several optimizers, or to none.

    model: may be on the meta device. frozen: the names of parameters that are never trained.
    """
    if isinstance(bound, Several):
        bound.of(model, [p for name, p in model.named_parameters() if name not in frozen])


def bounds(bound: Any) -> list[Any]:
    """Return the optimizers of the settings: this one, or each of several."""
    return list(bound.each.values()) if isinstance(bound, Several) else [bound]


def is_several(spec: Any) -> bool:
    """Return whether a component of the settings is several by their names: a mapping of mappings without a name."""
    return (
        isinstance(spec, Mapping)
        and len(spec) > 0
        and not {"name", "_target_"} & set(spec)
        and all(isinstance(one, Mapping) for one in spec.values())
    )


def resolve(spec: Any, one: Callable[[dict[str, Any], str], Grouped]) -> Several:
    """Look up several optimizers. Raises ConfigErrors.

    spec: name -> `{name: Adam, ...}`, for the layer or pattern of that name, or for those in `params`.
    one: looks up one of them. key: of it.
    """
    problems, each, params = Problems(), dict[str, Grouped](), dict[str, list[Any]]()
    for name, given in spec.items():
        key = f"optimizer.{name}"
        with problems.collect():
            if not {"name", "_target_"} & set(given):
                raise ConfigError(
                    key, f"{dict(given)!r} names no optimizer; expected one such as {{name: Adam, lr: 0.001}}"
                )
            arguments = dict(given)
            meant = arguments.pop("params", [name])
            meant = [meant] if isinstance(meant, str) else meant
            if not isinstance(meant, list) or not meant:
                raise ConfigError(f"{key}.params", f"{meant!r} is not a list of layers, as in [conv1, 'norm*']")
            if "groups" in arguments:
                raise ConfigError(f"{key}.groups", "is for one optimizer alone; give these parameters one of their own")
            if letters(str(name)) != str(name):
                raise ConfigError(key, f"cannot be recorded as lr/{name}; use a word, and params for its layers")
            bound = one(arguments, key)
            if bound.target is torch.optim.LBFGS:
                raise ConfigError(f"{key}.name", "LBFGS evaluates a loss itself, which one of several cannot")
            each[str(name)], params[str(name)] = bound, meant
    problems.raise_all()
    return Several(Optimizers, {name: dict(given) for name, given in spec.items()}, "optimizer", {}, each, params)

"""From a name in a configuration to the class or function it means, or a ConfigError that says what is wrong."""

import difflib
import importlib
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


class ConfigError(ValueError):
    """Something a user wrote is wrong. `key` is the key as one would type it."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key


@dataclass(frozen=True)
class Kind:
    """What a name may mean in one place of the configuration."""

    noun: str
    homes: tuple[str, ...]  # modules searched for a bare name, in this order
    accepts: Callable[[Any], bool]


def find(name: Any, kind: Kind, key: str) -> Any:
    """The object that `name` means. A bare name is searched in the kind's homes, a dotted one is imported."""
    if not isinstance(name, str) or not name:
        raise ConfigError(key, f"{name!r} is not the name of {kind.noun}")
    found = _import(name, kind, key) if "." in name else _search(name, kind)
    if found is None or not kind.accepts(found):
        raise ConfigError(key, f"{name!r} is not {kind.noun}{_homes(kind)}{did_you_mean(name, known(kind))}")
    return found


def known(kind: Kind) -> list[str]:
    """The bare names that this kind accepts."""
    names: set[str] = set()
    for home in kind.homes:
        module = importlib.import_module(home)
        if hasattr(module, "names"):
            names.update(module.names())
        else:
            names.update(n for n, value in vars(module).items() if n[0] != "_" and kind.accepts(value))
    return sorted(names)


def bind(
    target: Callable[..., Any],
    given: dict[str, Any],
    key: str,
    free: Iterable[str] = (),
    takes: dict[str, inspect.Parameter] | None = None,
) -> None:
    """Check arguments against the signature of `target`, without calling it.

    `free` names arguments that the program fills in, so that they may be missing.
    `takes` is the signature where `inspect` cannot see it.
    """
    takes = parameters(target) if takes is None else takes
    if not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        for name in given:
            if name not in takes:
                names = [n for n in takes if n not in (*free, "device", "dtype", "self", "cls")]
                raise ConfigError(
                    f"{key}.{name}",
                    f"{target.__name__} takes no argument {name!r}{did_you_mean(name, names)}"
                    f" (it takes {', '.join(names) or 'none'})",
                )
    for name, value in given.items():
        if name in takes:
            _check_type(takes[name], value, f"{key}.{name}")
    missing = [
        n
        for n, p in takes.items()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and n not in given and n not in free
    ]
    if missing:
        raise ConfigError(key, f"{target.__name__} needs {' and '.join(repr(n) for n in missing)}")


def component(spec: dict[str, Any], key: str) -> tuple[str, dict[str, Any]]:
    """Split `{name: X, **arguments}` into X and the arguments; `_target_` is another spelling of `name`."""
    arguments = dict(spec)
    target = arguments.pop("_target_", None)
    name = arguments.pop("name", None)
    if name and target and name != target:
        raise ConfigError(
            key, f"both name: {name} and _target_: {target} are given, which mean the same; leave one out"
        )
    name = name or target
    if not name:
        raise ConfigError(f"{key}.name", "missing; give the name of a class or function")
    return name, arguments


def did_you_mean(wrong: str, right: Iterable[str]) -> str:
    """` — did you mean 'x'?`, or nothing when no right name is near."""
    names = {str(n).lower(): str(n) for n in right}
    near = difflib.get_close_matches(str(wrong).lower(), names, n=1, cutoff=0.5)
    return f"; did you mean {names[near[0]]!r}?" if near else ""


def use_folder(folder: Path) -> None:
    """Make `experiments.<module>` reachable in `folder`, before the places already known."""
    package = sys.modules.get("experiments")
    if package is None:
        package = sys.modules["experiments"] = types.ModuleType("experiments")
    paths = list(getattr(package, "__path__", []))
    if str(folder) not in paths:
        package.__path__ = [str(folder), *paths]
        importlib.invalidate_caches()


def is_users(value: Any) -> bool:
    """Whether `value` is a part of this package, the user's own, or of a package that the person trusts."""
    module = str(getattr(value, "__module__", ""))
    first = module.partition(".")[0]
    return _is_part(module) if first == "runner" else first in _users()


#: Where this package keeps parts of experiments; a configuration must not call the rest, which writes and deletes.
PARTS = ("runner.layers", "runner.schedules", "runner.data", "runner.plots")


def _is_part(module: str) -> bool:
    return f"{module}.".startswith(tuple(f"{part}." for part in PARTS)) and "._" not in module


def _users() -> set[str]:
    return {"runner", "experiments", *filter(None, os.environ.get("RUNNER_TRUST", "").replace(",", " ").split())}


def _search(name: str, kind: Kind) -> Any:
    for home in kind.homes:
        module = importlib.import_module(home)
        found = module.find(name) if hasattr(module, "find") else getattr(module, name, None)
        if found is not None:
            return found
    return None


def _import(name: str, kind: Kind, key: str) -> Any:
    """Import as few modules as needed: only ours, the user's and torch's own are ever imported."""
    first = name.partition(".")[0]
    if first not in _users() | {"torch", "torchmetrics"}:
        raise ConfigError(
            key,
            f"{name!r} is outside of torch, runner and experiments; put your own code into experiments/,"
            f" or trust its package with RUNNER_TRUST={first}",
        )
    parts = name.split(".")
    if first in _users():
        return _import_users(parts, key)
    found: Any = importlib.import_module(first)
    for part in parts[1:]:
        found = getattr(found, part, None)
    return found


def _import_users(parts: list[str], key: str) -> Any:
    module_name, attribute = ".".join(parts[:-1]), parts[-1]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise ConfigError(key, f"importing {module_name!r} failed: {error}") from error
        raise ConfigError(key, f"there is no module {module_name!r}; expected {_expected_file(parts)}") from error
    except Exception as error:
        raise ConfigError(key, f"importing {module_name!r} failed: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        names = [n for n in vars(module) if n[0] != "_"]
        raise ConfigError(key, f"{module_name!r} has no {attribute!r}{did_you_mean(attribute, names)}")
    return getattr(module, attribute)


def _expected_file(parts: list[str]) -> str:
    return "/".join(parts[:-1]) + ".py"


def _homes(kind: Kind) -> str:
    return f" in {' or '.join(kind.homes)}" if kind.homes else ""


@cache
def parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments of a class or function, with their annotations as objects where that is possible."""
    try:
        return dict(inspect.signature(target, eval_str=True).parameters)
    except Exception:  # annotations that only a type checker can read
        return dict(inspect.signature(target).parameters)


def _check_type(parameter: inspect.Parameter, value: Any, key: str) -> None:
    """Refuse a word where the signature wants a number, or the other way round."""
    wants = parameter.annotation
    if wants is parameter.empty or isinstance(wants, str):
        wants = type(parameter.default) if type(parameter.default) in (bool, int, float, str) else Any
        if wants is int:
            wants = int | float
    if value is None and (wants is Any or parameter.default is None or parameter.default is parameter.empty):
        return
    if _fits(value, wants):
        return
    raise ConfigError(key, f"{value!r} is not {_words(wants)}")


def _fits(value: Any, wants: Any) -> bool:
    args = getattr(wants, "__args__", ())
    origin = getattr(wants, "__origin__", None)
    if isinstance(wants, types.UnionType) or str(origin) == "typing.Union":
        return any(_fits(value, a) for a in args)
    if str(origin) == "typing.Literal":
        return value in args
    if wants in (int, float, complex):
        return isinstance(value, int | (float if wants is not int else int)) and not (
            isinstance(value, bool) and wants is not int
        )
    if wants in (bool, str):
        return isinstance(value, wants)
    if origin in (list, tuple) or wants in (list, tuple):
        return isinstance(value, list | tuple)
    if wants is type(None):
        return value is None
    return not _plain(wants)


def _plain(wants: Any) -> bool:
    """torch.Tensor and other classes that YAML cannot spell are never what a user meant."""
    return isinstance(wants, type) and wants.__name__ == "Tensor"


def _words(wants: Any) -> str:
    if isinstance(wants, types.UnionType) or str(getattr(wants, "__origin__", "")) == "typing.Union":
        words = [_words(a) for a in wants.__args__ if a is not type(None) and not _plain(a)]
        return " or ".join(dict.fromkeys(words))
    if str(getattr(wants, "__origin__", "")) == "typing.Literal":
        return "one of " + ", ".join(repr(a) for a in wants.__args__)
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    return names.get(wants, str(getattr(wants, "__name__", wants)))


#: How torch's optimizers call their arguments when they refuse a value.
SAID = {
    "lr": "learning rate",
    "momentum": "momentum",
    "weight_decay": "weight_decay",
    "betas": "beta",
    "eps": "epsilon",
}


def made(make: Any, arguments: dict[str, Any], key: str) -> Any:
    """What `make` gives; ConfigError for arguments that it refuses."""
    try:
        return make(**arguments)
    except Exception as error:
        message = str(error).strip().split("\n")[0]
        named = [argument for argument, words in SAID.items() if argument in arguments and words in message]
        raise ConfigError(f"{key}.{named[0]}" if named else key, message) from error

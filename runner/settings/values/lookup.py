"""From a name in a configuration to the class or function it stands for, or a ConfigError."""

import importlib
import inspect
import pkgutil
import sys
import traceback
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.settings.errors import ConfigError, Problems, brief, did_you_mean, labelled
from runner.settings.trust import permission
from runner.settings.values import signatures
from runner.settings.values.signatures import parameters as parameters


@dataclass(frozen=True)
class Kind:
    """The objects that a name may stand for in one place of the configuration."""

    noun: str
    homes: tuple[str, ...]  # modules searched for a bare name, in this order
    accepts: Callable[[Any], bool]
    # (name, key) -> what a name in another package stands for, which is trusted by that name; None for other names.
    elsewhere: Callable[[str, str], Any] = lambda name, key: None
    own: str = ""  # what one of the user's own is: "a class that inherits from torchmetrics.Metric"


def find(name: Any, kind: Kind, key: str) -> Any:
    """Return the object that `name` stands for: a bare name in the kind's homes, a dotted one by import."""
    if not isinstance(name, str) or not name:
        raise ConfigError(key, f"{name!r} is not the name of {kind.noun}")
    thing = kind.elsewhere(name, key)
    if thing is None:
        thing = _import(name, kind, key) if "." in name else _search(name, kind, key)
    if thing is not None and not kind.accepts(thing) and kind.own and is_users(thing) and is_own(thing):
        raise ConfigError(key, f"{name!r} is not {kind.noun}; one of your own is {kind.own}")
    if thing is None or not kind.accepts(thing):
        raise ConfigError(key, f"{name!r} is not {kind.noun}{_homes(kind)}{did_you_mean(name, known(kind))}")
    return thing


#: Arguments of torch's classes that the whole run decides, and by which key.
FIXED = {"device": "device", "dtype": "trainer.precision"}


def known(kind: Kind) -> list[str]:
    """Return the bare names that this kind accepts."""
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
    arguments: dict[str, Any],
    key: str,
    free: Iterable[str] = (),
    takes: dict[str, inspect.Parameter] | None = None,
) -> None:
    """Check arguments against the signature of `target`, without calling it.

    `free` names arguments that the program fills in, so that they may be missing.
    `takes` is the signature where `inspect` cannot see it.
    """
    takes = parameters(target) if takes is None else takes
    problems = Problems()
    names = [n for n in takes if n not in (*free, *FIXED, "self", "cls")]
    further = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    for name, value in arguments.items():
        if name in FIXED and name in takes and str(target.__module__).startswith("torch."):
            problems.add(f"{key}.{name}", f"is the same for all of a run; leave it out, and set {FIXED[name]}")
        elif name in takes:
            with problems.collect():
                signatures.check_type(takes[name], value, f"{key}.{name}")
        elif not further:
            problems.add(
                f"{key}.{name}",
                f"{target.__name__} takes no argument {name!r}{_as_class(name, value) or did_you_mean(name, names)}"
                f" (it takes {', '.join(names) or 'none'})",
            )
    missing = [n for n, p in takes.items() if _is_needed(p) and n not in arguments and n not in free]
    if missing and (further or takes.keys() >= arguments.keys()):  # else it is the unknown one with a typing error
        problems.add(key, f"{target.__name__} needs {' and '.join(repr(n) for n in missing)}")
    problems.raise_all()


def _as_class(name: str, value: Any) -> str:
    """Return the remedy for a class with its arguments in the place of an argument, `loss={HuberLoss: {delta: 2}}`."""
    is_class = isinstance(value, dict | None) and (name[:1].isupper() or "." in name)
    return f"; another class is written {{name: {name}}}, with its arguments beside the name" if is_class else ""


def refuse(arguments: dict[str, Any], names: Iterable[str], key: str, why: str) -> None:
    """Raise ConfigError for every one of `names` that is given."""
    problems = Problems()
    for name in names:
        if name in arguments:
            problems.add(f"{key}.{name}", why)
    problems.raise_all()


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_KEYWORD,
        parameter.VAR_POSITIONAL,
    )


def component(spec: dict[str, Any], key: str) -> tuple[str, dict[str, Any]]:
    """Split `{name: X, **arguments}` into X and the arguments; `_target_` is another spelling of `name`."""
    if not isinstance(spec, dict):
        raise ConfigError(key, f"{spec!r} is not a mapping; expected a name and its arguments, as in {{name: X, a: 1}}")
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
    """Return whether `value` belongs to this package's parts, the user's code, or a package that the person trusts."""
    module = str(getattr(value, "__module__", ""))
    first = module.partition(".")[0]
    return _is_part(module) if first == "runner" else first in _users()


def is_own(target: Any) -> bool:
    """Return whether a class or function is the user's own, whose code may do anything, and not torch's or ours."""
    return str(getattr(target, "__module__", "")).partition(".")[0] not in ("torch", "torchmetrics", "runner")


#: Where this package keeps parts of experiments; a configuration must not call the rest, which writes and deletes.
PARTS = (
    "runner.model.layers",
    "runner.model.sequences",
    "runner.model.recurrent",
    "runner.model.attention",
    "runner.model.given",
    "runner.training.parts.schedules",
    "runner.data",
    "runner.plots",
)


def _is_part(module: str) -> bool:
    return f"{module}.".startswith(tuple(f"{part}." for part in PARTS)) and "._" not in module


def _users() -> set[str]:
    return {"runner", "experiments", *permission.packages()}


def _search(name: str, kind: Kind, key: str) -> Any:
    for home in kind.homes:
        try:
            module = importlib.import_module(home)
        except Exception as error:  # torchmetrics imports torchvision, whose build may be of another torch
            raise ConfigError(
                key, f"{home} cannot be imported: {brief(error)}; pip check names packages that do not fit one another"
            ) from error
        thing = module.find(name) if hasattr(module, "find") else getattr(module, name, None)
        if thing is not None:
            return thing
    return None


def _import(name: str, kind: Kind, key: str) -> Any:
    """Return the object of a dotted name. Only our, the user's and torch's modules are ever imported."""
    first = name.partition(".")[0]
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(key, f"{name!r} is no dotted name; expected one such as experiments.mine.MyClass")
    if first not in _users() | {"torch", "torchmetrics"}:
        raise ConfigError(
            key,
            f"{name!r} is outside of torch, runner and experiments; put your own code into experiments/,"
            f" or trust its package: --trust {first}, or RUNNER_TRUST={first} in the environment",
        )
    parts = name.split(".")
    if first in _users():
        return _import_users(parts, key)
    thing: Any = importlib.import_module(first)
    for part in parts[1:]:
        thing = getattr(thing, part, None)
    return thing


def _import_users(parts: list[str], key: str) -> Any:
    module_name, attribute = ".".join(parts[:-1]), parts[-1]
    try:
        module = _module(module_name)
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


def _module(name: str) -> types.ModuleType:
    """Return the module; what it draws while it is imported is the same in every process."""
    if name in sys.modules:
        return sys.modules[name]
    from runner.settings import random_state

    with random_state.started(0):
        return importlib.import_module(name)


def _expected_file(parts: list[str]) -> str:
    return "/".join(parts[:-1]) + ".py"


def _homes(kind: Kind) -> str:
    return f" in {' or '.join(kind.homes)}" if kind.homes else ""


#: Arguments of torch's optimizers -> the words for them in torch's messages.
SAID = {
    "lr": "learning rate",
    "momentum": "momentum",
    "weight_decay": "weight_decay",
    "betas": "beta",
    "eps": "epsilon",
}


def made(make: Any, arguments: dict[str, Any], key: str, first: tuple[Any, ...] = ()) -> Any:
    """Return what `make` returns for `first` and the arguments. Raises ConfigError for arguments that it refuses."""
    for name, parameter in parameters(make).items() if key == "optimizer" else ():  # as betas
        value, usual = arguments.get(name), parameter.default
        if isinstance(usual, tuple) and isinstance(value, list | tuple) and len(value) != len(usual):
            raise ConfigError(f"{key}.{name}", f"expected {len(usual)} values, as in {list(usual)}, not {list(value)}")
    try:
        return make(*first, **arguments)
    except Exception as error:
        message = brief(error)
        named = [argument for argument, words in SAID.items() if argument in arguments and words in message]
        raise ConfigError(f"{key}.{named[0]}" if named else key, message) from error


@dataclass(frozen=True)
class Bound:
    """A class or function with its arguments, looked up and checked: what a component of the settings means."""

    target: Any
    arguments: dict[str, Any]
    key: str  # of the component in the settings

    def make(self, *first: Any) -> Any:
        """Call `target`. first: what the program fills in. Raises ConfigError for arguments that it refuses."""
        return made(self.target, self.arguments, self.key, first)

    def but(self, **arguments: Any) -> "Bound":
        """Return the same with other values for some arguments, or with further ones."""
        return replace(self, arguments={**self.arguments, **arguments})


def failure(error: Exception, target: Any) -> str:
    """Return `ValueError: its first line (mine.py, line 3)`: the innermost line of the file that `target` is of."""
    file = inspect.getsourcefile(target)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{labelled(error)}{place}"


def modules(path: Iterable[str]) -> list[str]:
    """Return the names of the public modules of a package, sorted. path: its `__path__`."""
    return sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_"))

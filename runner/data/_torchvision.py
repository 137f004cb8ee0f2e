"""Datasets of torchvision by their own names and arguments: `data: {name: torchvision.datasets.FashionMNIST}`.

Trusted by name, as models are: what may be named is a dataset class that torchvision lists. Nothing is fetched unless
`download: true` asks for it, and then it is said before it begins.
"""

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.data import Data
from runner.data._files import folder
from runner.data._held import divided
from runner.data._kept_files import noted
from runner.settings.errors import ConfigError, did_you_mean, first_line
from runner.settings.trust import terminal

HOME = "torchvision.datasets"
#: Arguments that are functions, which YAML cannot spell, or that stand for the parts.
NOT_TAKEN = ("transform", "target_transform", "transforms", "loader", "is_valid_file", "allow_empty")
#: Arguments that choose a part -> their values for it, the first that the class takes; True and False as they are.
CHOOSING: dict[str, tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]] = {
    "train": ((True,), (), (False,)),
    "split": (("train", "train-standard"), ("val", "valid", "validation"), ("test",)),
    "image_set": (("train",), ("val",), ("test",)),
}
_made: dict[str, Callable[..., Data]] = {}


class _NoSuchPart(Exception):
    """A class has no part of this name."""


def is_made(value: Any) -> bool:
    """Return whether a function is a source that `find` has returned."""
    return any(value is one for one in _made.values())


def find(name: str, key: str) -> Callable[..., Data] | None:
    """Return the source of a name in torchvision.datasets, None for any other name. Raises ConfigError."""
    if not isinstance(name, str) or name.partition(".")[0] != "torchvision":
        return None
    home, _, last = name.rpartition(".")
    try:
        module = importlib.import_module(HOME)
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise ConfigError(key, f"importing torchvision failed: {first_line(error)}") from error
        raise ConfigError(key, "torchvision is not installed: pip install 'runner-torch[vision]'") from error
    except Exception as error:
        raise ConfigError(key, f"importing torchvision failed: {first_line(error)}") from error
    listed = [one for one in module.__all__ if _is_dataset(getattr(module, one, None))]
    if home != HOME or last not in listed:
        hint = did_you_mean(last, listed)
        raise ConfigError(key, f"{name!r} is no dataset of pairs that {HOME} lists{hint}")
    if last not in _made:
        _made[last] = _source(getattr(module, last))
    return _made[last]


def _is_dataset(value: Any) -> bool:
    return isinstance(value, type) and value.__name__ not in ("VisionDataset", "DatasetFolder")


def _source(kind: type) -> Callable[..., Data]:
    """Return a data source with the arguments of a dataset class, and those of a division into parts."""
    takes = _taken(kind)
    choosing = next((one for one in CHOOSING if one in takes), "")
    left = [one for name, one in takes.items() if name not in (*NOT_TAKEN, choosing)]

    def read(valid: Any = 0.15, test: float = 0.15, seed: int = 0, download: bool = False, **arguments: Any) -> Data:
        train, own_valid, own_test = _parts(kind, choosing, arguments, download if "download" in takes else None)
        notes = noted(train, Path(arguments["root"])) if "root" in arguments else {}
        return divided(train, own_valid, own_test, valid, test, seed, notes)

    ours = [one for one in inspect.signature(read).parameters.values() if one.name in ("valid", "test", "seed")]
    kept = [one.replace(annotation=float) if one.name == "valid" else one for one in ours]
    both = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*left, *kept)]
    read.__name__ = read.__qualname__ = kind.__name__
    read.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]
    return read


def _taken(kind: type) -> dict[str, inspect.Parameter]:
    """Return the arguments of a class; where it hands further ones on, those of its bases too."""
    taken: dict[str, inspect.Parameter] = {}
    for one in kind.__mro__:
        initializer = vars(one).get("__init__")
        own = inspect.signature(initializer).parameters if initializer else {}
        named = {n: p for n, p in own.items() if n != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        taken = {**named, **taken}
        if own and not any(p.kind is p.VAR_KEYWORD for p in own.values()):
            break
    return taken


def _parts(kind: type, choosing: str, arguments: dict[str, Any], download: bool | None) -> list[Any]:
    """Return the datasets of the three parts; None for one that the class does not have."""
    if not choosing:
        return [_opened(kind, arguments, download), None, None]
    opened: list[Any] = []
    for part, values in zip(("train", "valid", "test"), CHOOSING[choosing], strict=True):
        made, refusal = None, None
        for value in values:
            try:
                made = _opened(kind, {**arguments, choosing: value}, download)
                break
            except _NoSuchPart as error:
                refusal = error
        if made is None and part == "train":
            raise ConfigError("data", f"{kind.__name__} has no part for training: {refusal}") from refusal
        opened.append(made)
    return opened


def _opened(kind: type, arguments: dict[str, Any], download: bool | None) -> Any:
    """Return the dataset, downloaded if it is not there and `download` asks for it; None: the class cannot."""
    name, root = kind.__name__, str(arguments.get("root", ""))
    if download is None and root:
        folder(root, "data.root", f"the folder of {name}", "data")
    try:
        return kind(**arguments)
    except ValueError as error:
        if str(error).startswith("Unknown value") and any(f"argument {one}." in str(error) for one in CHOOSING):
            raise _NoSuchPart(first_line(error)) from error
        raise ConfigError("data", f"{name}: {first_line(error)}") from error
    except ModuleNotFoundError as error:
        raise ConfigError("data.name", f"{name} needs a package that is not installed: {first_line(error)}") from error
    except (RuntimeError, OSError) as error:
        if not download:
            remedy = (
                "data.download=true fetches it" if download is False else f"put its files there ({first_line(error)})"
            )
            raise ConfigError("data.root", f"there is no {name} in {root!r}; {remedy}") from error
    except Exception as error:
        raise ConfigError("data", f"{name} refuses its arguments: {first_line(error)}") from error
    return _downloaded(kind, arguments, root)


def _downloaded(kind: type, arguments: dict[str, Any], root: str) -> Any:
    from filelock import FileLock

    terminal.say(f"data: {kind.__name__} is not in {root!r}; torchvision downloads it there now")
    try:
        place = Path(root)
        place.mkdir(parents=True, exist_ok=True)
        # Jobs of a sweep begin together: the first fetches, the others find the files.
        with FileLock(place / ".download.lock"), contextlib.redirect_stdout(sys.stderr):
            return kind(**arguments, download=True)
    except Exception as error:
        raise ConfigError(
            "data.download",
            f"{kind.__name__} could not be fetched ({first_line(error)}); is there a network? Where there is none, copy"
            f" the folder {root!r} of a machine that has it",
        ) from error

"""The keys and values that a command line most likely has, from its files as they stand: nothing is composed."""

import contextlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from runner.settings.files import places
from runner.settings.values import keys


@cache
def _read(path: Path) -> dict[str, Any]:
    """Return the mapping of a YAML file; {} for one that is none."""
    import yaml

    with contextlib.suppress(Exception):  # a shell must see no message; the command itself has one
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return value if isinstance(value, dict) else {}
    return {}


def values(words: list[str]) -> dict[str, Any]:
    """Return the keys of a configuration by their dotted names, with values where its files have one, else None."""
    typed = dict(word.partition("=")[::2] for word in words if "=" in word)
    base = _read(places.conf() / "config.yaml")
    presets = {key: one for entry in base.get("defaults", []) if isinstance(entry, dict) for key, one in entry.items()}
    body = {key: value for key, value in base.items() if key not in ("defaults", "hydra")}
    if typed.get("experiments"):
        study = _study(typed["experiments"], ())
        presets |= study.pop("defaults")
        body = _merged(body, study)
    presets |= {group: typed[group] for group in typed if group in presets}
    whole: dict[str, Any] = {}
    for group, name in presets.items():
        own = body.get(group)
        if group in places.groups() and name and not (isinstance(own, dict) and "name" in own):
            with contextlib.suppress(StopIteration):
                whole[group] = _read(places.preset(group, str(name)))
    leaves = dict(_leaves(_merged(whole, body), ""))
    return {**leaves, **{key: leaves.get(key) for key in keys.declared() if key != "experiments"}}


def _study(name: str, above: tuple[str, ...]) -> dict[str, Any]:
    """Return what a study says, with what it inherits; `defaults` has group -> preset."""
    contents = _read(_file(name)) if name not in above else {}
    result: dict[str, Any] = {"defaults": {}}
    for entry in contents.get("defaults") or []:
        if isinstance(entry, dict):
            presets = {key.split()[-1].strip("/"): one for key, one in entry.items() if str(key).startswith("override")}
            result["defaults"] |= presets
        elif isinstance(entry, str) and entry.isidentifier():
            inherited = _study(entry, (*above, name))
            presets = {**inherited.pop("defaults"), **result["defaults"]}
            result = {**_merged(result, inherited), "defaults": presets}
    return _merged(result, {key: value for key, value in contents.items() if key != "defaults"})


def _file(name: str) -> Path:
    return next((path for folder in places.experiments() if (path := folder / f"{name}.yaml").is_file()), Path(name))


def studies(typed: str) -> Iterator[tuple[str, str]]:
    """Yield the names of the experiments, each with the question that its file opens with."""
    for name in places.studies():
        if _file(name).is_file():
            yield name, question(_file(name))
            continue
        if not typed.startswith(f"{name}/"):
            yield f"{name}/", ""
        for folder in places.experiments() if typed.startswith(f"{name}/") else ():
            for path in sorted((folder / name).glob("**/*.yaml")):
                yield str(path.relative_to(folder).with_suffix("")), question(path)


def question(path: Path) -> str:
    """Return the first comment of a file that is meant for people."""
    with contextlib.suppress(OSError, UnicodeError), path.open(encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                return ""
            if not line.startswith("# yaml-language-server"):
                return line.strip("# \n")
    return ""


def first_words(group: str, preset: str) -> str:
    """Return the class and the first values of a preset."""
    contents = _read(places.preset(group, preset))
    return ", ".join(f"{key}: {text(value)}" for key, value in contents.items() if not isinstance(value, dict))


def shown(key: str, value: Any) -> str:
    """Return a value as the meaning of its key; "" of a place, which may hold a password."""
    return "" if value is None or key.startswith("tracking.") else text(value)


def text(value: Any) -> str:
    """Return a value as it is typed."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{text(one)}' for key, one in value.items())}}}"
    return "null" if value is None else str(value)


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for key, value in new.items():
        former = result.get(key)
        result[key] = _merged(former, value) if isinstance(former, dict) and isinstance(value, dict) else value
    return result


def _leaves(node: dict[Any, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        key = f"{above}{name}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{key}.")
        elif not isinstance(value, dict):
            yield key, value

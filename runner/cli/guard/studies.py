"""Files of studies as Hydra gets them: with what they inherit, and without what was typed instead."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from runner.cli.compose import inherited
from runner.cli.guard import command_line, files
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.files import filenames, origins, places
from runner.settings.values import short
from runner.settings.values.keys import COMPONENTS

#: What was left out of the studies that were loaded last, in lines for people.
remarks: list[str] = []
#: Group -> the preset that the command line chooses, None for none; within `chosen_over`.
_typed: dict[str, str | None] = {}
#: Config name of a study that is not as its file is -> its files, its own the last, and what it holds.
_made: dict[str, tuple[list[Path], dict[str, Any]]] = {}


@contextlib.contextmanager
def chosen_over(overrides: Sequence[str], remark: bool = True) -> Iterator[None]:
    """Within the block, leave out of studies what belongs to another class than that of a preset that is typed.

    remark: False: `remarks` stay those of the configuration that was composed before.
    """
    before = list(remarks)
    remarks.clear()
    for word in overrides:
        group, _, value = word.partition("=")
        if group.removeprefix("~") in (*COMPONENTS, "model"):
            if group.startswith("~") and not value:
                _typed[group[1:]] = None
            elif value.strip("'\"").isidentifier():
                _typed[group] = value.strip("'\"")
    try:
        yield
    finally:
        _typed.clear()
        remarks[:] = remarks if remark else before


def load(folder: Path, name: str, provider: str) -> ConfigResult:
    """Return a study of a folder, with all that it inherits. Raises ConfigError for files that are no studies."""
    result = _read(folder, name, provider)
    contents: Any = OmegaConf.to_container(result.config, resolve=False) if OmegaConf.is_dict(result.config) else None
    if not contents:
        return result
    own = contents, folder / f"{name}.yaml"

    def found(other: str) -> tuple[dict[str, Any], Path] | None:
        return own if other == name else _study(other, name, provider)

    for entry in contents.get("defaults") or []:
        if isinstance(entry, str) and (other := inherited.parent(entry)).isidentifier() and found(other) is None:
            hint = did_you_mean(other, places.studies())
            raise ConfigError("defaults", f"there is no study {other!r}{hint} ({origins.shown(own[1])})")
    inherits = any((base := inherited.parent(e)) and found(base) is not None for e in contents.get("defaults") or [])
    if not inherits and not (_typed.keys() & contents.keys()):
        return result
    study = inherited.whole(name, found, _preset)
    for group, chosen in _typed.items():
        study.choose(group, chosen, _preset, typed=True)
    remarks.extend(study.remarks)
    _made[f"experiments/{name}"] = study.paths, study.body
    result.config = OmegaConf.create(study.contents())
    return result


def read_places(name: str, places: origins.Origins, package: str) -> None:
    """Note the place of each key of a file that was loaded, in all files of a study."""
    if name not in _made:
        places.read(files.loaded[name], package)
        return
    paths, body = _made[name]
    for path in paths:
        places.read(path, package, body)


def files_of(name: str) -> list[Path]:
    """Return the files of which a configuration was made that was loaded by this name, the last one first."""
    paths = _made[name][0] if name in _made else [files.loaded[name]] if name in files.loaded else []
    return paths[::-1]


def _study(name: str, child: str, provider: str) -> tuple[dict[str, Any], Path] | None:
    """Return another study, which the folders of studies hold, or that of the child; None where there is none."""
    beside = child.rpartition("/")[0]
    for full in [f"{beside}/{name}", name] if beside else [name]:
        for folder in places.experiments():
            if ".." not in full.split("/") and filenames.is_file(folder / f"{full}.yaml"):
                config = _read(folder, full, provider).config
                contents: Any = OmegaConf.to_container(config, resolve=False) if OmegaConf.is_dict(config) else {}
                return contents or {}, folder / f"{full}.yaml"
    return None


def _read(folder: Path, name: str, provider: str) -> ConfigResult:
    beside = files.loaded.get(name)  # a study may have the name of a file of ours
    result = files.CheckedFiles(provider, str(folder)).load_config(f"{name}.yaml")
    if beside is not None:
        files.loaded[name] = beside
    files.loaded[f"experiments/{name}"] = folder / f"{name}.yaml"
    plain: Any = OmegaConf.to_container(result.config, resolve=False) if OmegaConf.is_dict(result.config) else {}
    for group in COMPONENTS:
        if (spec := short.named(plain.get(group))) is not None:
            result.config[group] = spec
    if (model := short.model(plain.get("model"))) is not None:
        result.config["model"] = model
    if (presets := _presets(plain)) and OmegaConf.is_dict(result.config):
        for group, (_, arguments) in presets.items():
            result.config[group] = arguments
        chosen = [{f"override /{group}": name} for group, (name, _) in presets.items()]
        result.config["defaults"] = [*(plain.get("defaults") or []), *chosen]
    return result


def _presets(contents: Any) -> dict[str, tuple[str | None, dict[str, Any]]]:
    """Return the presets that a study names as values, and its arguments over them: `data: digits`; None for none.

    Of data, whose sources bear their presets' names, `{digits: {flat: true}}` too. A group whose preset the defaults
    choose already is left out.
    """
    defaults = contents.get("defaults") or [] if isinstance(contents, dict) else None
    if not isinstance(defaults, list):
        return {}
    keys = [str(key) for entry in defaults if isinstance(entry, dict) for key in entry]
    chosen = {key.rpartition(" ")[2].strip("/") for key in keys}
    found = dict[str, tuple[str | None, dict[str, Any]]]()
    for group, spec in contents.items():
        if spec is None and group in command_line.NAMED:  # `loss: null`
            found[group] = None, {}
        named = {spec: None} if isinstance(spec, str) else spec if group == "data" and isinstance(spec, dict) else {}
        name, arguments = next(iter(named.items())) if len(named) == 1 else (None, None)
        if group not in chosen and isinstance(arguments, dict | None) and name in places.presets(str(group)):
            found[group] = str(name), arguments or {}
    return found


def _preset(group: str, name: str) -> dict[str, Any]:
    """Return the contents of a preset; nothing for one that there is not, which Hydra reports."""
    for folder in (places.conf(), Path.cwd() / "conf"):
        if filenames.is_file(folder / group / f"{name}.yaml"):
            with contextlib.suppress(ConfigError):  # Hydra reads it too
                config = files.CheckedFiles("", str(folder)).load_config(f"{group}/{name}.yaml").config
                contents: Any = OmegaConf.to_container(config, resolve=False) if OmegaConf.is_dict(config) else {}
                return contents or {}
    return {}

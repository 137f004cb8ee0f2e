"""From what Hydra has composed to settings, and from its errors to one message that names the key."""

import contextlib
import dataclasses
import re
from typing import Any

import yaml
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner import errors, guard, secrets
from runner.context import Context
from runner.errors import ConfigError, Problems, did_you_mean, each
from runner.origins import Origins, plain, shown
from runner.settings import Settings

#: Groups whose presets are `{name: X, **arguments}`.
COMPONENTS = ("data", "loss", "optimizer", "scheduler")
#: Hydra's launchers that are packages of their own -> the extra that brings them.
LAUNCHERS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}
#: What may be wrong with a configuration before there are settings.
ERRORS = (ConfigError, OmegaConfBaseException, MissingConfigException)


def settings(config: DictConfig, overrides: list[str]) -> Settings:
    """The settings. Raises ConfigError for keys that there are not, or that nothing uses."""
    problems = Problems()
    with problems.noted():
        _refuse_unknown(config, Settings, "")
    with problems.noted():
        _refuse_unused_knobs(config, overrides)
    with problems.noted():
        _refuse_new_layers(overrides)
    problems.tell()
    made = OmegaConf.to_object(config)
    assert isinstance(made, Settings)
    return made


def context(config: DictConfig, study: Any, overrides: list[str]) -> Context:
    """What a command is told beside its settings; without secrets."""
    plain = OmegaConf.to_container(config, resolve=True)
    shown = secrets.without(plain)
    text = OmegaConf.to_yaml(config, resolve=True) if shown == plain else yaml.safe_dump(shown, sort_keys=False)
    return Context(str(study) if study else "runner", text, [secrets.masked(word) for word in overrides])


def left_over(overrides: list[str]) -> list[str]:
    """What a component that was named on the command line keeps of the preset's, in words."""
    kept = []
    named = [w.partition("=")[0].partition(".")[0] for w in overrides if re.match(r"(\w+)\.name=", w)]
    for group in [g for g in named if g in COMPONENTS]:
        said = guard.said(overrides)
        keys = [k for k in said.below(group) if k not in ("name", "_target_")]
        if keys:
            place = said.of(f"{group}.{keys[0]}").rpartition(":")[0]
            kept.append(f"{group}: {', '.join(keys)} of {place} still hold; {group}=PRESET brings its own")
    return kept


def _refuse_unknown(config: DictConfig, kind: Any, parent: str) -> None:
    """`+trainer.epoch=3` gets past Hydra's own check."""
    problems = Problems()
    fields = {f.name: f.type for f in dataclasses.fields(kind)}
    for key in map(str, config):
        if key not in fields:
            problems.add(parent + key, f"there is no such key{did_you_mean(key, fields)}")
        elif dataclasses.is_dataclass(fields[key]):
            with problems.noted():
                _refuse_unknown(config[key], fields[key], f"{parent}{key}.")
    problems.tell()


def _refuse_unused_knobs(config: DictConfig, overrides: list[str]) -> None:
    """A knob that no layer turns was most likely meant to be another one."""
    text = OmegaConf.to_yaml(config)
    used = re.findall(r"knobs\.(\w+)", text)
    for word in overrides:
        match = re.match(r"\+*model\.knobs\.(\w+)=", word)
        if match and match[1] not in used:
            known = f" (there are {', '.join(dict.fromkeys(used))})" if used else ""
            raise ConfigError(f"model.knobs.{match[1]}", f"no layer uses it{did_you_mean(match[1], used)}{known}")


def _refuse_new_layers(overrides: list[str]) -> None:
    """`model.layers.haed.Linear=3` would be one more layer, at the end."""
    problems = Problems()
    for word in overrides:
        match = re.match(r"model\.layers\.([A-Za-z_]\w*)", word)
        if match and "=" in word:
            names = guard.said([w for w in overrides if "=" in w and not w.startswith("model.")]).below("model.layers")
            if names and match[1] not in names:
                problems.add(
                    f"model.layers.{match[1]}",
                    f"there is no such layer{did_you_mean(match[1], names)} (+{match[0]}... adds one at the end)",
                )
    problems.tell()


def placed(error: ConfigError, overrides: list[str]) -> str:
    """Every problem with the file and line that said it, if one did."""
    lines = []
    typed = tuple(f"{plain(word.partition('=')[0].lstrip('+~'))}." for word in overrides)
    origins = Origins()
    if not all(f"{plain(problem.key)}.".startswith(typed) for problem in each(error)):
        with contextlib.suppress(Exception):  # what cannot be composed has been told by its own message
            origins = guard.said(overrides)
    for problem in each(error):
        place = origins.of(problem.key)
        lines += [f"{problem} ({place})" if place else str(problem), *getattr(problem, "__notes__", [])]
    return "\n".join(lines)


def told(error: Exception, overrides: list[str]) -> str:
    """What is wrong with a job, in words."""
    return placed(error, overrides) if isinstance(error, ConfigError) else explained(error, overrides)


def explained(error: Exception, words: list[str]) -> str:
    """One message that names the key, and the nearest right one."""
    file = re.match(r"In '([^']+)': ", str(error))
    place = f" (in {_file(file[1])})" if file and file[1] != "config" else ""
    if isinstance(error, ConfigError):
        return errors.told(error)
    if isinstance(error, OverrideParseException):
        problem = str(error).split("\n")[0]
        return f"{error.override}: this is not key=value: {problem}; put a value with = or : or a comma in quotes"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, preset = str(error.missing_cfg_file).rpartition("/")
        options = list(error.options or [])
        if group == "hydra/launcher" and preset in LAUNCHERS:
            return f"{group}: {preset} is not installed; pip install 'runner[{LAUNCHERS[preset]}]'"
        known = f" (presets: {', '.join(options)})"
        place = "" if any(word.startswith(f"{group}=") for word in words) else _chosen(group, preset) or place
        return f"{group}: there is no preset {preset!r}{did_you_mean(preset, options)}{known}{place}"
    below = error.__cause__ or error.__context__
    if isinstance(below, ConfigError):
        return str(below)
    cause = below if isinstance(below, OmegaConfBaseException) and not getattr(error, "full_key", None) else error
    key = str(getattr(cause, "full_key", None) or "")
    message = str(getattr(cause, "msg", None) or cause).split("\n")[0]
    return _in_words(key, message, place, words) or (f"{key}: {message}{place}" if key else str(error).strip())


def _in_words(key: str, message: str, place: str, words: list[str]) -> str:
    """Hydra's and OmegaConf's most frequent complaints, with what to do."""
    if key and ("not in struct" in message or message.startswith("Key ")):
        parent, _, last = key.rpartition(".")
        return f"{key}: there is no such key{did_you_mean(last, _siblings(parent))}{place}"
    if "is not a ListConfig" in message:
        return f"{key or 'metrics or plots'}: expected a list in brackets, such as metrics=[Accuracy]{place}"
    if message.startswith("Config group override must"):
        typed = [w for w in words if w.partition("=")[0] in (*COMPONENTS, "model", "trainer", "tracking")]
        return f"{' '.join(typed)}: {message}; expected the name of a preset, such as optimizer=adam"
    if gone := re.match(r"Could not delete from config. '([^']+)' does not exist", message):
        parent, _, last = gone[1].rpartition(".")
        names = guard.said([w for w in words if "=" in w and not w.startswith("-")]).below(parent)
        return f"{gone[1]}: there is nothing to take away{did_you_mean(last, names)} (there are {', '.join(names)})"
    if unknown := re.match(r"Unsupported interpolation type (\S+)", message):
        start = f"{key}: " if key else ""
        return f"{start}${{{unknown[1]}:...}} may not be used; expected one of {', '.join(guard.RESOLVERS)}{place}"
    if missing := re.match(r"Interpolation key '([^']+)' not found", message):
        return f"{key}: ${{{missing[1]}}} refers to a key that there is not; correct it, or add that key{place}"
    if "could not be converted to Integer" in message:
        return f"{key}: {message}; expected a whole number{place}"
    if twice := re.match(r"Multiple values for (\S+?)\.", message):
        return f"{twice[1]}: chosen twice; write {twice[1]}=PRESET, without +{place}"
    if "could not be converted to Float" in message:
        return f"{key}: {message}; expected a number{place}"
    if "is not a valid bool" in message:
        return f"{key}: {message}; expected true or false{place}"
    return ""


def _chosen(group: str, preset: str) -> str:
    """The file and line whose defaults name a preset."""
    for path in guard.loaded.values():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(rf"/?{group}\s*:\s*['\"]?{re.escape(preset)}\b", line):
                return f" ({shown(path)}:{number})"
    return ""


def _file(config: str) -> str:
    return shown(guard.loaded[config]) if config in guard.loaded else f"{config}.yaml"


def _siblings(parent: str) -> list[str]:
    node = OmegaConf.structured(Settings)
    found = OmegaConf.select(node, parent) if parent else node
    return list(map(str, found)) if isinstance(found, DictConfig) else []

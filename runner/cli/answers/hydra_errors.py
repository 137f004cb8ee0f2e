"""One message for an error of Hydra or OmegaConf: it names the key, and what to do."""

import re
import shlex
from typing import Any

from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    ConfigTypeError,
    OmegaConfBaseException,
    ValidationError,
)

from runner.cli.answers import vocabulary
from runner.cli.guard import composition, files, studies
from runner.cli.guard.command_line import NAMED, OPTIONAL
from runner.settings import Settings
from runner.settings.errors import ConfigError, did_you_mean, first_line, full_message
from runner.settings.files.origins import Origins, shown
from runner.settings.trust import typed_words
from runner.settings.values import omegaconf_errors
from runner.settings.values.foreign_texts import name_in
from runner.settings.values.keys import COMPONENTS as COMPONENTS

#: Hydra's launchers that are packages of their own -> the extra that brings them.
LAUNCHERS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}
NOT_KEY_VALUE = "this is not key=value; expected an override such as optimizer.lr=0.1"

#: Presets that are all listed beside the one that may be meant.
LISTED = 20


def explained(error: Exception, words: list[str]) -> str:
    """Return one message that names the key, what was found and what is expected.

    words: the overrides, or all that was typed.
    """
    below = error.__cause__ or error.__context__
    if isinstance(error, ConfigError):
        return full_message(error)
    if isinstance(error, OverrideParseException):
        return _unread(str(error.override), first_line(error))
    if not isinstance(error, OmegaConfBaseException) and (message := _misused(error, words)):
        return message
    file = name_in(str(error), "file")
    place = f" (in {_file(file)})" if file and file != "config" else ""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_preset(error, words, place)
    if isinstance(below, ConfigError):
        return str(below)
    if isinstance(error, OmegaConfBaseException):
        return _of_omegaconf(error, file, place, words)
    if isinstance(below, OmegaConfBaseException):
        return _of_omegaconf(below, file, place, words)
    return _of_hydra(first_line(error), place, words) or str(error).strip()


def _unread(word: str, problem: str) -> str:
    """Return the message for a word that Hydra's grammar does not read."""
    key, equals, value = word.partition("=")
    if not equals:
        return f"{word}: {NOT_KEY_VALUE}"
    if value.startswith("=") or key.endswith(" ") or value.startswith(" "):
        return f"{word}: this is not key=value; expected one = without spaces around it"
    if any(value.count(a) != value.count(b) for a, b in ("[]", "{}", "()")):
        return f"{key}: the brackets of {value} are not as many that open as that close"
    if re.match(r"\{[^,]*:", value):
        return (
            f"{key}: {value} is a mapping that no command line can hold, whose keys are plain words; put it in a file"
        )
    if (quoted := typed_words.quoted(word)) != word:
        return f"{key}: the value {value} has to be in quotes; type {shlex.quote(quoted)}"
    return f"{word}: this is not key=value: {problem}; put a value with = or : or a comma in quotes"


def _misused(error: Exception, words: list[str]) -> str:
    """Return the message for a word that Hydra reads and does not use: it refuses all of them before it sets a key."""
    overrides = [override for override in map(typed_words.read, words) if override is not None]
    composes = isinstance(error, ConfigCompositionException)
    if composes and not {"-m", "--multirun"} & set(words):
        for override in overrides:
            if override.is_sweep_override():
                return _sweep(override)
    for override in overrides:
        group, value = override.key_or_group, override.value()
        if not group:
            return f"=: {NOT_KEY_VALUE}, without spaces around ="
        if composes or group not in (*vocabulary.groups(), "hydra"):
            continue
        names = value if isinstance(value, list) else [value]  # a mapping gives values, and chooses no preset
        if not isinstance(value, dict) and not all(isinstance(name, str) for name in names):
            if group == "hydra":
                return f"hydra: {value} is not a mapping; expected a key below it, as in hydra.sweep.dir=FOLDER"
            expected = f"{group}=PRESET, or {group}=null" if group in OPTIONAL else f"{group}=PRESET"
            if group in NAMED and value is None:
                expected += f", or a class beside it, {group}=null {group}.name=CLASS"
            return f"{group}: {override.get_value_element_as_str()} is not the name of a preset; expected {expected}"
    if isinstance(error, ValueError):  # a name where Hydra expects the number of a place in a list
        for override in overrides:
            parent, _, name = override.key_or_group.rpartition(".")
            if parent.startswith("model.layers"):
                return f"{override.key_or_group}: {composition.UNNAMED}"
            if parent and not name.isdecimal() and (vocabulary.is_list(parent) or parent == "metrics"):
                return f"{override.key_or_group}: {parent} is a list; expected {parent}={_list_example(parent)}"
    return ""


def _sweep(override: Override) -> str:
    key, _, value = str(override.input_line).partition("=")
    if override.value_type is not ValueType.SIMPLE_CHOICE_SWEEP:
        return f"{key}: {value} stands for several values; add -m, which runs a job for each"
    word = shlex.quote(f'{key}="{value}"')
    return (
        f"{key}: {value} may be several values: -m sweeps over them, {key}=[{value}] is a list, and one value with"
        f" a comma has to be in quotes; type {word}"
    )


def _no_preset(error: MissingConfigException, words: list[str], place: str) -> str:
    group, _, preset = str(error.missing_cfg_file).rpartition("/")
    options = list(error.options or [])
    if group == "hydra/launcher" and preset in LAUNCHERS:
        return f"{group}: {preset} is not installed; pip install 'runner-torch[{LAUNCHERS[preset]}]'"
    hint = did_you_mean(preset, options)
    # A long list is of use where no name in it is near.
    known = f" (presets: {', '.join(options)})" if options and not (hint and len(options) > LISTED) else ""
    place = "" if any(word.startswith(f"{group}=") for word in words) else _chosen(group, preset) or place
    if group in OPTIONAL and preset.lower() in ("", "none", "off", "no", "false"):
        return f"{group}: there is no preset {preset!r}; {group}=null leaves it out{known}{place}"
    return f"{group}: there is no preset {preset!r}{hint}{known}{place}"


def _of_omegaconf(error: OmegaConfBaseException, file: str, place: str, words: list[str]) -> str:
    """Return the message for an error of OmegaConf. file: the one that sets the value; "" for the command line."""
    key = omegaconf_errors.key(error)
    if key == "_dummy_":  # Hydra resolves the choice of a preset in a configuration of its own
        key = next((word.partition("=")[0] for word in words if "${" in word), "defaults")
    if file and not key:
        key = _misfit(file)
    place = (_line(file, key) or place) if file else place
    problem = _problem(error, key, file, words)
    return f"{key}: {problem}{place}" if key else str(error).strip()


def _problem(error: OmegaConfBaseException, key: str, file: str, words: list[str]) -> str:
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        return f"there is no such key{vocabulary.hint(key, words)}"
    if isinstance(error, ConfigTypeError) and error.key is not None:  # a name in a list
        return composition.UNNAMED if key.startswith("model.layers") else _listed(key)
    child = error.child_node
    if isinstance(error, ValidationError) and (error.value is None or child is None) and not error.full_key:
        return _no_mapping(key, file)
    if isinstance(error, ValidationError) and error.value is not None and isinstance(child, ListConfig):
        return _listed(key)
    if isinstance(error, ConfigTypeError) or (error.value is not None and isinstance(child, DictConfig)):
        return _shape(key)
    return omegaconf_errors.problem(error)


def _of_hydra(text: str, place: str, words: list[str]) -> str:
    """Return the message for an error of Hydra, which has a type in common with all others; "" for an unusual one."""
    if key := name_in(text, "added twice"):
        return f"{key}: has a value already; write it without +{place}"
    if key := name_in(text, "nothing to remove"):
        parent, _, name = key.rpartition(".")
        names = composition.origins_of([w for w in words if "=" in w and not w.startswith("-")]).below(parent)
        known = f" (there are {', '.join(names)})" if names else ""
        return f"{key}: there is nothing to remove{did_you_mean(name, names)}{known}"
    if group := name_in(text, "chosen twice") or name_in(text, "chosen twice in a file"):
        if any(word.startswith(f"+{group}=") for word in words):
            return f"{group}: chosen twice; write {group}=PRESET, without +{place}"
        return f"{group}: chosen twice; a study writes override /{group}: PRESET{place}"
    if group := name_in(text, "unknown group"):
        return f"{group}: there are no such presets{did_you_mean(group, vocabulary.siblings(''))}{place}"
    if group := name_in(text, "group not chosen"):
        near = did_you_mean(group.partition("@")[0], vocabulary.siblings(""))
        return f"{group}: no preset is chosen there{near}{place}"
    if config := name_in(text, "_self_ twice"):
        return f"defaults: duplicate _self_; remove one (in {_file(config)})"
    return ""


def _no_mapping(key: str, file: str) -> str:
    """Return the message for a value where a dataclass of ours, of Hydra's or of a plugin's is expected."""
    value: Any = _contents(file)
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else value
    if key in vocabulary.groups() and isinstance(value, str) and value.isidentifier():
        return f"{value!r} is not a mapping; a study chooses a preset in its defaults: `override /{key}: {value}`"
    return f"{value!r} is not a mapping; expected keys and values"


def _misfit(config: str) -> str:
    """Return the key of a file whose value has another shape than it may have, where OmegaConf names none."""
    contents = _contents(config)
    for key, value in contents.items():
        try:
            OmegaConf.merge(OmegaConf.structured(Settings), {} if key in files.left_out else {key: value})
        except ConfigKeyError:
            if key != "hydra":
                return key
        except OmegaConfBaseException:
            return key
    hydra = contents.get("hydra")
    wrong = [key for key, value in hydra.items() if not isinstance(value, dict)] if isinstance(hydra, dict) else []
    return f"hydra.{wrong[0]}" if wrong else "hydra" if "hydra" in contents else ""


def _contents(config: str) -> dict[str, Any]:
    """Return what a file holds, by the name under which Hydra has read it."""
    if config not in files.loaded:
        return {}
    contents = OmegaConf.to_container(OmegaConf.load(files.loaded[config]))
    return {str(key): value for key, value in contents.items()} if isinstance(contents, dict) else {}


def _shape(key: str) -> str:
    if key in ("metrics", "plots"):
        return _listed(key)
    if key not in vocabulary.groups():
        return "expected keys and values, as in {a: 1}"
    return (
        f"expected keys and values; a preset is chosen on the command line, {key}=PRESET, or in the defaults of a"
        f" study, override /{key}: PRESET"
    )


def _listed(key: str) -> str:
    return f"expected a list in brackets, such as {key}={_list_example(key)}"


def _list_example(key: str) -> str:
    return {"plots": "[loss_curve]", "metrics": "[Accuracy]"}.get(key, "[a,b]")


def _line(config: str, key: str) -> str:
    """Return ` (file:line)` of the line of a file that sets a key of the whole configuration; "" if none does."""
    if config not in files.loaded:
        return ""
    group = "" if config.startswith("experiments/") or "/" not in config else config.partition("/")[0]
    origins = Origins()
    for path in studies.files_of(config)[::-1]:
        origins.read(path, group)
    place = origins.of(key)
    return f" ({place})" if place else ""


def _chosen(group: str, preset: str) -> str:
    """Return ` (file:line)` of the line whose defaults choose a preset; "" if none does."""
    for path in files.loaded.values():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(rf"/?{group}\s*:\s*['\"]?{re.escape(preset)}\b", line):
                return f" ({shown(path)}:{number})"
    return ""


def _file(config: str) -> str:
    return shown(files.loaded[config]) if config in files.loaded else f"{config}.yaml"

"""What Hydra and OmegaConf complain of, in one message that names the key and what to do."""

import re
import shlex
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner.cli import guard
from runner.cli.answers import vocabulary
from runner.cli.compose import overriding
from runner.settings import Settings
from runner.settings.errors import ConfigError, did_you_mean, first_line, told
from runner.settings.files.origins import Origins, shown
from runner.settings.trust import resolvers
from runner.settings.values.keys import COMPONENTS as COMPONENTS

#: Hydra's launchers that are packages of their own -> the extra that brings them.
LAUNCHERS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}


def explained(error: Exception, words: list[str]) -> str:
    """One message that names the key, and the nearest right one."""
    file = re.match(r"In '([^']+)': ", str(error))
    place = f" (in {_file(file[1])})" if file and file[1] != "config" else ""
    if isinstance(error, ConfigError):
        return told(error)
    if isinstance(error, OverrideParseException):
        return _unread(str(error.override), first_line(error))
    if several := re.match(r"Ambiguous value for argument '([^=]+)=(.*)'\n", str(error)):
        key, value = several.groups()
        word = shlex.quote(f'{key}="{value}"')
        return (
            f"{key}: {value} may be several values: -m sweeps over them, {key}=[{value}] is a list, and one value with"
            f" a comma has to be in quotes; type {word}"
        )
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, preset = str(error.missing_cfg_file).rpartition("/")
        options = list(error.options or [])
        if group == "hydra/launcher" and preset in LAUNCHERS:
            return f"{group}: {preset} is not installed; pip install 'runner-torch[{LAUNCHERS[preset]}]'"
        known = f" (presets: {', '.join(options)})" if options else ""
        place = "" if any(word.startswith(f"{group}=") for word in words) else _chosen(group, preset) or place
        if group in guard.OPTIONAL and preset.lower() in ("", "none", "off", "no", "false"):
            return f"{group}: there is no preset {preset!r}; {group}=null leaves it out{known}{place}"
        return f"{group}: there is no preset {preset!r}{did_you_mean(preset, options)}{known}{place}"
    below = error.__cause__ or error.__context__
    if isinstance(below, ConfigError):
        return str(below)
    cause = below if isinstance(below, OmegaConfBaseException) and not getattr(error, "full_key", None) else error
    key = str(getattr(cause, "full_key", None) or "")
    message = first_line(cause)
    if whole := re.match(
        r"(?:Merge error|Invalid type assigned): \w+ is not a subclass of (\w+)\. value: (.*)", message
    ):
        key, message = (
            _named(whole[1], file[1] if file else ""),
            _no_mapping(whole[1], whole[2], bool(file)),
        )
    if referred := re.match(r"While dereferencing interpolation '([^']+)': (.*)", message):
        message = f"{referred[1]} refers to what does not fit: {referred[2]}"
    message = re.sub(r"^\w+ raised while resolving interpolation: ", "", message)
    if key == "_dummy_":  # the choice of a preset is resolved in a configuration of its own
        key = next((w.partition("=")[0] for w in words if "${" in w), key)
    if file and not key:
        key = _misfit(file[1])
    place = _line(file[1], key) or place if file else place
    return _in_words(key, message, place, words) or (f"{key}: {message}{place}" if key else str(error).strip())


def _unread(word: str, problem: str) -> str:
    """What Hydra's grammar does not take."""
    key, equals, value = word.partition("=")
    if not equals:
        return f"{word}: this is not key=value; expected an override such as optimizer.lr=0.1"
    if value.startswith("=") or key.endswith(" ") or value.startswith(" "):
        return f"{word}: this is not key=value; expected one = without spaces around it"
    if any(value.count(a) != value.count(b) for a, b in ("[]", "{}", "()")):
        return f"{key}: the brackets of {value} are not as many that open as that close"
    if (quoted := overriding.quoted(word)) != word:
        return f"{key}: the value {value} has to be in quotes; type {shlex.quote(quoted)}"
    return f"{word}: this is not key=value: {problem}; put a value with = or : or a comma in quotes"


def _in_words(key: str, message: str, place: str, words: list[str]) -> str:
    """Hydra's and OmegaConf's most frequent complaints, with what to do."""
    if key and ("not in struct" in message or message.startswith("Key ")):
        return f"{key}: there is no such key{vocabulary.hint(key, words)}{place}"
    if message.startswith(("Cannot assign ", "Cannot merge ")) and key:
        return f"{key}: {_shape(key)}{place}"
    if key.startswith("model.layers") and "is not an int" in message:
        return f"{key}: {guard.UNNAMED}{place}"
    if "list index out of range" in message:
        return f"{key}: the list is shorter than that; expected a place in it, counted from 0, or the whole list{place}"
    if "is not a ListConfig" in message:
        return f"{key or 'metrics or plots'}: {_listed(key)}{place}"
    if message.startswith("Config group override must"):
        wrong = [w for w in words if w.partition("=")[0] in (*COMPONENTS, "model", "trainer", "tracking")] or words
        group = wrong[0].partition("=")[0]
        expected = f"{group}=PRESET, or {group}=null" if group in guard.OPTIONAL else "such as optimizer=adam"
        return f"{' '.join(wrong)}: {message}; expected the name of a preset, {expected}"
    if there := re.match(r"Could not append to config. An item is already at '([^']+)'", message):
        return f"{there[1]}: stands there already; write it without +{place}"
    if gone := re.match(r"Could not delete from config. '([^']+)' does not exist", message):
        parent, _, last = gone[1].rpartition(".")
        names = guard.said([w for w in words if "=" in w and not w.startswith("-")]).below(parent)
        there_are = f" (there are {', '.join(names)})" if names else ""
        return f"{gone[1]}: there is nothing to take away{did_you_mean(last, names)}{there_are}"
    if unknown := re.match(r"Unsupported interpolation type (\S+)", message):
        start = f"{key}: " if key else ""
        return f"{start}${{{unknown[1]}:...}} may not be used; expected one of {', '.join(resolvers.RESOLVERS)}{place}"
    if missing := re.match(r"Interpolation key '([^']+)' not found", message):
        return f"{key}: ${{{missing[1]}}} refers to a key that there is not; correct it, or add that key{place}"
    if "nterpolation to parent node" in message or "Recursive interpolation" in message:
        return f"{key}: refers to itself; write the value out{place}"
    if "is not Optional" in message or message.startswith("Incompatible value 'None'"):
        return f"{key}: null is no value for it; give one, or leave it out for the default{place}"
    if "Cannot convert '" in message and message.rstrip().endswith(("}'", "]'")):
        return f"{key}: {message}; expected a single value{place}"
    if "could not be converted to Integer" in message:
        return f"{key}: {message}; expected a whole number{place}"
    twice = re.match(r"Multiple values for (\S+?)\.", message) or re.match(r"(\S+) appears more than once", message)
    if twice and any(word.startswith(f"+{twice[1]}=") for word in words):
        return f"{twice[1]}: chosen twice; write {twice[1]}=PRESET, without +{place}"
    if twice:
        return f"{twice[1]}: chosen twice; a study writes override /{twice[1]}: PRESET{place}"
    if message.startswith("Could not override ''"):
        return "=: this is not key=value; expected an override such as optimizer.lr=0.1, without spaces around ="
    if lost := re.search(r"Could not override '(\S+)'. No match in the defaults list", message):
        return f"{lost[1]}: there are no such presets{did_you_mean(lost[1], vocabulary.siblings(''))}{place}"
    if unchosen := re.search(r"Could not override '(\S+)'", message):
        near = did_you_mean(unchosen[1].partition("@")[0], vocabulary.siblings(""))
        return f"{unchosen[1]}: no preset is chosen there{near}{place}"
    if double := re.match(r"Duplicate _self_ defined in (\S+)", message):
        return f"defaults: _self_ stands twice; leave one out (in {_file(double[1])})"
    if "could not be converted to Float" in message:
        return f"{key}: {message}; expected a number{place}"
    if "is not a valid bool" in message:
        return f"{key}: {message}; expected true or false{place}"
    return ""


def _named(kind: str, config: str) -> str:
    """The key whose values are a dataclass of ours, or else of Hydra's or a plugin's."""
    if kind.lower() in vocabulary.siblings(""):
        return kind.lower()
    below = _held(config).get("hydra")
    wrong = [key for key, value in below.items() if not isinstance(value, dict)] if isinstance(below, dict) else []
    return f"hydra.{wrong[0]}" if wrong else "hydra"


def _no_mapping(kind: str, value: str, in_file: bool) -> str:
    group = kind.lower()
    if in_file and group in vocabulary.groups() and value.isidentifier():
        return f"{value!r} is no mapping; a study chooses a preset in its defaults: `override /{group}: {value}`"
    return f"{value!r} is no mapping; expected keys and values"


def _misfit(config: str) -> str:
    """The key of a study that has another shape than it may have, where OmegaConf does not say it."""
    for key, value in _held(config).items():
        try:
            OmegaConf.merge(OmegaConf.structured(Settings), {} if key in guard.left_out else {key: value})
        except OmegaConfBaseException:
            return key
    return ""


def _held(config: str) -> dict[str, Any]:
    """What a file says."""
    if config not in guard.loaded:
        return {}
    held = OmegaConf.to_container(OmegaConf.load(guard.loaded[config]))
    return {str(key): value for key, value in held.items()} if isinstance(held, dict) else {}


def _shape(key: str) -> str:
    if key in ("metrics", "plots"):
        return _listed(key)
    if key not in vocabulary.siblings(""):
        return "expected keys and values, as in {a: 1}"
    return (
        f"expected keys and values; a preset is chosen on the command line, {key}=PRESET, or in the defaults of a"
        f" study, override /{key}: PRESET"
    )


def _line(config: str, key: str) -> str:
    """The line of a file that said a key of the whole configuration."""
    if config not in guard.loaded:
        return ""
    group = "" if config.startswith("experiments/") or "/" not in config else config.partition("/")[0]
    origins = Origins()
    origins.read(guard.loaded[config], group)
    return f" ({found})" if (found := origins.of(key)) else ""


def _chosen(group: str, preset: str) -> str:
    """The file and line whose defaults name a preset."""
    for path in guard.loaded.values():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(rf"/?{group}\s*:\s*['\"]?{re.escape(preset)}\b", line):
                return f" ({shown(path)}:{number})"
    return ""


def _file(config: str) -> str:
    return shown(guard.loaded[config]) if config in guard.loaded else f"{config}.yaml"


def _listed(key: str) -> str:
    return f"expected a list in brackets, such as {'plots=[loss_curve]' if key == 'plots' else 'metrics=[Accuracy]'}"

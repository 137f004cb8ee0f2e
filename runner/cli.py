"""The command line: Hydra composes a configuration, and a command is handed plain settings."""

import dataclasses
import importlib
import os
import re
import sys
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner import commands, garbage, limit, places, words
from runner.context import Context
from runner.lookup import ConfigError, did_you_mean, use_folder
from runner.settings import Settings
from runner.signals import Interrupted
from runner.spool import Undelivered

#: Groups whose presets are `{name: X, **arguments}`.
COMPONENTS = ("data", "loss", "optimizer", "scheduler")


def main() -> NoReturn:
    """Run the command in sys.argv and exit: 0 done, 1 failed, 2 wrong configuration, 130 and 143 interrupted."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting by itself
    os.environ[places.ACTIVE] = "1"
    limit.begin()
    for folder in reversed(places.experiments()):
        use_folder(folder)
    name = _take_command()
    command: Any = importlib.import_module(f"runner.commands.{name}")
    with garbage.rare():
        if hasattr(command, "with_run") and (words.bare(sys.argv[1:]) or not hasattr(command, "with_settings")):
            sys.exit(_recorded(name, command))
        sys.exit(_guarded(name))


def _take_command() -> str:
    """Remove the command from sys.argv; without one, `train`."""
    bare = words.bare(sys.argv[1:])
    if not bare:
        return "train"
    name = bare[0]
    if name not in commands.names():
        names = ", ".join(commands.names())
        _stop(f"there is no command {name!r}{did_you_mean(name, commands.names())} (commands: {names})")
    sys.argv.remove(name)
    return name


def _recorded(name: str, command: Any) -> int:
    """A command that looks at a recorded run needs no Hydra."""
    try:
        return words.call(name, command.with_run, sys.argv[1:], _changed)
    except (ConfigError, OmegaConfBaseException, HydraException) as error:
        _stop(_explained(error))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    except Undelivered as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _changed(overrides: list[str], recorded: Settings) -> Settings:
    """A recorded configuration with values of the command line, which are checked as they are for a new run."""
    config, parser = OmegaConf.structured(recorded), OverridesParser.create()
    for word in overrides:
        override = parser.parse_override(_indexed(word))
        key, value = override.key_or_group, override.value()
        if override.is_sweep_override():
            raise ConfigError(key, f"a recorded run takes one value at a time, and {word!r} sweeps")
        if key in (*COMPONENTS, "model", "trainer", "checkpoint", "tracking") and isinstance(value, str):
            raise ConfigError(key, f"presets belong to new runs; give single values, such as {key}.name={value}")
        OmegaConf.update(config, key, value, merge=True)
    return OmegaConf.to_object(config)  # type: ignore[return-value]


def _guarded(name: str) -> int:
    """Hydra composes, then calls `task`, once or for every job of a sweep."""
    codes: list[int] = []
    begun = False
    command: Any = importlib.import_module(f"runner.commands.{name}")
    told = words.own(command.with_settings, sys.argv)

    def task(config: DictConfig) -> None:
        nonlocal begun
        begun = True
        try:
            codes.append(_run(command, config, told))
        except (ConfigError, OmegaConfBaseException) as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                print(_explained(error), file=sys.stderr)
                raise  # so that Hydra says which job, and the others go on
            _stop(_explained(error))
        except Undelivered as error:
            print(error, file=sys.stderr)
            codes.append(1)

    _register()
    sys.argv[1:] = [_indexed(word) for word in sys.argv[1:]]
    try:
        hydra.main(version_base="1.3", config_path=str(places.conf()), config_name="config")(task)()
    except Interrupted as stop:
        print(_explained(stop), file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if begun and not isinstance(error, ConfigError | OmegaConfBaseException):
            raise
        _stop(_explained(error))
    return max(codes, default=0)


def _run(command: Any, config: DictConfig, told: dict[str, str]) -> int:
    choices = HydraConfig.get().runtime.choices
    overrides = list(HydraConfig.get().overrides.task)
    _refuse_unknown(config, Settings, "")
    _refuse_unused_knobs(config, overrides)
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, Settings)
    study = choices.get("experiments")
    context = Context(str(study) if study else "runner", OmegaConf.to_yaml(config, resolve=True), overrides)
    return int(command.with_settings(settings, context, **told))


def _register() -> None:
    """The schema: types and defaults of every key. Components take any argument, which is checked later."""
    schema = OmegaConf.structured(Settings)
    for open_key in ("data", "model", "loss", "optimizer", "scheduler"):
        OmegaConf.set_struct(schema[open_key], False)
    ConfigStore.instance().store("schema", schema)


def _indexed(word: str) -> str:
    """`model.layers[0].Linear=1` as Hydra's grammar spells it: `model.layers.0.Linear=1`."""
    key, equals, value = word.partition("=")
    if key.lstrip("+") in {f"{component}._target_" for component in COMPONENTS}:
        key = key.replace("_target_", "name")  # which the preset has already, and would keep
    return re.sub(r"\[(\d+)\]", r".\1", key) + equals + value


def _refuse_unknown(config: DictConfig, kind: Any, parent: str) -> None:
    """`+trainer.epoch=3` gets past Hydra's own check."""
    fields = {f.name: f.type for f in dataclasses.fields(kind)}
    for key in map(str, config):
        name = parent + key
        if key not in fields:
            raise ConfigError(name, f"there is no such key{did_you_mean(key, fields)}")
        if dataclasses.is_dataclass(fields[key]):
            _refuse_unknown(config[key], fields[key], f"{name}.")


def _refuse_unused_knobs(config: DictConfig, overrides: list[str]) -> None:
    """A knob that no layer turns was most likely meant to be another one."""
    text = OmegaConf.to_yaml(config)
    used = re.findall(r"knobs\.(\w+)", text)
    for word in overrides:
        match = re.match(r"\+*model\.knobs\.(\w+)=", word)
        if match and match[1] not in used:
            known = f" (there are {', '.join(dict.fromkeys(used))})" if used else ""
            raise ConfigError(f"model.knobs.{match[1]}", f"no layer uses it{did_you_mean(match[1], used)}{known}")


def _explained(error: BaseException) -> str:
    """One message that names the key, and the nearest right one."""
    if isinstance(error, ConfigError | Interrupted):
        return "\n".join([str(error), *getattr(error, "__notes__", [])])
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, preset = str(error.missing_cfg_file).rpartition("/")
        options = list(error.options or [])
        return f"{group}: there is no preset {preset!r}{did_you_mean(preset, options)} (presets: {', '.join(options)})"
    below = error.__cause__ or error.__context__
    cause = below if isinstance(below, OmegaConfBaseException) and not getattr(error, "full_key", "") else error
    file = re.match(r"In '([^']+)': \w+ raised while composing", str(error))
    place = f" (in {file[1]}.yaml)" if file else ""
    key = str(getattr(cause, "full_key", None) or "")
    message = str(getattr(cause, "msg", None) or cause).split("\n")[0]
    if key and ("not in struct" in message or message.startswith("Key ")):
        parent, _, last = key.rpartition(".")
        return f"{key}: there is no such key{did_you_mean(last, _siblings(parent))}{place}"
    if "is not a ListConfig" in message:
        return f"{key or 'metrics or plots'}: expected a list in brackets, such as metrics=[Accuracy]{place}"
    if message.startswith("Config group override must"):
        words = [w for w in sys.argv[1:] if w.partition("=")[0] in (*COMPONENTS, "model", "trainer", "tracking")]
        return f"{' '.join(words)}: {message}; expected the name of a preset, such as optimizer=adam"
    return f"{key}: {message}{place}" if key else str(error).strip()


def _siblings(parent: str) -> list[str]:
    node = OmegaConf.structured(Settings)
    found = OmegaConf.select(node, parent) if parent else node
    return list(map(str, found)) if isinstance(found, DictConfig) else []


def _stop(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(2)

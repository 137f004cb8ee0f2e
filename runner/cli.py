"""The command line: Hydra composes a configuration, and a command is handed plain settings."""

import importlib
import os
import re
import sys
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner import commands, places
from runner.context import Context
from runner.lookup import ConfigError, did_you_mean, use_folder
from runner.settings import Settings
from runner.signals import Interrupted


def main() -> NoReturn:
    """Run the command in sys.argv and exit: 0 done, 1 failed, 2 wrong configuration, 130 and 143 interrupted."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting by itself
    os.environ[places.ACTIVE] = "1"
    for folder in reversed(places.experiments()):
        use_folder(folder)
    sys.exit(_guarded(_take_command()))


def _take_command() -> str:
    """Remove the command from sys.argv; without one, `train`."""
    words = sys.argv[1:]
    name = next((w for w in words if not w.startswith("-")), "")
    if name in commands.names():
        sys.argv.remove(name)
        return name
    if name and "=" not in name and not name.startswith(("~", "+")) and not _follows_flag(words, name):
        message = f"there is no command {name!r}{did_you_mean(name, commands.names())}"
        _stop(f"{message} (commands: {', '.join(commands.names())}; an override is key=value)")
    return "train"


def _follows_flag(words: list[str], name: str) -> bool:
    """`--cfg job`, `-p trainer`: a word that belongs to a flag of Hydra's."""
    before = words[words.index(name) - 1] if words.index(name) else ""
    return before.startswith("-") and "=" not in before and before not in ("-m", "--multirun", "--run", "-r")


def _guarded(name: str) -> int:
    code = 0

    def task(config: DictConfig) -> None:
        nonlocal code
        code = _run(name, config)

    _register()
    sys.argv[1:] = [_indexed(word) for word in sys.argv[1:]]
    try:
        hydra.main(version_base="1.3", config_path=str(places.conf()), config_name="config")(task)()
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        _stop(_explained(error))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        return 130
    return code


def _run(name: str, config: DictConfig) -> int:
    choices = HydraConfig.get().runtime.choices
    overrides = list(HydraConfig.get().overrides.task)
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, Settings)
    study = choices.get("experiments")
    context = Context(str(study) if study else "runner", OmegaConf.to_yaml(config, resolve=True), overrides)
    command: Any = importlib.import_module(f"runner.commands.{name}")
    return int(command.with_settings(settings, context))


def _register() -> None:
    """The schema: types and defaults of every key. Components take any argument, which is checked later."""
    schema = OmegaConf.structured(Settings)
    for open_key in ("data", "model", "loss", "optimizer"):
        OmegaConf.set_struct(schema[open_key], False)
    ConfigStore.instance().store("schema", schema)


def _indexed(word: str) -> str:
    """`model.layers[0].Linear=1` as Hydra's grammar spells it: `model.layers.0.Linear=1`."""
    key, equals, value = word.partition("=")
    return re.sub(r"\[(\d+)\]", r".\1", key) + equals + value


def _explained(error: Exception) -> str:
    """One message that names the key, and the nearest right one."""
    if isinstance(error, ConfigError):
        return "\n".join([str(error), *getattr(error, "__notes__", [])])
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key = getattr(cause, "full_key", None) or ""
    message = str(getattr(cause, "msg", None) or cause).split("\n")[0]
    if key and ("not in struct" in message or "Key" in message):
        parent, _, last = str(key).rpartition(".")
        return f"{key}: there is no such key{did_you_mean(last, _siblings(parent))}"
    words = str(error).strip().split("\n")
    return f"{key}: {message}" if key else "\n".join(words)


def _siblings(parent: str) -> list[str]:
    node = OmegaConf.structured(Settings)
    found = OmegaConf.select(node, parent) if parent else node
    return [f"{key}" for key in found] if isinstance(found, DictConfig) else []


def _stop(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(2)

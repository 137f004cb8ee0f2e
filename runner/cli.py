"""The command line: Hydra composes a configuration, and a command is handed plain settings."""

import importlib
import os
import re
import sys
import traceback
from types import TracebackType
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner import commands, composed, garbage, gathered, guard, limit, places, secrets, sweeps, words
from runner.errors import ConfigError, did_you_mean, told
from runner.lookup import use_folder
from runner.settings import Settings
from runner.signals import Interrupted
from runner.spool import Undelivered

#: Commands whose sweeps are checked as a whole before they begin.
CHECKED = ("check", "train")


def main() -> NoReturn:
    """Run the command in sys.argv and exit: 0 done, 1 failed, 2 wrong configuration, 130 and 143 interrupted."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting by itself
    os.environ[places.ACTIVE] = "1"
    limit.begin()
    for folder in reversed(places.experiments()):
        use_folder(folder)
    sys.excepthook = _fail
    secrets.mask_logs()
    try:
        sys.argv[1:] = guard.take_trust(sys.argv[1:])
    except ConfigError as error:
        _stop(str(error))
    name = _take_command()
    command = _command(name)
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
        _stop(composed.explained(error, sys.argv[1:]))
    except Interrupted as stop:
        print(secrets.masked(told(stop)), file=sys.stderr)
        return stop.exit_code
    except Undelivered as error:
        print(secrets.masked(str(error)), file=sys.stderr)
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
        if key in (*composed.COMPONENTS, "model", "trainer", "checkpoint", "tracking") and isinstance(value, str):
            raise ConfigError(key, f"presets belong to new runs; give single values, such as {key}.name={value}")
        OmegaConf.update(config, key, value, merge=True)
    return OmegaConf.to_object(config)  # type: ignore[return-value]


def _guarded(name: str) -> int:
    """Hydra composes, then calls `task`, once or for every job of a sweep."""
    codes: list[int] = []
    failures: list[Exception] = []
    begun = False
    command = _command(name)
    own = words.own(command.with_settings, sys.argv)

    def task(config: DictConfig) -> None:
        nonlocal begun
        begun = True
        overrides = list(HydraConfig.get().overrides.task)
        try:
            codes.append(_run(command, config, overrides, own))
        except composed.ERRORS as error:
            message = _told(error, overrides)
            if HydraConfig.get().mode != RunMode.MULTIRUN:
                _stop(message)
            print(secrets.masked(message), file=sys.stderr)
            raise
        except Undelivered as error:
            print(secrets.masked(str(error)), file=sys.stderr)
            codes.append(1)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            failures.append(error)  # Hydra would print all overrides, secrets too

    def jobs(jobs: list[list[str]], compose: sweeps.Compose) -> list[list[str]]:
        show = getattr(command, "show", None)
        kept = sweeps.check(jobs, compose, show) if name in CHECKED else jobs
        codes.append(0 if len(kept) == len(jobs) else 2)
        return [] if show else kept

    task.jobs = jobs  # type: ignore[attr-defined]
    _register()
    sys.argv[1:] = [_indexed(word) for word in sys.argv[1:]]
    try:
        guard.check_words(sys.argv[1:])
        guard.install()
        hydra.main(version_base="1.3", config_path=str(places.conf()), config_name="config")(task)()
    except Interrupted as stop:
        print(secrets.masked(told(stop)), file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if begun and not isinstance(error, composed.ERRORS):
            raise
        _stop(_all(error))
    if failures:
        raise failures[0]
    return max(codes, default=0)


def _all(error: Exception) -> str:
    """What Hydra could not compose, and what else is wrong; of a sweep the first problem alone."""
    overrides = words.overrides(sys.argv[1:])
    if overrides is None:
        return composed.explained(error, sys.argv[1:])
    return gathered.told(error, overrides)


def _run(command: Any, config: DictConfig, overrides: list[str], own: dict[str, str]) -> int:
    settings = composed.settings(config, overrides)
    for line in composed.left_over(overrides):
        print(line, file=sys.stderr)
    context = composed.context(config, HydraConfig.get().runtime.choices.get("experiments"), overrides)
    return int(command.with_settings(settings, context, **own))


def _command(name: str) -> Any:
    return importlib.import_module(f"runner.commands.{name}")


def _told(error: Exception, overrides: list[str]) -> str:
    if isinstance(error, ConfigError):
        return composed.placed(error, overrides)
    return gathered.told(error, overrides)


def _register() -> None:
    """The schema: types and defaults of every key. Components take any argument, which is checked later."""
    schema = OmegaConf.structured(Settings)
    for open_key in ("data", "model", "loss", "optimizer", "scheduler"):
        OmegaConf.set_struct(schema[open_key], False)
    ConfigStore.instance().store("schema", schema)


def _indexed(word: str) -> str:
    """`model.layers[0].Linear=1` as Hydra's grammar spells it: `model.layers.0.Linear=1`."""
    key, equals, value = word.partition("=")
    if key.lstrip("+") in {f"{component}._target_" for component in composed.COMPONENTS}:
        key = key.replace("_target_", "name")  # which the preset has already, and would keep
    return re.sub(r"\[(\d+)\]", r".\1", key) + equals + value


def _stop(message: str) -> NoReturn:
    print(secrets.masked(message), file=sys.stderr)
    sys.exit(2)


def _fail(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What went wrong, without secrets."""
    print(secrets.masked("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)

"""Hydra's composing under guard: what comes out is checked before Hydra acts on it.

Hydra instantiates callbacks, logging handlers, launchers and sweepers, imports packages of the search path, sets
environment variables and unpickles reruns, all before the first line of a command runs.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

import runner
from runner.cli import hydra_private
from runner.cli.compose import short_values
from runner.cli.guard import command_line, files, hydra_rules, namesakes, studies
from runner.settings.errors import ConfigError
from runner.settings.files import filenames, origins
from runner.settings.trust import dotted, omegaconf_private, resolvers, secrets, typed_words

#: The message for a name, or a removal, where the layers are a list.
UNNAMED = (
    "the layers are a list here, without names; expected model.layers[NUMBER]... to change one of them, counted from 0,"
    " or the whole list, model.layers=[{Linear: 1}]"
)

#: Hydra's loader that has composed last.
_loaders: list[Any] = []


def install() -> None:
    """Have Hydra compose under guard from here on, in this process."""
    with _without_working_directory():
        Plugins.instance()
    hydra_private.read_files_with(files.CheckedFiles)
    resolvers.restrict()
    omegaconf_private.replace_where_kinds_differ()
    short_values.keep()
    hydra_private.compose_once()
    hydra_private.wrap_loading(_checked, _settled)


def compose(overrides: Sequence[str], mode: RunMode) -> DictConfig:
    """Compose the configuration of other overrides with the loader that Hydra has made last."""
    return _loader().load_configuration("config", list(overrides), mode)


def compose_ours(overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration of other overrides without Hydra's part; `${hydra:...}` gives what is in that."""
    config = compose(overrides, RunMode.RUN)
    HydraConfig.instance().set_config(config)
    with flag_override(config, ["struct", "readonly"], [False, False]):
        del config["hydra"]
    return config


def origins_of(overrides: Sequence[str]) -> origins.Origins:
    """Return the file and line of each key of the present configuration that no word of the command line sets."""
    places = origins.Origins()
    overrides = command_line.with_removals(overrides)
    with studies.chosen_over(overrides, remark=False):
        defaults = _loader().compute_defaults_list("config", overrides, RunMode.RUN).defaults
    groups = [str(default.override_key) for default in defaults if default.override_key]
    for default in defaults:
        name = str(default.config_path)
        if name in files.loaded and not name.startswith("hydra/"):
            studies.read_places(name, places, str(default.package or ""))
    for word in overrides:
        key = word.partition("=")[0].lstrip("+~")
        if key not in groups:
            places.override(key)
    return places


def _loader() -> ConfigLoader:
    loader: ConfigLoader = _loaders[-1]
    return loader


def _checked(load: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """Return the method that composes, with checks before and after it."""

    @functools.wraps(load)
    def load_configuration(self: Any, config_name: Any, overrides: list[str], *rest: Any, **named: Any) -> DictConfig:
        _loaders[:] = [self]
        overrides = command_line.with_removals(overrides)
        for word in overrides:
            if "searchpath" in word.partition("=")[0]:
                raise ConfigError("hydra.searchpath", "folders of others may hold code; put presets into conf/")
        try:
            with studies.chosen_over(overrides):
                config = load(self, config_name, overrides, *rest, **named)
        except TypeError as error:
            raise _no_list(overrides, error) from error
        except RecursionError:
            raise ConfigError("defaults", "files choose each other in a circle; take one of them out") from None
        except KeyError as error:
            if type(error) is not KeyError:  # OmegaConf's own
                raise
            raise ConfigError("hydra.job.env_copy", f"the variable {error} is not set; leave the key out") from None
        _mend_dotted(config, overrides)
        secrets.learn(OmegaConf.to_container(config, resolve=False))
        _bound_folder(config)
        namesakes.check(config.hydra.runtime.choices, overrides)
        hydra_rules.check(config, overrides)
        return config

    return load_configuration


def _mend_dotted(config: DictConfig, overrides: Sequence[str]) -> None:
    """Set what is typed of a layer with a dotted name, which Hydra takes for mappings in mappings."""
    for word in overrides:
        key = word.partition("=")[0].lstrip("+")
        if not key.startswith("model.layers."):
            continue
        if (override := typed_words.read(word)) is not None and not override.is_sweep_override():
            with flag_override(config, ["struct", "readonly"], [False, False]):
                dotted.mend(config, key, override.value())


def _no_list(overrides: Sequence[str], error: TypeError) -> Exception:
    """Return the error to raise for Hydra's TypeError, which a name or a removal in a list of layers causes."""
    for word in overrides:
        key = word.partition("=")[0].lstrip("+~")
        if key.startswith("model.layers."):
            return ConfigError(key, UNNAMED)
    return error


def _bound_folder(config: DictConfig) -> None:
    """Shorten the text of the overrides to what the name of a folder can hold."""
    job = config.hydra.job
    written: Any = OmegaConf.to_container(job, resolve=False)
    name = filenames.bounded(str(written["override_dirname"]))
    if name != written["override_dirname"]:
        with flag_override(job, ["struct", "readonly"], [False, False]):
            job.override_dirname = name.replace("${", "{")  # the end of an interpolation may be cut off


def _settled(load: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """Return the method that composes a sweep's job, which gets the sweep's own folder."""

    @functools.wraps(load)
    def load_sweep_config(self: Any, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        config = load(self, master_config, sweep_overrides)
        hydra_rules.job_of(config, master_config)
        return config

    return load_sweep_config


@contextlib.contextmanager
def _without_working_directory() -> Iterator[None]:
    """Keep a hydra_plugins/ folder of the working directory out: with `python -m`, Hydra would import it."""
    here, before = Path.cwd(), list(sys.path)
    ours = Path(runner.__file__).resolve().parent.parent
    sys.path[:] = [p for p in before if Path(p or ".").resolve() != here.resolve() or here.resolve() == ours]
    try:
        yield
    finally:
        sys.path[:] = before

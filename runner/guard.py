"""What Hydra may load and do: checked before it does, as much of what it can be told is code.

Hydra instantiates callbacks, logging handlers, launchers and sweepers, imports packages of the search path, sets
environment variables and unpickles reruns, all before the first line of a command runs.
"""

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, flag_override

from runner import choices, limits, lookup, merging, origins, places, resolvers
from runner.errors import ConfigError, did_you_mean
from runner.resolvers import RESOLVERS as RESOLVERS
from runner.resolvers import VARIABLES as VARIABLES

#: Flags that make Hydra read other files than ours first.
FLAGS = {
    "experimental_rerun": ("--experimental-rerun", "a rerun is a pickle, which runs code; give the overrides again"),
    "config_path": ("--config-path", "put presets into conf/ and studies into experiments/ of the working directory"),
    "config_name": ("--config-name", "put a study into experiments/NAME.yaml and say experiments=NAME"),
    "config_dir": ("--config-dir", "put presets into conf/ of the working directory"),
}
#: What a sweeper may be told to make, beside classes of the packages that the person trusts; see runner.sweep.samplers.
PARTS = tuple(f"optuna.samplers.{name}Sampler" for name in ("TPE", "CmaEs", "Random", "Grid", "NSGAII"))
#: What a file may tell a launcher in words: names that a cluster's queue knows.
QUEUE = (
    *("name", "partition", "qos", "account", "constraint", "exclude", "gres"),
    *("mem_per_gpu", "mem_per_cpu", "pre_dispatch", "batch_size", "max_nbytes", "prefer"),
)
PLUGINS: dict[str, type] = {"launcher": Launcher, "sweeper": Sweeper}
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")

#: Groups of which nothing need be chosen: `scheduler=null`.
OPTIONAL = ("experiments", "scheduler")

#: What is wrong with a name, or a removal, where layers are a list.
UNNAMED = (
    "the layers are a list here, without names; expected model.layers[NUMBER]... to change one of them, counted from 0,"
    " or the whole list, model.layers=[{Linear: 1}]"
)

#: Words that a record has given, and no person.
recorded: list[str] = []
#: Config name -> the file that was read for it, last.
loaded: dict[str, Path] = {}
#: Hydra's loader that has composed last.
_loaders: list[Any] = []
#: Keys that are taken out of files.
left_out: set[str] = set()


def take_trust(words: list[str]) -> list[str]:
    """The words without `--trust PACKAGE`, each of which is trusted from here on."""
    left: list[str] = []
    trusted = os.environ.get("RUNNER_TRUST", "")
    rest = iter(words)
    for word in rest:
        if word != "--trust" and not word.startswith("--trust="):
            left.append(word)
            continue
        name = word.partition("=")[2] if "=" in word else next(rest, "")
        if not name.isidentifier():
            raise ConfigError("--trust", f"{name!r} is not the name of a package; expected one, as in --trust mylib")
        trusted += f",{name}"
    os.environ["RUNNER_TRUST"] = trusted
    return left


def check_words(words: list[str]) -> None:
    """Refuse the flags that let Hydra read and run what we have not seen."""
    parser: Any = get_args_parser()
    parser.error = _wrong_flag
    parsed = parser.parse_args(words)
    for name, (flag, remedy) in FLAGS.items():
        if getattr(parsed, name, None):
            raise ConfigError(flag, f"this flag is not taken here; {remedy}")


def _wrong_flag(message: str) -> NoReturn:
    """Hydra would print all its flags first."""
    flag = re.match(r"unrecognized arguments: (\S+)", message)
    what = f"{flag[1]}: this is not a flag of runner; expected key=value" if flag else message
    raise ConfigError("", f"{what}; `runner --help` says what there is")


def install() -> None:
    """From here on Hydra composes under our eyes."""
    with _without_working_directory():
        Plugins.instance()
    SourcesRegistry.instance().types["file"] = CheckedFiles
    resolvers.restrict()
    merging.install()
    if not hasattr(ConfigLoaderImpl.load_configuration, "checked"):
        ConfigLoaderImpl.load_configuration = _checked(ConfigLoaderImpl.load_configuration)  # type: ignore[method-assign]


class CheckedFiles(FileConfigSource):
    """YAML files on disk, looked at before they are built."""

    def load_config(self, config_path: str) -> ConfigResult:
        if ".." in PurePosixPath(config_path).parts or config_path.startswith("/"):
            raise ConfigError(
                config_path.rpartition("/")[0] or config_path, f"{config_path!r} leaves the folders of presets"
            )
        path = Path(self.path) / self._normalize_file_name(config_path)
        if path.is_file():
            limits.check(path, origins.shown(path))
            loaded[config_path.removesuffix(".yaml")] = path
        found = super().load_config(config_path)
        _check_defaults(found.config, origins.shown(path))
        if path.parent in places.experiments():
            _check_choices(found.config, origins.shown(path))
        if isinstance(found.config, DictConfig):
            for key in left_out:
                _leave_out(found.config, key.split("."))
        return found


def _check_defaults(config: Any, name: str) -> None:
    """Hydra iterates over whatever it finds there."""
    defaults = config.get("defaults") if isinstance(config, DictConfig) else None
    if defaults is None:
        return
    if not isinstance(defaults, ListConfig):
        raise ConfigError("defaults", f"{defaults!r} is no list; expected one, as in [override /data: digits] ({name})")
    for index, chosen in enumerate(defaults):
        if not isinstance(chosen, str) and not (isinstance(chosen, DictConfig) and len(chosen) == 1):
            raise ConfigError(
                f"defaults[{index}]",
                f"{chosen!r} chooses no preset; expected one, as in `override /data: digits` ({name})",
            )


def _check_choices(config: Any, name: str) -> None:
    defaults = config.get("defaults") if isinstance(config, DictConfig) else None
    if not defaults:
        return
    presets = {group: places.presets(group) for group in places.groups()}
    choices.check(
        OmegaConf.to_container(defaults),
        name,
        {**presets, **{f"hydra/{kind}": [] for kind in PLUGINS}},
        places.studies(),
    )


@contextlib.contextmanager
def leaving_out() -> Iterator[set[str]]:
    """Keys that are put into the set are taken out of every file that is read within the block."""
    try:
        yield left_out
    finally:
        left_out.clear()


def _leave_out(config: DictConfig, words: list[str]) -> None:
    """Take out what stands at a key, or the value that has no such key because it is no mapping."""
    *above, last = words
    while above:
        inner = config._get_node(above[0])
        if inner is None:
            return
        if not isinstance(inner, DictConfig) or inner._is_none() or inner._is_interpolation():
            last = above[0]
            break
        config, above = inner, above[1:]
    with flag_override(config, ["struct", "readonly"], [False, False]):
        if config._get_node(last) is not None:
            del config[last]


def compose(overrides: Sequence[str], mode: RunMode) -> DictConfig:
    """The configuration, as Hydra's present loader makes it of other overrides."""
    return _loaders[-1].load_configuration("config", list(overrides), mode)  # type: ignore[no-any-return]


# Processes of a launcher's register Hydra's own class beside ours; whether it is the same is told by its name.
CheckedFiles.__name__ = FileConfigSource.__name__


def said(overrides: Sequence[str]) -> origins.Origins:
    """Where the files of the present configuration say what, less what the command line says."""
    found = origins.Origins()
    defaults = _loaders[-1].compute_defaults_list("config", unset(overrides), RunMode.RUN)
    groups = [str(default.override_key) for default in defaults.defaults if default.override_key]
    for default in defaults.defaults:
        path = loaded.get(str(default.config_path))
        if path is not None and not str(default.config_path).startswith("hydra/"):
            found.read(path, str(default.package or ""))
    for word in overrides:
        key = word.partition("=")[0].lstrip("+~")
        if key not in groups:
            found.override(key)
    return found


def _checked(load: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    def load_configuration(self: Any, config_name: Any, overrides: list[str], *rest: Any, **named: Any) -> DictConfig:
        _loaders[:] = [self]
        overrides = unset(overrides)
        for word in overrides:
            if "searchpath" in word.partition("=")[0]:
                raise ConfigError("hydra.searchpath", "folders of others may hold code; put presets into conf/")
        try:
            config = load(self, config_name, overrides, *rest, **named)
        except TypeError as error:
            raise _no_list(overrides, error) from error
        except RecursionError:
            raise ConfigError("defaults", "files choose each other in a circle; take one of them out") from None
        check(config, overrides)
        return config

    load_configuration.checked = True  # type: ignore[attr-defined]
    return load_configuration


def unset(overrides: Sequence[str]) -> list[str]:
    """The words with `~scheduler` for `scheduler=null`, which Hydra takes in files only."""
    keys = {f"{group}=null": f"~{group}" for group in OPTIONAL}
    return [keys.get(word, word) for word in overrides]


def _no_list(overrides: Sequence[str], error: TypeError) -> Exception:
    """Hydra's TypeError for a name, or a removal, in layers that are a list."""
    for word in overrides:
        key = word.partition("=")[0].lstrip("+~")
        if key.startswith("model.layers."):
            return ConfigError(key, UNNAMED)
    return error


def check(config: DictConfig, words: Sequence[str]) -> None:
    """Refuse a composed configuration that would make Hydra run what it names, or write where it says.

    words: of the command line; what a person has typed there, a file may not say.
    """
    hydra = config.hydra
    told: Any = OmegaConf.to_container(hydra.overrides, resolve=False)
    if not {*told["hydra"], *told["task"]} <= set(words):
        raise ConfigError("hydra.overrides", "a configuration may not say what was typed; leave it out")
    typed = [word.partition("=")[0].lstrip("+") for word in words if word not in recorded]
    for key in ("callbacks", "searchpath"):
        if hydra.get(key):
            raise ConfigError(f"hydra.{key}", "a configuration may not name code for Hydra to run; leave it out")
    if hydra.job.get("env_set"):
        raise ConfigError("hydra.job.env_set", "a configuration may not set environment variables; set them yourself")
    for key in ("hydra_logging", "job_logging"):
        if hydra.get(key):
            _check_logging(OmegaConf.to_container(hydra[key], resolve=True), f"hydra.{key}")
    for key in ("launcher", "sweeper"):
        if hydra.get(key):
            _check_plugin(hydra[key], key)
            node = OmegaConf.to_container(hydra[key], resolve=False)
            for name, value in node.items() if isinstance(node, dict) else ():
                _check_parts(value, f"hydra.{key}.{name!s}")
    _check_launcher(config, typed)
    _check_folders(config, typed)


def _check_plugin(node: Any, key: str) -> None:
    """Hydra asks as much only after the configuration is composed, and does not name the key."""
    name = _text(node, "_target_") if isinstance(node, DictConfig) else ""
    known = [f"{c.__module__}.{c.__qualname__}" for c in Plugins.instance().discover(PLUGINS[key])]
    if name not in known:
        near = did_you_mean(name, known)
        raise ConfigError(
            f"hydra.{key}._target_", f"{name!r} is no {key} that is installed; choose one with hydra/{key}=NAME{near}"
        )


def _check_logging(value: Any, key: str) -> None:
    """logging.config calls what `()` names, makes what `class` names and imports what ext:// names."""
    if isinstance(value, dict):
        for name, inner in value.items():
            below = f"{key}.{name}"
            if name == "()" or (name == "class" and inner not in ("logging.StreamHandler", "logging.Formatter")):
                raise ConfigError(below, f"{inner!r} would be run or would write a file; use logging.StreamHandler")
            _check_logging(inner, below)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_logging(inner, f"{key}[{index}]")
    elif isinstance(value, str) and value.startswith(("ext://", "cfg://")) and value not in STREAMS:
        raise ConfigError(key, f"{value!r} would be imported; use {' or '.join(STREAMS)}")


def _check_parts(value: Any, key: str) -> None:
    """What Hydra makes on the way to a launcher or a sweeper. The launcher itself has to be an installed plugin."""
    if isinstance(value, list):
        for index, inner in enumerate(value):
            _check_parts(inner, f"{key}[{index}]")
    if not isinstance(value, dict):
        return
    if "_target_" in value:
        _check_part(str(value["_target_"]), f"{key}._target_")
    for name, inner in value.items():
        _check_parts(inner, f"{key}.{name}")


def _check_part(name: str, key: str) -> None:
    first = name.partition(".")[0]
    if name in PARTS:
        return
    known = set(lookup.trusted())
    found: Any = None
    if first in known and all(part.isidentifier() for part in name.split(".")):
        with contextlib.suppress(ImportError, AttributeError):
            found = getattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
    if not isinstance(found, type) or found.__module__.partition(".")[0] not in known:
        raise ConfigError(
            key, f"{name!r} may not be run{did_you_mean(name, PARTS)}; a person allows a package with --trust {first}"
        )


def _check_launcher(config: DictConfig, typed: list[str]) -> None:
    """What a launcher is told in words may become a command, a place or an address: a person has to type it."""
    chosen = str(config.hydra.runtime.choices.get("hydra/launcher"))
    usual = _leaves(_own(chosen))
    for key, value in _leaves(OmegaConf.to_container(config.hydra.launcher, resolve=False) or {}).items():
        name = f"hydra.launcher.{key}"
        by_person = any(f"{name}.".startswith(f"{word}.") for word in typed)
        if by_person or key == "_target_" or usual.get(key, ...) == value or _is_plain(key, value):
            continue
        raise ConfigError(
            name, f"{value!r} may become a command or a place, so no file and no record may say it; type {name}=..."
        )


def _own(launcher: str) -> Any:
    """What an installed launcher is told if nothing is said."""
    with contextlib.suppress(Exception):
        return OmegaConf.to_container(ConfigStore.instance().load(f"hydra/launcher/{launcher}.yaml").node)
    return {}


def _leaves(value: Any, key: str = "") -> dict[str, Any]:
    """Dotted key -> value; an empty mapping is none."""
    if not isinstance(value, dict):
        return {key: value}
    return {k: v for name, inner in value.items() for k, v in _leaves(inner, f"{key}.{name}" if key else name).items()}


def _is_plain(key: str, value: Any) -> bool:
    """Numbers and the names of a queue, which can do no more than be wrong."""
    if "additional_parameters" in key:
        return False
    if value is None or isinstance(value, bool | int | float):
        return True
    return key in QUEUE and isinstance(value, str) and re.fullmatch(r"[\w.,:@%/+-]*", value) is not None


def _check_folders(config: DictConfig, typed: list[str]) -> None:
    """A file may not choose a folder outside of the working directory; the person may."""
    for key in ("run.dir", "sweep.dir", "sweep.subdir", "output_subdir"):
        if f"hydra.{key}" in typed:
            continue
        value = _text(config, f"hydra.{key}")
        if value and (Path(value).is_absolute() or ".." in Path(value).parts or value.startswith("~")):
            raise ConfigError(f"hydra.{key}", f"{value!r} is outside of the working directory; name a folder in it")


def _text(config: DictConfig, key: str) -> str:
    """The value; nothing where it depends on a job that there is not yet."""
    try:
        return str(OmegaConf.select(config, key) or "")
    except Exception:
        return ""


@contextlib.contextmanager
def _without_working_directory() -> Iterator[None]:
    """A hydra_plugins/ folder where a person happens to be is no plugin: `python -m` would find it."""
    here, before = Path.cwd(), list(sys.path)
    ours = Path(limits.__file__).resolve().parent.parent
    sys.path[:] = [p for p in before if Path(p or ".").resolve() != here.resolve() or here.resolve() == ours]
    try:
        yield
    finally:
        sys.path[:] = before

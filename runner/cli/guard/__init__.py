"""What Hydra may load and do: checked before it does, as much of what it can be told is code.

Hydra instantiates callbacks, logging handlers, launchers and sweepers, imports packages of the search path, sets
environment variables and unpickles reruns, all before the first line of a command runs.
"""

import contextlib
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
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, flag_override

import runner
from runner.cli.compose import choices, merging
from runner.cli.guard import hydra_rules, namesakes
from runner.settings.errors import ConfigError
from runner.settings.files import filenames, origins, places
from runner.settings.trust import limits, permission, resolvers, secrets

#: Flags that make Hydra read other files than ours first.
FLAGS = {
    "experimental_rerun": ("--experimental-rerun", "a rerun is a pickle, which runs code; give the overrides again"),
    "config_path": ("--config-path", "put presets into conf/ and studies into experiments/ of the working directory"),
    "config_name": ("--config-name", "put a study into experiments/NAME.yaml and say experiments=NAME"),
    "config_dir": ("--config-dir", "put presets into conf/ of the working directory"),
}
#: Groups of which nothing need be chosen: `scheduler=null`.
OPTIONAL = ("experiments", "scheduler")

#: What is wrong with a name, or a removal, where layers are a list.
UNNAMED = (
    "the layers are a list here, without names; expected model.layers[NUMBER]... to change one of them, counted from 0,"
    " or the whole list, model.layers=[{Linear: 1}]"
)

#: Config name -> the file that was read for it, last.
loaded: dict[str, Path] = {}
#: Hydra's loader that has composed last.
_loaders: list[Any] = []
#: Keys that are taken out of files.
left_out: set[str] = set()


def take_trust(words: list[str]) -> list[str]:
    """The words without `--trust PACKAGE`, each of which is trusted from here on."""
    left: list[str] = []
    trusted = ",".join(permission.packages())
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
    _compose_once()
    if not hasattr(ConfigLoaderImpl.load_configuration, "checked"):
        ConfigLoaderImpl.load_configuration = _checked(ConfigLoaderImpl.load_configuration)  # type: ignore[method-assign]
        ConfigLoaderImpl.load_sweep_config = _settled(ConfigLoaderImpl.load_sweep_config)  # type: ignore[method-assign]


def _compose_once() -> None:
    """Spare Hydra the composing by which it learns `hydra.mode`, where nobody has typed it: a file may not say it.

    It is half of what composing takes, 0.1 s of each command. None stands for what the flags say.
    """
    from hydra._internal.hydra import Hydra

    composes = getattr(Hydra, "get_mode", None)
    if composes is None or hasattr(composes, "spares"):
        return

    def get_mode(self: Any, config_name: Any, overrides: list[str]) -> Any:
        typed = any("hydra" in word.partition("=")[0] for word in overrides)
        return composes(self, config_name, overrides) if typed else None

    get_mode.spares = True  # type: ignore[attr-defined]
    Hydra.get_mode = get_mode  # type: ignore[method-assign]


class CheckedFiles(FileConfigSource):
    """YAML files on disk, looked at before they are built."""

    def load_config(self, config_path: str) -> ConfigResult:
        if ".." in PurePosixPath(config_path).parts or config_path.startswith("/"):
            raise ConfigError(
                config_path.rpartition("/")[0] or config_path, f"{config_path!r} leaves the folders of presets"
            )
        path = Path(self.path) / self._normalize_file_name(config_path)
        if os.path.lexists(path):
            _check_file(path, Path(self.path))
            limits.check(path, origins.shown(path))
            loaded[config_path.removesuffix(".yaml")] = path
        found = super().load_config(config_path)
        if OmegaConf.is_dict(found.config) and _says_mode(found.config):
            raise ConfigError("hydra.mode", f"{hydra_rules.MODE} ({origins.shown(path)})")
        _check_defaults(found.config, origins.shown(path))
        if path.parent in places.experiments():
            _check_choices(found.config, origins.shown(path))
        if isinstance(found.config, DictConfig):
            for key in left_out:
                _leave_out(found.config, key.split("."))
        return found


def _check_file(path: Path, root: Path) -> None:
    """Refuse what is no file, which may have no end, and a link to a file elsewhere, which may hold secrets."""
    if not path.is_file():
        raise ConfigError(origins.shown(path), "this is not a file; expected one with keys and values")
    if root.is_relative_to(Path.cwd()):
        permission.file(path, origins.shown(path))


def _says_mode(config: Any) -> bool:
    """Whether a file chooses between a run and a sweep. Hydra reads that first, and hides what a guard raises then."""
    hydra = config._get_node("hydra")
    return isinstance(hydra, DictConfig) and not hydra._is_interpolation() and "mode" in hydra.keys()  # noqa: SIM118


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
        {**presets, **{f"hydra/{kind}": [] for kind in hydra_rules.PLUGINS}},
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
        except KeyError as error:
            if type(error) is not KeyError:  # OmegaConf's own
                raise
            raise ConfigError("hydra.job.env_copy", f"the variable {error} is not set; leave the key out") from None
        secrets.learn(OmegaConf.to_container(config, resolve=False))
        _bound_folder(config)
        namesakes.check(config.hydra.runtime.choices, overrides)
        hydra_rules.check(config, overrides)
        return config

    load_configuration.checked = True  # type: ignore[attr-defined]
    return load_configuration


def _settled(load: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    def load_sweep_config(self: Any, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        config = load(self, master_config, sweep_overrides)
        hydra_rules.job_of(config, master_config)
        return config

    return load_sweep_config


def _bound_folder(config: DictConfig) -> None:
    """Overrides as the name of a folder, which a long text among them would make longer than a name can be."""
    job = config.hydra.job
    written: Any = OmegaConf.to_container(job, resolve=False)
    name = filenames.bounded(str(written["override_dirname"]))
    if name != written["override_dirname"]:
        with flag_override(job, ["struct", "readonly"], [False, False]):
            job.override_dirname = name.replace("${", "{")  # of an interpolation the end may be missing


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


@contextlib.contextmanager
def _without_working_directory() -> Iterator[None]:
    """A hydra_plugins/ folder where a person happens to be is no plugin: `python -m` would find it."""
    here, before = Path.cwd(), list(sys.path)
    ours = Path(runner.__file__).resolve().parent.parent
    sys.path[:] = [p for p in before if Path(p or ".").resolve() != here.resolve() or here.resolve() == ours]
    try:
        yield
    finally:
        sys.path[:] = before

"""YAML files, checked before Hydra builds anything of them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, ListConfig, OmegaConf, flag_override

from runner.cli.compose import choices
from runner.cli.guard import hydra_rules
from runner.cli.hydra_private import FileConfigSource
from runner.settings.errors import ConfigError
from runner.settings.files import origins, places
from runner.settings.trust import limits, permission

#: Config name -> the file that was read for it last.
loaded: dict[str, Path] = {}
#: Keys that are taken out of every file, within `leaving_out`.
left_out: set[str] = set()


class CheckedFiles(FileConfigSource):
    """A folder of YAML files; each is checked before it is built."""

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the contents of a file. Raises ConfigError for one that is no plain YAML file of presets."""
        if ".." in PurePosixPath(config_path).parts or config_path.startswith("/"):
            raise ConfigError(
                config_path.rpartition("/")[0] or config_path, f"{config_path!r} leaves the folders of presets"
            )
        path = Path(self.path) / self._normalize_file_name(config_path)
        name = origins.shown(path)
        if os.path.lexists(path):
            _check_file(path, Path(self.path))
            limits.check(path, name)
            loaded[config_path.removesuffix(".yaml")] = path
        result = super().load_config(config_path)
        config = result.config
        if isinstance(config, DictConfig):
            if _sets_mode(config):
                raise ConfigError("hydra.mode", f"{hydra_rules.MODE} ({name})")
            _check_defaults(config, path)
            for key in left_out:
                _leave_out(config, key.split("."))
        return result


# The processes of a launcher register Hydra's own class after ours, which Hydra allows for a class of the same name.
CheckedFiles.__name__ = FileConfigSource.__name__


@contextlib.contextmanager
def leaving_out() -> Iterator[set[str]]:
    """Take the keys that are put into the yielded set out of every file that is read within the block."""
    try:
        yield left_out
    finally:
        left_out.clear()


def _check_file(path: Path, root: Path) -> None:
    """Refuse what is no file, which may have no end, and a link to a file elsewhere, which may hold secrets."""
    if not path.is_file():
        raise ConfigError(origins.shown(path), "this is not a file; expected one with keys and values")
    if root.is_relative_to(Path.cwd()):
        permission.file(path, origins.shown(path))


def _sets_mode(config: DictConfig) -> bool:
    """Return whether a file chooses between a run and a sweep: Hydra reads that first, and would hide a later error."""
    hydra = _mapping(config, "hydra")
    return hydra is not None and "mode" in hydra.keys()  # noqa: SIM118  # `in hydra` is false for `???`


def _mapping(config: DictConfig, key: str) -> DictConfig | None:
    """Return the mapping at a key; None for anything else, a reference among it, which is not resolved."""
    if key not in config.keys() or OmegaConf.is_interpolation(config, key) or OmegaConf.is_missing(config, key):  # noqa: SIM118
        return None
    value = config[key]
    return value if isinstance(value, DictConfig) else None


def _check_defaults(config: DictConfig, path: Path) -> None:
    """Refuse a defaults list that Hydra would iterate over as it is, and in a study entries that choose no preset."""
    defaults, name = config.get("defaults"), origins.shown(path)
    if defaults is None:
        return
    if not isinstance(defaults, ListConfig):
        meant = defaults if defaults in places.studies() else "override /data: digits"
        raise ConfigError("defaults", f"{defaults!r} is not a list; expected [{meant}] ({name})")
    for index, chosen in enumerate(defaults):
        if not isinstance(chosen, str) and not (isinstance(chosen, DictConfig) and len(chosen) == 1):
            raise ConfigError(
                f"defaults[{index}]", f"{chosen!r} chooses no preset; expected `override /data: digits` ({name})"
            )
    if path.parent in places.experiments():
        presets = {group: places.presets(group) for group in places.groups()}
        hydras: dict[str, list[str]] = {f"hydra/{kind}": [] for kind in hydra_rules.PLUGINS}
        choices.check(OmegaConf.to_container(defaults), name, {**presets, **hydras}, places.studies())


def _leave_out(config: DictConfig, words: list[str]) -> None:
    """Take out the value at a key, or, where the key leads through a value that is no mapping, that value."""
    *above, last = words
    for name in above:
        if name not in config.keys():  # noqa: SIM118
            return
        inner = _mapping(config, name)
        if inner is None:
            last = name
            break
        config = inner
    with flag_override(config, ["struct", "readonly"], [False, False]):
        if last in config.keys():  # noqa: SIM118
            del config[last]

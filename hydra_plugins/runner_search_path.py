"""Folders of configurations that Hydra finds: experiments/ and conf/, of the working directory and of the package.

Hydra loads plugins into every Hydra program of the environment; both stay out of programs that are not ours.
"""

import os
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, ListConfig, OmegaConf


class RunnerSearchPath(SearchPathPlugin):
    """Appends our folders, so that a conf/ of another program cannot take the place of ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders of studies, and conf/ of the working directory."""
        from runner.settings.files import places

        if not os.environ.get(places.ACTIVE):
            return
        for folder in places.experiments():
            search_path.append("runner-experiments", f"experiments://{folder}")
        own = Path.cwd() / "conf"
        if own.is_dir() and own.resolve() != places.conf().resolve():
            search_path.append("runner-working-directory", f"file://{own}")


#: Groups whose presets are `{name: X, **arguments}`.
COMPONENTS = ("data", "loss", "optimizer", "scheduler")


class ExperimentsSource(ConfigSource):
    """A folder of studies as the group `experiments`; each applies to the whole configuration."""

    @staticmethod
    def scheme() -> str:
        """Return the scheme of our folders in the search path."""
        return "experiments"

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a study, which applies to the whole configuration."""
        from runner.cli.guard import studies

        if not self.is_config(config_path):
            raise ConfigLoadError(f"{config_path} is not in {self.path}")
        result = studies.load(Path(self.path), self._inside(config_path).removesuffix(".yaml"), self.provider)
        if result.header.get("package") is None:
            result.header["package"] = "_global_"
        _leave_presets(result.config)
        return result

    def available(self) -> bool:
        """Return whether the folder is there."""
        return Path(self.path).is_dir()

    def is_group(self, config_path: str) -> bool:
        """Return whether this is `experiments` or a folder in it."""
        from runner.settings.files import filenames

        return config_path == "" or (self._is_ours(config_path) and filenames.is_folder(self._file(config_path)))

    def is_config(self, config_path: str) -> bool:
        """Return whether this is a study."""
        from runner.settings.files import filenames

        return self._is_ours(config_path) and filenames.is_file(self._file(self._normalize_file_name(config_path)))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return the studies and folders of a group."""
        if config_path == "":
            return [] if results_filter is ObjectType.CONFIG else ["experiments"]
        names: list[str] = []
        for path in self._file(config_path).iterdir():
            if path.suffix == ".yaml" or path.is_dir():
                self._list_add_result(names, f"{config_path}/{path.name}", path.name, results_filter)
        return sorted(set(names))

    def _is_ours(self, config_path: str) -> bool:
        return config_path.partition("/")[0] == "experiments" and ".." not in config_path.split("/")

    def _inside(self, config_path: str) -> str:
        return config_path.partition("/")[2]

    def _file(self, config_path: str) -> Path:
        return Path(self.path) / self._inside(config_path)


def _leave_presets(study: object) -> None:
    """Deselect the preset of a component that a study names itself: its arguments are for another class."""
    if not isinstance(study, DictConfig):
        return
    defaults = study.get("defaults")
    chosen = {str(key).split("/")[-1] for item in defaults or [] if isinstance(item, DictConfig) for key in item}
    named = [g for g in COMPONENTS if isinstance(study.get(g), DictConfig) and {"name", "_target_"} & set(study[g])]
    added: list[dict[str, str | None]] = [{f"override /{group}": None} for group in named if group not in chosen]
    if "model" not in chosen and isinstance(OmegaConf.select(study, "model.layers"), DictConfig):
        added.append({"override /model": "empty"})  # a mapping cannot be merged into the default's list
    if added and (defaults is None or isinstance(defaults, ListConfig)):
        study["defaults"] = [*added, *(defaults or [])]

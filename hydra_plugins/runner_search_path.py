"""Lets Hydra find experiments/ and conf/ of the working directory as well as those that come with the package.

Hydra loads plugins into every Hydra program of the environment, so both stay out of programs that are not ours.
"""

import os
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, ListConfig, OmegaConf


class RunnerSearchPath(SearchPathPlugin):
    """Appends, so that a conf/ that belongs to something else cannot take the place of ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
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
        return "experiments"

    def load_config(self, config_path: str) -> ConfigResult:
        from runner.cli.guard.files import CheckedFiles, loaded

        if not self.is_config(config_path):
            raise ConfigLoadError(f"{config_path} is not in {self.path}")
        result = CheckedFiles(self.provider, self.path).load_config(self._inside(config_path))
        loaded[config_path.removesuffix(".yaml")] = self._file(self._normalize_file_name(config_path))
        if result.header.get("package") is None:
            result.header["package"] = "_global_"
        _leave_presets(result.config)
        return result

    def available(self) -> bool:
        return Path(self.path).is_dir()

    def is_group(self, config_path: str) -> bool:
        from runner.settings.files import filenames

        return config_path == "" or (self._is_ours(config_path) and filenames.is_folder(self._file(config_path)))

    def is_config(self, config_path: str) -> bool:
        from runner.settings.files import filenames

        return self._is_ours(config_path) and filenames.is_file(self._file(self._normalize_file_name(config_path)))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "":
            return [] if results_filter is ObjectType.CONFIG else ["experiments"]
        found: list[str] = []
        for path in self._file(config_path).iterdir():
            if path.suffix == ".yaml" or path.is_dir():
                self._list_add_result(found, f"{config_path}/{path.name}", path.name, results_filter)
        return sorted(set(found))

    def _is_ours(self, config_path: str) -> bool:
        return config_path.partition("/")[0] == "experiments" and ".." not in config_path.split("/")

    def _inside(self, config_path: str) -> str:
        return config_path.partition("/")[2]

    def _file(self, config_path: str) -> Path:
        return Path(self.path) / self._inside(config_path)


def _leave_presets(study: object) -> None:
    """A study that names a component itself does not want the arguments of the preset's other component."""
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

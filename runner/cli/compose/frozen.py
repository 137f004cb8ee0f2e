"""Loaders for Hydra's launchers that compose nothing: another process would compose without a guard."""

import copy
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from runner.cli.compose import composing
from runner.settings.trust import recorded_settings


class Frozen:
    """Hands out Hydra's own part of the configuration: what else a job needs, its task function has.

    Files may change while a sweep is running.
    folders: words of a job -> number of the job -> its folder, where that is named after values of the job.
    """

    def __init__(self, folders: Mapping[tuple[str, ...], Mapping[int, str]]) -> None:
        self._folders = folders

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return Hydra's part of a job's configuration."""
        config = OmegaConf.create()
        config.hydra = copy.deepcopy(master_config.hydra)
        OmegaConf.set_readonly(config.hydra, False)
        with open_dict(config.hydra):
            config.hydra.overrides.task = sweep_overrides
            config.hydra.job.override_dirname = composing.dirname(config.hydra, sweep_overrides)
            if folders := self._folders.get(tuple(sweep_overrides)):
                names = {str(number): recorded_settings.escaped(folder) for number, folder in folders.items()}
                config.hydra.sweep.subdir = next(iter(names.values()))
                if len(names) > 1:  # jobs of the same words; a launcher sets the number later
                    config.hydra.runtime.choices.folders = names
                    config.hydra.sweep.subdir = "${oc.select:hydra.runtime.choices.folders.${hydra.job.num}}"
        return config


class Composed:
    """Hands out the configuration that was composed, and checked, for each job.

    configs: words of a job -> its configuration.
    """

    def __init__(self, configs: Mapping[tuple[str, ...], DictConfig]) -> None:
        self._configs = configs

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return the whole of a job's configuration."""
        config = copy.deepcopy(self._configs[tuple(sweep_overrides)])
        folder: Any = OmegaConf.to_container(master_config.hydra.sweep, resolve=False)
        OmegaConf.set_readonly(config.hydra, False)
        config.hydra.sweep.dir = folder["dir"]  # which has become absolute
        return config

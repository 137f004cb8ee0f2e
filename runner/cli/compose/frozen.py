"""Loaders for Hydra's launchers that compose nothing: another process would, and nobody looks at what it composes."""

import copy
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from runner.cli.compose import composing


class Frozen:
    """Hands out Hydra's own part of the configuration: what else a job needs, its task function has.

    Files may change while a sweep goes on.
    folders: words of a job -> its folder, where the name of that is made of values of the job.
    """

    def __init__(self, folders: Mapping[tuple[str, ...], str]) -> None:
        self._folders = folders

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        config = OmegaConf.create()
        config.hydra = copy.deepcopy(master_config.hydra)
        OmegaConf.set_readonly(config.hydra, False)
        with open_dict(config.hydra):
            config.hydra.overrides.task = sweep_overrides
            config.hydra.job.override_dirname = composing.dirname(config.hydra, sweep_overrides)
            if folder := self._folders.get(tuple(sweep_overrides)):
                config.hydra.sweep.subdir = folder
        return config


class Composed:
    """Hands out what was composed, and looked at, for each job. configs: words of a job -> its configuration."""

    def __init__(self, configs: Mapping[tuple[str, ...], DictConfig]) -> None:
        self._configs = configs

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        config = copy.deepcopy(self._configs[tuple(sweep_overrides)])
        folder: Any = OmegaConf.to_container(master_config.hydra.sweep, resolve=False)
        OmegaConf.set_readonly(config.hydra, False)
        config.hydra.sweep.dir = folder["dir"]  # as it is seen from everywhere by now
        return config

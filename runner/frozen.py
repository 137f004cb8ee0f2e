"""A loader for Hydra's launchers that composes nothing: what a job needs, its task function has."""

import copy

from omegaconf import DictConfig, OmegaConf, open_dict


class Frozen:
    """Hands out Hydra's own part of the configuration, so that files may change while a sweep goes on."""

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        config = OmegaConf.create()
        config.hydra = copy.deepcopy(master_config.hydra)
        OmegaConf.set_readonly(config.hydra, False)
        with open_dict(config.hydra):
            config.hydra.overrides.task = sweep_overrides
        return config

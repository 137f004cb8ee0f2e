"""The configurations of a sweep's jobs, composed once for every choice of files; values are set in a copy."""

import copy
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, flag_override


class Composing:
    """Composing takes Hydra 0.1 to 0.2 s, nearly all of it for files and groups that most jobs of a sweep share."""

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self._loader, self._master = loader, master
        self._parser = OverridesParser.create(config_loader=loader)
        self._bases: dict[tuple[str, ...], tuple[DictConfig, DictConfig]] = {}

    def compose(self, number: int, job: list[str]) -> DictConfig:
        """The job's configuration without Hydra's own part, as Hydra itself would compose it.

        Raises what Hydra raises.
        """
        parsed = self._parser.parse_overrides(job)
        files = tuple(str(override.input_line) for override in parsed if self._chooses_files(override))
        try:
            config, whole = self._base(files)
            config = copy.deepcopy(config)
            ConfigLoaderImpl._apply_overrides_to_config([o for o in parsed if not self._chooses_files(o)], config)
        except Exception:  # said by Hydra in its own words
            config, whole = self._split(self._loader.load_sweep_config(self._master, list(job)))
        with flag_override(whole.hydra, ["struct", "readonly"], [False, False]):
            whole.hydra.job.num, whole.hydra.job.id = number, str(number)
            whole.hydra.overrides.task = list(job)
        HydraConfig.instance().set_config(whole)  # for ${hydra:...} of the job
        return config

    def _base(self, files: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
        if files not in self._bases:
            self._bases[files] = self._split(self._loader.load_sweep_config(self._master, list(files)))
        return self._bases[files]

    def _split(self, composed: DictConfig) -> tuple[DictConfig, DictConfig]:
        """What is ours, and Hydra's own."""
        with flag_override(composed, ["struct", "readonly"], [False, False]):
            whole = OmegaConf.create()
            whole.hydra = composed.hydra
            del composed["hydra"]
        return composed, whole

    def _chooses_files(self, override: Override) -> bool:
        group = self._loader.repository.group_exists(override.key_or_group)
        return bool(group) and not isinstance(override.value(), dict)

"""The configurations of a sweep's jobs, composed once for every choice of files; values are set in a copy."""

import pickle
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from runner.settings.errors import ConfigError
from runner.settings.trust import dotted


class Composing:
    """Composes the jobs of a sweep.

    Hydra takes 0.1 to 0.2 s for one, nearly all of it for files and groups that most jobs share.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader, self._master = loader, master
        self._parser = OverridesParser.create(config_loader=loader)
        self._bases: dict[tuple[str, ...], tuple[bytes, DictConfig]] = {}
        self._groups: dict[str, bool] = {}
        self._shown: DictConfig | None = None
        self._copy: Any = None

    def compose(self, number: int, job: list[str]) -> DictConfig:
        """Return the job's configuration without Hydra's own part, as Hydra itself would compose it.

        Raises what Hydra raises.
        """
        parsed = self._parser.parse_overrides(job)
        files = tuple(str(override.input_line) for override in parsed if self._chooses_files(override))
        try:
            text, whole = self._base(files)
            config: DictConfig = pickle.loads(text)  # a fifth of the time of a deepcopy
            for override in parsed:
                if not self._chooses_files(override):
                    _set(config, override)
        except (_NotOurs, ConfigError, HydraException, OmegaConfBaseException, ValueError, TypeError):
            # Hydra composes all of it, or says in its own words what is wrong.
            config, whole = self._split(self._loader.load_sweep_config(self._master, list(job)))
        self._show(whole, number, parsed)
        return config

    def _show(self, whole: DictConfig, number: int, job: list[Override]) -> None:
        """Have ${hydra:...} give what is the job's."""
        instance: Any = HydraConfig.instance()
        if self._shown is not whole or instance.cfg is not self._copy:
            instance.set_config(whole)  # which copies it
            self._shown, self._copy = whole, instance.cfg
        hydra: Any = self._copy.hydra
        with flag_override(hydra, ["struct", "readonly"], [False, False]):
            hydra.job.num, hydra.job.id = number, str(number)
            hydra.overrides.task = [str(override.input_line) for override in job]
            hydra.job.override_dirname = _dirname(hydra, job)

    def _base(self, files: tuple[str, ...]) -> tuple[bytes, DictConfig]:
        if files not in self._bases:
            ours, whole = self._split(self._loader.load_sweep_config(self._master, list(files)))
            self._bases[files] = pickle.dumps(ours), whole
        return self._bases[files]

    def _split(self, composed: DictConfig) -> tuple[DictConfig, DictConfig]:
        """Return our part and Hydra's part of a configuration."""
        with flag_override(composed, ["struct", "readonly"], [False, False]):
            whole = OmegaConf.create()
            whole.hydra = composed.hydra
            del composed["hydra"]
        return composed, whole

    def _chooses_files(self, override: Override) -> bool:
        group = override.key_or_group
        if group not in self._groups:
            self._groups[group] = bool(self._loader.get_group_options(group, results_filter=None))
        return self._groups[group] and not isinstance(override.value(), dict)


def dirname(hydra: DictConfig, words: list[str]) -> str:
    """Return what `${hydra.job.override_dirname}` is for a job of these words."""
    return _dirname(hydra, OverridesParser.create().parse_overrides(words))


def _dirname(hydra: DictConfig, job: list[Override]) -> str:
    form = hydra.job.config.override_dirname
    words = sorted(str(override.input_line) for override in job if override.key_or_group not in form.exclude_keys)
    return str(form.item_sep.join(words).replace("=", form.kv_sep))


class _NotOurs(Exception):
    """An override that only Hydra sets: one that removes a key, or has a package."""


def _set(config: DictConfig, override: Override) -> None:
    """Set a value as Hydra does. Raises OmegaConf's errors for a key or a value that does not fit."""
    key, value = override.key_or_group, override.value()
    removes = override.is_delete() or (value is None and key.startswith("model.layers."))
    if override.package is not None or removes:
        raise _NotOurs
    present = override.is_add() and OmegaConf.select(config, key, throw_on_missing=False) is not None
    if present and not isinstance(value, dict | list):
        raise _NotOurs  # Hydra refuses it in its own words
    key = dotted.written(config, key)
    OmegaConf.update(config, key, value, merge=True, force_add=override.is_add() or override.is_force_add())

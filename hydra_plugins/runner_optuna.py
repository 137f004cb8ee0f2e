"""`hydra/sweeper=optuna`: a search instead of the product of all values. Optuna is imported when a search begins."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from omegaconf import MISSING, OmegaConf

from hydra_plugins.runner_sweeper import CheckedSweeper


@dataclass
class Node:
    """`hydra/sweeper=optuna`, with the keys of the published plugin."""

    _target_: str = "hydra_plugins.runner_optuna.OptunaSweeper"
    _recursive_: bool = False  # the sampler is made by us, from a list of known ones
    defaults: list[Any] = field(default_factory=lambda: [{"sampler": "tpe"}])
    sampler: Any = MISSING  # tpe | cmaes | random | grid | nsgaii, and its arguments
    direction: Any = None  # minimize | maximize, or one for each name of sweep.metric; null: the metric's own
    storage: str | None = None  # sqlite:///FILE, or another of Optuna's; null: a file beside the sweep's spools
    study_name: str | None = None  # a study of `storage` to continue; null: the sweep's id
    n_trials: int = 20  # in total, those of a continued study included
    n_jobs: int = 1  # trials that are handed to the launcher at once
    max_failure_rate: float = 1.0  # of these; more, and the search ends
    params: Any = field(default_factory=dict)  # the search space: {optimizer.lr: "tag(log, interval(1e-4, 1e-1))"}
    search_space: Any = None  # the same in the form that was used before Hydra 1.2


#: Arguments that have a key, null: Optuna's own default; others are added with +hydra.sweeper.sampler.NAME=VALUE.
SAMPLERS: dict[str, dict[str, Any]] = {
    "tpe": {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": None, "multivariate": None},
    "cmaes": {"_target_": "optuna.samplers.CmaEsSampler", "n_startup_trials": None, "sigma0": None},
    "random": {"_target_": "optuna.samplers.RandomSampler"},
    "grid": {"_target_": "optuna.samplers.GridSampler"},
    "nsgaii": {"_target_": "optuna.samplers.NSGAIISampler", "population_size": None},
}

ConfigStore.instance().store("optuna", Node, group="hydra/sweeper", provider="runner")
for _name, _values in SAMPLERS.items():
    # seed: null means the configuration's own.
    _node = OmegaConf.create({**_values, "seed": None}, flags={"struct": False})
    ConfigStore.instance().store(_name, _node, group="hydra/sweeper/sampler", provider="runner")


class OptunaSweeper(CheckedSweeper):
    """Hands a search to `runner.cli.search`; Hydra finds a sweeper only here."""

    def __init__(self, params: Any, search_space: Any, sampler: Any, **others: Any) -> None:
        super().__init__(max_batch_size=None, params=params)
        values = {**others, "search_space": search_space, "sampler": sampler}
        self._values = {name: _plain(value) for name, value in values.items()}

    def sweep(self, arguments: list[str]) -> Any:
        """Search within the space of these overrides."""
        from runner.cli import search

        search.run(
            self._task,
            self._values,
            self._parsed(arguments),
            self._compose,
            self._frozen,
            self.config,
            lambda key: bool(self._loader.get_group_options(key, ObjectType.CONFIG)),
        )


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

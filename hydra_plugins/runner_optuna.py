"""`hydra/sweeper=optuna`: a search instead of all combinations. Optuna is imported when the search starts."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import MISSING, OmegaConf

from hydra_plugins.runner_sweeper import CheckedSweeper


@dataclass
class Node:
    """`hydra/sweeper=optuna`, with the keys of the published plugin."""

    _target_: str = "hydra_plugins.runner_optuna.OptunaSweeper"
    _recursive_: bool = False  # Hydra must not instantiate the sampler; samplers.py does, and takes known ones only
    defaults: list[Any] = field(default_factory=lambda: [{"sampler": "tpe"}])
    sampler: Any = MISSING  # tpe | cmaes | random | grid | nsgaii, and its arguments
    direction: Any = None  # minimize | maximize, or one for each name of sweep.metric; null: what the metric says
    storage: str | None = None  # sqlite:///FILE or another URL that Optuna takes; null: a file beside the spools
    study_name: str | None = None  # the study to continue in `storage`; null: the id of the sweep's run
    n_trials: int = 20  # in total, including trials that the study has already
    n_jobs: int = 1  # trials given to the launcher at once
    max_failure_rate: float = 1.0  # share of failed trials among them above which the search ends
    params: Any = field(default_factory=dict)  # the search space: {optimizer.lr: "tag(log, interval(1e-4, 1e-1))"}
    search_space: Any = None  # the search space in the form used before Hydra 1.2


#: Samplers with their usual arguments, null for Optuna's default; +hydra.sweeper.sampler.NAME=VALUE adds others.
SAMPLERS: dict[str, dict[str, Any]] = {
    "tpe": {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": None, "multivariate": None},
    "cmaes": {"_target_": "optuna.samplers.CmaEsSampler", "n_startup_trials": None, "sigma0": None},
    "random": {"_target_": "optuna.samplers.RandomSampler"},
    "grid": {"_target_": "optuna.samplers.GridSampler"},
    "nsgaii": {"_target_": "optuna.samplers.NSGAIISampler", "population_size": None},
}

ConfigStore.instance().store("optuna", Node, group="hydra/sweeper", provider="runner")
for _name, _values in SAMPLERS.items():
    # seed: null means the seed of the configuration.
    _node = OmegaConf.create({**_values, "seed": None}, flags={"struct": False})
    ConfigStore.instance().store(_name, _node, group="hydra/sweeper/sampler", provider="runner")


class OptunaSweeper(CheckedSweeper):
    """The sweeper of `hydra/sweeper=optuna`; the search itself is in runner/cli/search.py."""

    def __init__(self, params: Any, search_space: Any, sampler: Any, **values: Any) -> None:
        super().__init__(max_batch_size=None, params=params)
        plain = {"sampler": sampler, "search_space": search_space, "direction": values.pop("direction")}
        self._values = {**values, **{k: _plain(value) for k, value in plain.items()}}

    def sweep(self, arguments: list[str]) -> Any:
        """Run the search. arguments: overrides typed on the command line."""
        from runner.cli import search

        assert self.config is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        search.run(
            self._task,
            self._values,
            overrides,
            self._compose,
            self._frozen,
            self.config,
            lambda key: bool(loader.get_group_options(key, ObjectType.CONFIG)),
        )


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

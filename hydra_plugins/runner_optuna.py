"""`hydra/sweeper=optuna`: searches instead of trying everything. Optuna itself is imported when a search begins."""

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
    _recursive_: bool = False  # the sampler is made by us, from a list of known ones
    defaults: list[Any] = field(default_factory=lambda: [{"sampler": "tpe"}])
    sampler: Any = MISSING  # tpe | cmaes | random | grid | nsgaii, and its arguments
    direction: Any = None  # minimize | maximize, or one for each name of sweep.metric; null: what the metric says
    storage: str | None = None  # sqlite:///FILE, or another of Optuna's; null: a file beside the sweep's spools
    study_name: str | None = None  # of a storage of one's own: a study to go on with; null: the sweep's id
    n_trials: int = 20  # in total, also of a study that is gone on with
    n_jobs: int = 1  # trials that are handed to the launcher at once
    max_failure_rate: float = 1.0  # of these; more, and the search ends
    params: Any = field(default_factory=dict)  # what may be tried: {optimizer.lr: "tag(log, interval(1e-4, 1e-1))"}
    search_space: Any = None  # the same in the form that was used before Hydra 1.2


#: Arguments that are worth a name, null: what Optuna takes; others are added with +hydra.sweeper.sampler.NAME=VALUE.
SAMPLERS: dict[str, dict[str, Any]] = {
    "tpe": {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": None, "multivariate": None},
    "cmaes": {"_target_": "optuna.samplers.CmaEsSampler", "n_startup_trials": None, "sigma0": None},
    "random": {"_target_": "optuna.samplers.RandomSampler"},
    "grid": {"_target_": "optuna.samplers.GridSampler"},
    "nsgaii": {"_target_": "optuna.samplers.NSGAIISampler", "population_size": None},
}

ConfigStore.instance().store("optuna", Node, group="hydra/sweeper", provider="runner")
for _name, _values in SAMPLERS.items():
    # seed: null takes the configuration's own.
    _node = OmegaConf.create({**_values, "seed": None}, flags={"struct": False})
    ConfigStore.instance().store(_name, _node, group="hydra/sweeper/sampler", provider="runner")


class OptunaSweeper(CheckedSweeper):
    """What a search is, `runner.cli.search` knows; this is the part that Hydra accepts only here."""

    def __init__(self, params: Any, search_space: Any, sampler: Any, **given: Any) -> None:
        super().__init__(max_batch_size=None, params=params)
        plain = {"sampler": sampler, "search_space": search_space, "direction": given.pop("direction")}
        self._given = {**given, **{k: _plain(value) for k, value in plain.items()}}

    def sweep(self, arguments: list[str]) -> Any:
        from runner.cli import search

        assert self.config is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        search.run(
            self._task,
            self._given,
            overrides,
            self._compose,
            self._frozen,
            self.config,
            lambda key: bool(loader.get_group_options(key, ObjectType.CONFIG)),
        )


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

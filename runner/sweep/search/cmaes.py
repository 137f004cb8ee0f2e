"""Optuna's CMA-ES with its state made anew from the trials, as Optuna keeps it in the storage: as a pickle.

Who can write into a study could have code run by that. Here no state is read and none is written: it follows from the
trials that are complete, in the order of their numbers.
"""

from typing import Any

from runner.settings.errors import ConfigError

#: What is taken of Optuna's sampler and no part of its interface. Without any of it the pickle might be read.
NAMES = ("_restore_optimizer", "_init_optimizer", "_get_solution_trials")


def sampler(optuna: Any) -> Any:
    """The class CmaEsSampler. Raises ConfigError for a release of Optuna whose sampler is not known."""
    from optuna._transform import _SearchSpaceTransform

    known: Any = optuna.samplers.CmaEsSampler
    if any(name not in vars(known) for name in NAMES):
        raise ConfigError(
            "hydra/sweeper/sampler", f"cmaes of optuna {optuna.__version__} may run what a study holds; use tpe"
        )

    class CmaEsSampler(known):  # type: ignore[misc]
        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            self._asked = study.direction, search_space
            try:
                return super().sample_relative(study, trial, search_space)
            except (AssertionError, IndexError, KeyError, TypeError, ValueError) as error:
                raise ConfigError(
                    "hydra.sweeper.study_name",
                    f"study {study.study_name!r} holds trials that cmaes did not make ({error!r}); choose another name",
                ) from error

        def _restore_optimizer(self, completed_trials: list[Any]) -> Any:
            direction, search_space = self._asked
            space = _SearchSpaceTransform(search_space, transform_step=not self._with_margin, transform_0_1=True)
            optimizer = self._init_optimizer(space, direction)
            while True:
                trials = self._get_solution_trials(completed_trials, optimizer.generation)[: optimizer.population_size]
                if len(trials) < optimizer.population_size:
                    return optimizer
                sign = 1 if direction.name == "MINIMIZE" else -1
                optimizer.tell([(self._point(space, trial), sign * trial.value) for trial in trials])

        def _point(self, space: Any, trial: Any) -> Any:
            import numpy as np

            if self._with_margin:
                return np.array(trial.system_attrs["x_for_tell"], dtype=float)
            return space.transform(trial.params)

    return CmaEsSampler

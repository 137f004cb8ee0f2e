"""Optuna's CMA-ES without its pickle: the optimizer's state is computed from the trials.

Optuna keeps the state in the storage as a pickle, so that anybody who can write into a study could have code run. Here
no state is read or written: it follows from the complete trials in the order of their numbers.

This file alone uses private names of Optuna (tests/sweep/test_optuna_names.py).
"""

from typing import Any

from runner.settings.errors import ConfigError

#: Private methods of Optuna's sampler that are overridden or called. If one is missing, the pickle might be read.
NAMES = ("_restore_optimizer", "_init_optimizer", "_get_solution_trials")


def sampler(optuna: Any) -> Any:
    """Return a subclass of Optuna's CmaEsSampler. Raises ConfigError if a private name that it needs is missing."""
    base: Any = optuna.samplers.CmaEsSampler
    missing = [name for name in NAMES if name not in vars(base)]
    try:
        from optuna._transform import _SearchSpaceTransform
    except ImportError:
        missing.append("_SearchSpaceTransform")
    if missing:
        raise ConfigError(
            "hydra/sweeper/sampler",
            f"cmaes of optuna {optuna.__version__} has no {' and no '.join(missing)}, so that it may run code that a"
            " study holds; use tpe",
        )

    class CmaEsSampler(base):  # type: ignore[misc]
        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            """Return values for a trial, as Optuna does. Raises ConfigError for trials of another sampler."""
            self._asked = study.direction, search_space
            try:
                return super().sample_relative(study, trial, search_space)
            except (AssertionError, IndexError, KeyError, TypeError, ValueError) as error:
                raise ConfigError(
                    "hydra.sweeper.study_name",
                    f"study {study.study_name!r} holds trials of another sampler than cmaes ({error!r});"
                    " choose another name",
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

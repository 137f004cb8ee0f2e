"""Optuna's study behind a search: it gives trials and stores their results."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from runner.settings.errors import ConfigError, brief
from runner.settings.files import uris
from runner.settings.trust import permission, secrets
from runner.sweeps.run.outcome import Outcome
from runner.sweeps.search import samplers
from runner.sweeps.search.space import Space, grid

#: Attribute of a trial with the id of the parent run of its sweep.
OWNER = "runner.sweep"


class Study:
    """The trials of one sweep, in a study that may hold those of others too."""

    def __init__(
        self, storage: str, name: str, space: Space, sampler: dict[str, Any], seed: int, directions: list[str]
    ) -> None:
        """Open the study, or create it.

        storage: a URL of SQLAlchemy's. directions: minimize or maximize for each objective.
        Raises ConfigError if the storage does not open, or holds a study of this name with other directions.
        """
        self.space, self.sampler, self.seed, self.name = space, sampler, seed, name
        self._storage = opened(storage)
        self._study = _study(self._storage, name, directions)
        self._asked: dict[int, Any] = {}

    @property
    def count(self) -> int:
        """Number of trials of any state."""
        return len(self._trials())

    def total(self, n_trials: int) -> int:
        """Return how many trials the study shall have: `n_trials`, or all points of a grid if these are fewer."""
        if samplers.named(self.sampler) != "grid":
            return n_trials
        size = 1
        for values in grid(self.space).values():
            size *= len(values)
        return min(n_trials, size)

    def left_by(self, parent: str) -> list[int]:
        """Return numbers of unfinished trials of the sweep `parent`. Raises ConfigError if another sweep has any."""
        state = samplers.library().trial.TrialState
        running = [trial for trial in self._trials() if trial.state is state.RUNNING]
        for trial in running:
            owner = str(trial.user_attrs.get(OWNER, parent))
            if owner != parent:
                owner = owner if owner.isalnum() else "unknown"
                raise ConfigError(
                    "hydra.sweeper.study_name",
                    f"trial {trial.number} of study {self.name!r} belongs to sweep {owner[:8]}, which has not ended;"
                    f" runner resume {owner[:8]} continues it, another study_name starts a new study",
                )
        return [trial.number for trial in running]

    def ask(self, parent: str) -> tuple[int, dict[str, Any]]:
        """Create a trial; return its number, and its value for each key."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # samplers that Optuna calls experimental
            self._study.sampler = samplers.make(self.sampler, self.space, self.seed, self.count)
            trial = self._study.ask()
            trial.set_user_attr(OWNER, parent)
        return trial.number, self._filled(trial)

    def again(self, number: int) -> dict[str, Any]:
        """Return the values of an unfinished trial; values that were not drawn yet are drawn now."""
        optuna = samplers.library()
        study_id = self._storage.get_study_id_from_name(self.name)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
        self._study.sampler = samplers.make(self.sampler, self.space, self.seed, number)
        return self._filled(optuna.trial.Trial(self._study, trial_id))

    def tell(self, outcome: Outcome, values: list[float] | None) -> None:
        """Store the result of a trial. values: one for each direction; None if the trial has none."""
        state = samplers.library().trial.TrialState
        trial = self._asked[outcome.number]
        if outcome.status != "FINISHED" or values is None:
            self._study.tell(trial, state=state.FAIL)
        elif outcome.pruned is not None and len(values) == 1:
            trial.report(values[0], outcome.pruned)
            self._study.tell(trial, state=state.PRUNED)
        else:
            self._study.tell(trial, values)

    def _trials(self) -> list[Any]:
        with _read(self.name):
            return list(self._study.get_trials(deepcopy=False))

    def _filled(self, trial: Any) -> dict[str, Any]:
        self._asked[trial.number] = trial
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return {key: part.suggested(trial, key) for key, part in self.space.items()}
            except ValueError as error:
                raise ConfigError(
                    "hydra.sweeper.study_name",
                    f"study {self.name!r} was made for another search space ({error}); choose another name",
                ) from error


def opened(url: str) -> Any:
    """Open Optuna's storage. Raises ConfigError if that fails.

    url: one of SQLAlchemy's. The part after sqlite:/// was checked as the path of a file; only a URL that was typed on
    the command line may have options after a `?`.
    """
    path = uris.sqlite_path(url)
    if path is not None and not ("?" in url and permission.wholly("hydra.sweeper.storage", url)):
        url = uris.sqlalchemy(path)
    try:
        return samplers.library().storages.get_storage(url)
    except ConfigError:
        raise
    except Exception as error:  # from SQLAlchemy, a driver, the file system
        reason = secrets.masked(brief(error))
        raise ConfigError("hydra.sweeper.storage", f"{secrets.masked(url)!r} does not open: {reason}") from error


@contextlib.contextmanager
def _read(name: str) -> Iterator[None]:
    """Raise ConfigError where the block fails to read a study: the storage holds what Optuna does not write there."""
    try:
        yield
    except Exception as error:  # from SQLAlchemy, json, Optuna's own checks
        reason = secrets.masked(brief(error))
        raise ConfigError("hydra.sweeper.storage", f"study {name!r} cannot be read: {reason}") from error


def _study(storage: Any, name: str, directions: list[str]) -> Any:
    optuna = samplers.library()
    with _read(name):
        study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
        present = [direction.name.lower() for direction in study.directions]
    if present != directions:
        raise ConfigError(
            "hydra.sweeper.study_name",
            f"study {name!r} exists already, with directions {', '.join(present)}; choose another name",
        )
    return study

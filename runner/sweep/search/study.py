"""The memory of a search: Optuna's study, which hands out trials and is told what became of them."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from runner.settings.errors import ConfigError, brief
from runner.settings.files import uris
from runner.settings.trust import permission, secrets
from runner.sweep.run.outcome import Outcome
from runner.sweep.search import samplers
from runner.sweep.search.space import Space, grid

#: The attribute of a trial that tells which sweep it belongs to: the id of its parent run.
OWNER = "runner.sweep"


class Study:
    """Trials of one sweep in a study that may outlive it."""

    def __init__(
        self, storage: str, name: str, space: Space, sampler: dict[str, Any], seed: int, directions: list[str]
    ) -> None:
        """Raises ConfigError if the storage does not open, or holds a study of this name that is another one."""
        self.space, self.sampler, self.seed, self.name = space, sampler, seed, name
        self._study = _made(storage, name, directions)
        self._asked: dict[int, Any] = {}

    @property
    def count(self) -> int:
        """Trials of any state."""
        return len(self._trials())

    def total(self, wanted: int) -> int:
        """How many trials the study is to come to: a grid has an end."""
        if samplers.named(self.sampler) != "grid":
            return wanted
        size = 1
        for values in grid(self.space).values():
            size *= len(values)
        return min(wanted, size)

    def left_by(self, parent: str) -> list[int]:
        """Trials that the sweep `parent` has left unfinished. Raises ConfigError if another sweep has, too."""
        state = samplers.library().trial.TrialState
        running = [trial for trial in self._trials() if trial.state is state.RUNNING]
        for trial in running:
            owner = str(trial.user_attrs.get(OWNER, parent))
            if owner != parent:
                owner = owner if owner.isalnum() else "unknown"
                raise ConfigError(
                    "hydra.sweeper.study_name",
                    f"trial {trial.number} of study {self.name!r} belongs to sweep {owner[:8]}, which has not ended;"
                    f" runner resume {owner[:8]} goes on with it, another study_name begins anew",
                )
        return [trial.number for trial in running]

    def ask(self, parent: str) -> tuple[int, dict[str, Any]]:
        """A new trial: its number, and its value for every key."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that samplers are experimental is for Optuna's own users
            self._study.sampler = samplers.make(self.sampler, self.space, self.seed, self.count)
            trial = self._study.ask()
            trial.set_user_attr(OWNER, parent)
        return trial.number, self._filled(trial)

    def again(self, number: int) -> dict[str, Any]:
        """The values of a trial that is unfinished; those that it had not got yet are drawn now."""
        optuna = samplers.library()
        frozen = self._trials()[number]
        self._study.sampler = samplers.make(self.sampler, self.space, self.seed, number)
        return self._filled(optuna.trial.Trial(self._study, frozen._trial_id))

    def tell(self, told: Outcome, values: list[float] | None) -> None:
        """What became of a trial. values: one for each direction; None where there are none."""
        state = samplers.library().trial.TrialState
        trial = self._asked[told.number]
        try:
            if told.status != "FINISHED" or values is None:
                self._study.tell(trial, state=state.FAIL)
            elif told.pruned is not None and len(values) == 1:
                trial.report(values[0], told.pruned)
                self._study.tell(trial, state=state.PRUNED)
            else:
                self._study.tell(trial, values)
        except RuntimeError as error:
            # After its last point a grid wants to stop Optuna's own loop, which is not running here.
            if "Study.stop" not in str(error):
                raise

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
    """Optuna's storage. Raises ConfigError if it does not open.

    After sqlite:/// comes the path of a file, and was checked as one; a person may type options of SQLAlchemy's too.
    """
    path = uris.sqlite_path(url)
    if path is not None and not ("?" in url and permission.wholly("hydra.sweeper.storage", url)):
        url = uris.sqlalchemy(path)
    try:
        return samplers.library().storages.get_storage(url)
    except ConfigError:
        raise
    except Exception as error:  # of SQLAlchemy, of a driver, of the file system
        reason = secrets.masked(brief(error))
        raise ConfigError("hydra.sweeper.storage", f"{secrets.masked(url)!r} does not open: {reason}") from error


@contextlib.contextmanager
def _read(name: str) -> Iterator[None]:
    """Around what reads a study. Raises ConfigError where the storage holds what Optuna does not write there."""
    try:
        yield
    except Exception as error:  # of SQLAlchemy, of json, of Optuna's own checks
        reason = secrets.masked(brief(error))
        raise ConfigError("hydra.sweeper.storage", f"study {name!r} cannot be read: {reason}") from error


def _made(storage: str, name: str, directions: list[str]) -> Any:
    optuna, kept = samplers.library(), opened(storage)
    with _read(name):
        study = optuna.create_study(storage=kept, study_name=name, directions=directions, load_if_exists=True)
        there = [direction.name.lower() for direction in study.directions]
    if there != directions:
        raise ConfigError(
            "hydra.sweeper.study_name",
            f"study {name!r} is there already, and its directions are {', '.join(there)}; choose another name",
        )
    return study

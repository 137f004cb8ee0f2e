"""A search: trials are asked for, run as jobs of a sweep, and their results told, until there are enough."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.settings.errors import ConfigError
from runner.settings.files import uris
from runner.settings.trust import record_reading, terminal
from runner.sweep.manifest import Job
from runner.sweep.run.outcome import Outcome
from runner.sweep.search import space
from runner.sweep.search.study import Study, opened

if TYPE_CHECKING:
    from runner.sweep.under_way import Sweep


@dataclass
class Wish:
    """What is searched for, and how; frozen with the sweep."""

    space: dict[str, dict[str, Any]]  # key -> what `space.plain` makes of an interval or a choice
    objectives: list[tuple[str, str]]  # (metric, min | max)
    sampler: dict[str, Any]
    seed: int
    n_trials: int  # in total, however often it is interrupted
    n_jobs: int  # trials that are asked for, and run, at once
    max_failure_rate: float  # of these; more, and no further ones are asked for
    storage: str | None = None  # null: a file in the sweep's shared folder
    study_name: str | None = None  # null: the id of the sweep's run
    fixed: list[str] = field(default_factory=list)  # words that hold for all trials
    bases: list[dict[str, Any]] = field(default_factory=list)  # configurations before a trial's values; see trials.py

    def study(self, parent: str, folder: Path) -> Study:
        """The study, made if it is not there. folder: that the jobs of the sweep `parent` share."""
        folder.mkdir(parents=True, exist_ok=True)
        storage = self.storage or uris.sqlalchemy(folder.absolute() / "study.db")
        name = self.study_name or parent
        directions = ["minimize" if mode == "min" else "maximize" for _, mode in self.objectives]
        return Study(storage, name, space.read(self.space), self.sampler, self.seed, directions)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def read(values: dict[str, Any]) -> Wish:
    """Read what `plain` wrote. Raises ConfigError for anything else."""
    try:
        objectives = [(metric, mode) for metric, mode in values["objectives"]]
        found = Wish(**{**values, "objectives": objectives})
        space.read(found.space)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(
            "sweep.resume", f"the record of the search is damaged or of another version: {error}"
        ) from None
    record_reading.checked(found, Wish, "the record of the search")
    if not objectives or not all(isinstance(m, str) and mode in ("min", "max") for m, mode in objectives):
        raise ConfigError("sweep.resume", "the record of the search names no metric with min or max")
    if not all({"presets", "config"} <= base.keys() for base in found.bases):
        raise ConfigError("sweep.resume", "the record of the search holds no configuration")
    return found


def check(wish: Wish) -> None:
    """What can be said before anything is made. Raises ConfigError."""
    from runner.sweep.search import samplers

    space.check(space.read(wish.space))
    samplers.check(wish.sampler, space.read(wish.space))
    check_numbers(wish)
    if len(wish.objectives) > 1 and samplers.named(wish.sampler) == "cmaes":
        raise ConfigError("hydra/sweeper/sampler", "cmaes takes one objective; use tpe or nsgaii")
    if wish.storage:
        _check_storage(wish)


def check_numbers(wish: Wish) -> None:
    for key, least in (("n_trials", 1), ("n_jobs", 1)):
        value = getattr(wish, key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"hydra.sweeper.{key}", f"{value!r} is not a whole number of at least {least}")
    rate = wish.max_failure_rate
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise ConfigError("hydra.sweeper.max_failure_rate", f"{rate!r} is not a number from 0 to 1")


def _check_storage(wish: Wish) -> None:
    """One that does not open, and a study that has enough trials already."""
    if not wish.study_name:
        opened(str(wish.storage))
        return
    study = wish.study("", Path())
    study.left_by("")
    if study.count >= study.total(wish.n_trials):
        raise ConfigError(
            "hydra.sweeper.n_trials",
            f"study {wish.study_name!r} has {study.count} trials already; give a larger number, or another study_name",
        )


def search(wish: Wish, sweep: "Sweep", study: Study, make: Callable[[int, dict[str, Any]], Job]) -> None:
    """Run trials until the study has as many as wished for. What an earlier process has left comes first.

    make: from a trial's number and values to its job.
    """
    parent, total = sweep.told.parent, study.total(wish.n_trials)
    there = {job.number: job for job in sweep.plan.jobs}
    if any(number >= study.count for number in there):
        raise ConfigError(
            "hydra.sweeper.storage",
            f"study {study.name!r} does not know the trials of sweep {parent[:8]}; bring it back",
        )
    left = study.left_by(parent)
    sweep.leave(there.keys() - set(left))
    while left or study.count < total:
        trials = {number: study.again(number) for number in left[: wish.n_jobs]}
        left = left[wish.n_jobs :]
        while len(trials) < wish.n_jobs and study.count < total:
            number, values = study.ask(parent)
            trials[number] = values
        outcomes = sweep.run([there.get(number) or make(number, values) for number, values in trials.items()])
        for outcome in outcomes:
            study.tell(outcome, reached(outcome, wish.objectives))
        failed = sum(outcome.status != "FINISHED" for outcome in outcomes)
        if failed > wish.max_failure_rate * len(outcomes):
            terminal.say(
                f"the search ends after {study.count} of {total} trials: {failed} of the last {len(outcomes)} failed,"
                f" more than hydra.sweeper.max_failure_rate={wish.max_failure_rate:g}"
            )
            return


def reached(told: Outcome, objectives: list[tuple[str, str]]) -> list[float] | None:
    """A value for each objective: of one, the best; of several, the last of each, which belong to the same weights."""
    if len(objectives) == 1:
        return None if told.value is None else [told.value]
    found = [told.metrics.get(metric) for metric, _ in objectives]
    return None if any(value is None for value in found) else found  # type: ignore[return-value]

"""A search: it asks a study for trials, runs them as jobs of a sweep and stores the results, until there are enough."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.settings.errors import ConfigError
from runner.settings.files import uris
from runner.settings.trust import record_reading, terminal
from runner.sweeps.manifest import Job
from runner.sweeps.run.outcome import Outcome
from runner.sweeps.search import space
from runner.sweeps.search.study import Study, opened

if TYPE_CHECKING:
    from runner.sweeps.under_way import Sweep


@dataclass
class SearchSpec:
    """The specification of a search: space, objectives, sampler and limits; recorded in the manifest."""

    space: dict[str, dict[str, Any]]  # as `space.plain` returns it
    objectives: list[tuple[str, str]]  # (metric, min | max)
    sampler: dict[str, Any]
    seed: int
    n_trials: int  # in total, over all interruptions
    n_jobs: int  # trials that run at once
    max_failure_rate: float  # of the trials that run at once; above it the search ends
    storage: str | None = None  # None: a file in the folder that the jobs share
    study_name: str | None = None  # None: the id of the parent run
    fixed: list[str] = field(default_factory=list)  # overrides of all trials
    bases: list[dict[str, Any]] = field(
        default_factory=list
    )  # configurations before the values of a trial; see cli/compose/trials.py

    def study(self, parent: str, folder: Path) -> Study:
        """Open the study, or create it. folder: the one that the jobs of the sweep `parent` share."""
        folder.mkdir(parents=True, exist_ok=True)
        storage = self.storage or uris.sqlalchemy(folder.absolute() / "study.db")
        name = self.study_name or parent
        directions = ["minimize" if mode == "min" else "maximize" for _, mode in self.objectives]
        return Study(storage, name, space.read(self.space), self.sampler, self.seed, directions)

    def plain(self) -> dict[str, Any]:
        """Return the specification as a mapping that JSON can hold."""
        return asdict(self)


def read(values: dict[str, Any]) -> SearchSpec:
    """Return the specification that `SearchSpec.plain` was called on. Raises ConfigError for anything else."""
    try:
        objectives = [(metric, mode) for metric, mode in values["objectives"]]
        spec = SearchSpec(**{**values, "objectives": objectives})
        space.read(spec.space)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(
            "sweep.resume", f"the record of the search is damaged or of another version: {error}"
        ) from None
    record_reading.checked(spec, SearchSpec, "the record of the search")
    if not objectives or not all(isinstance(m, str) and mode in ("min", "max") for m, mode in objectives):
        raise ConfigError("sweep.resume", "the record of the search names no metric with min or max")
    if not all({"presets", "config"} <= base.keys() for base in spec.bases):
        raise ConfigError("sweep.resume", "the record of the search holds no configuration")
    return spec


def check(spec: SearchSpec) -> None:
    """Raise ConfigError for a wrong space, sampler, number or storage, and for a study that has all its trials."""
    from runner.sweeps.search import samplers

    space.check(space.read(spec.space))
    samplers.check(spec.sampler, space.read(spec.space))
    check_numbers(spec)
    if len(spec.objectives) > 1 and samplers.named(spec.sampler) == "cmaes":
        raise ConfigError("hydra/sweeper/sampler", "cmaes takes one objective; use tpe or nsgaii")
    if spec.storage:
        _check_storage(spec)


def check_numbers(spec: SearchSpec) -> None:
    """Raise ConfigError for a number of trials, of jobs or of failures that is out of range."""
    for key, least in (("n_trials", 1), ("n_jobs", 1)):
        value = getattr(spec, key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"hydra.sweeper.{key}", f"{value!r} is not a whole number of at least {least}")
    rate = spec.max_failure_rate
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise ConfigError("hydra.sweeper.max_failure_rate", f"{rate!r} is not a number from 0 to 1")


def _check_storage(spec: SearchSpec) -> None:
    """Raise ConfigError for a storage that does not open, and for a study that has enough trials already."""
    if not spec.study_name:
        opened(str(spec.storage))
        return
    study = spec.study("", Path())
    study.left_by("")
    if study.count >= study.total(spec.n_trials):
        raise ConfigError(
            "hydra.sweeper.n_trials",
            f"study {spec.study_name!r} has {study.count} trials already; give a larger number, or another study_name",
        )


def search(spec: SearchSpec, sweep: "Sweep", study: Study, make: Callable[[int, dict[str, Any]], Job]) -> None:
    """Run trials until the study has `n_trials`; unfinished trials of an earlier process come first.

    make: makes a job of a trial's number and values.
    """
    parent, total = sweep.info.parent, study.total(spec.n_trials)
    jobs = {job.number: job for job in sweep.plan.jobs}
    if any(number >= study.count for number in jobs):
        raise ConfigError(
            "hydra.sweeper.storage",
            f"study {study.name!r} does not hold the trials of sweep {parent[:8]}; put its storage back",
        )
    unfinished = study.left_by(parent)
    sweep.leave(jobs.keys() - set(unfinished))
    while unfinished or study.count < total:
        trials = {number: study.again(number) for number in unfinished[: spec.n_jobs]}
        unfinished = unfinished[spec.n_jobs :]
        while len(trials) < spec.n_jobs and study.count < total:
            number, values = study.ask(parent)
            trials[number] = values
        outcomes = sweep.run([jobs.get(number) or make(number, values) for number, values in trials.items()])
        for outcome in outcomes:
            study.tell(outcome, reached(outcome, spec.objectives))
        failed = sum(outcome.status != "FINISHED" for outcome in outcomes)
        if failed > spec.max_failure_rate * len(outcomes):
            terminal.say(
                f"the search ends after {study.count} of {total} trials: {failed} of the last {len(outcomes)} failed,"
                f" more than hydra.sweeper.max_failure_rate={spec.max_failure_rate:g}"
            )
            return


def reached(outcome: Outcome, objectives: list[tuple[str, str]]) -> list[float] | None:
    """Return a value for each objective, or None if one is missing.

    For one objective it is the best value; for several the last of each, so that all belong to the same weights.
    """
    if len(objectives) == 1:
        return None if outcome.value is None else [outcome.value]
    values = [outcome.metrics.get(metric) for metric, _ in objectives]
    return None if any(value is None for value in values) else values  # type: ignore[return-value]

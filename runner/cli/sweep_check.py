"""The jobs of a sweep, all checked before the first one begins."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from runner.cli.answers import all_problems
from runner.cli.compose import configuration
from runner.cli.compose.alike import Alike
from runner.cli.guard import hydra_rules, studies
from runner.settings import Settings
from runner.settings.errors import ConfigError, Problems
from runner.settings.trust import secrets, terminal
from runner.sweeps.manifest import Job, Manifest, varied
from runner.sweeps.report.table import FOLD

if TYPE_CHECKING:
    from runner.training.checking.known import Known

#: Wrong jobs whose problems are printed.
SHOWN = 10

Words = list[str]
#: (number, words) -> the job's configuration
Compose = Callable[[int, Words], DictConfig]


@dataclass
class CheckedJob:
    """A job that can be run."""

    number: int
    settings: Settings
    config: dict[str, Any]  # resolved
    mode: str  # which values of its monitored metric are better
    validates: bool  # whether there is validation data

    @property
    def monitor(self) -> str:
        """The metric by which the job's best checkpoint is chosen."""
        return self.settings.trainer.monitor or ("valid/loss" if self.validates else "train/loss")


def check(
    jobs: list[Words],
    compose: Compose,
    show: Callable[[Any, Any, str], None] | None = None,
    alike: Alike | None = None,
) -> list[CheckedJob]:
    """Return the jobs that can be run. Raises SweepError if any cannot, unless sweep.keep_going is true.

    show: is called with the settings, the result of the check and the name of every right job.
    alike: composes jobs that differ in numbers alone; None: each is composed by Hydra.
    """
    from runner.training.checking.known import Known

    checked: list[CheckedJob] = []
    wrong: list[str] = []
    checking = _Checking(compose, show, alike, Known())
    for number, job in enumerate(jobs):
        try:
            checked.append(checking.quickly(number, job) or checking.wholly(number, job))
        except configuration.ERRORS as error:
            name = _name(number, job)
            wrong.append(
                f"{name}: {all_problems.report(error, job, partial(compose, number))}" if len(wrong) < SHOWN else name
            )
    if wrong:
        _report(wrong, len(jobs), checking.keeps_going)
    return checked


def alike(sweep: DictConfig) -> Alike | None:
    """Return what composes jobs that differ in numbers; None where their folders are named after these."""
    return None if hydra_rules.folders_vary(sweep) else Alike()


@dataclass
class _Checking:
    """The checks of a sweep's jobs, with what they have found so far."""

    compose: Compose
    show: Callable[[Any, Any, str], None] | None
    alike: Alike | None
    known: "Known"
    keeps_going: bool = False
    said: set[str] = field(default_factory=set)  # what is left out of studies

    def quickly(self, number: int, job: Words) -> CheckedJob | None:
        """Check a job that is like an earlier one; None without one, or if the job is wrong: `wholly` says why."""
        made = self.alike.made(job) if self.alike is not None else None
        if made is None:
            return None
        try:
            return self._checked(number, job, *made)
        except configuration.ERRORS:
            return None

    def wholly(self, number: int, job: Words) -> CheckedJob:
        """Compose a job and check it. Raises ConfigError, and errors of Hydra and OmegaConf."""
        config = self.compose(number, job)
        for line in studies.remarks:
            if line not in self.said:
                self.said.add(line)
                terminal.say(line)
        self.keeps_going = self.keeps_going or bool(OmegaConf.select(config, "sweep.keep_going"))
        settings = configuration.settings(config, job)
        plain: Any = OmegaConf.to_container(config, resolve=True)
        if self.alike is not None:
            self.alike.learn(job, config, settings, plain)
        return self._checked(number, job, settings, plain)

    def _checked(self, number: int, job: Words, settings: Settings, plain: dict[str, Any]) -> CheckedJob:
        from runner.tracking.read import restoring
        from runner.training.checking import checks

        problems, start = Problems(), settings.model.start
        if isinstance(start, Mapping) and start.get("run") == "last":
            problems.add("model.start.run", "last is another run once the sweep has begun; name one by its id")
            settings = restoring.without_start(settings)  # which need not be looked for
        with problems.collect():
            result = checks.check(settings, known=self.known)
        problems.raise_all()
        if self.show is not None:
            self.show(settings, result, _name(number, job))
        return CheckedJob(number, settings, plain, result.kind.mode, result.data.valid is not None)


def _name(number: int, job: Words) -> str:
    return f"job {number} ({' '.join(map(secrets.word, job))})"


def manifest(checked: list[CheckedJob], jobs: list[Words], study: str, launcher: list[str]) -> Manifest:
    """Return the plan of what is run. Raises ConfigError if jobs would be recorded in different places."""
    if not checked:
        raise ConfigError("", "no job of the sweep can be run")
    for key in ("uri", "experiment"):
        if len({getattr(job.settings.tracking, key) for job in checked}) > 1:
            raise ConfigError(f"tracking.{key}", "a sweep is recorded in one place; give one value")
    if len({str(job.settings.sweep) for job in checked}) > 1:
        raise ConfigError("sweep", "these keys are of the sweep as a whole; give each one value")
    values = varied(jobs)
    if any(FOLD in one for one in values):
        _check_folds(checked[0].settings)
    plans = [Job(job.number, jobs[job.number], values[job.number], job.config) for job in checked]
    return Manifest(study, launcher, checked[0].monitor, checked[0].mode, plans, numbered=len(jobs))


def _check_folds(settings: Settings) -> None:
    """Raise ConfigError for keys of a sweep that would rank or stop folds, which are parts of one result."""
    if settings.sweep.keep == "best":
        raise ConfigError("sweep.keep", "best keeps one fold of a sweep over data.fold; keep all, or none")
    if settings.sweep.pruner is not None:
        raise ConfigError(
            "sweep.pruner",
            "would stop folds that others beat, and with them their mean; leave it out",
        )


def _report(wrong: list[str], total: int, keeps_going: bool) -> None:
    """Raise SweepError for the wrong jobs, or print them where the others are run."""
    further = [f"and {len(wrong) - SHOWN:,} more"] if len(wrong) > SHOWN else []
    if not keeps_going:
        remedy = "no job was begun; sweep.keep_going=true runs the others"
        raise SweepError("\n".join([*wrong[:SHOWN], *further, f"{len(wrong)} of {total} jobs are wrong, and {remedy}"]))
    terminal.say("\n".join([*(f"left out: {line}" for line in wrong[:SHOWN]), *further]))


class SweepError(ConfigError):
    """Wrong jobs of a sweep, of which none was begun."""

    def __init__(self, message: str) -> None:
        super().__init__("", message)


def capped(jobs: Iterable[Words], most: int) -> list[Words]:
    """Return the jobs. Raises ConfigError for more than `most`."""
    listed = []
    for job in jobs:
        listed.append(list(job))
        if len(listed) > most:
            raise ConfigError("", f"the sweep has more than {most:,} jobs; sweep over fewer values")
    return listed

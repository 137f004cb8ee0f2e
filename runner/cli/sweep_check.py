"""The jobs of a sweep, all checked before the first one begins."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from runner.cli.answers import all_problems
from runner.cli.compose import configuration
from runner.settings import Settings
from runner.settings.errors import ConfigError
from runner.settings.trust import secrets, terminal
from runner.sweep.manifest import Job, Manifest, varied

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


def check(jobs: list[Words], compose: Compose, show: Callable[[Any, Any, str], None] | None = None) -> list[CheckedJob]:
    """Return the jobs that can be run. Raises SweepError if any cannot, unless sweep.keep_going is true.

    show: is called with the settings, the result of the check and the name of every right job.
    """
    from runner.training.checking.known import Known

    checked: list[CheckedJob] = []
    wrong: list[str] = []
    keeps_going, known = False, Known()
    for number, job in enumerate(jobs):
        name = f"job {number} ({' '.join(map(secrets.word, job))})"
        try:
            config = compose(number, job)
            keeps_going = keeps_going or bool(OmegaConf.select(config, "sweep.keep_going"))
            checked.append(_checked(config, number, job, name, show, known))
        except configuration.ERRORS as error:
            wrong.append(
                f"{name}: {all_problems.report(error, job, partial(compose, number))}" if len(wrong) < SHOWN else name
            )
    if wrong:
        _report(wrong, len(jobs), keeps_going)
    return checked


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
    plans = [Job(job.number, jobs[job.number], values[job.number], job.config) for job in checked]
    return Manifest(study, launcher, checked[0].monitor, checked[0].mode, plans, numbered=len(jobs))


def _checked(
    config: DictConfig, number: int, job: Words, name: str, show: Callable[[Any, Any, str], None] | None, known: "Known"
) -> CheckedJob:
    from runner.training.checking import checks

    settings = configuration.settings(config, job)
    result = checks.check(settings, known=known)
    if show is not None:
        show(settings, result, name)
    plain = OmegaConf.to_container(config, resolve=True)
    return CheckedJob(number, settings, plain, result.kind.mode, result.data.valid is not None)  # type: ignore[arg-type]


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

"""All jobs of a sweep checked before the first one begins."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from runner.cli.answers import all_problems
from runner.cli.compose import configuration
from runner.settings import Settings
from runner.settings.errors import ConfigError
from runner.settings.trust import secrets, terminal
from runner.sweep.manifest import Job, Manifest, varied

#: Wrong jobs that are told one by one.
TOLD = 10

Words = list[str]
#: (number, words) -> the job's configuration
Compose = Callable[[int, Words], DictConfig]


@dataclass
class Good:
    """A job that can be run."""

    number: int
    settings: Settings
    config: dict[str, Any]  # resolved
    mode: str  # which values of its monitored metric are better
    validates: bool  # whether there is validation data

    @property
    def monitor(self) -> str:
        return self.settings.trainer.monitor or ("valid/loss" if self.validates else "train/loss")


def check(jobs: list[Words], compose: Compose, show: Callable[[Any, Any, str], None] | None = None) -> list[Good]:
    """The jobs that can be run. Raises ConfigError if any cannot, unless sweep.keep_going is true.

    show: is handed the settings, what the check has found out and the name of every right job.
    """
    good: list[Good] = []
    wrong: list[str] = []
    going = False
    for number, job in enumerate(jobs):
        name = f"job {number} ({' '.join(map(secrets.word, job))})"
        try:
            config = compose(number, job)
            going = going or bool(OmegaConf.select(config, "sweep.keep_going"))
            good.append(_checked(config, number, job, name, show))
        except configuration.ERRORS as error:
            wrong.append(
                f"{name}: {all_problems.told(error, job, partial(compose, number))}" if len(wrong) < TOLD else name
            )
    if wrong:
        _tell(wrong, len(jobs), going)
    return good


def manifest(good: list[Good], jobs: list[Words], study: str, launcher: list[str]) -> Manifest:
    """What is going to be run. Raises ConfigError where jobs would be recorded in different places."""
    if not good:
        raise ConfigError("", "no job of the sweep can be run")
    for key in ("uri", "experiment"):
        if len({getattr(job.settings.tracking, key) for job in good}) > 1:
            raise ConfigError(f"tracking.{key}", "a sweep is recorded in one place; give one value")
    if len({str(job.settings.sweep) for job in good}) > 1:
        raise ConfigError("sweep", "these keys are of the sweep as a whole; give each one value")
    told = varied(jobs)
    made = [Job(job.number, jobs[job.number], told[job.number], job.config) for job in good]
    return Manifest(study, launcher, good[0].monitor, good[0].mode, made, numbered=len(jobs))


def _checked(
    config: DictConfig, number: int, job: Words, name: str, show: Callable[[Any, Any, str], None] | None
) -> Good:
    from runner.training.checking import checks

    settings = configuration.settings(config, job)
    found = checks.check(settings)
    if show is not None:
        show(settings, found, name)
    plain = OmegaConf.to_container(config, resolve=True)
    return Good(number, settings, plain, found.mode, found.data.valid is not None)  # type: ignore[arg-type]


def _tell(wrong: list[str], total: int, going: bool) -> None:
    further = [f"and {len(wrong) - TOLD:,} more"] if len(wrong) > TOLD else []
    if not going:
        remedy = "no job was begun; sweep.keep_going=true runs the others"
        raise SweepError("\n".join([*wrong[:TOLD], *further, f"{len(wrong)} of {total} jobs are wrong, and {remedy}"]))
    terminal.say("\n".join([*(f"left out: {line}" for line in wrong[:TOLD]), *further]))


class SweepError(ConfigError):
    """Jobs of a sweep are wrong, and none was begun."""

    def __init__(self, message: str) -> None:
        super().__init__("", message)


def capped(jobs: Iterable[Words], most: int) -> list[Words]:
    """The jobs, if there are not more than `most`."""
    found = []
    for job in jobs:
        found.append(list(job))
        if len(found) > most:
            raise ConfigError("", f"the sweep has more than {most:,} jobs; sweep over fewer values")
    return found

"""All jobs of a sweep checked before the first one begins."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from runner import composed, gathered, secrets
from runner.errors import ConfigError

#: Wrong jobs that are told one by one.
TOLD = 10

Job = list[str]
Compose = Callable[[Job], DictConfig]


def check(jobs: list[Job], compose: Compose, show: Callable[[Any, Any, str], None] | None = None) -> list[Job]:
    """The jobs that can be run. Raises ConfigError if any cannot, unless sweep.keep_going is true.

    show: is handed the settings, what the check has found out and the name of every right job.
    """
    good, wrong, going = [], [], False
    for number, job in enumerate(jobs):
        name = f"job {number} ({secrets.masked(' '.join(job))})"
        try:
            config = compose(job)
            going = going or bool(OmegaConf.select(config, "sweep.keep_going"))
            _check(config, job, name, show)
            good.append(job)
        except composed.ERRORS as error:
            wrong.append(f"{name}: {gathered.told(error, job, compose)}" if len(wrong) < TOLD else name)
    if wrong:
        _tell(wrong, len(jobs), going)
    return good


def _check(config: DictConfig, job: Job, name: str, show: Callable[[Any, Any, str], None] | None) -> None:
    from runner import checks

    settings = composed.settings(config, job)
    found = checks.check(settings)
    if show is not None:
        show(settings, found, name)


def _tell(wrong: list[str], total: int, going: bool) -> None:
    further = [f"and {len(wrong) - TOLD:,} more"] if len(wrong) > TOLD else []
    if not going:
        remedy = "no job was begun; sweep.keep_going=true runs the others"
        raise SweepError("\n".join([*wrong[:TOLD], *further, f"{len(wrong)} of {total} jobs are wrong, and {remedy}"]))
    print(secrets.masked("\n".join([*(f"left out: {line}" for line in wrong[:TOLD]), *further])), file=sys.stderr)


class SweepError(ConfigError):
    """Jobs of a sweep are wrong, and none was begun."""

    def __init__(self, message: str) -> None:
        super().__init__("", message)


def capped(jobs: Iterable[Job], most: int) -> list[Job]:
    """The jobs, if there are not more than `most`."""
    found = []
    for job in jobs:
        found.append(list(job))
        if len(found) > most:
            raise ConfigError("", f"the sweep has more than {most:,} jobs; sweep over fewer values")
    return found

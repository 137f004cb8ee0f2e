"""What a sweep is going to run, frozen: every job's whole configuration, whatever becomes of the files."""

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Any

from runner.settings import Settings, made
from runner.settings.errors import ConfigError
from runner.settings.trust import record_reading, secrets
from runner.settings.trust.limits import JOBS
from runner.settings.values import typed

#: The parent run's artifact that holds it.
NAME = "manifest.json"


@dataclass
class Job:
    """One run of a sweep."""

    number: int  # from 0
    words: list[str]  # its overrides, as one would type them for this run alone
    varied: dict[str, str]  # key -> value of what tells it from the others
    config: dict[str, Any]  # resolved
    run_id: str = ""  # its own run, if it has begun before

    @property
    def name(self) -> str:
        """`optimizer.lr=0.1, seed=2`."""
        return ", ".join(f"{key}={value}" for key, value in self.varied.items()) or f"job {self.number}"

    @property
    def command(self) -> str:
        """What one types to run it again by itself."""
        own = [word for word in self.words if not word.lstrip("+~").startswith("sweep.")]
        return secrets.masked(shlex.join(["runner", *map(secrets.word, own)]))


@dataclass
class Manifest:
    """All jobs, and how they are run."""

    study: str  # the experiments file, or `runner`
    launcher: list[str]  # words that choose and set up Hydra's launcher and sweeper
    metric: str  # what jobs are ranked by
    mode: str  # which of its values are better: min | max
    jobs: list[Job] = field(default_factory=list)
    numbered: int = 0  # jobs that have numbers, those included that are left out (sweep.keep_going)
    search: dict[str, Any] | None = None  # of jobs that come one after the other; see search.Wish

    @property
    def total(self) -> int:
        """Jobs, those of a search included that nobody has asked for yet."""
        return max(len(self.jobs), self.search["n_trials"] if self.search else 0)

    @property
    def objectives(self) -> list[tuple[str, str]]:
        """(metric, min | max): several only of a search."""
        return [(metric, mode) for metric, mode in self.search["objectives"]] if self.search else []

    @property
    def title(self) -> str:
        """`optimizer.lr=0.1,0.5 seed=1,2`: what is varied, with all values; of a search what it may try."""
        if self.search:
            return f"search over {', '.join(self.search['space'])}"[:250]
        keys = dict.fromkeys(key for job in self.jobs for key in job.varied)
        told = [f"{key}={','.join(dict.fromkeys(j.varied[key] for j in self.jobs if key in j.varied))}" for key in keys]
        return " ".join(told)[:250] or self.study

    def text(self) -> str:
        """As JSON, without secrets."""
        jobs = [{**vars(job), "run_id": "", "words": [*map(secrets.word, job.words)]} for job in self.jobs]
        return json.dumps(secrets.without({**vars(self), "jobs": jobs}), indent=1)


def read(text: str) -> Manifest:
    """What `Manifest.text` gave. Raises ConfigError for anything else."""
    told = record_reading.decoded(text, dict[str, Any], f"{NAME} of the sweep")
    try:
        jobs = [Job(**{**job, "run_id": ""}) for job in told.pop("jobs")]  # which run is its own, the store knows
        found = Manifest(**told, jobs=jobs)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError("sweep.resume", f"{NAME} of the sweep is damaged or of another version: {error}") from error
    _check(found)
    return found


#: What may be recorded of how a sweep is run: Hydra's launcher with its values, and the sweeper of a search.
LAUNCHER = re.compile(
    r"\+{0,2}hydra/launcher=\w+|\+{0,2}hydra\.launcher\.[\w.]+=.*|hydra/sweeper=(optuna|checked)", re.DOTALL
)


def _check(found: Manifest) -> None:
    """Raise ConfigError for a record that is no manifest in all its parts: its words become a command line."""
    record_reading.checked(found, Manifest, f"{NAME} of the sweep")
    if len(found.jobs) > JOBS:
        raise ConfigError(
            "sweep.resume", f"{NAME} of the sweep has {len(found.jobs):,} jobs; expected at most {JOBS:,}"
        )
    is_search = "hydra/sweeper=optuna" in found.launcher
    if (found.search is not None) != is_search or not (found.jobs or is_search):
        raise ConfigError("sweep.resume", f"{NAME} of the sweep has nothing to run")
    if found.mode not in ("min", "max") or not 0 <= found.numbered <= JOBS:
        raise ConfigError("sweep.resume", f"{NAME} of the sweep is damaged: it ranks or counts no jobs")
    if len({job.number for job in found.jobs}) < len(found.jobs):
        raise ConfigError("sweep.resume", f"{NAME} of the sweep is damaged: two jobs have one number")
    for word in found.launcher:
        if LAUNCHER.fullmatch(word) is None:
            raise ConfigError(
                "sweep.resume", f"{NAME} of the sweep says {record_reading.cut(word)!r}, which sets up no launcher"
            )
    for job in found.jobs:
        record_reading.checked(job, Job, f"job {record_reading.cut(str(job.number))} in {NAME}")
        if not 0 <= job.number < JOBS:
            raise ConfigError("sweep.resume", f"{NAME} of the sweep has a job {job.number}; expected 0 to {JOBS - 1:,}")
        typed.check(made(job.config), Settings)


def varied(jobs: list[list[str]]) -> list[dict[str, str]]:
    """Of each job's words those whose value is not the same in all jobs: key -> value, without secrets."""
    told = [dict(word.partition("=")[::2] for word in job if "=" in word) for job in jobs]
    keys = dict.fromkeys(key for job in told for key in job)
    differ = [key for key in keys if len({job.get(key) for job in told}) > 1]
    shown = [{key: secrets.without(job[key], key) for key in differ if key in job} for job in told]
    return [{key.lstrip("+"): value for key, value in job.items()} for job in shown]


def same(one: Manifest, other: Manifest) -> bool:
    """Whether both run the same jobs, as far as is known without secrets."""
    words = [[[secrets.word(word) for word in job.words] for job in plan.jobs] for plan in (one, other)]
    return words[0] == words[1]


def complete(recorded: Manifest, typed: Manifest | None = None) -> Manifest:
    """A record with the secrets that it was not told, of the same jobs as they were typed again.

    Raises ConfigError for one that is needed and not there.
    """
    for job, again in zip(recorded.jobs, typed.jobs if typed else recorded.jobs, strict=True):
        job.config = secrets.filled(job.config, again.config)
        key = secrets.missing({name: value for name, value in job.config.items() if name != "tracking"})
        if key:
            raise ConfigError(
                "", f"{key} is a secret and in no record; type the sweep's command again, with sweep.resume=last"
            )
    return recorded

"""The manifest of a sweep: every job's whole configuration, frozen before the first job starts."""

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Any

from runner.settings import Settings, completed, made
from runner.settings.errors import ConfigError
from runner.settings.trust import record_reading, secrets
from runner.settings.trust.limits import JOBS
from runner.settings.values import typed
from runner.sweeps.masked import Masked

#: The parent run's artifact that holds the manifest.
NAME = "manifest.json"


@dataclass
class Job:
    """One run of a sweep."""

    number: int  # from 0
    words: list[str]  # its overrides, as one would type them for this run alone
    varied: dict[str, str]  # key -> value, of the keys whose values differ between the jobs
    config: dict[str, Any]  # resolved
    run_id: str = ""  # its run, if it was started before

    @property
    def name(self) -> str:
        """The varied values, as in `optimizer.lr=0.1, seed=2`."""
        return ", ".join(f"{key}={value}" for key, value in self.varied.items()) or f"job {self.number}"

    @property
    def command(self) -> str:
        """The command line that runs this job alone, with secrets masked."""
        own = [word for word in self.words if not word.lstrip("+~").startswith("sweep.")]
        return secrets.masked(shlex.join(["runner", *map(secrets.word, own)]))


@dataclass
class Manifest:
    """All jobs of a sweep, and how they are run."""

    study: str  # the experiments file, or `runner`
    launcher: list[str]  # words that choose and set up Hydra's launcher and sweeper
    metric: str  # what jobs are ranked by
    mode: str  # which of its values are better: min | max
    jobs: list[Job] = field(default_factory=list)
    numbered: int = 0  # count of job numbers, including jobs left out because they are wrong (sweep.keep_going)
    search: dict[str, Any] | None = None  # SearchSpec.plain() of a search, whose jobs are made one after the other

    @property
    def total(self) -> int:
        """Number of jobs, including trials of a search that are still to come."""
        return max(len(self.jobs), self.search["n_trials"] if self.search else 0)

    @property
    def objectives(self) -> list[tuple[str, str]]:
        """(metric, min | max) of each objective of a search; empty for other sweeps."""
        return [(metric, mode) for metric, mode in self.search["objectives"]] if self.search else []

    @property
    def title(self) -> str:
        """The varied keys with all values, as in `optimizer.lr=0.1,0.5 seed=1,2`; of a search, the keys alone."""
        if self.search:
            return f"search over {', '.join(self.search['space'])}"[:250]
        keys = dict.fromkeys(key for job in self.jobs for key in job.varied)
        parts = [
            f"{key}={','.join(dict.fromkeys(j.varied[key] for j in self.jobs if key in j.varied))}" for key in keys
        ]
        return " ".join(parts)[:250] or self.study

    def text(self) -> str:
        """Return the manifest as JSON, a line for each job, without secrets and without run ids."""
        masked = Masked()
        head = json.dumps(secrets.without({key: value for key, value in vars(self).items() if key != "jobs"}))
        jobs = [
            json.dumps(
                {
                    **vars(job),
                    "words": [masked.word(word) for word in job.words],
                    "varied": masked.varied(job.varied),
                    "config": masked.config(job.config),
                    "run_id": "",
                }
            )
            for job in self.jobs
        ]
        return f'{head[:-1]}, "jobs": [\n{f",{chr(10)}".join(jobs)}\n]}}\n'


def read(text: str) -> Manifest:
    """Parse the output of `Manifest.text`. Raises ConfigError for anything else."""
    record = record_reading.decoded(text, dict[str, Any], f"{NAME} of the sweep")
    try:
        jobs = [Job(**{**job, "run_id": ""}) for job in record.pop("jobs")]  # run ids come from the store
        manifest = Manifest(**record, jobs=jobs)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError("sweep.resume", f"{NAME} of the sweep is damaged or of another version: {error}") from error
    _check(manifest)
    for job in manifest.jobs:
        job.config = completed(job.config)
    return manifest


#: Words that a record may hold to choose and set up a launcher and a sweeper.
LAUNCHER = re.compile(
    r"\+{0,2}hydra/launcher=\w+|\+{0,2}hydra\.launcher\.[\w.]+=.*|hydra/sweeper=(optuna|checked)", re.DOTALL
)


def _check(manifest: Manifest) -> None:
    """Raise ConfigError for a record with a part that is not valid: its words become a command line."""
    record_reading.checked(manifest, Manifest, f"{NAME} of the sweep")
    if len(manifest.jobs) > JOBS:
        raise ConfigError(
            "sweep.resume", f"{NAME} of the sweep has {len(manifest.jobs):,} jobs; expected at most {JOBS:,}"
        )
    is_search = "hydra/sweeper=optuna" in manifest.launcher
    if (manifest.search is not None) != is_search or not (manifest.jobs or is_search):
        raise ConfigError("sweep.resume", f"{NAME} of the sweep has nothing to run")
    if manifest.mode not in ("min", "max") or not 0 <= manifest.numbered <= JOBS:
        raise ConfigError("sweep.resume", f"{NAME} of the sweep is damaged: it ranks or counts no jobs")
    if len({job.number for job in manifest.jobs}) < len(manifest.jobs):
        raise ConfigError("sweep.resume", f"{NAME} of the sweep is damaged: two jobs have one number")
    for word in manifest.launcher:
        if LAUNCHER.fullmatch(word) is None:
            raise ConfigError(
                "sweep.resume", f"{NAME} of the sweep holds {record_reading.cut(word)!r}, which sets up no launcher"
            )
    for job in manifest.jobs:
        record_reading.checked(job, Job, f"job {record_reading.cut(str(job.number))} in {NAME}")
        if not 0 <= job.number < JOBS:
            raise ConfigError("sweep.resume", f"{NAME} of the sweep has a job {job.number}; expected 0 to {JOBS - 1:,}")
        typed.check(made(job.config), Settings)


def varied(jobs: list[list[str]]) -> list[dict[str, str]]:
    """Return key -> value for each job, of the keys whose values differ between the jobs; without secrets."""
    values = [dict(word.partition("=")[::2] for word in job if "=" in word) for job in jobs]
    keys, masked = dict.fromkeys(key for job in values for key in job), Masked()
    differ = [key for key in keys if len({job.get(key) for job in values}) > 1]
    shown = [masked.varied({key: job[key] for key in differ if key in job}) for job in values]
    return [{key.lstrip("+"): value for key, value in job.items()} for job in shown]


def same(one: Manifest, other: Manifest) -> bool:
    """Return whether both manifests hold the same jobs, compared without their secrets."""
    words = [[[secrets.word(word) for word in job.words] for job in plan.jobs] for plan in (one, other)]
    return words[0] == words[1]


def complete(recorded: Manifest, typed: Manifest | None = None) -> Manifest:
    """Fill in the secrets that are left out of a record, from the same jobs as typed again.

    Raises ConfigError for a secret that is needed and in neither of them.
    """
    for job, again in zip(recorded.jobs, typed.jobs if typed else recorded.jobs, strict=True):
        job.config = secrets.filled(job.config, again.config)
        key = secrets.missing({name: value for name, value in job.config.items() if name != "tracking"})
        if key:
            raise ConfigError(
                "", f"{key} is a secret and in no record; type the sweep's command again, with sweep.resume=last"
            )
    return recorded

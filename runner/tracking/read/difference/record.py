"""The record of one run, as far as it can be read; a line for each part that cannot be."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from runner.settings import Settings
from runner.settings.errors import ConfigError, Failure, Unreachable, first_line
from runner.settings.trust import record_reading, secrets
from runner.tracking import environment, recorded_code
from runner.tracking.read import recall
from runner.tracking.store import artifacts

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Recorded:
    """The parts of a run's record by which it is compared. None: a part that cannot be read.

    environment: the facts of environment.txt. later: those of each time that the run was continued, by its step.
    files: the run's own code by its place, see `recorded_code.listed`. points: metric -> step -> value.
    """

    run_id: str
    name: str
    experiment: str
    status: str
    tags: dict[str, str]
    settings: Settings | None
    data: dict[str, Any] | None
    environment: dict[str, str] | None
    later: dict[int, dict[str, str]]
    files: dict[str, Any] | None
    points: dict[str, dict[int, float]]

    @property
    def steps(self) -> int:
        """Optimizer steps whose loss is recorded."""
        return max(self.points.get("train/loss", {}), default=0)

    def plain(self) -> dict[str, Any]:
        """Return who it is, as a plain value."""
        values = {"id": self.run_id, "name": self.name, "experiment": self.experiment, "status": self.status}
        return {**values, "steps": self.steps}


def read(uri: str, run_id: str, unknown: list[str], side: str) -> Recorded:
    """Return the record of a run. unknown: gets a line for each part that cannot be read. side: A or B."""

    def tried(part: str, find: Callable[[], T]) -> T | None:
        return attempt(part, find, unknown, side)

    run = recall.run(uri, run_id)
    if run.info.status == "RUNNING":
        unknown.append(f"{side} is RUNNING: what it has yet to record")
    tags, client = dict(run.data.tags), recall.existing(uri)
    facts = tried("environment", lambda: environment.facts(recall.text(uri, run_id, "environment.txt")))
    listed = tried("files", lambda: [path for path, _ in artifacts.listed(client, run_id)]) or []
    later = {
        int(step): environment.facts(text)
        for name in listed
        if (step := name.removeprefix("environment-").removesuffix(".txt")).isdecimal()
        and (text := tried(name, lambda name=name: recall.text(uri, run_id, name)))  # type: ignore[misc]
    }
    return Recorded(
        run_id,
        secrets.masked(record_reading.line(run.info.run_name)),
        secrets.masked(recall.status(uri, run_id)[1]),
        run.info.status,
        tags,
        tried("configuration", lambda: recall.settings(uri, run_id)),
        tried("data", lambda: recall.data(uri, run_id)),
        facts,
        later,
        tried("code", lambda: recorded_code.files_of(uri, run_id)),
        tried("values", lambda: recall.points(uri, run_id, sorted(run.data.metrics))) or {},
    )


def attempt(part: str, find: Callable[[], T], unknown: list[str], side: str) -> T | None:
    """Return what `find` finds; None for what cannot be read, of which `unknown` gets a line."""
    try:
        return find()
    except (ConfigError, Failure, Unreachable, OSError) as error:
        unknown.append(f"{part} of {side}: {secrets.masked(first_line(error))}")
        return None

"""Runs of the past: which run a word means, and what its record holds."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.settings import Settings
from runner.settings.errors import ConfigError
from runner.settings.trust import record_reading, recorded_settings, secrets, terminal
from runner.settings.values import tags
from runner.tracking.store import artifact_places, artifacts, reconcile, search, stores
from runner.tracking.store.transfer import Patience

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Tags of a sweep's own run, and of a run that another one has started.
JOBS, PARENT = "sweep.jobs", "mlflow.parentRunId"
#: Tag of a job whose checkpoints, predictions and plots were not kept: the value of `sweep.keep`.
DROPPED = "sweep.dropped"
#: Runs that are asked for at once.
PAGE = 200
#: A hexadecimal run id of MLflow's has this many characters.
WHOLE = 32


def find_run(uri: str, run: str) -> str:
    """Return the id of the run meant by `run`, as `find` does, but of one that has a model: of a sweep its best job.

    The choice of `last` and of a best job is reported on standard error.
    Raises ConfigError when there is no such run, or several, or the sweep has no best job.
    """
    run_id = find(uri, run)
    record = existing(uri).get_run(run_id)
    if JOBS in record.data.tags:
        return _best(uri, run, record)
    say_last(run, record)
    return run_id


def find(uri: str, run: str) -> str:
    """Return the id of the run or sweep meant by `run`: an id, a unique prefix of one, or `last`.

    `last` is the newest that a person has started: a run, or a sweep as a whole, never one of a sweep's jobs.
    Raises ConfigError when there is no such run, or several, or the store is not there.
    """
    client = existing(uri)
    reconcile.reconcile(client)
    ids = _candidates(client, run)
    if not ids:
        if stores.is_deleted(client, run):
            raise ConfigError("", f"run {run} was deleted; to bring it back: runner restore {run}")
        for incomplete in search.incomplete(client):
            if run and incomplete.run_id.startswith(run):
                columns = " and no ".join(incomplete.missing)
                raise ConfigError("", f"run {incomplete.run_id} has no {columns} in its store: MLflow cannot read it")
        problem = "there are no runs" if run == "last" else f"no run's id begins with {run!r}"
        raise ConfigError("", f"{problem} in {secrets.masked_uri(uri)}; `runner runs` lists those that there are")
    if len(ids) > 1:
        raise ConfigError("", f"{run!r} is the beginning of {', '.join(i[:12] for i in ids)}; give more of it")
    return ids[0]


def say_last(run: str, record: "Run") -> None:
    """Report on standard error which run or sweep `record` is, if `run` is the word `last`."""
    if run == "last":
        kind = "sweep" if JOBS in record.data.tags else "run"
        name = record_reading.line(record.info.run_name)
        terminal.say(f"last is {kind} {record.info.run_id} ({name})")


def run(uri: str, run_id: str) -> "Run":
    """Return the run as the store has it."""
    return existing(uri).get_run(run_id)


def _best(uri: str, run: str, sweep: "Run") -> str:
    """Return the id of a sweep's best job."""
    tags, run_id, status = sweep.data.tags, sweep.info.run_id, sweep.info.status
    name = f"last is sweep {run_id}" if run == "last" else f"{run} is sweep {run_id}"
    experiment = record_reading.line(existing(uri).get_experiment(sweep.info.experiment_id).name)
    remedy = f"`runner runs tracking.experiment={experiment}` shows its jobs: name one"
    front = [word for word in tags.get("sweep.front", "").split(",") if word]
    front = [record_reading.run_id(one, "a run in the tag sweep.front") for one in front]
    if len(front) > 1:
        raise ConfigError(
            "", f"{name}, which has several objectives and no single best job; name one of {', '.join(front)}"
        )
    if "sweep.best" not in tags:
        jobs = record_reading.line(tags[JOBS])[:20]
        further = "" if status == "RUNNING" else f", or go on with it: runner resume {run_id[:8]}"
        raise ConfigError(
            "",
            f"{name}, which is {status} and has no best job among its {jobs}; {remedy}{further}",
        )
    client, best_id = existing(uri), record_reading.run_id(tags["sweep.best"], "the tag sweep.best")
    if not _candidates(client, best_id):
        raise ConfigError("", f"{name}, whose best job {best_id} was deleted; {remedy}")
    best = client.get_run(best_id)
    so_far = "" if status == "FINISHED" else f", which is {status}"
    job = f"{best.info.run_id} ({record_reading.line(best.info.run_name)})"
    terminal.say(f"{name}{so_far}; its best job {job} is taken")
    return str(best.info.run_id)


def _candidates(client: "MlflowClient", run: str) -> list[str]:
    ids = [e.experiment_id for e in client.search_experiments()]
    if run == "last":
        return _newest(client, ids)
    if not run.isalnum():
        return []
    relation = f"= '{run}'" if len(run) == WHOLE else f"LIKE '{run}%'"
    matches = search.runs(client, ids, f"attributes.run_id {relation}", most=10)
    return [record_reading.run_id(match.info.run_id) for match in matches]


def _newest(client: "MlflowClient", ids: list[str]) -> list[str]:
    """Return the id of the newest run that no other one has started, in a list; [] if there is none."""
    token, runs = None, list["Run"]()
    while ids:  # the jobs of a large sweep may fill pages
        page = search.runs(client, ids, most=PAGE, order_by=["attributes.start_time DESC"], page_token=token)
        runs += [run for run in page if PARENT not in run.data.tags]
        token = page.token
        if runs or not token:
            break
    newest = max(runs, key=lambda run: (run.info.start_time or 0, run.info.run_id), default=None)
    return [record_reading.run_id(newest.info.run_id)] if newest else []


def settings(uri: str, run_id: str) -> Settings:
    """Return the settings that the run was configured with.

    Reserved tags are left out, which earlier versions took: the run has had them since it began.
    Raises ConfigError for a damaged config.yaml.
    """
    recorded = recorded_settings.read(text(uri, run_id, "config.yaml"), f"config.yaml of run {run_id[:8]}")
    recorded.tracking.tags = {k: value for k, value in recorded.tracking.tags.items() if not tags.is_reserved(k)}
    return recorded


def data(uri: str, run_id: str) -> dict[str, Any]:
    """Return the run's data.json: `task`, `classes`, `notes`, and `example`, the shape and type of an input.

    Raises ConfigError for a damaged one.
    """
    return record_reading.noted(text(uri, run_id, "data.json"), run_id)


def text(uri: str, run_id: str, name: str) -> str:
    """Return the run's artifact `name`, such as config.yaml or environment.txt, as text.

    Raises ConfigError if the run has none, or it is too large or not UTF-8; Unreachable if the store is away.
    """
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        return record_reading.text(artifact(existing(uri), run_id, name, folder), name, run_id)


def content(uri: str, run_id: str, name: str, most: int = 0) -> bytes:
    """Return the run's artifact `name` byte by byte.

    most: bytes that it may have; 0: as many as `record_reading.BYTES` has for its name.
    """
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        return record_reading.content(artifact(existing(uri), run_id, name, folder), name, run_id, most)


def facts(uri: str, run_id: str) -> tuple[str, dict[str, str], list[str]]:
    """Return the run's status, its tags, and the names of its metrics."""
    run = existing(uri).get_run(run_id)
    return run.info.status, dict(run.data.tags), sorted(run.data.metrics)


def points(uri: str, run_id: str, names: Iterable[str]) -> dict[str, dict[int, float]]:
    """Return every recorded value of the metrics `names`: name -> optimizer steps so far -> value."""
    client = existing(uri)
    return {name: {p.step: p.value for p in client.get_metric_history(run_id, name)} for name in names}


def status(uri: str, run_id: str) -> tuple[str, str]:
    """Return the run's status and the name of its experiment."""
    client = existing(uri)
    info = client.get_run(run_id).info
    return info.status, record_reading.line(client.get_experiment(info.experiment_id).name)


def last_step(uri: str, run_id: str) -> int:
    """Return the last optimizer step whose loss was recorded; 0 if none was."""
    newest = existing(uri).get_run(run_id).data.to_proto().metrics  # of each metric one point, and not all
    return next((int(point.step) for point in newest if point.key == "train/loss"), 0)


def add(uri: str, run_id: str, folder: Path) -> None:
    """Put everything in `folder` among the run's artifacts. Raises whatever the store's own library raises."""
    artifacts.put(existing(uri), run_id, folder, None, Patience())


def existing(uri: str) -> "MlflowClient":
    """Return the client of a store that must be there already. Raises ConfigError if a local one is not."""
    path = stores.sqlite_path(uri)
    if path is not None and not path.exists():
        raise ConfigError("tracking.uri", f"there is no store {path}; train first, or name another")
    return stores.open_store(uri)


def artifact(client: "MlflowClient", run_id: str, name: str, folder: str) -> Path:
    """Return a copy in `folder` of an artifact or artifact folder; of a local store the file itself.

    Raises ConfigError if the run has none of this name, Unreachable if the store does not hand it over.
    """
    path = artifacts.fetch(client, run_id, name, folder)
    if path is None:
        refuse_dropped(client, run_id, name)
        status = client.get_run(run_id).info.status
        why = "was it trained to its end by runner?"
        if reconcile.waits(client, run_id):
            why = "a part of its record has yet to be delivered: runner sync"
        place = secrets.masked(str(artifact_places.place(client, run_id)))
        raise ConfigError("", f"run {run_id} is {status} and kept no {name} in {place}; {why}")
    return path


def refuse_dropped(client: "MlflowClient", run_id: str, name: str) -> None:
    """Raise ConfigError if `name` is missing because `sweep.keep` did not keep it for this job of a sweep."""
    keep = client.get_run(run_id).data.tags.get(DROPPED)
    if keep is not None:
        whose = "those of the best job alone" if keep == "best" else "those of no job"
        kept = f"sweep.keep={record_reading.line(keep)[:20]} of its sweep keeps {whose}"
        remedy = f"`runner reproduce {run_id[:8]}` trains it again; sweep.keep=all keeps them"
        raise ConfigError("sweep.keep", f"run {run_id} has no {name}: {kept}; {remedy}")

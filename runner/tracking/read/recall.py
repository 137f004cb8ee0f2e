"""Runs of the past: which one is meant, how it was configured, what it weighed."""

import dataclasses
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from runner.settings import Settings
from runner.settings.errors import ConfigError, Unreachable
from runner.settings.files import durable
from runner.settings.trust import record_reading, recorded_settings, secrets, terminal
from runner.settings.values import tags
from runner.tracking.store import artifacts, elsewhere, reconcile, stores
from runner.tracking.write.transfer import Patience
from runner.training.state import checkpoint, pieces
from runner.training.state.history import Points

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Tags of a sweep's own run, and of a run that another one has started.
JOBS, PARENT = "sweep.jobs", "mlflow.parentRunId"
#: Runs that are asked for at once.
PAGE = 200
#: A hexadecimal run id of MLflow's has this many characters.
WHOLE = 32


def find_run(uri: str, run: str) -> str:
    """As `find`, but of a run that has a model: of a sweep its best job. What was chosen is said on standard error.

    Raises ConfigError as well for a sweep that has no best job.
    """
    run_id = find(uri, run)
    found = _open(uri).get_run(run_id)
    if JOBS in found.data.tags:
        return _best(uri, run, found)
    say_last(run, found)
    return run_id


def find(uri: str, run: str) -> str:
    """The id of the run or sweep meant by `run`: an id, a unique prefix of one, or `last`.

    `last` is the newest that a person has started: a run, or a sweep as a whole, never one of a sweep's jobs.
    Raises ConfigError when there is no such run, or several.
    """
    client = _open(uri)
    reconcile.reconcile(client)
    found = _candidates(client, run)
    if not found:
        if stores.is_deleted(client, run):
            raise ConfigError("", f"run {run} was deleted; to bring it back: mlflow runs restore --run-id {run}")
        what = "there are no runs" if run == "last" else f"no run's id begins with {run!r}"
        raise ConfigError("", f"{what} in {secrets.masked_uri(uri)}; `runner runs` shows those that there are")
    if len(found) > 1:
        raise ConfigError("", f"{run!r} is the beginning of {', '.join(r[:12] for r in found)}; give more of it")
    return found[0]


def say_last(run: str, found: "Run") -> None:
    """Say on standard error which run or sweep is the last, if `run` is that word."""
    if run == "last":
        what = "sweep" if JOBS in found.data.tags else "run"
        name = record_reading.line(found.info.run_name)
        terminal.say(f"last is {what} {found.info.run_id} ({name})")


def run(uri: str, run_id: str) -> "Run":
    """The run as the store has it."""
    return _open(uri).get_run(run_id)


def _best(uri: str, run: str, sweep: "Run") -> str:
    """The best job of a sweep."""
    tags, run_id, status = sweep.data.tags, sweep.info.run_id, sweep.info.status
    name = f"last is sweep {run_id}" if run == "last" else f"{run} is sweep {run_id}"
    remedy = f"`runner runs tracking.experiment={_experiment(uri, sweep)}` shows its jobs: name one"
    front = [record_reading.run_id(one, "a run in the tag sweep.front") for one in _listed(tags, "sweep.front")]
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
    client, best_id = _open(uri), record_reading.run_id(tags["sweep.best"], "the tag sweep.best")
    if not _candidates(client, best_id):
        raise ConfigError("", f"{name}, whose best job {best_id} was deleted; {remedy}")
    best = client.get_run(best_id)
    so_far = "" if status == "FINISHED" else f", which is {status}"
    job = f"{best.info.run_id} ({record_reading.line(best.info.run_name)})"
    terminal.say(f"{name}{so_far}; its best job {job} is taken")
    return str(best.info.run_id)


def _experiment(uri: str, run: "Run") -> str:
    return record_reading.line(_open(uri).get_experiment(run.info.experiment_id).name)


def _listed(tags: dict[str, str], key: str) -> list[str]:
    """The words of a tag that commas separate."""
    return [word for word in tags.get(key, "").split(",") if word]


def settings(uri: str, run_id: str) -> Settings:
    """The configuration that the run was made with.

    Reserved tags are left out, which earlier versions took: the run has had them since it began.
    """
    found = recorded_settings.read(text(uri, run_id, "config.yaml"), f"config.yaml of run {run_id[:8]}")
    found.tracking.tags = {name: value for name, value in found.tracking.tags.items() if not tags.is_reserved(name)}
    return found


def data(uri: str, run_id: str) -> dict[str, Any]:
    """What the run has noted of its data: `task`, `classes`, `notes`, and `example`, the shape and type of an input."""
    return record_reading.noted(text(uri, run_id, "data.json"), run_id)


def text(uri: str, run_id: str, name: str) -> str:
    """The run's artifact `name`, such as config.yaml or environment.txt."""
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        return record_reading.text(_artifact(_open(uri), run_id, name, folder), name, run_id)


def content(uri: str, run_id: str, name: str, most: int = 0) -> bytes:
    """The same as it is, byte by byte. most: bytes that are taken, where the name does not say it."""
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        return record_reading.content(_artifact(_open(uri), run_id, name, folder), name, run_id, most)


def facts(uri: str, run_id: str) -> tuple[str, dict[str, str], list[str]]:
    """The run's status, its tags, and the names of its metrics."""
    run = _open(uri).get_run(run_id)
    return run.info.status, dict(run.data.tags), sorted(run.data.metrics)


def points(uri: str, run_id: str, names: Iterable[str]) -> dict[str, dict[int, float]]:
    """Every recorded value of the metrics `names`: name -> optimizer steps so far -> value."""
    client = _open(uri)
    return {name: {p.step: p.value for p in client.get_metric_history(run_id, name)} for name in names}


def status(uri: str, run_id: str) -> tuple[str, str]:
    """The run's status and the name of its experiment."""
    client = _open(uri)
    info = client.get_run(run_id).info
    return info.status, record_reading.line(client.get_experiment(info.experiment_id).name)


def last_step(uri: str, run_id: str) -> int:
    """The last optimizer step whose loss was recorded; 0 if none was."""
    newest = _open(uri).get_run(run_id).data.to_proto().metrics  # of each metric one point, and not all
    return next((int(point.step) for point in newest if point.key == "train/loss"), 0)


@dataclasses.dataclass
class Kept:
    """A checkpoint that a run's tags tell of."""

    place: str  # the artifact folder
    step: int
    sha256: dict[str, str]  # by file name


def kept(uri: str, run_id: str, name: str) -> list[Kept]:
    """The run's checkpoints `last` (the newest first, then those before it) or `best`."""
    tags = _open(uri).get_run(run_id).data.tags
    return [Kept(**entry) for entry in record_reading.checkpoints(tags, name)]


def state(uri: str, run_id: str, classes: Iterable[type]) -> tuple[Kept, dict[str, Tensor], dict[str, Any], list[str]]:
    """The newest checkpoint that can be loaded: (which, weights, training state, what is wrong with newer ones).

    Raises CheckpointError when there is one, and none can be loaded; ConfigError when there is none.
    """
    client = _open(uri)
    wrong: list[str] = []
    found = kept(uri, run_id, "last")
    if not found:
        status = client.get_run(run_id).info.status
        raise ConfigError(
            "", f"run {run_id} is {status} and kept no checkpoint to continue from; checkpoint.every=1 keeps some"
        )
    for entry in found:
        with tempfile.TemporaryDirectory(prefix="runner-") as folder:
            try:
                files = _artifact(client, run_id, entry.place, folder)
                training = checkpoint.FILES["training"]
                loaded = checkpoint.load_training(files / training, entry.sha256.get(training))
                loaded["history"] = _history(client, run_id, loaded["history"], entry.step)
                return entry, _weights(files, entry.sha256, classes), loaded, wrong
            except Exception as error:  # whatever it is, there may be one before
                _demand_answer(error)
                wrong.append(f"checkpoint of step {entry.step}: {stores.first_line(error)}")
    raise checkpoint.CheckpointError("; ".join(wrong))


def _demand_answer(error: Exception) -> None:
    """Raise `error` if what was to be read may be whole: this disk is full, or the store is away."""
    if durable.is_full(error) or isinstance(error, Unreachable):
        raise error


def _history(client: "MlflowClient", run_id: str, taken: dict[str, Any], step: int) -> dict[str, Any]:
    """Join the history in a checkpoint with the pieces before it; without a piece, with the recorded metrics.

    Pieces are those of all checkpoints: one that is damaged is no reason to fall back to an earlier checkpoint.
    """
    if taken.get("piece") is None:
        return taken
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        try:
            files = _artifact(client, run_id, pieces.FOLDER, folder)
            return {**taken, "earlier": pieces.read(files, taken["piece"])}
        except Exception as error:
            _demand_answer(error)
            reason = stores.first_line(error)
            terminal.say(f"history of run {run_id}: {reason}; the recorded metrics take its place")
    earlier = {}
    for name, (steps, _) in taken["points"].items():
        first = int(steps[0]) if len(steps) else step + 1
        recorded = client.get_metric_history(run_id, name)
        earlier[name] = Points(sorted((p.step, p.value) for p in recorded if p.step < first)).tensors()
    return {"points": taken["points"], "earlier": [earlier]}


def weights(uri: str, run_id: str, name: str = "last", classes: Iterable[type] = ()) -> dict[str, Tensor]:
    """Parameters and buffers of the run's checkpoint `last` or `best`. No code in the file is run.

    classes: of the modules, for a checkpoint that is a full model and no state_dict.
    Raises CheckpointError when the file is damaged, or another one than the run's tags tell of.
    """
    client = _open(uri)
    tags = client.get_run(run_id).data.tags
    place = record_reading.place(tags.get(f"checkpoint.{name}") or f"checkpoints/{name}", f"the tag checkpoint.{name}")
    told = record_reading.tag(tags, f"checkpoint.{name}.sha256", dict[str, str], {})
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        files = _artifact(client, run_id, place, folder)
        return _weights(files, told, classes)


def _weights(files: Path, told: dict[str, str], classes: Iterable[type]) -> dict[str, Tensor]:
    state_dict, model = (files / checkpoint.FILES[kind] for kind in checkpoint.MODELS)
    if state_dict.name in told or state_dict.exists():
        return checkpoint.load_state_dict(state_dict, told.get(state_dict.name))
    return checkpoint.load_model(model, classes, told.get(model.name)).state_dict()


def add(uri: str, run_id: str, folder: Path) -> None:
    """Put everything in `folder` among the run's artifacts."""
    stores.put(_open(uri), run_id, folder, None, Patience())


def _open(uri: str) -> "MlflowClient":
    path = stores.sqlite_path(uri)
    if path is not None and not path.exists():
        raise ConfigError("tracking.uri", f"there is no store {path}; train first, or name another")
    return stores.open_store(uri)


def _candidates(client: "MlflowClient", run: str) -> list[str]:
    ids = [e.experiment_id for e in client.search_experiments()]
    if run == "last":
        return _newest(client, ids)
    if not run.isalnum():
        return []
    relation = f"= '{run}'" if len(run) == WHOLE else f"LIKE '{run}%'"
    found = client.search_runs(ids, f"attributes.run_id {relation}", max_results=10)
    return [record_reading.run_id(run.info.run_id) for run in found]


def _newest(client: "MlflowClient", ids: list[str]) -> list[str]:
    """The newest run that was not started by another; the jobs of a large sweep may fill pages."""
    token, found = None, list["Run"]()
    while ids:
        page = client.search_runs(ids, max_results=PAGE, order_by=["attributes.start_time DESC"], page_token=token)
        found += [run for run in page if PARENT not in run.data.tags]
        token = page.token
        if found or not token:
            break
    newest = max(found, key=lambda run: (run.info.start_time or 0, run.info.run_id), default=None)
    return [record_reading.run_id(newest.info.run_id)] if newest else []


def _artifact(client: "MlflowClient", run_id: str, name: str, folder: str) -> Path:
    """A local copy; of a local store the file itself."""
    path = elsewhere.fetch(client, run_id, name, folder)
    if path is None:
        status = client.get_run(run_id).info.status
        why = "was it trained to its end by runner?"
        if reconcile.waits(client, run_id):
            why = "a part of its record has yet to be delivered: runner sync"
        place = secrets.masked(str(artifacts.place(client, run_id)))
        raise ConfigError("", f"run {run_id} is {status} and kept no {name} in {place}; {why}")
    return path

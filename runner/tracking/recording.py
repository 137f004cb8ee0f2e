"""An MLflow run around a block: created or continued before it, ended with its status after it."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runner.settings import CHECKPOINTS
from runner.settings.errors import ConfigError, first_line
from runner.settings.trust import record_reading, secrets
from runner.tracking.store import artifact_places, first_files, liveness, reconcile, stores
from runner.tracking.write import spool as spools
from runner.tracking.write.group import Group
from runner.tracking.write.spool import Spool, Undelivered
from runner.tracking.write.sync import settle
from runner.tracking.write.tracker import Tracker, write
from runner.training.events import Artifacts

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run


@contextlib.contextmanager
def recording(
    uri: str,
    experiment: str,
    run_name: str | None,
    tags: dict[str, str],
    params: dict[str, str],
    files: Mapping[str, str | bytes],
    run_id: str | None = None,
    keep: int = 2,
    group: Group | None = None,
) -> Iterator[Tracker]:
    """Yield the tracker of an MLflow run: FINISHED only if the block ends by itself, else FAILED or KILLED.

    uri: of the tracking store. experiment: its name, created if there is none; of no account with `run_id`.
    run_name: None for one that MLflow makes up.
    params: dotted key -> value. files: artifact name -> content.
    run_id: of a run to continue. It keeps its params, and points that it has already are not sent again.
    keep: how many checkpoints `last` to keep.
    group: whose thread delivers this record with those of other runs; None: it has a thread of its own.
    Raises ConfigError if the store does not answer at the start. Raises Undelivered at the end if it does not then.

        with recording("sqlite:///mlflow.db", "trials", None, {}, {"seed": "0"}, {"notes.txt": "..."}) as tracker:
            tracker.record(event)
    """
    client = stores.open_store(uri)
    if run_id is None:
        spool, home, undo = _create(client, uri, experiment, run_name, tags)
    else:
        spool, home, undo = _continue(client, uri, run_id, tags)
    tracker = Tracker(client, spool, run_id is not None, keep, group)
    tracker.experiment_id = home
    if run_id is not None:
        recorded = client.get_run(run_id)
        params = {key: value for key, value in params.items() if key not in recorded.data.params}
        tracker.began = max(tracker.began, record_reading.number(recorded.info.start_time, 0.0) / 1000)
    is_put = put_first(tracker, files, undo)
    with ending(tracker):
        tracker.begin(params, {} if is_put else files)
        yield tracker


@contextlib.contextmanager
def ending(tracker: Tracker) -> Iterator[Tracker]:
    """Yield the tracker of a run, and end the run with the block: see `recording`."""
    from runner.training.machine.signals import Interrupted

    try:
        yield tracker
    except (Interrupted, KeyboardInterrupt) as stop:
        _close(tracker, "KILLED", str(stop) or "interrupted by SIGINT", stop)
        raise
    except BaseException as error:
        with contextlib.ExitStack() as stack:
            try:
                tracker.record(Artifacts(_traceback(stack)))
            except OSError as wrong:  # a full disk may be what the run has failed of
                error.add_note(f"and its traceback cannot be recorded: {wrong}")
            _close(tracker, "FAILED", f"{type(error).__name__}: {error}", error)
        raise
    tracker.close(*tracker.verdict)


def _traceback(stack: contextlib.ExitStack) -> Path:
    """Return a folder with the traceback of the error being handled; it is deleted when `stack` closes."""
    import traceback

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runner-")))
    (folder / "traceback.txt").write_text(secrets.masked(traceback.format_exc()), encoding="utf-8")
    return folder


def failed(
    uri: str, experiment: str, run_name: str, tags: dict[str, str], files: dict[str, str], error: Exception
) -> str:
    """Record a run that could not begin because of `error`, as FAILED, and return its id; "" if the store refuses it.

    Other arguments: as those of `recording`.
    """
    run_id = ""
    with contextlib.suppress(Exception), recording(uri, experiment, run_name, tags, {}, files) as tracker:
        run_id = tracker.run_id
        raise error
    return run_id


def put_first(tracker: Tracker, files: Mapping[str, str | bytes], undo: Callable[[], object]) -> bool:
    """Put the first files. Returns whether the store has taken them now.

    A run whose store takes none at all is undone, as is one that is interrupted here: nothing has begun.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="runner-") as folder:
            write(Path(folder), files)
            return bool(files) and first_files.put_first(tracker.client, tracker.run_id, Path(folder))
    except BaseException:
        tracker.give_up()
        with contextlib.suppress(Exception):  # the next command on this store sets it to KILLED
            undo()
        raise


def _create(
    client: "MlflowClient", uri: str, experiment: str, run_name: str | None, tags: dict[str, str]
) -> tuple[Spool, str, Callable[[], object]]:
    from mlflow.exceptions import MlflowException

    try:
        home = home_of_runs(client, uri, experiment)
        name = None if run_name is None else secrets.masked(run_name)
        run = client.create_run(home.experiment_id, tags={**tags, **reconcile.tags()}, run_name=name)
        _check_answer(client, run)
    except (MlflowException, OSError) as error:
        raise no_run(uri, error) from error
    spool, undo = _spool(uri, run.info.run_id, lambda: client.delete_run(run.info.run_id))
    return spool, home.experiment_id, undo


def home_of_runs(client: "MlflowClient", uri: str, experiment: str) -> "Experiment":
    """Return the experiment for new runs, after checks of the disk, the store and the place of its artifacts."""
    spools.try_out(uri)
    reconcile.seldom(client)
    home = stores.experiment(client, uri, experiment)
    artifact_places.check(home.artifact_location, client.tracking_uri, writes=True)
    first_files.demand_packages(home.artifact_location, uri)
    return home


def no_run(uri: str, error: Exception) -> ConfigError:
    """Return the error for a store that makes no run."""
    return ConfigError("tracking.uri", f"no run can be made in {secrets.masked_uri(uri)!r}: {stores.why(error)}")


def _check_answer(client: "MlflowClient", run: "Run") -> None:
    """Raise ConfigError for a new run that has no proper id, or whose artifacts may not be where its store says."""
    try:
        artifact_places.remember(client, run.info.run_id, run.info.artifact_uri)
        artifact_places.check(run.info.artifact_uri, client.tracking_uri, run.info.run_id, writes=True)
    except ConfigError:
        with contextlib.suppress(Exception):  # the ConfigError matters; such a store may fail here too
            client.set_terminated(run.info.run_id, "FAILED")
        raise


def deliver(uri: str, run_id: str) -> None:
    """Deliver what an earlier process of a run has left in its spool here: there may be a checkpoint in it.

    Raises ConfigError if it cannot be delivered.
    """
    folder = spools.place(uri) / record_reading.run_id(run_id)
    if folder.exists() and (settled := settle(folder, named=[uri])).undelivered:
        raise ConfigError("", f"run {run_id} cannot be continued: {settled.message}; try: runner sync")


def _continue(
    client: "MlflowClient", uri: str, run_id: str, tags: dict[str, str]
) -> tuple[Spool, str, Callable[[], object]]:
    """Take a run over, after delivering what an earlier process has left in its spool here."""
    from mlflow.entities import RunTag
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
        _refuse_live(run)
        artifact_places.check(artifact_places.place(client, run_id), client.tracking_uri, run_id, writes=True)
        first_files.demand_packages(run.info.artifact_uri, uri)
        deliver(uri, run_id)
        with reconcile.changing(client):
            run = client.get_run(run_id)
            before = run.info
            _refuse_live(run)
            for name in CHECKPOINTS:  # damaged tags are refused before the run is taken over
                record_reading.checkpoints(run.data.tags, name)
            client.log_batch(run_id, tags=[RunTag(*tag) for tag in {**tags, **reconcile.tags()}.items()])
            client.update_run(run_id, status="RUNNING")
    except MlflowException as error:
        raise ConfigError("", f"run {run_id} cannot be continued: {first_line(error)}") from error
    spool, undo = _spool(uri, run_id, lambda: client.set_terminated(run_id, before.status, before.end_time))
    return spool, before.experiment_id, undo


def _spool(uri: str, run_id: str, undo: Callable[[], object]) -> tuple[Spool, Callable[[], object]]:
    """Return the spool of a run that was just created or taken over, and `undo`, which is called if there is none."""
    try:
        return spools.create(uri, run_id, liveness.process()), undo
    except OSError as error:
        with contextlib.suppress(Exception):  # the next command on this store sets it to KILLED
            undo()
        raise no_spool(uri, error) from error


def no_spool(uri: str, error: OSError) -> ConfigError:
    """Return the error for a run whose spool cannot be written."""
    return ConfigError("tracking.uri", f"{spools.place(uri)} cannot be written: {stores.why(error)}")


def _refuse_live(run: "Run") -> None:
    owner, run_id = reconcile.owner(run), run.info.run_id
    is_live = run.info.status == "RUNNING" and bool(owner) and liveness.is_gone(owner) is False
    if is_live and owner != liveness.process():
        raise ConfigError(
            "", f"run {run_id} is still at work, in process {owner['pid']} on {owner['host']}; wait for its end"
        )


def _close(tracker: Tracker, status: str, reason: str, cause: BaseException) -> None:
    """Close the tracker of a run that `cause` has ended. An error in that becomes a note of `cause`."""
    try:
        tracker.close(status, reason)
    except Undelivered as error:
        cause.add_note(str(error))
    except Exception as error:
        cause.add_note(f"and the record is incomplete: {type(error).__name__}: {error}")

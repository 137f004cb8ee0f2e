"""An MLflow run around a block: made or continued before it, ended with the truth after it."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.settings.errors import ConfigError
from runner.settings.trust import record_reading, secrets
from runner.tracking.store import artifacts, elsewhere, liveness, reconcile, stores
from runner.tracking.write import spool
from runner.tracking.write.spool import Spool, Undelivered
from runner.tracking.write.sync import settle
from runner.tracking.write.tracker import Tracker, write
from runner.training.events import Kept

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


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
) -> Iterator[Tracker]:
    """An MLflow run that is FINISHED only if the block ends by itself; FAILED or KILLED with the reason otherwise.

    params: dotted key -> value. files: artifact name -> content.
    run_id: of a run to continue. It keeps its params, and points that it has already are not sent again.
    keep: how many checkpoints `last` to keep.
    Raises ConfigError if the store does not answer at the start. Raises Undelivered at the end if it does not then.
    """
    from runner.training.machine.signals import Interrupted

    client = stores.open_store(uri)
    new = run_id is None
    kept, undo = _create(client, uri, experiment, run_name, tags) if new else _continue(client, uri, str(run_id), tags)
    tracker = Tracker(client, kept, run_id is not None, keep)
    if run_id is not None:
        recorded = client.get_run(run_id)
        params = {key: value for key, value in params.items() if key not in recorded.data.params}
        tracker.began = max(tracker.began, record_reading.number(recorded.info.start_time, 0.0) / 1000)
    there = _put_first(tracker, files, undo)
    try:
        tracker.begin(params, {} if there else files)
        yield tracker
    except (Interrupted, KeyboardInterrupt) as stop:
        _close(tracker, "KILLED", str(stop) or "interrupted by SIGINT", stop)
        raise
    except BaseException as error:
        with contextlib.ExitStack() as stack:
            try:
                tracker.record(Kept(_traceback(stack)))
            except OSError as wrong:  # a full disk may be what the run has failed of
                error.add_note(f"and its traceback cannot be recorded: {wrong}")
            _close(tracker, "FAILED", f"{type(error).__name__}: {error}", error)
        raise
    tracker.close(*tracker.verdict)


def _traceback(stack: contextlib.ExitStack) -> Path:
    """A folder with the traceback of what is being handled; it goes when `stack` does."""
    import traceback

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runner-")))
    (folder / "traceback.txt").write_text(secrets.masked(traceback.format_exc()), encoding="utf-8")
    return folder


def failed(
    uri: str, experiment: str, run_name: str, tags: dict[str, str], files: dict[str, str], error: Exception
) -> str:
    """The id of a run that is made to tell why there is none: `error` came before it could begin.

    "" if the store does not take it.
    """
    run_id = ""
    with contextlib.suppress(Exception), recording(uri, experiment, run_name, tags, {}, files) as tracker:
        run_id = tracker.run_id
        raise error
    return run_id


def _put_first(tracker: Tracker, files: Mapping[str, str | bytes], undo: Callable[[], object]) -> bool:
    """Put the first files, if the store takes them now.

    A run whose store takes none at all is undone, as is one that is interrupted here: nothing has begun.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="runner-") as folder:
            write(Path(folder), files)
            return bool(files) and elsewhere.put_first(tracker.client, tracker.run_id, Path(folder))
    except BaseException:
        tracker.give_up()
        with contextlib.suppress(Exception):  # the next command on this store sets it to KILLED
            undo()
        raise


def _create(
    client: "MlflowClient", uri: str, experiment: str, run_name: str | None, tags: dict[str, str]
) -> tuple[Spool, Callable[[], object]]:
    from mlflow.exceptions import MlflowException

    try:
        spool.try_out(uri)
        reconcile.seldom(client)
        tags = {**tags, **reconcile.tags()}
        group = stores.experiment(client, uri, experiment)
        artifacts.check(group.artifact_location, client.tracking_uri, writes=True)
        elsewhere.demand_packages(group.artifact_location, uri)
        name = None if run_name is None else secrets.masked(run_name)
        run = client.create_run(group.experiment_id, tags=tags, run_name=name)
        _check_answer(client, run)
    except (MlflowException, OSError) as error:
        shown = secrets.masked_uri(uri)
        raise ConfigError("tracking.uri", f"no run can be made in {shown!r}: {stores.why(error)}") from error
    return _spool(uri, run.info.run_id, lambda: client.delete_run(run.info.run_id))


def _check_answer(client: "MlflowClient", run: "Run") -> None:
    """Raise ConfigError for a new run that has no proper id, or whose artifacts may not be where its store says."""
    try:
        artifacts.know(client, run.info.run_id, run.info.artifact_uri)
        artifacts.check(run.info.artifact_uri, client.tracking_uri, run.info.run_id, writes=True)
    except ConfigError:
        with contextlib.suppress(Exception):  # what is refused here is told; the store may be as wrong in this
            client.set_terminated(run.info.run_id, "FAILED")
        raise


def deliver(uri: str, run_id: str) -> None:
    """Deliver what an earlier process of the run has left in a spool here: there may be a checkpoint in it.

    Raises ConfigError if it cannot be.
    """
    folder = spool.place(uri) / record_reading.run_id(run_id)
    if folder.exists() and (settled := settle(folder, named=[uri])).left:
        raise ConfigError("", f"run {run_id} cannot be continued: {settled.said}; try: runner sync")


def _continue(
    client: "MlflowClient", uri: str, run_id: str, tags: dict[str, str]
) -> tuple[Spool, Callable[[], object]]:
    """Take the run over. What an earlier process has left in a spool here is delivered first."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
        _refuse_live(run)
        artifacts.check(artifacts.place(client, run_id), client.tracking_uri, run_id, writes=True)
        elsewhere.demand_packages(run.info.artifact_uri, uri)
        deliver(uri, run_id)
        with reconcile.changing(client):
            run = client.get_run(run_id)
            before = run.info
            _refuse_live(run)
            for name in ("last", "best"):  # damaged tags are refused before the run is taken over
                record_reading.checkpoints(run.data.tags, name)
            client.log_batch(run_id, tags=_tags({**tags, **reconcile.tags()}))
            client.update_run(run_id, status="RUNNING")
    except MlflowException as error:
        raise ConfigError("", f"run {run_id} cannot be continued: {stores.first_line(error)}") from error
    return _spool(uri, run_id, lambda: client.set_terminated(run_id, before.status, before.end_time))


def _spool(uri: str, run_id: str, undo: Callable[[], object]) -> tuple[Spool, Callable[[], object]]:
    """The spool of a run that was just made or taken over, and what undoes that; without a spool, it is done."""
    try:
        return spool.create(uri, run_id, liveness.process()), undo
    except OSError as error:
        with contextlib.suppress(Exception):  # the next command on this store sets it to KILLED
            undo()
        raise ConfigError("tracking.uri", f"{spool.place(uri)} cannot be written: {stores.why(error)}") from error


def _refuse_live(run: "Run") -> None:
    who, run_id = reconcile.owner(run), run.info.run_id
    live = run.info.status == "RUNNING" and bool(who) and liveness.is_gone(who) is False
    if live and who != liveness.process():
        raise ConfigError("", f"run {run_id} is still at work, in process {who['pid']} on {who['host']}")


def _close(tracker: Tracker, status: str, reason: str, cause: BaseException) -> None:
    """What ended the run is what the caller hears of; a tracker that fails as well is a note to it."""
    try:
        tracker.close(status, reason)
    except Undelivered as error:
        cause.add_note(str(error))
    except Exception as error:
        cause.add_note(f"and the record is incomplete: {type(error).__name__}: {error}")


def _tags(values: dict[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in values.items()]

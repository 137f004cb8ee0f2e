"""A spool that its process has left behind is delivered."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runner import reconcile, secrets, spool, spool_check, stores
from runner.delivery import Delivery
from runner.lookup import ConfigError


@dataclass
class Settled:
    """What became of a spool; `left` says that there is still something in it."""

    run_id: str
    left: bool
    said: str


def settle(folder: Path, moved: str | None = None, named: Iterable[str] = (), configured: str = "") -> Settled:
    """Deliver the spool in `folder`, no point twice, set the status that it tells, and remove it.

    moved: the server that a person types for this. named: servers that a person names otherwise. configured: the one
        that the working directory's files name, which may give a password that the spool has not kept, and no more.
    A spool without the mark of this user's processes may have come with a stranger's folder: the server that it names
    itself gets nothing.
    """
    from mlflow.exceptions import MlflowException

    try:
        spool_check.check(folder)
    except (ConfigError, OSError) as error:
        return Settled(folder.name, True, stores.first_line(error))
    taken = spool.take(folder)
    if taken is None:
        return Settled(folder.name, True, "its process is still at it")
    try:
        said = _deliver(taken, _store(taken, moved, [*named], configured)) if taken.header else "nothing was in it"
        taken.remove()
        return Settled(folder.name, False, said)
    except (MlflowException, OSError, ConfigError, _Left) as error:
        return Settled(folder.name, True, stores.first_line(error))
    finally:
        taken.release()


class _Left(Exception):
    pass


def _store(taken: spool.Spool, moved: str | None, named: list[str], configured: str) -> str:
    own, ours = spool.store_of(taken), spool.is_ours(taken)
    path = stores.sqlite_path(own)
    if path is not None:
        if not path.exists():
            raise ConfigError("tracking.uri", f"the run was recorded in {path}, which is not there")
        if path.is_symlink() and not ours:
            raise _Left(f"{path} is a symbolic link to a store elsewhere; put the store itself there")
        return own
    given = next((uri for uri in named if _is_same(uri, own)), None)
    if moved or given:
        return moved or str(given)
    if not ours:
        raise _Left(
            f"it is for {own}, which the spool alone says: nothing was sent there; if the server is yours, type:"
            f" runner sync tracking.uri={own}"
        )
    if secrets.MASK not in own:
        return own
    if _is_same(configured, own):
        return configured
    raise _Left(f"the user and password of {own} are not kept on the disk; type: runner sync tracking.uri={own}")


def _is_same(uri: str, own: str) -> bool:
    """Whether a spool's server is the one at `uri`, or below it."""
    return f"{own.rstrip('/')}/".startswith(f"{secrets.masked_uri(uri).rstrip('/')}/") if "://" in uri else False


def _deliver(taken: spool.Spool, uri: str) -> str:
    client = stores.open_store(uri)
    reconcile.reconcile(client)
    shown = secrets.masked_uri(uri)
    run, before = client.get_run(taken.run_id), taken.delivered
    # A later process has continued the run: its status, its checkpoints and its files are newer than these.
    own = reconcile.owner(run) == taken.header["process"]
    if not own and stores.sqlite_path(uri) is None and not spool.is_ours(taken):
        raise _Left(f"the run in {shown} belongs to another process than the one that the spool says has written it")
    if not own and run.info.status == "RUNNING":  # two that ask what is there, and then send, would both send
        raise _Left(f"another process has continued the run and is at work in {shown}; wait for its end")
    delivery = Delivery(client, taken, asks=True)
    delivery.deliver(ends=own)
    if delivery.refused:
        taken.mark(before)
        why = stores.first_line(delivery.refused[0])
        raise _Left(f"{shown} refuses a part of it: {why}; to give that up, delete {taken.folder}")
    status = client.get_run(taken.run_id).info.status
    return f"delivered to {shown}, {status}" + ("" if own else "; only the points, since it was continued elsewhere")

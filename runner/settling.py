"""A spool that its process has left behind is delivered."""

from dataclasses import dataclass
from pathlib import Path

from runner import reconcile, spool, stores
from runner.delivery import Delivery
from runner.lookup import ConfigError


@dataclass
class Settled:
    """What became of a spool; `left` says that there is still something in it."""

    run_id: str
    left: bool
    said: str


def settle(folder: Path, uri: str | None = None) -> Settled:
    """Deliver the spool in `folder`, no point twice, set the status that it tells, and remove it.

    uri: of a server that has moved; otherwise the store that the spool was written for.
    """
    taken = spool.take(folder)
    if taken is None:
        return Settled(folder.name, True, "its process is still at it")
    try:
        said = _deliver(taken, _store(taken, uri)) if taken.header else "nothing was in it"
        taken.remove()
        return Settled(folder.name, False, said)
    except _Left as left:
        return Settled(folder.name, True, str(left))
    except Exception as error:  # of any kind: each store's library has its own
        return Settled(folder.name, True, stores.reason(error))
    finally:
        taken.release()


class _Left(Exception):
    pass


def _store(taken: spool.Spool, uri: str | None) -> str:
    own = spool.store_of(taken)
    path = stores.sqlite_path(own)
    if path is not None and not path.exists():
        raise ConfigError("tracking.uri", f"the run was recorded in {path}, which is not there")
    return own if path is not None or uri is None else uri


def _deliver(taken: spool.Spool, uri: str) -> str:
    client = stores.open_store(uri)
    reconcile.reconcile(client)
    run, before = client.get_run(taken.run_id), taken.delivered
    # A later process has continued the run: its status, its checkpoints and its files are newer than these.
    own = reconcile.owner(run) == taken.header["process"]
    if not own and run.info.status == "RUNNING":  # two that ask what is there, and then send, would both send
        raise _Left(f"another process has continued the run and is at work in {uri}; wait for its end")
    delivery = Delivery(client, taken, asks=True)
    delivery.deliver(ends=own)
    if delivery.refused:
        taken.mark(before)
        why = stores.first_line(delivery.refused[0])
        raise _Left(f"{uri} refuses a part of it: {why}; to give that up, delete {taken.folder}")
    status = client.get_run(taken.run_id).info.status
    return f"delivered to {uri}, {status}" + ("" if own else "; only the points, since it was continued elsewhere")

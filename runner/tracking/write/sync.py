"""Delivery of a spool that its process has left behind."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runner.settings.errors import ConfigError, first_line
from runner.settings.trust import secrets
from runner.tracking.store import liveness, reconcile, stores
from runner.tracking.write import leftover, spool, spool_check, spool_header
from runner.tracking.write.delivery import Delivery


@dataclass
class Settled:
    """The result of delivering a spool."""

    run_id: str
    undelivered: bool  # something is still in it
    message: str  # the result in words
    lost: bool = False  # some of its files are gone


def settle(folder: Path, moved: str | None = None, named: Iterable[str] = (), configured: str = "") -> Settled:
    """Deliver the spool in `folder`, no point twice, set the run's status, and remove the spool.

    moved: the server that a person has typed for this. named: servers that a person has named otherwise. configured:
        the server in the working directory's files, which may give a password that the spool does not have, no more.
    A spool without the mark of this user's processes may have come with a stranger's folder: nothing is sent to the
    server that it names itself.
    Raises nothing: what goes wrong is in the result, and the spool stays.
    """
    try:
        spool_check.check_kinds(folder)
        held = spool.lock(folder)
    except FileNotFoundError:
        return Settled(folder.name, False, "another process has just delivered it")
    except (ConfigError, OSError) as error:
        return Settled(folder.name, True, stores.why(error))
    if held is None:
        return Settled(folder.name, True, _holder(folder))
    try:
        spool_check.check(folder)  # while no other process writes there
        taken = spool.opened(folder, held)
        if not taken.header and not taken.is_empty:
            raise _Undeliverable(
                f"{taken.folder / spool_header.NAME} is missing, which has the name of its store; bring the file back"
            )
        message, lost = "nothing was in it", list[str]()
        if taken.header:
            message, lost = _deliver(taken, _store(taken, moved, [*named], configured))
        taken.remove()
        return Settled(folder.name, False, "; ".join([message, *lost]), bool(lost))
    except _Undeliverable as error:
        return Settled(folder.name, True, str(error))
    except Exception as error:  # of any kind: each store's library has its own
        return Settled(folder.name, True, stores.why(error))
    finally:
        held.release()


def _holder(folder: Path) -> str:
    """Return in words who has locked a spool: its own process, or another that delivers what that has left."""
    with contextlib.suppress(ConfigError, OSError, KeyError):
        if liveness.is_gone(spool_check.header(folder)["process"]):
            return "another process is delivering it; wait for its end"
    return "its process is still at it"


def forget(uri: str, run: str) -> str:
    """Delete the one spool whose run's id begins with `run`, undelivered. Returns in words what was in it.

    Raises ConfigError if there is none, or several, or it is damaged, or its process is still at work.
    """
    folders = [folder for folder in spool.folders(uri) if folder.name.startswith(run)]
    if len(folders) != 1 or not run:
        ids = ", ".join(folder.name[:12] for folder in folders or spool.folders(uri)) or "none"
        raise ConfigError("forget", f"{run!r} is not the id of one run that is yet to be delivered; there are {ids}")
    spool_check.check_kinds(folders[0])
    held = spool.lock(folders[0])
    if held is None:
        raise ConfigError("forget", f"run {folders[0].name}: {_holder(folders[0])}")
    try:
        spool_check.check(folders[0])
        taken = spool.opened(folders[0], held)
    except BaseException:
        held.release()
        raise
    entries = [entry for entry, _ in taken.undelivered()]
    points = sum(len(entry.get("points", ())) for entry in entries)
    checkpoints = ", ".join(entry["to"] for entry in entries if "sha256" in entry)
    taken.remove()
    return f"run {folders[0].name}: let go of {points} points" + (f" and {checkpoints}" if checkpoints else "")


class _Undeliverable(Exception):
    """A spool cannot be delivered now, for the reason in the message."""


def _store(taken: spool.Spool, moved: str | None, named: list[str], configured: str) -> str:
    """Return the store to deliver to. Raises _Undeliverable if only the spool names it, or its password is missing."""
    own, ours = spool_header.store_of(taken.folder, taken.header), spool.is_ours(taken)
    path = stores.sqlite_path(own)
    if path is not None:
        if not path.exists():
            raise ConfigError("tracking.uri", f"the run was recorded in {path}, which is not there")
        if path.is_symlink() and not ours:
            raise _Undeliverable(f"{path} is a symbolic link to a store elsewhere; put the store itself there")
        return own
    above = next((uri for uri in named if _is_same(uri, own)), None)
    if moved or above:
        return moved or _below(str(above), own)
    if not ours:
        raise _Undeliverable(
            f"it is for {own}, which is named in the spool alone: nothing was sent there; if the server is yours, type:"
            f" {spool_header.sync_of(own)}"
        )
    if secrets.MASK not in own:
        return own
    if _is_same(configured, own):
        return _below(configured, own)
    raise _Undeliverable(f"the user and password of {own} are not kept on the disk; type: {spool_header.sync_of(own)}")


def _is_same(uri: str, own: str) -> bool:
    """Return whether a spool's server is the one at `uri`, or below it."""
    return f"{own.rstrip('/')}/".startswith(f"{secrets.masked_uri(uri).rstrip('/')}/") if "://" in uri else False


def _below(uri: str, own: str) -> str:
    """Return the spool's server with the user and password of `uri`, the same or above: http://host of its /mlflow."""
    return uri.rstrip("/") + own[len(secrets.masked_uri(uri).rstrip("/")) :]


def _deliver(taken: spool.Spool, uri: str) -> tuple[str, list[str]]:
    """Deliver the spool. Returns the result in words, and a line for each entry whose files are gone."""
    client = stores.open_store(uri)
    reconcile.reconcile(client)
    run, shown = client.get_run(taken.run_id), secrets.masked_uri(uri)
    # A later process has continued the run: its status, its checkpoints and its files are newer than these.
    own = reconcile.owner(run) == taken.header["process"]
    if not own and stores.sqlite_path(uri) is None and not spool.is_ours(taken):
        raise _Undeliverable(f"the run in {shown} belongs to another process than the spool")
    if not own and run.info.status == "RUNNING":  # two that ask what is there, and then send, would both send
        raise _Undeliverable(f"another process has continued the run and is at work in {shown}; wait for its end")
    delivery = Delivery(client, taken, asks=True)
    delivery.deliver(ends=own, again=True)
    if delivery.refused:
        why = leftover.refusal(client, taken.run_id, first_line(delivery.refused[0]))
        raise _Undeliverable(f"{shown} refuses a part of it, which is kept in {taken.folder}: {why}")
    status = client.get_run(taken.run_id).info.status
    points = "" if own else "; only the points, since it was continued elsewhere"
    return f"delivered to {shown}, {status}{points}", delivery.lost

"""The error for a run whose record is not whole in the store: what is missing, where it is, what to do."""

import contextlib
import json
import shlex
import shutil
import tempfile
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from runner.settings.errors import first_line
from runner.settings.trust import secrets
from runner.tracking.store import stores
from runner.tracking.write import spool_header
from runner.tracking.write.delivery import Delivery
from runner.tracking.write.journal import replace
from runner.tracking.write.spool import Spool, Undelivered

if TYPE_CHECKING:
    from mlflow import MlflowClient


def problem(
    spool: Spool, delivery: Delivery, status: str, error: Exception | None, silent: Exception | None
) -> Exception | None:
    """Return the error for a record that is not whole; None if the store has all of it.

    What its message calls kept has been read back from the disk.
    status: of the run at its end. error: of our own code in recording. silent: why the store did not take the rest.
    """
    short = status if status != "FINISHED" else "FAILED"
    status = status if error is None and not delivery.refused else short
    if delivery.lost and spool.is_empty:
        return Undelivered(short, f"run {spool.run_id} is {short}: {'; '.join(delivery.lost)}")
    if (spool.is_empty and delivery.ended) or (error is not None and silent is None and not delivery.refused):
        return error
    missing = spool.missing()
    if not missing and not delivery.ended and not any("end" in entry for entry, _ in spool.undelivered()):
        missing.append("how the run ended")
    if missing:
        return Undelivered(short, _lost(spool, short, missing, spool.log.error or silent or error))
    if delivery.refused and silent is None:
        why = refusal(delivery.client, spool.run_id, first_line(delivery.refused[0]))
        place = f"the store refuses a part of its record, which is kept in {spool.folder}"
        return Undelivered(short, f"run {spool.run_id} is {short}: {place}: {why}")
    return Undelivered(
        status,
        f"run {spool.run_id} is {status}, but the store does not have all of its record: {_why(silent)}\n"
        f"the rest is kept in {spool.folder}; to deliver it, in this directory: {_sync(spool)}",
    )


def end(client: "MlflowClient", run_id: str, problem: Exception) -> None:
    """Set the run's status to that of a record that is not whole, if nothing else has set it. Failing is no error."""
    status = problem.status if isinstance(problem, Undelivered) else "FAILED"
    with contextlib.suppress(Exception):  # the next command on this store sets it to KILLED
        client.set_tag(run_id, "runner.status_reason", secrets.masked(first_line(problem))[:5000])
        client.set_terminated(run_id, status)


def refusal(client: "MlflowClient", run_id: str, why: str) -> str:
    """Return why a store refuses a part of a run's record, and what a person can do about it.

    why: the store's message.
    """
    if stores.is_deleted(client, run_id):
        why = f"run {run_id} was deleted; restore it (runner restore {run_id})"
        return f"{why}, then: runner sync; or let go of it: runner sync forget={run_id[:8]}"
    return f"{why}; to try again: runner sync; to let go of it: runner sync forget={run_id[:8]}"


def _sync(spool: Spool) -> str:
    return spool_header.command(spool.folder, spool.header)


def _lost(spool: Spool, status: str, missing: list[str], error: Exception | None) -> str:
    what = f"run {spool.run_id} is {status}: {', '.join(missing)} could not be recorded: {_why(error)}"
    lines = [what]
    with contextlib.suppress(OSError, ValueError):  # a spool that was deleted under the run
        lines += _saved(spool)
        if any(True for _ in spool.undelivered()):
            lines.append(f"to deliver what is there, when there is room, in this directory: {_sync(spool)}")
    return "\n".join(lines)


def _saved(spool: Spool) -> list[str]:
    """Move what waits in memory, and checkpoints that no disk has taken, into a folder that stays after the run's end.

    Returns lines for a person about where they are.
    """
    # The id can be read in the store; the random rest of the name keeps others from making the folder before us.
    place = Path(tempfile.gettempdir()) / f"runner-left-{spool.run_id}-{token_hex(8)}"
    lines = _write_log(spool, place / "log.jsonl")
    for entry in spool.outside():
        source, target = Path(entry["from"]), place / Path(entry["to"] or "").name
        if "sha256" not in entry or not source.is_dir():
            continue
        try:
            place.mkdir(mode=0o700, exist_ok=True)
            shutil.move(source, target)
            command = _moving(target, spool.files.inside(entry))
            lines.append(f"its files are in {target}; to have them delivered: {command}")
        except OSError as error:
            lines.append(f"{entry['to']} goes with the run's folder, since {place} cannot be written: {error.strerror}")
    return lines


def _moving(source: Path, target: Path) -> str:
    command = f"mv {shlex.quote(str(source))} {shlex.quote(str(target))}"
    return command if target.parent.is_dir() else f"mkdir -p {shlex.quote(str(target.parent))} && {command}"


def _write_log(spool: Spool, path: Path) -> list[str]:
    """Write all entries that are to be delivered, if the spool's disk has not taken some of them.

    Without its entry a checkpoint is not delivered; and a disk that fails may have lost what it had taken.
    """
    if not spool.log.unwritten:
        return []
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        replace(path, "".join(json.dumps(entry) + "\n" for entry, _ in spool.entries(spool.delivered)))
    except OSError:  # the message already calls the points lost
        return []
    mark, log = shlex.quote(str(spool.folder / "delivered")), shlex.quote(str(spool.log.path))
    return [
        f"what waited in memory is in {path}; to have it delivered: rm -f {mark} && cp {shlex.quote(str(path))} {log}"
    ]


def _why(error: Exception | None) -> str:
    return "it is not there" if error is None else secrets.masked(stores.why(error))

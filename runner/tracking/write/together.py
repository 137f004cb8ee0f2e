"""Delivery of the spools of many runs of a local store at once: one wait for the disk, and one transaction.

A run with anything unusual is left out, and delivered by itself, which also says what is wrong: a store that is
elsewhere, an entry that was refused, files that are gone, a run that has to ask what the store has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runner.settings.files import durable, moves
from runner.tracking.store import artifact_places, mlflow_private
from runner.tracking.write.bulk import Rows, insert_all
from runner.tracking.write.delivery import AT_ONCE, Delivery
from runner.tracking.write.spool import Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Bytes of a spool that are sent again rather than to note that they are delivered.
LITTLE = 50_000


@dataclass
class _Share:
    """The part of one run in a delivery: what is read from its spool, and what follows when the store has it."""

    delivery: Delivery
    rows: Rows
    read: int  # bytes of the spool's file
    folders: list[tuple[Entry, Path]] = field(default_factory=list)  # entries with files, and where these are
    lasting: list[tuple[Path, Path]] = field(default_factory=list)  # the folders of checkpoints, and their places
    moved: list[tuple[Path, Path]] = field(default_factory=list)  # those of them that were moved
    others: list[tuple[Path, Path]] = field(default_factory=list)  # files that need not outlive a loss of power
    checkpoints: list[Entry] = field(default_factory=list)
    obsolete: list[str] = field(default_factory=list)  # places of checkpoints that no tag names then


def deliver(many: Sequence[Delivery]) -> list[Delivery]:
    """Deliver what these runs of one store have not delivered yet. Returns those of which the store has all now."""
    if not many or mlflow_private.local_store(many[0].client) is None:
        return []
    with AT_ONCE:
        homes = artifact_places.Homes()
        shares = [share for delivery in many if (share := _guarded(delivery, homes)) is not None]
        try:
            _publish(shares)
            stored = _insert(many[0].client, shares)
        except Exception:  # each run is delivered by itself, and has the reason if it fails again
            for share in shares:
                moves.move_back(share.moved)
                share.delivery.begin_anew()
            return []
        ids = {id(share) for share in stored}
        for share in shares:
            if id(share) not in ids:
                moves.move_back(share.moved)
                share.delivery.checkpoints.forget()
        return [share.delivery for share in stored if _noted(share)]


def _guarded(delivery: Delivery, homes: artifact_places.Homes) -> _Share | None:
    """Return a run's share; None for a run that is delivered by itself."""
    if delivery.asks or delivery.refused or delivery.lost or delivery.spool.refuses:
        return None
    try:
        return _share(delivery, homes)
    except Exception:
        return None


def _share(delivery: Delivery, homes: artifact_places.Homes) -> _Share | None:
    """Read the spool; None if it holds what is delivered by itself."""
    spool = delivery.spool
    share = _Share(delivery, Rows(spool.run_id), delivery.sent)
    for entry, share.read in spool.entries(delivery.sent):
        if "points" in entry:
            share.rows.points += entry["points"]
        elif "params" in entry:
            share.rows.params |= entry["params"]
        elif "end" in entry:
            share.rows.tags |= {**entry.get("tags", {}), "runner.status_reason": entry["reason"][:5000]}
            share.rows.end = entry["end"], entry["at"]
        elif "model" in entry:
            return None
        elif (folder := spool.locate(entry)) is not None:
            share.folders.append((entry, folder))
            share.rows.tags |= entry["tags"]
    _place(share, homes)
    return share


def _place(share: _Share, homes: artifact_places.Homes) -> None:
    """Find the places of all files. Raises ConfigError for places that no store may name, or that are in links."""
    client, run_id = share.delivery.client, share.rows.run_id
    if not share.folders:
        return
    local = homes.folder(client, run_id)
    places = []
    for entry, folder in share.folders:
        if "sha256" in entry:  # a folder without others in it
            share.checkpoints.append(entry)
            share.lasting.append((folder, local / entry["to"]))
            places += [f"{entry['to']}/{file.name}" for file in folder.iterdir()]
        else:
            above = f"{entry['to']}/" if entry["to"] else ""
            names = [path.relative_to(folder).as_posix() for path in moves.files(folder)]
            share.others += [(folder / name, local / f"{above}{name}") for name in names]
            places += [f"{above}{name}" for name in names]
    artifact_places.refuse_links(local, places)


def _publish(shares: list[_Share]) -> None:
    """Put all files in their places, and the tags that name checkpoints into the rows.

    What was moved is in its place alone: a delivery that is interrupted here finds it there (`Delivery`).
    """
    moved = moves.move_all(pair for share in shares for pair in share.lasting)
    places = {place for _, place in moved}
    for share in shares:
        share.moved = [pair for pair in share.lasting if pair[1] in places]
    others = [pair for share in shares for pair in share.lasting if pair[1] not in places]
    durable.publish_all([(file, place / file.name) for folder, place in others for file in folder.iterdir()])
    for share in shares:
        for path, place in share.others:
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.replace(place)
            except OSError:  # another disk
                durable.write(place, path.read_bytes(), lasting=False)
        for entry in share.checkpoints:
            tags, obsolete = share.delivery.checkpoints.add(entry, {}, is_there=True)
            share.rows.tags |= tags
            share.obsolete += obsolete


def _insert(client: "MlflowClient", shares: list[_Share]) -> list[_Share]:
    """Write the rows. Returns the shares whose rows are written: all but those that are for MLflow."""
    if not shares or insert_all(client, [share.rows for share in shares]):
        return shares
    half = len(shares) // 2
    return [*_insert(client, shares[:half]), *_insert(client, shares[half:])] if half else []


def _noted(share: _Share) -> bool:
    """Note what the store has, and delete checkpoints that newer ones have replaced. Returns whether that was done."""
    delivery = share.delivery
    delivery.ended = delivery.ended or share.rows.end is not None
    # What is little and names no files may be sent again, to a store that is asked what it has.
    passing = not share.folders and share.read < LITTLE and delivery.spool.log.error is None
    try:
        delivery.checkpoints.delete(share.obsolete)
        delivery.sent = delivery.spool.mark(share.read, delivery.ended or passing)
    except Exception:  # of this run alone: it is delivered by itself, and has the reason if it fails again
        delivery.begin_anew()
        return False
    return True

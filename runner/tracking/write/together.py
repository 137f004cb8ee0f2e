"""Delivery of the spools of many runs of a local store at once: one wait for the disk, and one transaction.

A run with anything unusual is left out, and delivered by itself, which also says what is wrong: a store that is
elsewhere, an entry that was refused, files that are gone, a run that has to ask what the store has.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from runner.settings.files import durable
from runner.tracking.store import artifact_places, artifacts, mlflow_private
from runner.tracking.write.bulk import Rows, insert_all
from runner.tracking.write.delivery import AT_ONCE, Delivery
from runner.tracking.write.spool import Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass
class _Share:
    """The part of one run in a delivery: what is read from its spool, and what follows when the store has it."""

    delivery: Delivery
    rows: Rows
    read: int  # bytes of the spool's file
    folders: list[tuple[Entry, Path]] = field(default_factory=list)  # entries with files, and where these are
    lasting: list[tuple[Path, Path]] = field(default_factory=list)  # the files of checkpoints, and their places
    others: list[tuple[Path, Path]] = field(default_factory=list)  # files that need not outlive a loss of power
    checkpoints: list[tuple[Entry, dict[str, int]]] = field(default_factory=list)  # with the sizes of their files
    obsolete: list[str] = field(default_factory=list)  # places of checkpoints that no tag names then


def deliver(many: Sequence[Delivery]) -> list[Delivery]:
    """Deliver what these runs of one store have not delivered yet. Returns those of which the store has all now."""
    if not many or mlflow_private.local_store(many[0].client) is None:
        return []
    with AT_ONCE:
        shares = [share for delivery in many if (share := _guarded(delivery)) is not None]
        try:
            _publish(shares)
            stored = _insert(many[0].client, shares)
        except Exception:  # each run is delivered by itself, and has the reason if it fails again
            for share in shares:
                share.delivery.begin_anew()
            return []
        for share in shares:
            if share not in stored:
                share.delivery.checkpoints.forget()
        return [share.delivery for share in stored if _noted(share)]


def _guarded(delivery: Delivery) -> _Share | None:
    """Return a run's share; None for a run that is delivered by itself."""
    if delivery.asks or delivery.refused or delivery.lost or delivery.spool.refuses:
        return None
    try:
        return _share(delivery)
    except Exception:
        return None


def _share(delivery: Delivery) -> _Share | None:
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
    _place(share)
    return share


def _place(share: _Share) -> None:
    """Find the places of all files. Raises ConfigError for places that no store may name, or that are in links."""
    client, run_id = share.delivery.client, share.rows.run_id
    if not share.folders:
        return
    artifacts.check_place(client, run_id)
    local = artifact_places.local(client, run_id)
    assert local is not None, "the store is a local one"
    places = []
    for entry, folder in share.folders:
        above = local / entry["to"] if entry["to"] else local
        if "sha256" in entry:  # a folder without others in it
            sizes = {one.name: one.stat().st_size for one in os.scandir(folder)}
            share.checkpoints.append((entry, sizes))
            share.lasting += [(folder / name, above / name) for name in sizes]
            places += [PurePosixPath(entry["to"], name) for name in sizes]
        else:
            names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
            share.others += [(folder / name, above / name) for name in names]
            places += [PurePosixPath(entry["to"] or "", name) for name in names]
    artifact_places.refuse_links(local, places)


def _publish(shares: list[_Share]) -> None:
    """Put all files in their places, and the tags that name checkpoints into the rows."""
    durable.publish_all([file for share in shares for file in share.lasting])
    for share in shares:
        for path, place in share.others:
            place.parent.mkdir(parents=True, exist_ok=True)
            durable.write(place, path.read_bytes(), lasting=False)
        for entry, sizes in share.checkpoints:
            tags, obsolete = share.delivery.checkpoints.add(entry, sizes, is_there=True)
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
    try:
        delivery.checkpoints.delete(share.obsolete)
        delivery.sent = delivery.spool.mark(share.read, delivery.ended)
    except Exception:  # of this run alone: it is delivered by itself, and has the reason if it fails again
        delivery.begin_anew()
        return False
    return True

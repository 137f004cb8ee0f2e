"""Entries for a spool, made from a run's events."""

import json
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.settings.trust import secrets
from runner.tracking.write.journal import Entry
from runner.training.events import Epoch, Event, Finished, Served, Snapshot, Step, Steps
from runner.training.state.history import read


@dataclass
class End:
    """The end of a run, after its last event."""

    status: str
    reason: str


#: Events in their order, each with its time in seconds since 1970. A threading.Event is set when it has its turn.
Events = list[tuple[Event | End | threading.Event, float]]


def points(events: Events) -> list[Any]:
    """Return (metric, value, milliseconds since 1970, step) of every finite number in the events.

    Losses are read from their device all at once.
    """
    steps = [(event, at) for event, at in events if isinstance(event, Step)]
    measured = [(event, at) for event, at in events if isinstance(event, Epoch | Finished)]
    values = [(name, value, int(at * 1000), e.step) for e, at in measured for name, value in e.metrics.items()]
    for event, at in events:
        if isinstance(event, Steps):
            values += [
                ("train/loss", v, int(at * 1000), n) for n, v in enumerate(map(float, event.losses), event.first)
            ]
    if steps:
        times = {step.step: int(at * 1000) for step, at in steps}
        losses = read([step for step, _ in steps])
        values += [(name, loss, times[step], step) for name, points in losses.items() for step, loss in points]
    return [value for value in values if math.isfinite(value[1])]  # infinity would win where more is better


def checkpoint(number: int, event: Snapshot, keep: int) -> Entry:
    """Return the entry for a checkpoint, of which the store keeps the `keep` newest of this name."""
    place = f"checkpoints/{event.name}-{event.step}"
    digests = event.sha256 or json.loads((event.folder / "sha256.json").read_text())
    own = {"name": event.name, "step": event.step, "sha256": digests, "keep": keep}
    return {"files": number, "from": str(event.folder), "to": place, "tags": {}, "move": True, **own}


def files(number: int, folder: Path) -> Entry:
    """Return the entry for everything in a folder, which its owner deletes."""
    return {"files": number, "from": str(folder), "to": None, "tags": {}, "move": False}


def model(number: int, event: Served) -> Entry:
    """Return the entry for an MLflow model. Its tags follow when it is logged."""
    where = {"from": str(event.folder), "to": "model", "move": True, "name": "model"}
    return {"files": number, "tags": {}, "model": event.step, **where}


def end(event: End, at: float, reason: str, tags: dict[str, str], error: Exception | None) -> Entry:
    """Return the entry for the end of a run. One whose record is incomplete has failed, however well it was trained.

    reason: for the end if the event has none. error: in recording.
    """
    status, reason = event.status, event.reason or reason
    if error is not None and status == "FINISHED":
        status, reason = "FAILED", f"{type(error).__name__}: {error}"
    return {"end": status, "reason": secrets.masked(reason), "tags": tags, "at": int(at * 1000)}

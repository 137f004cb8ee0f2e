"""Events as what is written into a spool."""

import json
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.settings.trust import secrets
from runner.tracking.write.spool import Entry
from runner.training.events import Epoch, Event, Finished, Served, Snapshot, Step
from runner.training.state.history import read


@dataclass
class End:
    """The last thing that a tracker is told."""

    status: str
    reason: str


Noted = list[tuple[Event | End | threading.Event, float]]  # with the time, in seconds since 1970


def points(noted: Noted) -> list[Any]:
    """(metric, value, milliseconds since 1970, step) of every number in the events; losses are read in one go."""
    steps = [(event, at) for event, at in noted if isinstance(event, Step)]
    looks = [(event, at) for event, at in noted if isinstance(event, Epoch | Finished)]
    values = [(name, value, int(at * 1000), e.step) for e, at in looks for name, value in e.metrics.items()]
    if steps:
        times = {step.step: int(at * 1000) for step, at in steps}
        losses = read([step for step, _ in steps])
        values += [(name, loss, times[step], step) for name, points in losses.items() for step, loss in points]
    return [value for value in values if math.isfinite(value[1])]  # infinity would win where more is better


def checkpoint(number: int, event: Snapshot, keep: int) -> Entry:
    """The files of a checkpoint, of which the store keeps the `keep` newest of this name."""
    told = {
        "name": event.name,
        "step": event.step,
        "sha256": json.loads((event.folder / "sha256.json").read_text()),
        "keep": keep,
    }
    place = f"checkpoints/{event.name}-{event.step}"
    return {"files": number, "from": str(event.folder), "to": place, "tags": {}, "move": True, **told}


def files(number: int, folder: Path) -> Entry:
    """Everything in a folder that somebody else removes."""
    return {"files": number, "from": str(folder), "to": None, "tags": {}, "move": False}


def model(number: int, event: Served) -> Entry:
    """An MLflow model, whose tags are known when it is logged."""
    where = {"from": str(event.folder), "to": "model", "move": True, "name": "model"}
    return {"files": number, "tags": {}, "model": event.step, **where}


def end(event: End, at: float, reason: str, tags: dict[str, str], error: Exception | None) -> Entry:
    """A run whose record is incomplete has failed, however well it was trained."""
    status, reason = event.status, event.reason or reason
    if error is not None and status == "FINISHED":
        status, reason = "FAILED", f"{type(error).__name__}: {error}"
    return {"end": status, "reason": secrets.masked(reason), "tags": tags, "at": int(at * 1000)}

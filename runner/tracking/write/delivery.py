"""Delivery of a spool's entries to the tracking store: in order, and no point twice."""

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.settings.errors import first_line
from runner.tracking.store import artifacts, logged_models, stores
from runner.tracking.store.transfer import Patience
from runner.tracking.write.bulk import insert
from runner.tracking.write.checkpoints import Checkpoints
from runner.tracking.write.spool import Entry, Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Points per call. MLflow's servers accept 1,000 points, params and tags at once, 100 of them tags.
CHUNK = 900
#: Params per call.
PARAMS = 100


#: Acquired for each delivery: MLflow has 15 connections to a database, and SQLite lets one write at a time.
#: Without it, many runs that are open at once in a process wait for each other until the first gives up.
AT_ONCE = threading.Semaphore(4)


@dataclass
class Uploaded:
    """An entry whose files are in the store, the tags that are to name them, and places that no tag names then."""

    entry: Entry
    tags: dict[str, str]
    obsolete: list[str] = field(default_factory=list)


class Delivery:
    """The delivery of a spool, as far as the store takes it; it goes on from there when asked again.

    asks: the store may have some of it already, and is asked before anything is sent.
    """

    def __init__(self, client: "MlflowClient", spool: Spool, asks: bool = False) -> None:
        self.client, self.spool, self.asks = client, spool, asks
        self.sent = spool.delivered
        self.refused: list[Exception] = []  # what the store will never take; the entries are in the spool
        self.lost: list[str] = []  # files that are nowhere any more, in words
        self.patience = Patience()
        self.ended = False  # whether the store has the end of the run
        self._refusals: list[Entry] = []  # of the delivery under way
        self._recorded: dict[str, tuple[int, set[int]]] = {}  # key -> (first step asked for, steps that the store has)
        self.checkpoints = Checkpoints(client, spool.run_id, self.patience, asks)
        # What is sent together, since every call takes its time: points, and the tags of files that are there.
        self._points: list[Any] = []
        self._uploaded: list[Uploaded] = []

    def use(self, client: "MlflowClient") -> None:
        """Deliver to the store of another client from here on: the store was moved."""
        self.client = self.checkpoints.client = client

    def deliver(self, ends: bool = True, again: bool = False) -> None:
        """Send everything that is not delivered yet. What the store refuses for good stays in the spool.

        ends: the run's status is set as well, and its files and tags are sent; False: points alone.
        again: what was refused before is sent once more, first.
        Raises whatever stopped it: the store does not answer, or not as it should.
        """
        with AT_ONCE:
            refused, lost = self.refused.copy(), self.lost.copy()
            try:
                self._deliver(ends, again)
            except Exception:
                # The store may have taken what it gave no answer to: all is sent again, after asking what it has.
                self.refused, self.lost, self._refusals = refused, lost, []
                self.begin_anew()
                raise

    def begin_anew(self) -> None:
        """Send all that is not marked as delivered again, after asking what the store has: it gave no answer."""
        self._recorded, self._points, self._uploaded = {}, [], []
        self.checkpoints.forget()
        self.asks, self.sent = True, self.spool.delivered

    def _deliver(self, ends: bool, again: bool) -> None:
        if again:
            self.asks, self._recorded, self.refused = True, {}, []
        earlier = [entry for entry, _ in self.spool.refused.entries()] if again else []
        end = self.sent
        for entry in earlier:
            if ends or "points" in entry:
                self._send(entry)
        for entry, end in self.spool.entries(self.sent):  # noqa: B007
            if ends or "points" in entry:
                self._send(entry)
        self._flush()
        self._write_refusals(again)
        self.sent = self.spool.mark(end)

    def _write_refusals(self, again: bool) -> None:
        """Write what was refused into the spool, before the rest is marked as delivered."""
        if again:
            self.spool.refused.replace(self._refusals)
        else:
            self.spool.refused.append(self._refusals)
        self._refusals = []

    def _send(self, entry: Entry) -> None:
        if "points" in entry:
            if len(self._points) + len(entry["points"]) > CHUNK:
                self._flush()
            self._points += entry["points"]
        elif "params" in entry:
            self._send_params(entry["params"])
        elif "files" in entry:  # files first, then, together with others, the tags that name them
            if error := stores.refusal(partial(self._send_files, entry)):
                self._refuse(entry, error)
        elif "end" in entry:
            self._end(entry)

    def _send_params(self, params: dict[str, str]) -> None:
        from mlflow.entities import Param

        if insert(self.client, self.spool.run_id, params=params):
            return
        entries = [Param(key, value) for key, value in params.items()]
        for start in range(0, len(entries), PARAMS):
            part = entries[start : start + PARAMS]
            if error := stores.refusal(partial(self.client.log_batch, self.spool.run_id, params=part)):
                self._refuse({"params": {param.key: param.value for param in part}}, error)

    def _send_files(self, entry: Entry) -> None:
        try:
            folder = self.spool.locate(entry)
        except FileNotFoundError as error:
            if "sha256" in entry and artifacts.is_whole(self.client, self.spool.run_id, entry["to"], entry["sha256"]):
                # A delivery was interrupted after it had moved them there (`together`).
                self._uploaded.append(Uploaded(entry, *self.checkpoints.add(entry, {}, is_there=True)))
            else:  # there is nothing to try again
                self.lost.append(str(error))
            return
        if folder is None:
            # A part of a checkpoint may have been sent before newer ones took its place and tags could name it.
            if self.asks and "sha256" in entry and not self.checkpoints.holds(entry):
                self.checkpoints.delete([entry["to"]])
            return
        run_id = self.spool.run_id
        if "model" in entry:
            tags = logged_models.put(self.client, run_id, folder, entry["model"], self.patience)
            self._uploaded.append(Uploaded(entry, tags))
            return
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        artifacts.put(self.client, run_id, folder, entry["to"], self.patience)
        if "sha256" in entry:
            self._uploaded.append(Uploaded(entry, *self.checkpoints.add(entry, sizes)))
        elif entry["tags"]:
            self._uploaded.append(Uploaded(entry, entry["tags"]))

    def _end(self, entry: Entry) -> None:
        self._flush()
        status, reason = entry["end"], entry["reason"]
        wrong = self.lost + [f"{type(error).__name__}: {error}" for error in self.refused]
        if wrong and status == "FINISHED":  # a run whose record is incomplete has failed, however well trained
            status, reason = "FAILED", wrong[0]
        self._uploaded.append(Uploaded(entry, {**entry.get("tags", {}), "runner.status_reason": reason[:5000]}))
        self._flush()
        error = stores.refusal(partial(self.client.set_terminated, self.spool.run_id, status, entry["at"]))
        if error is not None or self.refused:  # when all is taken one day, the run gets the status that it has earned
            self._refuse(entry, error or self.refused[0])
        self.ended = error is None

    def _flush(self) -> None:
        """Send the points and tags that have been collected."""
        from mlflow.entities import Metric, RunTag

        points, uploaded = self._unrecorded(self._points), self._uploaded
        self._points, self._uploaded = [], []
        tags = {key: value for one in uploaded for key, value in one.tags.items()}
        if not points and not tags:
            return
        if not insert(self.client, self.spool.run_id, points, tags=tags):
            metrics, run_tags = [Metric(*point) for point in points], [RunTag(*tag) for tag in tags.items()]
            if stores.refusal(partial(self.client.log_batch, self.spool.run_id, metrics=metrics, tags=run_tags)):
                self._flush_each(points, uploaded)
                return
        self._note_recorded(points)
        for one in uploaded:
            self.checkpoints.delete(one.obsolete)

    def _flush_each(self, points: list[Any], uploaded: list[Uploaded]) -> None:
        """Send each metric, and the tags of each entry, by itself: a refusal of one does not keep the others out."""
        from mlflow.entities import Metric, RunTag

        log = partial(self.client.log_batch, self.spool.run_id)
        for key in dict.fromkeys(key for key, *_ in points):
            own = [point for point in points if point[0] == key]
            if error := stores.refusal(partial(log, metrics=[Metric(*point) for point in own])):
                self._refuse({"points": own}, error)
            else:
                self._note_recorded(own)
        for one in uploaded:
            if error := stores.refusal(partial(log, tags=[RunTag(*tag) for tag in one.tags.items()])):
                self._refuse(one.entry, error)
                self.checkpoints.forget()  # the tags name what they named before
            else:
                self.checkpoints.delete(one.obsolete)

    def _unrecorded(self, points: list[Any]) -> list[Any]:
        """Return the points that the store does not have."""
        if not self.asks or not points:
            return points
        first = min(step for *_, step in points)
        return [point for point in points if point[3] not in self._steps(point[0], first)]

    def _steps(self, key: str, first: int) -> set[int]:
        if key not in self._recorded or first < self._recorded[key][0]:
            history = self.client.get_metric_history(self.spool.run_id, key)
            self._recorded[key] = first, {metric.step for metric in history if metric.step >= first}
        return self._recorded[key][1]

    def _note_recorded(self, points: list[Any]) -> None:
        for key, _, _, step in points if self.asks else ():
            self._recorded[key][1].add(step)

    def _refuse(self, entry: Entry, error: Exception) -> None:
        """Note an entry that the store refuses, with the reason, for the spool."""
        self.refused.append(error)
        entry = {**entry, "refused": first_line(error)}
        if all({**other, "refused": ""} != {**entry, "refused": ""} for other in self._refusals):
            self._refusals.append(entry)

"""What is in a spool is told to the tracking store: in order, and no point twice."""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.settings.trust import record_reading
from runner.tracking.read import served
from runner.tracking.store import stores
from runner.tracking.write.bulk import insert
from runner.tracking.write.spool import Entry, Spool
from runner.tracking.write.transfer import Patience

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Points per call. MLflow's servers accept 1,000 points, params and tags at once, 100 of them tags.
CHUNK = 900
#: Params per call.
PARAMS = 100


#: Held while a store is told something: MLflow keeps 15 connections to a database, and SQLite lets one write at a time.
#: Without it, many runs that are open at once in a process wait for each other until the first gives up.
_AT_ONCE = threading.Semaphore(4)


@dataclass
class Named:
    """The tags of an entry, whose files are there, and the artifacts that no tag names any more after them."""

    entry: Entry
    tags: dict[str, str]
    gone: list[str] = field(default_factory=list)


class Delivery:
    """Delivers a spool as far as the store takes it, and goes on from there when asked again.

    asks: the store may have some of it already, and is asked before anything is sent.
    """

    def __init__(self, client: "MlflowClient", spool: Spool, asks: bool = False) -> None:
        self.client, self.spool, self.asks = client, spool, asks
        self.sent = spool.delivered
        self.refused: list[Exception] = []  # what the store will never take; the entries are in the spool
        self.lost: list[str] = []  # files that are nowhere any more, in words
        self.patience = Patience()
        self.ended = False  # whether the store knows how the run has ended
        self._refusals: list[Entry] = []  # of the delivery under way
        self._known: dict[str, tuple[int, set[int]]] = {}  # key -> (first step asked for, those that the store has)
        # name -> those that the store has, newest first; of a name that is not here it is asked
        self._checkpoints: dict[str, list[dict[str, Any]]] = {} if asks else {"last": [], "best": []}
        # What is told together, since every call takes its time: points, and the tags of files that are there.
        self._points: list[Any] = []
        self._named: list[Named] = []

    def deliver(self, ends: bool = True, again: bool = False) -> None:
        """Raises what stopped it: the store does not answer, or not well. What it refuses stays in the spool.

        ends: the run's status is set as well, and its files and tags are told.
        again: what was refused before is told once more, first.
        """
        with _AT_ONCE:
            refused, lost = self.refused.copy(), self.lost.copy()
            try:
                self._deliver(ends, again)
            except Exception:
                # An answer may have been lost and not the question: all of it is told again, and asked for first.
                self._known, self._checkpoints, self._points, self._named = {}, {}, [], []
                self.refused, self.lost, self._refusals = refused, lost, []
                self.asks, self.sent = True, self.spool.delivered
                raise

    def _deliver(self, ends: bool, again: bool) -> None:
        if again:
            self.asks, self._known, self.refused = True, {}, []
        earlier = [entry for entry, _ in self.spool.refused.entries()] if again else []
        end = self.sent
        for entry in earlier:
            if ends or "points" in entry:
                self._tell(entry)
        for entry, end in self.spool.entries(self.sent):  # noqa: B007
            if ends or "points" in entry:
                self._tell(entry)
        self._flush()
        self._note(again)
        self.sent = self.spool.mark(end)

    def _note(self, again: bool) -> None:
        """Write what was refused into the spool, before the rest is marked as delivered."""
        if again:
            self.spool.refused.replace(self._refusals)
        else:
            self.spool.refused.append(self._refusals)
        self._refusals = []

    def _tell(self, entry: Entry) -> None:
        if "points" in entry:
            self._add(entry["points"])
        elif "params" in entry:
            self._params(entry["params"])
        elif "files" in entry:
            self._files(entry)
        elif "end" in entry:
            self._end(entry)

    def _add(self, points: list[Any]) -> None:
        if len(self._points) + len(points) > CHUNK:
            self._flush()
        self._points += points

    def _new(self, points: list[Any]) -> list[Any]:
        """Those that the store does not have."""
        if not self.asks or not points:
            return points
        first = min(step for *_, step in points)
        return [p for p in points if p[3] not in self._steps(p[0], first)]

    def _steps(self, key: str, first: int) -> set[int]:
        if key not in self._known or first < self._known[key][0]:
            history = self.client.get_metric_history(self.spool.run_id, key)
            self._known[key] = first, {metric.step for metric in history if metric.step >= first}
        return self._known[key][1]

    def _params(self, params: dict[str, str]) -> None:
        from mlflow.entities import Param

        if insert(self.client, self.spool.run_id, params=params):
            return
        entries = [Param(key, value) for key, value in params.items()]
        for start in range(0, len(entries), PARAMS):
            part = entries[start : start + PARAMS]
            if error := _refusal(partial(self.client.log_batch, self.spool.run_id, params=part)):
                self._refuse({"params": {param.key: param.value for param in part}}, error)

    def _files(self, entry: Entry) -> None:
        """Files first, then, together with others, the tags that name them."""
        if error := _refusal(lambda: self._put(entry)):
            self._refuse(entry, error)

    def _put(self, entry: Entry) -> None:
        try:
            folder = self.spool.files(entry)
        except FileNotFoundError as error:  # there is nothing to try again
            self.lost.append(str(error))
            return
        if folder is None:
            self._tidy(entry)
            return
        run_id = self.spool.run_id
        if "model" in entry:
            tags = served.put(self.client, run_id, folder, entry["model"], self.patience)
            self._named.append(Named(entry, tags))
            return
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        stores.put(self.client, run_id, folder, entry["to"], self.patience)
        if "sha256" in entry:
            self._checkpoint(entry, sizes)
        elif entry["tags"]:
            self._named.append(Named(entry, entry["tags"]))

    def _tidy(self, entry: Entry) -> None:
        """Delete what may have been sent of a checkpoint, before newer ones took its place and tags could name it."""
        if self.asks and "sha256" in entry and all(one["place"] != entry["to"] for one in self._kept(entry["name"])):
            self._delete([entry["to"]])

    def _checkpoint(self, entry: Entry, sizes: dict[str, int]) -> None:
        """Name a checkpoint that is there by tags, and those before it that are there too, as many as are kept."""
        name, place = entry["name"], entry["to"]
        if not stores.holds(self.client, self.spool.run_id, place, sizes, self.patience):
            raise OSError(f"{place} is not whole in the store after it was sent")
        own = {"place": place, "step": entry["step"], "sha256": entry["sha256"]}
        there = [own, *(one for one in self._kept(name) if one["place"] != place)]
        there.sort(key=lambda one: -int(one["step"]))
        kept, more = there[: entry["keep"]], there[entry["keep"] :]
        self._checkpoints[name], newest = kept, kept[0]
        values = {
            "": newest["place"],
            ".step": str(newest["step"]),
            ".sha256": json.dumps(newest["sha256"]),
            ".kept": json.dumps(kept),
        }
        tags = {f"checkpoint.{name}{key}": value for key, value in values.items()}
        self._named.append(Named(entry, tags, [one["place"] for one in more]))

    def _kept(self, name: str) -> list[dict[str, Any]]:
        """The checkpoints of this name that the run's tags name and that are there, newest first."""
        if name not in self._checkpoints:
            run_id = self.spool.run_id
            tags = self.client.get_run(run_id).data.tags
            named = record_reading.checkpoints(tags, name)
            form = rf"checkpoints/{re.escape(name)}-\d+"  # a store may not name others, which would go
            self._checkpoints[name] = [
                one
                for one in named
                if re.fullmatch(form, one["place"])
                and stores.holds(self.client, run_id, one["place"], dict.fromkeys(one["sha256"]), self.patience)
            ]
        return self._checkpoints[name]

    def _end(self, entry: Entry) -> None:
        self._flush()
        status, reason = entry["end"], entry["reason"]
        wrong = self.lost + [f"{type(error).__name__}: {error}" for error in self.refused]
        if wrong and status == "FINISHED":  # a run whose record is incomplete has failed, however well trained
            status, reason = "FAILED", wrong[0]
        self._named.append(Named(entry, {**entry.get("tags", {}), "runner.status_reason": reason[:5000]}))
        self._flush()
        error = _refusal(partial(self.client.set_terminated, self.spool.run_id, status, entry["at"]))
        if error is not None or self.refused:  # when all is taken one day, the run gets the status that it has earned
            self._refuse(entry, error or self.refused[0])
        self.ended = error is None

    def _flush(self) -> None:
        from mlflow.entities import Metric, RunTag

        points, named = self._new(self._points), self._named
        self._points, self._named = [], []
        tags = {key: value for one in named for key, value in one.tags.items()}
        if not points and not tags:
            return
        if not insert(self.client, self.spool.run_id, points, tags=tags):
            metrics, run_tags = [Metric(*point) for point in points], [RunTag(*tag) for tag in tags.items()]
            if _refusal(partial(self.client.log_batch, self.spool.run_id, metrics=metrics, tags=run_tags)):
                self._flush_each(points, named)
                return
        self._taken(points)
        for one in named:
            self._delete(one.gone)

    def _flush_each(self, points: list[Any], named: list[Named]) -> None:
        """Send each metric, and the tags of each entry, by itself: one that is refused keeps no other out."""
        from mlflow.entities import Metric, RunTag

        log = partial(self.client.log_batch, self.spool.run_id)
        for key in dict.fromkeys(key for key, *_ in points):
            own = [point for point in points if point[0] == key]
            if error := _refusal(partial(log, metrics=[Metric(*point) for point in own])):
                self._refuse({"points": own}, error)
            else:
                self._taken(own)
        for one in named:
            if error := _refusal(partial(log, tags=[RunTag(*tag) for tag in one.tags.items()])):
                self._refuse(one.entry, error)
                self._checkpoints = {}  # what the tags name is what it was
            else:
                self._delete(one.gone)

    def _taken(self, points: list[Any]) -> None:
        for key, _, _, step in points if self.asks else ():
            self._known[key][1].add(step)

    def _delete(self, places: list[str]) -> None:
        """Delete checkpoints that no tag names any more. A store that refuses to delete does no harm."""
        for place in places:
            _refusal(partial(stores.delete, self.client, self.spool.run_id, place, self.patience))

    def _refuse(self, entry: Entry, error: Exception) -> None:
        """Keep what the store does not take, with the reason."""
        self.refused.append(error)
        entry = {**entry, "refused": stores.first_line(error)}
        if all({**other, "refused": ""} != {**entry, "refused": ""} for other in self._refusals):
            self._refusals.append(entry)


def _refusal(call: Callable[[], Any]) -> Exception | None:
    """Why the store refuses a call for good; None if it took it. Raises what may go well another time."""
    try:
        call()
    except Exception as error:
        if not is_refusal(error):
            raise
        return error
    return None


def is_refusal(error: Exception) -> bool:
    """Tell a refusal for good, which another try would meet again, from a failure of the moment.

    Refusals are named here. All else is tried again: each kind of store has exceptions of its own.
    """
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return bool(error.error_code == "INVALID_PARAMETER_VALUE")
    return isinstance(error, UnicodeEncodeError)

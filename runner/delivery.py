"""What is in a spool is told to the tracking store: in order, and no point twice."""

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from runner import served, stores
from runner.bulk import insert
from runner.spool import Entry, Lost, Spool
from runner.transfer import Patience

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Points per call. MLflow's servers accept 1,000 points, params and tags at once, 100 of them tags.
CHUNK = 900
#: Params per call.
PARAMS = 100


#: Held while a store is told something: MLflow keeps 15 connections to a database, and SQLite lets one write at a time.
#: Without it, many runs that are open at once in a process wait for each other until the first gives up.
_AT_ONCE = threading.Semaphore(4)


class Delivery:
    """Delivers a spool as far as the store takes it, and goes on from there when asked again.

    asks: the store may have some of the points already, and is asked before any are sent.
    """

    def __init__(self, client: "MlflowClient", spool: Spool, asks: bool = False) -> None:
        self.client, self.spool, self.asks = client, spool, asks
        self.sent = spool.delivered
        self.refused: list[Exception] = []  # what the store will never take
        self.patience = Patience()
        self._known: dict[str, set[int]] = {}  # key -> steps that the store has
        # What is told together, since every call takes its time: points, and the tags of files that are there.
        self._points: list[Any] = []
        self._tags: dict[str, str] = {}

    def deliver(self, ends: bool = True) -> None:
        """Raises what stopped it: the store does not answer, or not well. What it refuses is noted in `refused`.

        ends: the run's status is set as well, and its files and tags are told.
        """
        with _AT_ONCE:
            self._deliver(ends)

    def _deliver(self, ends: bool) -> None:
        try:
            end = self.sent
            for entry, end in self.spool.entries(self.sent):  # noqa: B007
                if ends or "points" in entry:
                    self._tell(entry)
            self._flush()
            self.sent = self.spool.mark(end)
        except Exception:
            # An answer may have been lost and not the question.
            self.asks, self._known, self._points, self._tags, self.sent = True, {}, [], {}, self.spool.delivered
            raise

    def _tell(self, entry: Entry) -> None:
        if "points" in entry:
            self._add(entry["points"])
        elif "params" in entry:
            self._params(entry["params"])
        elif "files" in entry:
            self._files(entry)
        elif "gone" in entry:
            self._delete(entry["gone"])
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
        if key not in self._known:
            history = self.client.get_metric_history(self.spool.run_id, key)
            self._known[key] = {metric.step for metric in history if metric.step >= first}
        return self._known[key]

    def _params(self, params: dict[str, str]) -> None:
        from mlflow.entities import Param

        if insert(self.client, self.spool.run_id, params=params):
            return
        entries = [Param(key, value) for key, value in params.items()]
        for start in range(0, len(entries), PARAMS):
            self._try(partial(self.client.log_batch, self.spool.run_id, params=entries[start : start + PARAMS]))

    def _files(self, entry: Entry) -> None:
        """The tags that name files are written after them, and before others take their place."""
        if self._tags.keys() & entry["tags"].keys():
            self._flush()

        self._try(partial(self._send, entry))

    def _send(self, entry: Entry) -> None:
        folder, run_id = self.spool.files(entry), self.spool.run_id
        if folder is None:
            return
        if "model" in entry:
            self._tags |= served.put(self.client, run_id, folder, entry["model"], self.patience)
        else:
            stores.put(self.client, run_id, folder, entry["to"], self.patience)
            self._tags |= entry["tags"]

    def _delete(self, places: list[str]) -> None:
        """What no tag names any more."""
        self._flush()
        for place in places:
            self._try(partial(stores.delete, self.client, self.spool.run_id, place, self.patience))

    def _end(self, entry: Entry) -> None:
        status, reason = entry["end"], entry["reason"]
        self._tags |= {**entry.get("tags", {}), "runner.status_reason": reason[:5000]}
        self._flush()
        if self.refused and status == "FINISHED":  # a run whose record is incomplete has failed, however well trained
            status = "FAILED"
            self._tags["runner.status_reason"] = f"{type(self.refused[0]).__name__}: {self.refused[0]}"[:5000]
            self._flush()
        self._try(lambda: self.client.set_terminated(self.spool.run_id, status, entry["at"]))

    def _flush(self) -> None:
        from mlflow.entities import Metric, RunTag

        points, told = self._new(self._points), self._tags
        self._points, self._tags = [], {}
        if not points and not told:
            return
        if not insert(self.client, self.spool.run_id, points, tags=told):
            tags = [RunTag(*tag) for tag in told.items()]
            log = partial(self.client.log_batch, self.spool.run_id)
            if not self._try(lambda: log(metrics=[Metric(*point) for point in points], tags=tags)):
                if points and tags:  # one that is refused takes nothing but its like along
                    self._try(lambda: log(tags=tags))
                return
        for key, _, _, step in points if self.asks else ():
            self._known[key].add(step)

    def _try(self, call: Callable[[], Any]) -> bool:
        try:
            call()
        except Exception as error:
            if not is_refusal(error):
                raise
            self.refused.append(error)
            return False
        return True


def is_refusal(error: Exception) -> bool:
    """Whether the same will be refused again: it is what was said that is wrong, and not the moment.

    Refusals are named here. All else is tried again: each kind of store has exceptions of its own.
    """
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return bool(error.error_code == "INVALID_PARAMETER_VALUE")
    return isinstance(error, Lost | UnicodeEncodeError)

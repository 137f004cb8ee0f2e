"""What is in a spool is told to the tracking store: in order, and no point twice."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from runner import stores
from runner.spool import Entry, Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Points per call: what MLflow's servers accept at once.
CHUNK = 1000
#: Params per call.
PARAMS = 100


class Delivery:
    """Delivers a spool as far as the store takes it, and goes on from there when asked again.

    asks: the store may have some of the points already, and is asked before any are sent.
    """

    def __init__(self, client: "MlflowClient", spool: Spool, asks: bool = False) -> None:
        self.client, self.spool, self.asks = client, spool, asks
        self.sent = spool.delivered
        self.refused: list[Exception] = []  # what the store will never take
        self._known: dict[str, set[int]] = {}  # key -> steps that the store has
        self._tags: dict[str, str] = {}  # of files that are there; told together, since every call takes its time

    def deliver(self, ends: bool = True) -> None:
        """Raises what stopped it: the store does not answer, or not well. What it refuses is noted in `refused`.

        ends: the run's status is set as well.
        """
        try:
            for entry, end in _merged(self.spool.entries(self.sent)):
                if ends or "points" in entry:
                    self._tell(entry)
                if not self._tags:
                    self.sent = end
            if self._tags:
                self._flush()
                self.sent = self.spool.size
            self.sent = self.spool.mark(self.sent)
        except Exception:
            # An answer may have been lost and not the question.
            self.asks, self._known, self._tags, self.sent = True, {}, {}, self.spool.delivered
            raise

    def _tell(self, entry: Entry) -> None:
        if "points" in entry:
            self._points(entry["points"])
        elif "params" in entry:
            self._params(entry["params"])
        elif "files" in entry:
            self._files(entry)
        elif "gone" in entry:
            self._delete(entry["gone"])
        elif "end" in entry:
            self._end(entry)

    def _points(self, points: list[Any]) -> None:
        from mlflow.entities import Metric

        first = min(step for *_, step in points)
        if self.asks:
            points = [p for p in points if p[3] not in self._steps(p[0], first)]
        if points and self._try(lambda: self.client.log_batch(self.spool.run_id, metrics=[Metric(*p) for p in points])):
            for key, _, _, step in points if self.asks else ():
                self._known[key].add(step)

    def _steps(self, key: str, first: int) -> set[int]:
        if key not in self._known:
            history = self.client.get_metric_history(self.spool.run_id, key)
            self._known[key] = {metric.step for metric in history if metric.step >= first}
        return self._known[key]

    def _params(self, params: dict[str, str]) -> None:
        from mlflow.entities import Param

        entries = [Param(key, value) for key, value in params.items()]
        for start in range(0, len(entries), PARAMS):
            self._try(partial(self.client.log_batch, self.spool.run_id, params=entries[start : start + PARAMS]))

    def _files(self, entry: Entry) -> None:
        """The tags that name files are written after them, and before others take their place."""
        if self._tags.keys() & entry["tags"].keys():
            self._flush()

        def send() -> None:
            folder = self.spool.files(entry)
            if folder is not None:
                stores.put(self.client, self.spool.run_id, folder, entry["to"])
                self._tags.update(entry["tags"])

        self._try(send)

    def _delete(self, places: list[str]) -> None:
        """What no tag names any more."""
        self._flush()
        for place in places:
            self._try(partial(stores.delete, self.client, self.spool.run_id, place))

    def _end(self, entry: Entry) -> None:
        status, reason = entry["end"], entry["reason"]
        if self.refused and status == "FINISHED":  # a run whose record is incomplete has failed, however well trained
            status, reason = "FAILED", f"{type(self.refused[0]).__name__}: {self.refused[0]}"
        self._tags["runner.status_reason"] = reason[:5000]
        status = status if self._flush() or status != "FINISHED" else "FAILED"
        self._try(lambda: self.client.set_terminated(self.spool.run_id, status, entry["at"]))

    def _flush(self) -> bool:
        from mlflow.entities import RunTag

        tags, self._tags = [RunTag(*tag) for tag in self._tags.items()], {}
        return self._try(lambda: self.client.log_batch(self.spool.run_id, tags=tags))

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
    """Whether the same will be refused again: it is what was said that is wrong, and not the moment."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return bool(error.error_code == "INVALID_PARAMETER_VALUE")
    return isinstance(error, FileNotFoundError) or not isinstance(error, OSError)


def _merged(entries: Iterator[tuple[Entry, int]]) -> Iterator[tuple[Entry, int]]:
    """Points that follow each other go together, as many as a call takes."""
    points: list[Any] = []
    end = 0
    for entry, after in entries:
        more = entry.get("points", [])
        if points and (not more or len(points) + len(more) > CHUNK):
            yield {"points": points}, end
            points = []
        points, end = points + more, after
        if not more:
            yield entry, end
    if points:
        yield {"points": points}, end

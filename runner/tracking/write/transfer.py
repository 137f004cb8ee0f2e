"""Files on their way to and from a store: how long it may be silent meanwhile, and how a run that has to stop leaves.

MLflow knows one limit for all requests, which is short here: a server that is gone must not hold up a run. A large file
takes its time, and a server that stores it elsewhere is silent until it has done so. Libraries of other stores (boto3
for S3, for example) have limits of their own.
"""

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, NoReturn, TypeVar

from runner.tracking.store import connections

T = TypeVar("T")

#: Bytes a second: what a healthy server stores at least, after it has received a file and before it answers.
PACE = 250_000
#: Bytes a second: what a healthy server reads at least from where it stores, before it begins to answer.
READING = 10 * PACE
#: Seconds in which a healthy server takes at least one more piece of a large file.
PAUSE = 30.0
#: Seconds that a transfer still has when the run has to stop. A process that was told to stop has 5.
GRACE = 3.0

#: Sizes of the files that are being downloaded, in bytes.
_expected: list[int] = []
#: Whether this process has left a transfer to itself.
_left = False


def install() -> None:
    """Give the artifacts' requests of MLflow limits that grow with their files, and all of them live connections."""
    from mlflow.store.artifact import http_artifact_repo

    connections.install()
    http_artifact_repo.http_request = _request
    http_artifact_repo.requests = _Requests()


def limits(size: int, pace: float | None = None) -> tuple[float, float]:
    """Seconds that a server may take nothing of a file of `size` bytes, and those until it answers afterwards.

    pace: bytes a second, otherwise PACE. Small files have MLflow's own limit.
    """
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

    usual = float(MLFLOW_HTTP_REQUEST_TIMEOUT.get())
    answer = usual + size / (pace or PACE)
    return min(answer, max(usual, PAUSE)), answer


@contextlib.contextmanager
def expecting(size: int) -> Iterator[None]:
    """Within the block, files of at most `size` bytes are downloaded."""
    _expected.append(size)
    try:
        yield
    finally:
        _expected.remove(size)


@dataclass
class Patience:
    """A time limit for transfers: GRACE seconds after `stops()` has become true."""

    stops: Callable[[], Any] = lambda: False
    _end: float = math.inf

    def is_over(self) -> bool:
        if self._end == math.inf and self.stops():
            self._end = time.monotonic() + GRACE
        return time.monotonic() > self._end


def run(call: Callable[[], T], patience: Patience) -> T:
    """Make a call that may take long; returns what it gives. Raises TimeoutError when patience is over before.

    The call then goes on by itself; `leave` ends the process without waiting for it.
    """
    global _left
    results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
    threading.Thread(target=_caught, args=(call, results), name="transfer", daemon=True).start()
    over = False
    try:
        while not over:
            with contextlib.suppress(Empty):
                (result, error), over = results.get(timeout=0.1), True
            if not over and patience.is_over():
                raise TimeoutError("the process was told to stop while files were on their way to the store")
    finally:
        _left = _left or not over
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def leave(code: int) -> NoReturn:
    """End the process with `code`. Threads of a library's whose transfer was left would be waited for otherwise."""
    if _left:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _caught(call: Callable[[], Any], results: "SimpleQueue[tuple[Any, BaseException | None]]") -> None:
    try:
        results.put((call(), None))
    except BaseException as error:
        results.put((None, error))


def _request(host_creds: Any, endpoint: str, method: str, **arguments: Any) -> Any:
    """MLflow's `http_request`, with the limits of what is sent or fetched."""
    from mlflow.utils.rest_utils import http_request

    if not host_creds.use_databricks_sdk:  # which takes one number, and only that of a whole session
        arguments.setdefault("timeout", _limits_of(method, arguments))
    return http_request(host_creds, endpoint, method, **arguments)


def _limits_of(method: str, arguments: dict[str, Any]) -> tuple[float, float]:
    if "data" in arguments:
        data = arguments["data"]
        return limits(os.fstat(data.fileno()).st_size if hasattr(data, "fileno") else len(data))
    if method == "GET" and arguments.get("stream"):
        return limits(max(_expected, default=0), READING)
    return limits(0)


class _Requests:
    """The package `requests` as MLflow uses it to send parts of a file to where a server says: without any limit."""

    @staticmethod
    def put(url: str, data: bytes, **arguments: Any) -> Any:
        import requests

        return requests.put(url, data=data, **{"timeout": limits(len(data)), **arguments})

    def __getattr__(self, name: str) -> Any:
        import requests

        return getattr(requests, name)

"""Files on their way to and from a store: time limits by their sizes, and a process that ends without waiting for them.

MLflow has one limit for all requests, which is short here: a server that is gone must not hold up a run. A large file
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

from runner.tracking.store import connections, mlflow_private

T = TypeVar("T")

#: Bytes a second: what a healthy server stores at least, after it has received a file and before it answers.
PACE = 250_000
#: Bytes a second: what a healthy server reads at least from where it stores, before it begins to answer.
READING = 10 * PACE
#: Seconds in which a healthy server takes at least one more piece of a large file.
PAUSE = 30.0
#: Seconds that a transfer still has when the run has to stop: a process has 5 s from the signal on.
GRACE = 3.0

#: Sizes of the files that are being downloaded, in bytes.
_expected: list[int] = []
#: Whether a transfer goes on in the background, which is not waited for.
_left = False


def install() -> None:
    """Give MLflow's requests for artifacts limits that grow with their files, and all its requests live connections.

    Doing it again changes nothing.
    """
    connections.install()
    mlflow_private.replace_artifact_requests(_request, _Requests())


def limits(size: int, pace: float | None = None) -> tuple[float, float]:
    """Return time limits for a file of `size` bytes: seconds without progress, and seconds until the server answers.

    pace: bytes a second; None: PACE. Small files have MLflow's own limit.
    """
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

    usual = float(MLFLOW_HTTP_REQUEST_TIMEOUT.get())
    answer = usual + size / (pace or PACE)
    return min(answer, max(usual, PAUSE)), answer


@contextlib.contextmanager
def expecting(size: int) -> Iterator[None]:
    """Set the limits of downloads within the block to those for files of at most `size` bytes."""
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
        """Return whether GRACE seconds have passed since `stops()` was first seen to be true."""
        if self._end == math.inf and self.stops():
            self._end = time.monotonic() + GRACE
        return time.monotonic() > self._end


def run(call: Callable[[], T], patience: Patience) -> T:
    """Make a call that may take long, in a thread, and return its result. Raises its error.

    Raises TimeoutError when patience is over before. The call then goes on in its thread; `leave` ends the process
    without waiting for it.
    """
    global _left
    results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
    threading.Thread(target=_put_result, args=(call, results), name="transfer", daemon=True).start()
    over = False
    try:
        while not over:
            with contextlib.suppress(Empty):
                (result, error), over = results.get(timeout=0.1), True
            if not over and patience.is_over():
                raise TimeoutError("the process had to stop while files were on their way to the store")
    finally:
        _left = _left or not over
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def leave(code: int) -> NoReturn:
    """End the process with `code`, without waiting for the threads of a library whose transfer was left."""
    if _left:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _put_result(call: Callable[[], Any], results: "SimpleQueue[tuple[Any, BaseException | None]]") -> None:
    try:
        results.put((call(), None))
    except BaseException as error:
        results.put((None, error))


def _request(host_creds: Any, endpoint: str, method: str, **arguments: Any) -> Any:
    """Make one of MLflow's requests, with the limits for what is sent or fetched."""
    if not host_creds.use_databricks_sdk:  # which takes one number, and only that of a whole session
        arguments.setdefault("timeout", _limits_of(method, arguments))
    return mlflow_private.http_request(host_creds, endpoint, method, **arguments)


def _limits_of(method: str, arguments: dict[str, Any]) -> tuple[float, float]:
    if "data" in arguments:
        data = arguments["data"]
        return limits(os.fstat(data.fileno()).st_size if hasattr(data, "fileno") else len(data))
    if method == "GET" and arguments.get("stream"):
        return limits(max(_expected, default=0), READING)
    return limits(0)


class _Requests:
    """The package `requests`, with limits: MLflow sends parts of a file by it, without any."""

    @staticmethod
    def put(url: str, data: bytes, **arguments: Any) -> Any:
        import requests

        return requests.put(url, data=data, **{"timeout": limits(len(data)), **arguments})

    def __getattr__(self, name: str) -> Any:
        import requests

        return getattr(requests, name)

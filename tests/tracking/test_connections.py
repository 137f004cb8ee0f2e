"""A server that closes a connection just when the next request is sent costs no request."""

import socket
import threading
from collections.abc import Iterator

import pytest
from mlflow.exceptions import MlflowException
from mlflow.utils.rest_utils import MlflowHostCreds, http_request

from runner.tracking.store import connections, transfer

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Once:
    """A server that answers the first request of each connection, and closes it at the second."""

    def __init__(self) -> None:
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                one, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._answer, args=(one,), daemon=True).start()

    def _answer(self, one: socket.socket) -> None:
        with one:
            if one.recv(1 << 16):
                one.sendall(ANSWER)
                one.recv(1 << 16)


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> Iterator[Once]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    transfer.install()
    server = Once()
    yield server
    server.close()


def ask(server: Once) -> str:
    answer = http_request(MlflowHostCreds(server.uri), "/api/2.0/mlflow/runs/get", "GET")
    return str(answer.text)


def test_an_idle_connection_is_not_used_again(once: Once, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE", 0.0)
    assert [ask(once), ask(once), ask(once)] == ["{}", "{}", "{}"]
    assert once.connections == 3


def test_one_that_is_in_use_is_and_would_fail_here(once: Once, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control, and that a connection is not made for each request."""
    monkeypatch.setattr(connections, "IDLE", float("inf"))
    assert ask(once) == "{}"
    with pytest.raises(MlflowException, match="Connection aborted"):
        ask(once)
    assert once.connections == 1


def test_it_is_put_in_once_however_many_stores_are_opened() -> None:
    from mlflow.utils import request_utils

    connections.install()
    first = request_utils._get_request_session(0, 0, 0, (), False, True).get_adapter("http://a")
    connections.install()
    again = request_utils._get_request_session(0, 0, 0, (), False, True).get_adapter("http://a")
    assert first is again
    assert getattr(type(again), "of_runner", False)

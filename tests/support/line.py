"""A line to a server that can be cut, hang, be slow, be late, or answer by itself; and an S3 at its other end."""

import contextlib
import logging
import math
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any


class Line:
    """Hands bytes on to a port of this machine.

    mode: "pass"; "refuse", which cuts what is open as well; "hang", which takes and gives nothing; "503" or "403",
    which S3 answers when it is busy and when a token is too old.
    rate: bytes a second that it takes, of all connections together; 0 for all at once.
    stalls: bytes after which it takes no more of a connection.
    late: seconds by which the answer to a request that holds `of` is late.
    """

    def __init__(self, port: int) -> None:
        self.port, self.rate, self.stalls = port, 0.0, math.inf
        self.late, self.of, self.times = 0.0, b"\0never\0", 0  # times: how often it was late
        self._mode, self._open = "pass", set[socket.socket]()
        self._taken = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._mode = mode
        for one in list(self._open):
            _cut(one)

    def close(self) -> None:
        self._listening.close()
        self.mode = "closed"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        self._open.add(one)
        with contextlib.suppress(OSError):
            if self.mode == "hang":
                while self.mode == "hang":
                    time.sleep(0.05)
            elif self.mode in ANSWERS:
                one.recv(1 << 16)
                one.sendall(ANSWERS[self.mode])
                time.sleep(0.1)
            elif self.mode == "pass":
                with socket.create_connection(("127.0.0.1", self.port)) as other:
                    self._open.add(other)
                    due = threading.Event()  # the next answer is a late one
                    threading.Thread(target=self._answers, args=(other, one, due), daemon=True).start()
                    self._questions(one, other, due)
        _cut(one)
        self._open.discard(one)

    def _questions(self, one: socket.socket, other: socket.socket, due: threading.Event) -> None:
        taken = 0
        while data := one.recv(1 << 16):
            taken += len(data)
            while taken > self.stalls and one in self._open:
                time.sleep(0.05)
            if self.of in data:
                due.set()
            if self.rate:
                with self._taken:
                    time.sleep(len(data) / self.rate)
            other.sendall(data)

    def _answers(self, other: socket.socket, one: socket.socket, due: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := other.recv(1 << 16):
                if due.is_set():
                    due.clear()
                    self.times += 1
                    time.sleep(self.late)
                    # Meanwhile the server has closed what is idle for it; the next request needs another connection.
                    data = data.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
                one.sendall(data)
        _cut(one)
        self._open.discard(other)


def _error(status: str, code: str) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


ANSWERS = {"503": _error("503 Slow Down", "SlowDown"), "403": _error("403 Forbidden", "ExpiredToken")}


def _cut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


class S3:
    """An S3 of moto's in this process, with a bucket `runs`, at the end of a line."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]
        self.client.create_bucket(Bucket="runs")

    @property
    def client(self) -> Any:
        import boto3

        return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{self.port}", **KEYS)

    def names(self) -> set[str]:
        return {one["Key"] for one in self.client.list_objects_v2(Bucket="runs").get("Contents", [])}

    def last(self, run_id: str) -> int:
        """The step of the run's newest checkpoint."""
        mine = (name.partition("/checkpoints/last-")[2] for name in self.names() if f"/{run_id}/" in name)
        return max((int(rest.partition("/")[0]) for rest in mine if rest.endswith("/sha256.json")), default=0)

    def files(self, run_id: str) -> dict[str, bytes]:
        """The run's artifacts by name, of whatever experiment."""
        mine = [key for key in self.names() if f"/{run_id}/artifacts/" in key]
        read = self.client.get_object
        return {key.partition("/artifacts/")[2]: read(Bucket="runs", Key=key)["Body"].read() for key in mine}

    def stop(self) -> None:
        self._server.stop()


KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}


def environment(line: Line) -> dict[str, str]:
    """By which MLflow finds the S3."""
    return {
        "MLFLOW_S3_ENDPOINT_URL": line.uri,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextlib.contextmanager
def away(line: Line, mode: str, seconds: float) -> Iterator[None]:
    """Within the block the line is in `mode`, for so many seconds at most."""
    line.mode = mode
    timer = threading.Timer(seconds, lambda: setattr(line, "mode", "pass"))
    timer.start()
    try:
        yield
    finally:
        timer.join()

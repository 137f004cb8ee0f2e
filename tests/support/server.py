"""A real MLflow server that can be killed and started again, and a proxy in front of it that fails as it is told."""

import http.client
import json
import math
import os
import shutil
import socket
import sqlite3
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support import command


class Server:
    """`mlflow server` on a copy of an empty store."""

    def __init__(self, empty_store: Path, folder: Path) -> None:
        self.folder, self.store = folder, folder / "mlflow.db"
        shutil.copy(empty_store, self.store)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: Any = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """In a process of its own, forked from one that has imported MLflow: `mlflow server` needs 10 s to start."""
        told = {
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{self.store}",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self.folder / "artifacts"),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        self.process = command._context.Process(target=_serve, args=(told, self.port, str(self.folder / "log")))
        self.process.start()

    def wait(self) -> None:
        """Until it answers."""
        for _ in range(15000):
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=60):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text()[-3000:])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None

    def points(self, run_id: str) -> list[tuple[str, int]]:
        """(key, step) of every row of the table of metrics."""
        connection = sqlite3.connect(self.store)
        found = connection.execute("SELECT key, step FROM metrics WHERE run_uuid = ? ORDER BY key, step", (run_id,))
        try:
            return list(found)
        finally:
            connection.close()


def _serve(told: dict[str, str], port: int, log: str) -> None:
    os.environ.update(told)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)
    sys.stdout = sys.stderr = os.fdopen(2, "w")
    import uvicorn

    uvicorn.run("mlflow.server.fastapi_app:app", host="127.0.0.1", port=port)


class Proxy:
    """Hands requests on. mode: pass | refuse | hang | 500 | cut, which hands on and then loses the answer.

    after: so many requests the mode is 500.
    """

    def __init__(self, server: Server, after: float = math.inf) -> None:
        self.mode, self.after, self.requests = "pass", after, 0
        self.hangs = 30.0  # seconds
        self.points: list[tuple[str, int]] = []  # key and step of each that was handed on
        self._open = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

            def do(self) -> None:
                proxy._handle(self, server)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._open.set()
        self._http.shutdown()
        self._http.server_close()

    def _handle(self, asked: BaseHTTPRequestHandler, server: Server) -> None:
        body, mode = asked.rfile.read(int(asked.headers.get("Content-Length", 0))), self.mode
        self.requests += 1
        mode = "500" if self.requests > self.after else mode
        asked.close_connection = True
        if mode == "hang":
            self._open.wait(self.hangs)
        if mode in ("hang", "refuse"):
            return
        if mode == "500":
            asked.send_error(500)
            return
        if asked.path.endswith("/log-batch"):
            self.points += [(m["key"], int(m.get("step", 0))) for m in json.loads(body).get("metrics", [])]
        status, headers, answer = _ask(server, asked, body)
        if mode == "cut":
            return
        asked.send_response(status)
        for name, value in headers:
            if name.lower() not in ("connection", "content-length", "transfer-encoding", "server", "date"):
                asked.send_header(name, value)
        asked.send_header("Content-Length", str(len(answer)))
        asked.send_header("Connection", "close")
        asked.end_headers()
        asked.wfile.write(answer)


def _ask(server: Server, asked: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=command.HANGS)
    headers = {k: v for k, v in asked.headers.items() if k.lower() not in ("connection", "host")}
    connection.request(asked.command, asked.path, body, headers)
    answer = connection.getresponse()
    found = answer.status, answer.getheaders(), answer.read()
    connection.close()
    return found

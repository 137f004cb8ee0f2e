"""A tracking server of a stranger's: it answers what it likes, and keeps everything that it is sent."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

RUN = "0123456789abcdef0123456789abcdef"


class Stranger:
    """MLflow's REST interface, as far as a run needs it, for one run that is always the same."""

    def __init__(self) -> None:
        self.run_id, self.artifacts, self.location = RUN, "mlflow-artifacts:/0/x", "mlflow-artifacts:/0"
        self.tags: dict[str, str] = {}
        self.listing: dict[str, list[dict[str, Any]]] = {}  # folder of artifacts -> what is in it
        self.files: dict[str, bytes] = {}  # the end of a path -> content
        self.status, self.away = "RUNNING", False
        self.heard: list[str] = []  # method, path and body of each request
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode("utf-8", "replace")
                if stranger.away:
                    self.close_connection = True
                    return
                stranger.heard.append(f"{self.command} {self.path} {dict(self.headers)} {body}")
                answer = stranger.answer(self.command, self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def has_heard(self, text: str) -> bool:
        return any(text in request for request in self.heard)

    def answer(self, method: str, path: str, body: str) -> bytes:
        found = urlsplit(path)
        if method == "GET" and found.path.endswith("/mlflow-artifacts/artifacts"):
            folder = parse_qs(found.query).get("path", [""])[0].removeprefix("0/x").lstrip("/")
            return json.dumps({"files": self.listing.get(folder, [])}).encode()
        for name, content in self.files.items():
            if method == "GET" and found.path.endswith(name):
                return content
        if "/experiments/" in found.path:
            one = {"experiment_id": "1", "name": "tests", "artifact_location": self.location}
            one["lifecycle_stage"] = "active"
            return json.dumps({"experiment": one, "experiments": [one]}).encode()
        if found.path.endswith("/runs/create"):
            self.tags |= {tag["key"]: tag["value"] for tag in json.loads(body).get("tags", [])}
        if found.path.endswith(("/runs/create", "/runs/get", "/runs/update")):
            return json.dumps({"run": self.run(), "run_info": self.run()["info"]}).encode()
        return b"{}"

    def run(self) -> dict[str, Any]:
        info = {"run_id": self.run_id, "run_uuid": self.run_id, "experiment_id": "1", "status": self.status}
        info |= {"start_time": 1, "artifact_uri": self.artifacts, "lifecycle_stage": "active", "run_name": "x"}
        return {"info": info, "data": {"tags": [{"key": k, "value": v} for k, v in self.tags.items()]}}

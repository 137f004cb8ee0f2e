"""The command `ui`: the MLflow UI on the tracking store."""

import os
import shlex
import sys

from runner.settings import Settings
from runner.settings.context import Context
from runner.settings.files import places


def with_settings(settings: Settings, context: Context) -> int:
    """Serve the UI on 127.0.0.1 until interrupted; RUNNER_UI_PORT chooses the port (5000)."""
    from runner.settings.files import uris
    from runner.settings.trust import secrets, terminal
    from runner.tracking.store import stores

    uri = settings.tracking.uri
    if uri.startswith(("http://", "https://")):
        terminal.put(f"{secrets.masked_uri(uri)} is a server: open it in a browser")
        return 0
    stores.open_store(uri)  # creates a store that does not exist, which the UI needs
    path = stores.sqlite_path(uri)
    port = os.environ.get("RUNNER_UI_PORT", "5000")
    # Otherwise MLflow starts 15 processes.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    terminal.put(f"open http://127.0.0.1:{port} in a browser; Ctrl-C ends it")
    uri = uri if path is None else uris.sqlalchemy(path)
    # uvicorn puts the working directory first in sys.path, unless --app-dir names another folder.
    server = f"--app-dir {shlex.quote(str(places.conf()))}"
    words = ["-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    words += ["--uvicorn-opts", server]
    return os.execv(sys.executable, [sys.executable, *words])

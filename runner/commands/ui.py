"""The command `ui`: MLflow's UI on the tracking store, at the page of an experiment or of a run."""

import os
import shlex
import socket
import subprocess
import sys

from runner.commands import _words
from runner.commands._result import Result
from runner.settings import Settings
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.settings.files import places

#: The environment variable that chooses the port; the port without it, and how many after it are tried.
CHOSEN, PORT, TRIED = "RUNNER_UI_PORT", 5000, 100
#: Opens a page once its server answers, which takes seconds.
OPEN = """
import sys, time, urllib.request, webbrowser
for _ in range(240):
    try:
        urllib.request.urlopen(sys.argv[1] + "/health", timeout=5).close()
        break
    except OSError:
        time.sleep(0.5)
webbrowser.open(sys.argv[1] + "/" + sys.argv[2])
"""


def with_settings(settings: Settings, context: Context, *, open: str = "false") -> Result | int:
    """Serve the UI on 127.0.0.1 until interrupted, and print the address of an experiment in it.

    The experiment is that of experiments=NAME or tracking.experiment=NAME, or else that of the newest run. The port is
    5000 or the next one that is free; RUNNER_UI_PORT chooses another. Of a server, only the address is printed.
    open: true opens the address in a browser.
    """
    from runner.settings.trust import secrets, terminal
    from runner.tracking import pages

    uri = settings.tracking.uri
    study = next((word for word in context.overrides if word.startswith("experiments=")), None)
    name = settings.tracking.experiment or (study and context.name)
    page = pages.experiment(uri, name)
    if name and not page:
        terminal.put(f"there are no runs of {secrets.masked(name)!r} in {secrets.masked_uri(uri)}")
    return _show(uri, page or f"{pages.ALL}{pages.TRAINING}", open)


def with_run(uri: str, run: str, *, open: str = "false") -> Result | int:
    """Serve the UI on 127.0.0.1 until interrupted, and print the address of a run or a sweep in it.

    open: true opens the address in a browser.
    """
    from runner.tracking import pages

    return _show(uri, pages.run(uri, run), open)


def _show(uri: str, page: str, open: str) -> Result | int:
    """Print the address of a page, and serve it if it is of a store without a server."""
    from runner.settings.trust import secrets, terminal
    from runner.tracking import pages

    opens = _words.truth("open", open)
    if opens and sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"} & os.environ.keys():
        raise ConfigError("open", "there is no display here, and BROWSER names no program; leave open=true out")
    if address := pages.server(uri):
        line = f"{secrets.masked_uri(uri)} is a server: open {address}/{page} in a browser"
        if opens:
            _open(address, page)
        return Result({"address": f"{address}/{page}"}, lambda: terminal.put(line))
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    taken = f"port {PORT} is taken; " if port != PORT and CHOSEN not in os.environ else ""
    terminal.put(f"{taken}open {address}/{page} in a browser; Ctrl-C ends it")
    terminal.event("ui", address=f"{address}/{page}")
    if opens:
        _open(address, page)
    return _serve(uri, port)


def _open(address: str, page: str) -> None:
    """Begin a process that opens a page in a browser: this one becomes the server."""
    subprocess.Popen([sys.executable, "-c", OPEN, address, page], stdin=subprocess.DEVNULL)


def free_port() -> int:
    """Return the port of RUNNER_UI_PORT, or the first that is free. Raises ConfigError if there is none."""
    chosen = os.environ.get(CHOSEN)
    if chosen is None:
        free = next((port for port in range(PORT, PORT + TRIED) if not _problem(port)), None)
        if free is None:
            raise ConfigError(CHOSEN, f"ports {PORT} to {PORT + TRIED - 1} are all taken; choose another one with it")
        return free
    if not chosen.isdecimal() or not 0 < int(chosen) < 65536:
        raise ConfigError(CHOSEN, f"{chosen!r} is not a port, a whole number of 1 to 65535")
    if problem := _problem(int(chosen)):
        remedy = f"choose another one, or unset {CHOSEN} for the first that is free from {PORT} on"
        raise ConfigError(CHOSEN, f"port {chosen} cannot be used ({problem}); {remedy}")
    return int(chosen)


def _problem(port: int) -> str:
    """Return why a server cannot have a port, such as `Address already in use`; "" if it can."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: an ended one leaves it busy
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _serve(uri: str, port: int) -> int:
    """Become MLflow's UI."""
    from runner.settings.files import uris
    from runner.tracking.store import stores

    # Otherwise MLflow starts 15 processes.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    path = stores.sqlite_path(uri)
    uri = uri if path is None else uris.sqlalchemy(path)
    # uvicorn puts the working directory first in sys.path, unless --app-dir names another folder.
    server = f"--app-dir {shlex.quote(str(places.conf()))}"
    words = ["--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", *words, "--uvicorn-opts", server])

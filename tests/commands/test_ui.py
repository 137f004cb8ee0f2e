"""`runner ui`: MLflow's UI on a store, at the page of an experiment or a run as a real browser shows it."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.commands import ui
from runner.settings import Settings, Tracking
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.settings.trust import permission
from runner.tracking import pages
from runner.tracking.store import stores
from tests.cli.test_launchers import canaries, touched
from tests.support import command
from tests.support.server import Server

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
#: Without a sandbox, which root has none of, and without calls of its own to elsewhere.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1400,900"),
)
browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")


@dataclass
class Served:
    """A store with one run, which `runner ui open=true` serves."""

    folder: Path
    run_id: str
    line: str  # what it has printed

    @property
    def address(self) -> str:
        [address] = re.findall(r"open (http\S+) in a browser", self.line)
        return str(address)


@pytest.fixture(scope="module")
def served(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("ui")
    shutil.copy(empty_store, folder / "mlflow.db")
    done = command.runner("experiments=linear_regression", "plots=[]", "trainer.epochs=3", cwd=folder)
    canaries(folder)
    (folder / "browser").write_text('#!/bin/sh\necho "$1" > opened.part && mv opened.part opened\n')
    (folder / "browser").chmod(0o700)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", "ui", "experiments=linear_regression", "open=true"],
        cwd=folder,
        env={**os.environ, "PYTHONSAFEPATH": "1", ui.CHOSEN: str(port), "BROWSER": f"{folder / 'browser'} %s"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield Served(folder, done.run_id, process.stdout.readline())
    finally:
        process.terminate()
        process.wait(command.HANGS)
        process.stdout.close()


def opened(served: Served) -> str:
    """Return the address that the browser was opened with, which is when the server answers."""
    for _ in range(2 * command.HANGS):
        if (served.folder / "opened").exists():
            return (served.folder / "opened").read_text().strip()
        time.sleep(0.5)
    raise AssertionError("no browser was opened")


def shown(address: str, folder: Path) -> str:
    """Return the text of a page as a browser that was never there before shows it."""
    command_ = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run([*command_, address], capture_output=True, text=True, timeout=command.HANGS)
    html = re.sub(r"<(script|style)\b.*?</\1>", "", done.stdout, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_ui_serves_the_store(served: Served) -> None:
    """And loads no module of the working directory, neither MLflow's first process nor its server."""
    assert opened(served) == served.address
    url = f"{served.address.partition('#')[0]}api/2.0/mlflow/runs/get?run_id={served.run_id}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert served.run_id.encode() in answer.read()
    assert touched(served.folder) == []


@browser
def test_a_fresh_browser_is_shown_the_experiments_runs_and_a_runs_losses(served: Served, tmp_path: Path) -> None:
    address = opened(served)
    text = shown(address, tmp_path)
    for words in ("linear_regression Runs", "Run Name", "trainer.epochs=3", "1 matching run"):
        assert words in text, text
    assert not re.search("Token Usage|Judges|Prompts", text)  # of its pages about language models
    page = pages.run(f"sqlite:///{served.folder / 'mlflow.db'}", served.run_id[:8])
    text = shown(f"{address.partition('#')[0]}{page}", tmp_path)
    assert re.search(r"Metrics \(\d+\) Metric Value train/loss [\d.e-]+ valid/loss [\d.e-]+", text), text
    assert not re.search("Token Usage|Judges|Prompts", text)


def test_an_experiment_is_the_chosen_one_or_that_of_the_newest_run(store: str) -> None:
    client = stores.open_store(store)
    assert pages.experiment(store, None) == ""
    ids = {name: stores.experiment(client, store, name).experiment_id for name in ("old", "new", "empty")}
    for name in ("old", "new"):
        client.create_run(ids[name], start_time=1000 * int(ids[name]))
    page = "#/experiments/{}/runs?workflowType=machine_learning"
    assert pages.experiment(store, None) == page.format(ids["new"])
    for name in ids:
        assert pages.experiment(store, name) == page.format(ids[name])
    assert pages.experiment(store, "none") == ""


def test_a_run_says_how_it_is_seen_before_its_last_line(workplace: Path, server: Server) -> None:
    words = ("experiments=linear_regression", "plots=[]", "trainer.epochs=1")
    done = command.runner(*words, cwd=workplace)
    assert done.out.splitlines()[-2] == f"to see it: runner ui {done.run_id[:8]}"
    sweep = command.runner("-m", *words, "seed=1,2", f"tracking.uri={server.uri}", cwd=workplace)
    lines = sweep.out.splitlines()
    page = pages.run(server.uri, sweep.run_id)
    assert lines[-2] == f"to see it: {server.uri}/{page}"
    assert page.endswith(f"/runs/{sweep.run_id}?workflowType=machine_learning")


def test_a_run_on_a_server_has_an_address_without_its_password() -> None:
    address = pages.seen("https://me:hunter2@host:1/mlflow/", "abc", "7")
    assert address == "https://host:1/mlflow/#/experiments/7/runs/abc?workflowType=machine_learning"
    assert pages.seen("https://host", "abcdef123", "") == "runner ui abcdef12 tracking.uri=https://host"


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = r"port {} cannot be used \(Address already in use\); choose another one, or unset RUNNER_UI_PORT"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(ui, "PORT", taken)
        monkeypatch.delenv(ui.CHOSEN, raising=False)
        assert taken < ui.free_port() < taken + ui.TRIED
        monkeypatch.setenv(ui.CHOSEN, str(taken))
        with pytest.raises(ConfigError, match=busy.format(taken)):
            ui.free_port()
    for word in ("0", "65536", "five", "-1", ""):
        monkeypatch.setenv(ui.CHOSEN, word)
        with pytest.raises(ConfigError, match="is not a port, a whole number of 1 to 65535"):
            ui.free_port()


@pytest.mark.parametrize(("word", "message"), [("yes", "neither true nor false"), ("true", "there is no display here")])
def test_a_browser_that_cannot_be_opened(word: str, message: str, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    permission.begin([])
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=message):
        ui.with_settings(Settings(tracking=Tracking(uri=store)), Context("runner"), open=word)

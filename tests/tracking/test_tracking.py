"""What a run leaves in MLflow, whatever way it ends, and that any process in any folder finds it."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run as Record
from omegaconf import OmegaConf

from runner.commands import train
from runner.settings import Settings, Tracking
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.settings.files import uris
from runner.tracking import environment, recording
from runner.tracking.read import logged_model
from runner.tracking.store import stores
from runner.tracking.write import background, delivery
from runner.tracking.write.tracker import LONGEST_PARAM
from runner.training import measure
from runner.training.drive import drive
from runner.training.events import Event, Snapshot, Step
from runner.training.finite import Diverged
from runner.training.machine.signals import Interrupted, Signals
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.state import checkpoint
from tests.conftest import Start, settings
from tests.support.command import HANGS

CHOSEN: dict[str, Any] = {
    "data": {"name": "digits", "valid": 0.2, "test": 0.2},
    "layers": {"flat": "Flatten", "hidden": {"Linear": 8}, "bend": "ReLU", "head": {"Linear": 10}},
    "loss": {"name": "CrossEntropyLoss"},
    "optimizer": {"name": "Adam", "lr": 0.01, "betas": [0.8, 0.9]},
    "scheduler": {"name": "StepLR", "step_size": 2},
    "metrics": ["Accuracy", {"F1Score": {"average": "macro"}}],
    "plots": ["loss_curve"],
    "batch_size": 256,
    "epochs": 4,
    "every": "2 epochs",
    "format": "both",
}


@dataclass
class Recorded:
    """A run that `runner` has trained, what it was told, and the same training without MLflow."""

    settings: Settings
    record: Record
    client: MlflowClient
    again: Run

    def history(self, name: str) -> list[tuple[int, float]]:
        return [(m.step, m.value) for m in self.client.get_metric_history(self.record.info.run_id, name)]

    def file(self, name: str, folder: Path) -> Path:
        return Path(self.client.download_artifacts(self.record.info.run_id, name, str(folder)))


@pytest.fixture(scope="module")
def recorded(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    environment.git.cache_clear()  # asked once for a process, and an earlier test may have asked elsewhere
    chosen = settings(**CHOSEN)
    chosen.tracking = Tracking(uri=uri, experiment="digits", run_name="chosen", tags={"team": "blue"})
    yaml = OmegaConf.to_yaml(OmegaConf.structured(chosen))
    assert train.with_settings(chosen, Context("study", yaml, ["optimizer.lr=0.01"])).code == 0
    client = stores.open_store(uri)
    [row] = stores.rows(uri)
    again = prepare(chosen, "again")
    drive(again)
    yield Recorded(chosen, client.get_run(row.run_id), client, again)
    again.close()


# The contract's table


def test_the_loss_of_every_step_is_recorded_exactly_once(recorded: Recorded):
    found = recorded.history("train/loss")
    assert [step for step, _ in found] == list(range(1, len(found) + 1))
    assert len(found) == recorded.again.state.step > 10
    assert found == recorded.again.history["train/loss"]


@pytest.mark.parametrize("name", ["valid/loss", "valid/Accuracy", "valid/F1Score", "lr", "epoch"])
def test_once_an_epoch_the_rest_is_recorded_on_the_same_axis(recorded: Recorded, name):
    steps = recorded.again.steps_per_epoch
    found = recorded.history(name)
    assert [step for step, _ in found] == [steps, 2 * steps, 3 * steps, 4 * steps]
    assert found == recorded.again.history[name]


def test_the_test_data_is_measured_at_the_end(recorded: Recorded):
    expected = measure.values(recorded.again, recorded.again.data.test, "test")
    assert set(expected) == {"test/loss", "test/Accuracy", "test/F1Score"}
    for name, value in expected.items():
        assert recorded.history(name) == [(recorded.again.state.step, value)]


def test_nothing_else_is_recorded_as_a_metric(recorded: Recorded):
    names = {"train/loss", "lr", "epoch"}
    names |= {f"{part}/{name}" for part in ("valid", "test") for name in ("loss", "Accuracy", "F1Score")}
    assert set(recorded.record.data.metrics) == names


def leaves(value: Any, key: str = "") -> dict[str, Any]:
    """Written anew here: every plain value, or list of plain values, by its dotted key."""
    children: Any = {}
    if isinstance(value, dict):
        children = value
    elif isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
        children = dict(enumerate(value))
    if not children:
        return {key: value}
    return {k: v for name, child in children.items() for k, v in leaves(child, f"{key}.{name}".strip(".")).items()}


def test_every_leaf_of_the_configuration_is_a_param(recorded: Recorded):
    params = dict(recorded.record.data.params)
    expected = leaves(asdict(recorded.settings))
    assert set(params) == set(expected)
    for key, value in expected.items():
        assert params[key] == value if isinstance(value, str) else json.loads(params[key]) == value, key
    assert params["optimizer.lr"] == "0.01"
    assert params["model.layers.head.Linear"] == "10"
    assert params["metrics.1.F1Score.average"] == "macro"


def test_the_configuration_can_be_read_back(recorded: Recorded, tmp_path: Path):
    read = OmegaConf.load(recorded.file("config.yaml", tmp_path))
    assert OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Settings), read)) == recorded.settings


def test_tags_say_where_the_run_came_from(recorded: Recorded):
    tags = recorded.record.data.tags
    assert tags["runner.overrides"] == "optimizer.lr=0.01"
    assert tags["torch"] == torch.__version__
    assert tags["threads"] == str(torch.get_num_threads())
    assert tags["device"].startswith(recorded.again.device.type)
    assert tags["team"] == "blue"
    assert tags["runner.command"].split()[0] == "runner"
    assert tags["runner.status_reason"] == "4 of 4 epochs done"
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode == 0:
        assert len(tags["mlflow.source.git.commit"]) == 40
        assert tags["git.state"] in ("clean", "changed")
    assert recorded.record.info.run_name == "chosen"
    assert recorded.client.get_experiment(recorded.record.info.experiment_id).name == "digits"


def test_the_environment_is_a_file_for_people(recorded: Recorded, tmp_path: Path):
    text = recorded.file("environment.txt", tmp_path).read_text()
    assert f"torch: {torch.__version__}\n" in text
    assert "git commit: " in text
    assert any(line.startswith("mlflow==") for line in text.splitlines())


def test_the_run_is_finished(recorded: Recorded):
    assert recorded.record.info.status == "FINISHED"
    assert recorded.record.info.end_time >= recorded.record.info.start_time


def test_plots_are_pictures(recorded: Recorded, tmp_path: Path):
    names = [f.path for f in recorded.client.list_artifacts(recorded.record.info.run_id, "plots")]
    assert names == ["plots/loss_curve.png"]
    assert recorded.file(names[0], tmp_path).read_bytes().startswith(b"\x89PNG")


def test_predictions_are_the_models_output_on_the_validation_data(recorded: Recorded, tmp_path: Path):
    found = np.load(recorded.file("predictions.npy", tmp_path), allow_pickle=False)
    _, output = measure.outputs(recorded.again, recorded.again.data.valid)
    assert np.array_equal(found, output.numpy())


@pytest.mark.parametrize("name", ["last", "best"])
def test_checkpoints_are_found_from_the_run_alone(recorded: Recorded, tmp_path: Path, name):
    tags = recorded.record.data.tags
    assert tags[f"checkpoint.{name}"] == f"checkpoints/{name}-{tags[f'checkpoint.{name}.step']}"
    folder = recorded.file(tags[f"checkpoint.{name}"], tmp_path)
    digests = json.loads(tags[f"checkpoint.{name}.sha256"])
    assert set(digests) == {"state_dict.pt", "model.pt", *({"training.pt"} if name == "last" else ())}
    assert digests == {file: sha256((folder / file).read_bytes()).hexdigest() for file in digests}
    run = recorded.again
    state, step = {"last": (run.model.state_dict(), run.state.step), "best": (run.best.weights, run.best.step)}[name]
    assert tags[f"checkpoint.{name}.step"] == str(step)
    assert checkpoint.digest(checkpoint.load_state_dict(folder / "state_dict.pt")) == checkpoint.digest(state)


# However it ends


def recorded_until(uri: str, run: Run, *observers: Any) -> str:
    """Record `run` and return its id, also when an observer stops it."""
    seen = ""
    try:
        with (
            Signals() as signals,
            recording.recording(uri, "tests", None, {}, {"seed": "0"}, {"config.yaml": "seed: 0\n"}) as tracker,
        ):
            seen = tracker.run_id
            drive(run, tracker, *observers, stop=signals.stop)
    except (Interrupted, KeyboardInterrupt, ZeroDivisionError):
        pass
    return seen


class At:
    """Does something at one step."""

    def __init__(self, step: int, act: Any) -> None:
        self.step, self.act = step, act

    def record(self, event: Event) -> None:
        if isinstance(event, Step) and event.step == self.step:
            self.act()


def steps_of(client: MlflowClient, run_id: str) -> list[int]:
    return [m.step for m in client.get_metric_history(run_id, "train/loss")]


def test_an_exception_makes_the_run_failed_and_loses_nothing(start: Start, store: str, tmp_path: Path):
    run_id = recorded_until(store, start(epochs=50, every="10 steps"), At(23, lambda: 1 / 0))
    client = stores.open_store(store)
    record = client.get_run(run_id)
    assert record.info.status == "FAILED"
    assert record.data.tags["runner.status_reason"] == "ZeroDivisionError: division by zero"
    assert steps_of(client, run_id) == list(range(1, 24))
    assert len(client.get_metric_history(run_id, "valid/loss")) == 22
    assert record.data.tags["checkpoint.last.step"] == "20"
    assert record.data.params == {"seed": "0"}
    text = Path(client.download_artifacts(run_id, "traceback.txt", str(tmp_path))).read_text()
    assert text.startswith("Traceback")
    assert "ZeroDivisionError" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_makes_the_run_killed_and_loses_nothing(start: Start, store: str, number):
    run_id = recorded_until(store, start(epochs=50), At(9, lambda: os.kill(os.getpid(), number)))
    client = stores.open_store(store)
    record = client.get_run(run_id)
    assert record.info.status == "KILLED"
    assert record.data.tags["runner.status_reason"] == f"interrupted by {number.name}"
    assert steps_of(client, run_id) == list(range(1, 10))


def test_a_run_whose_record_is_incomplete_is_not_finished(store: str, tmp_path: Path):
    """A checkpoint without its digests cannot be delivered: what comes after it still is."""

    empty = tmp_path / "empty"
    empty.mkdir()

    def record() -> None:
        with recording.recording(store, "tests", None, {}, {}, {}) as tracker:
            tracker.record(Step(1, torch.tensor(0.5)))
            tracker.record(Snapshot("last", 1, empty))
            tracker.record(Step(2, torch.tensor(0.25)))

    with pytest.raises(FileNotFoundError, match=r"sha256\.json"):
        record()
    client = stores.open_store(store)
    [row] = stores.rows(store)
    assert row.status == "FAILED"
    tags = client.get_run(row.run_id).data.tags
    assert tags["runner.status_reason"].startswith("FileNotFoundError: ")
    assert "checkpoint.last" not in tags
    assert steps_of(client, row.run_id) == [1, 2]


def test_a_loss_that_is_not_a_number_fails_the_run_and_is_no_point(start: Start, store: str):
    with pytest.raises(Diverged, match=r"train/loss is (inf|nan) at step \d+") as error:
        recorded_until(store, start(epochs=300, validate_every=300, optimizer={"name": "SGD", "lr": 100.0}))
    last = int(str(error.value).split()[-1])
    client = stores.open_store(store)
    run = client.get_run(stores.rows(store)[0].run_id)
    assert (run.info.status, run.data.tags["runner.status_reason"]) == ("FAILED", f"Diverged: {error.value}")
    found = client.get_metric_history(run.info.run_id, "train/loss")
    assert [m.step for m in found] == list(range(1, last))
    assert np.isfinite([m.value for m in found]).all()


def test_a_validation_loss_that_is_not_a_number_fails_the_run_too(start: Start, store: str):
    with pytest.raises(Diverged, match=r"valid/loss is (inf|nan) after step \d+") as error:
        recorded_until(store, start(epochs=300, optimizer={"name": "SGD", "lr": 100.0}))
    [row] = stores.rows(store)
    assert row.status == "FAILED"
    found = stores.open_store(store).get_metric_history(row.run_id, "valid/loss")
    assert [m.step for m in found] == list(range(1, int(str(error.value).split()[-1])))


def test_more_steps_than_one_call_takes_are_all_recorded(store: str):
    with recording.recording(store, "tests", None, {}, {}, {}) as tracker:
        for step in range(1, 2 * delivery.CHUNK + 8):
            tracker.record(Step(step, torch.tensor(float(step))))
    client = stores.open_store(store)
    found = client.get_metric_history(tracker.run_id, "train/loss")
    assert [(m.step, m.value) for m in found] == [(n, float(n)) for n in range(1, 2 * delivery.CHUNK + 8)]


def test_long_and_many_params_are_recorded(store: str):
    params = {f"key{i}": str(i) for i in range(250)} | {"long": "x" * 10_000}
    with recording.recording(store, "tests", None, {}, params, {}) as tracker:
        pass
    found = stores.open_store(store).get_run(tracker.run_id).data.params
    assert found == {**params, "long": "x" * LONGEST_PARAM}


# The store


def test_a_store_can_be_read_while_it_is_written(store: str):
    stores.open_store(store)
    with sqlite3.connect(stores.sqlite_path(store)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


LOOK = "import sqlite3, sys; s = sqlite3.connect(sys.argv[1]); s.execute('SELECT * FROM runs').fetchall(); s.close()"


def test_a_check_leaves_the_store_locked_as_it_was(store: str):
    path = str(stores.sqlite_path(store))
    own = sqlite3.connect(path)
    own.execute("SELECT * FROM runs").fetchall()
    uris.check(store)
    subprocess.run([sys.executable, "-c", LOOK, path], check=True)  # the last to leave deletes the log
    assert Path(f"{path}-wal").exists(), "another process took itself for the last"
    own.close()


def test_a_new_store_is_in_wal_mode(empty_store: Path):
    assert empty_store.read_bytes()[18:20] == b"\x02\x02", "the file's own mark of WAL, SQLite file format 1.3.1"


def test_a_deleted_experiment_is_told_and_no_run_is_made(store: str):
    client = stores.open_store(store)
    client.delete_experiment(client.create_experiment("old"))
    with (
        pytest.raises(ConfigError, match=r"^tracking.experiment: 'old' was deleted from this store"),
        recording.recording(store, "old", None, {}, {}, {}),
    ):
        pass
    assert stores.rows(store) == []


def test_a_store_that_cannot_be_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"^tracking.uri: there is no folder"):
        stores.open_store(f"sqlite:///{tmp_path}/missing/mlflow.db")
    (tmp_path / "mlflow.db").write_text("this is no database, but a text of some length" * 100)
    with pytest.raises(ConfigError, match=r"^tracking.uri: "):
        stores.open_store(f"sqlite:///{tmp_path}/mlflow.db")


def test_artifacts_are_found_from_another_working_directory(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "mlflow.db").write_bytes(empty_store.read_bytes())
    monkeypatch.chdir(here)
    with recording.recording("sqlite:///mlflow.db", "a/b c", None, {}, {}, {"config.yaml": "seed: 7\n"}) as tracker:
        monkeypatch.chdir(there)
    client = stores.open_store(f"sqlite:///{here}/mlflow.db")
    found = Path(client.download_artifacts(tracker.run_id, "config.yaml", str(there)))
    assert found.read_text() == "seed: 7\n"
    assert list(here.glob("mlruns/a_b_c/**/config.yaml"))
    assert list(there.iterdir()) == [found]


def test_rows_are_the_newest_runs_first(store: str):
    ids = []
    for name in ("one", "two", "three"):
        with recording.recording(store, name, f"run {name}", {}, {}, {}) as tracker:
            tracker.record(Step(1, torch.tensor(0.5)))
        ids.append(tracker.run_id)
    rows = stores.rows(store)
    assert [row.run_id for row in rows] == ids[::-1]
    assert (rows[0].name, rows[0].experiment, rows[0].status) == ("run three", "three", "FINISHED")
    assert rows[0].metrics == {"train/loss": 0.5}
    assert [row.run_id for row in stores.rows(store, "two")] == [ids[1]]
    assert [row.run_id for row in stores.rows(store, most=2)] == ids[:0:-1]
    assert stores.rows(store, "four") == []


# The logged model


def test_the_logged_model_is_served_at_any_batch_size(start: Start, store: str, monkeypatch: pytest.MonkeyPatch):
    import mlflow

    layers = [{"Linear": 8}, "BatchNorm1d", "ReLU", {"Dropout": 0.5}, {"Linear": 1}]
    run = start(layers=layers, epochs=2, batch_size=16)
    with recording.recording(store, "tests", None, {}, {}, {}) as tracker:
        drive(run, tracker)
        run.model.train()
        logged_model.log(tracker, run)
        assert run.model.training
    uri = stores.open_store(store).get_run(tracker.run_id).data.tags["runner.logged_model"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store)
    try:
        served = mlflow.pyfunc.load_model(uri)
    finally:
        mlflow.set_tracking_uri(before)
    assert run.best.weights is not None
    run.model.load_state_dict(run.best.weights)
    run.model.eval()
    for size in (1, 2, 7):
        x = torch.linspace(-1, 1, size).reshape(-1, 1)
        with torch.no_grad():
            expected = run.model(x).numpy()
        np.testing.assert_allclose(served.predict(x.numpy()), expected, rtol=1e-5, atol=1e-6)


def test_many_open_runs_take_turns_and_what_waits_is_in_the_file(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "PERIOD", 0.05)
    monkeypatch.setattr(background, "RUNS", 1)
    before = len(background._open)
    with contextlib.ExitStack() as stack:
        told = [stack.enter_context(recording.recording(store, "turns", None, {}, {}, {})) for _ in range(40)]
        assert len(background._open) == before + 40
        one = told[0]
        one._background._turn = time.monotonic() + 3600
        for step in (1, 2):
            time.sleep(0.1)
            one.record(Step(step, torch.tensor(float(step))))
        points = _wait(lambda: [e for e, _ in one._spool.entries(0) if "points" in e])
        assert points[0]["points"][0][0] == "train/loss"
        assert one.client.get_metric_history(one.run_id, "train/loss") == []
        one.drain()  # what is more than points waits for nobody
        assert [p.step for p in one.client.get_metric_history(one.run_id, "train/loss")] == [1, 2]
        assert one._background._turn > time.monotonic() + 1
    assert len(background._open) == before


def _wait(look: Callable[[], Any]) -> Any:
    end = time.monotonic() + HANGS
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.02)
    return found

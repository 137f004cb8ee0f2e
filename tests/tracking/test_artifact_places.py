"""Where a store says that artifacts are is not where they go, unless the store may name that place."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from runner.settings.errors import ConfigError
from runner.settings.trust import record_reading
from runner.tracking import recording
from runner.tracking.read import checkpoints, recall
from runner.tracking.store import artifact_places, artifacts, first_files, logged_models, stores
from runner.tracking.store.transfer import Patience
from runner.training.events import Step
from runner.training.state.checkpoint import CheckpointError
from tests.support.stranger import RUN, Stranger


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stranger]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "tok3ntok3ntok3n")
    made = Stranger()
    yield made
    made.close()


def train(uri: str, run_id: str | None = None) -> None:
    files = {"config.yaml": "seed: 1\n", "data.json": "{}", "code/experiments/x.py": "import os"}
    with recording.recording(uri, "tests", None, {}, {"seed": "1"}, files, run_id) as tracker:
        tracker.record(Step(1, torch.tensor(0.5)))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder that a run must not touch, with files of a run's names."""
    found = tmp_path / "home"
    found.mkdir()
    (found / "config.yaml").write_text("my own")
    return found


def untouched(home: Path) -> bool:
    return [p.name for p in home.rglob("*")] == ["config.yaml"] and (home / "config.yaml").read_text() == "my own"


PLACES = {
    "a folder": "file://{home}",
    "a folder as a path": "{home}",
    "a relative folder": "./home",
    "a folder in capitals": "FILE://{home}",
    "a folder behind a space": " file://{home}",
    "a folder by a host": "file://localhost{home}",
    "a folder of the run's own": "file://{home}/" + RUN + "/artifacts",
    "a folder by ..": "file://{home}/x/../../home",
    "a folder in other characters": "file://%2e%2e{home}",
    "a file system of Databricks": "dbfs:/{home}",
    "a file server": "ftp://me:pw@169.254.169.254/x",
    "another file server": "sftp://169.254.169.254/x",
    "another server": "http://169.254.169.254/api/2.0/mlflow-artifacts/artifacts/x",
    "another port": "http://127.0.0.1:1/api/2.0/mlflow-artifacts/artifacts/x",
    "another server's artifacts": "mlflow-artifacts://169.254.169.254/0/x",
    "another run": "runs:/" + RUN + "/x",
    "a model": "models:/x/1",
    "no known scheme": "gopher://127.0.0.1/x",
    "a share": "\\\\\\\\evil\\\\share",
    "nothing": "",
}


@pytest.mark.parametrize("which", ["artifacts", "location"])
@pytest.mark.parametrize("name", PLACES)
def test_a_server_names_no_place_on_this_machine_and_no_other_host(
    name: str, which: str, stranger: Stranger, home: Path
) -> None:
    setattr(stranger, which, PLACES[name].format(home=home))
    with pytest.raises(ConfigError, match=r"^tracking\.uri: the store names .* as its place of artifacts"):
        train(stranger.uri)
    assert untouched(home)
    assert not stranger.has_heard("PUT"), "no artifact was sent anywhere either"


def test_without_the_guard_a_server_has_files_written_over(
    stranger: Stranger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger.artifacts = f"file://{home}"
    monkeypatch.setattr(artifact_places, "check", lambda *_, **__: None)
    monkeypatch.setattr(artifact_places, "refuse_links", lambda *_: None)
    train(stranger.uri)
    assert (home / "config.yaml").read_text() == "seed: 1\n"


def test_a_server_that_keeps_artifacts_itself_gets_them(stranger: Stranger) -> None:
    train(stranger.uri)
    assert stranger.has_heard("PUT /api/2.0/mlflow-artifacts/artifacts/0/x/config.yaml")


def test_a_person_may_allow_a_folder_that_a_server_names(
    stranger: Stranger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger.artifacts, stranger.location = f"file://{home}/{RUN}/artifacts", f"file://{home}"
    monkeypatch.setenv("RUNNER_PLACES", f"http://other, {home}")
    train(stranger.uri)
    assert (home / RUN / "artifacts" / "config.yaml").read_text() == "seed: 1\n"
    assert (home / "config.yaml").read_text() == "my own"


def test_a_person_may_allow_another_server_of_artifacts(monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in ("http://files:80/x", "mlflow-artifacts://files/x", "http://files/x"):
        with pytest.raises(ConfigError, match="RUNNER_PLACES="):
            artifact_places.check(uri, "http://host:5000")
        artifact_places.check(uri, "http://files")
        with monkeypatch.context() as environment:
            environment.setenv("RUNNER_PLACES", "http://files")
            artifact_places.check(uri, "http://host:5000")
    artifact_places.check("s3://bucket/x", "http://host:5000")
    artifact_places.check("dbfs:/x", "databricks")


@pytest.mark.parametrize("run_id", ["../../home", "/etc", "", "a b", ".", "x" * 300, "a\nb", "a'b"])
def test_a_run_id_is_no_path(run_id: str, stranger: Stranger, home: Path, tmp_path: Path) -> None:
    stranger.run_id = run_id
    with pytest.raises(ConfigError, match="the id of a run is "):
        train(stranger.uri)
    assert untouched(home)
    assert not list(tmp_path.glob(".runner/spool/*"))


@pytest.mark.parametrize(
    "path", ["../../escaped", "/tmp/escaped", "checkpoints/last-1/../../../escaped", "..\\escaped", "%2e%2e/escaped"]
)
def test_a_listing_with_other_places_writes_nowhere_else(path: str, stranger: Stranger, tmp_path: Path) -> None:
    place, digest = "checkpoints/last-1", {"state_dict.pt": "0" * 64, "training.pt": "0" * 64}
    kept = [{"place": place, "step": 1, "sha256": digest}]
    stranger.tags = {"checkpoint.last.kept": record_reading.json.dumps(kept)}
    stranger.listing = {place: [{"path": path, "is_dir": False, "file_size": 3}], "": [{"path": path, "is_dir": False}]}
    stranger.files = {"escaped": b"canary"}
    with pytest.raises(CheckpointError):
        checkpoints.state(stranger.uri, RUN, [])
    with pytest.raises(ConfigError):
        recall.text(stranger.uri, RUN, "config.yaml")
    assert not list(tmp_path.rglob("escaped"))
    assert not Path("/tmp/escaped").exists()


# A store on this machine


def recorded(store: str) -> str:
    train(store)
    return str(stores.rows(store)[0].run_id)


def told(store: str, sql: str) -> None:
    artifact_places._uris.clear()
    with sqlite3.connect(store.removeprefix("sqlite:///")) as open_store:
        open_store.execute(sql)
    open_store.close()


def test_a_local_store_names_no_folder_that_is_not_the_runs(store: str, home: Path) -> None:
    run_id = recorded(store)
    told(store, f"UPDATE runs SET artifact_uri = 'file://{home}'")
    for act in (lambda: train(store, run_id), lambda: recall.text(store, run_id, "config.yaml")):
        with pytest.raises(ConfigError, match="no folder of its own"):
            act()
    assert untouched(home)


def test_a_local_store_is_read_elsewhere_and_written_beside_itself_alone(
    store: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = recorded(store)
    there = home / run_id / "artifacts"
    there.mkdir(parents=True)
    (there / "config.yaml").write_text("seed: 5\n")
    away = home / "away"
    away.mkdir()
    monkeypatch.chdir(away)
    elsewhere = Path(store.removeprefix("sqlite:///"))
    beside = elsewhere.parent / "beside"
    beside.mkdir()
    for suffix in ("", "-wal", "-shm"):
        if Path(f"{elsewhere}{suffix}").exists():
            Path(f"{elsewhere}{suffix}").rename(beside / f"mlflow.db{suffix}")
    store = f"sqlite:///{beside / 'mlflow.db'}"
    stores.open_store(store)  # what lay beside it before is taken to have been moved along
    told(store, f"UPDATE runs SET artifact_uri = 'file://{there}'")
    assert recall.text(store, run_id, "config.yaml") == "seed: 5\n"
    with pytest.raises(ConfigError, match=r"not beside the store; to write there, .*RUNNER_PLACES="):
        train(store, run_id)
    told(store, f"UPDATE experiments SET artifact_location = 'file://{home}'")
    with pytest.raises(ConfigError, match="not beside the store"):
        train(store)
    monkeypatch.setenv("RUNNER_PLACES", str(home))
    train(store, run_id)
    assert (there / "code/experiments/x.py").exists()


def test_a_link_among_artifacts_leads_no_file_elsewhere(store: str, home: Path, tmp_path: Path) -> None:
    run_id, client = recorded(store), stores.open_store(store)
    [found] = tmp_path.glob(f"mlruns/*/{run_id}/artifacts")
    more = tmp_path / "more"
    for name in ("config.yaml", "code/experiments/x.py", "flat/a.pt"):
        (more / name).parent.mkdir(parents=True, exist_ok=True)
        (more / name).write_text("other")
    for link in ("config.yaml", "code/experiments", "code", "checkpoints"):
        target = found / link
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        target.symlink_to(home / "config.yaml" if link == "config.yaml" else home)
        goal = (more / "flat", "checkpoints/last-1") if link == "checkpoints" else (more, None)
        with pytest.raises(ConfigError, match="symbolic link"):
            artifacts.put(client, run_id, *goal, Patience())
        target.unlink()
    assert untouched(home)


def test_nothing_outside_of_a_run_is_deleted_or_written(store: str, home: Path, tmp_path: Path) -> None:
    run_id, client = recorded(store), stores.open_store(store)
    files = tmp_path / "x"
    files.mkdir()
    for place in ("../../../home", "/", "..", ".", "", "checkpoints/../../../../home", "a\\b", "a//b", "a\0b"):
        for act in (artifacts.delete, lambda *where: artifacts.put(*where[:2], files, *where[2:])):
            with pytest.raises(ConfigError, match="expected a path within the run's artifacts"):
                act(client, run_id, place, Patience())
    assert untouched(home)


def test_without_the_guard_a_folder_elsewhere_is_deleted(
    store: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = recorded(store)
    monkeypatch.setattr(record_reading, "place", lambda value, name: value)
    monkeypatch.setattr(artifact_places, "refuse_links", lambda *_: None)
    [found] = tmp_path.glob(f"mlruns/*/{run_id}/artifacts")
    artifacts.delete(stores.open_store(store), run_id, os.path.relpath(home, found), Patience())
    assert not home.exists()


def test_a_logged_model_goes_to_a_folder_of_its_own(store: str, home: Path, tmp_path: Path) -> None:
    class Logged:
        model_id, artifact_location = "m-1", f"file://{home}"

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.yaml").write_text("other")
    with pytest.raises(ConfigError, match="no folder of its own"):
        logged_models.put_files(stores.open_store(store), Logged, tmp_path / "model")
    assert untouched(home)


def test_a_link_in_the_folder_of_a_logged_model_leads_no_file_elsewhere(store: str, home: Path, tmp_path: Path) -> None:
    """A run of a stranger's store, which goes on, may have a model that is begun, and links in its folder."""
    run_id, client = recorded(store), stores.open_store(store)
    experiment = client.get_run(run_id).info.experiment_id
    logged = client.create_logged_model(experiment, source_run_id=run_id, tags={"runner.step": "1"})
    place = Path(logged.artifact_location.removeprefix("file://"))
    place.mkdir(parents=True)
    (place / "config.yaml").symlink_to(home / "config.yaml")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.yaml").write_text("other")
    with pytest.raises(ConfigError, match="symbolic link"):
        logged_models.put(client, run_id, tmp_path / "model", 1, Patience())
    assert untouched(home)
    (place / "config.yaml").unlink()
    assert "runner.logged_model" in logged_models.put(client, run_id, tmp_path / "model", 1, Patience())
    assert (place / "config.yaml").read_text() == "other"


class Changing(Stranger):
    """Answers with another place when it is asked for the experiment once more."""

    def answer(self, method: str, path: str, body: str) -> bytes:
        again = path.partition("?")[0].endswith("/experiments/get")
        self.location = "ftp://127.0.0.2:1/x" if again else "mlflow-artifacts:/0"
        return super().answer(method, path, body)


@pytest.mark.parametrize("place", ["ftp://127.0.0.2:1/x", "mlflow-artifacts:/0"])
def test_a_place_is_checked_before_it_is_asked_for_its_package(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(first_files, "demand_packages", lambda uri, _: asked.append(uri))
    monkeypatch.chdir(tmp_path)
    stranger = Changing() if place.startswith("mlflow") else Stranger()
    stranger.location = place
    try:
        if place.startswith("mlflow"):
            train(stranger.uri)
            assert asked == [place], "and no other, whatever the server answers when it is asked once more"
            return
        with pytest.raises(ConfigError, match="on another host than itself"):
            train(stranger.uri)
        assert not asked
        assert not stranger.has_heard("/runs/create")
    finally:
        stranger.close()

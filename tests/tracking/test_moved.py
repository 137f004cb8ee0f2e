"""A project's folder is moved, copied or oddly named: its runs are where it is, and nothing is written elsewhere."""

import contextlib
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from omegaconf import OmegaConf

from runner.cli import invoke
from runner.commands import evaluate, resume, train
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.settings.files import uris
from runner.settings.trust import permission
from runner.tracking import recording
from runner.tracking.read import checkpoints, recall
from runner.tracking.store import artifact_places, artifacts, moved, stores
from runner.tracking.store.transfer import Patience
from runner.tracking.write import spool
from runner.training.events import Snapshot, Step
from tests.support import composing
from tests.support.command import runner
from tests.support.experiments import KINDS, SOME, brief, here

URI = "sqlite:///mlflow.db"
#: Names of folders: what URIs, SQLAlchemy, MLflow, Optuna, Hydra, rich or a shell may take for something else.
NAMES = [
    *(
        "a%2Fb",
        "a%20b",
        "50% of it",
        "a%",
        "q?x=1&y=2",
        "h#ash",
        "semi;colon",
        'it\'s "quoted"',
        "back\\slash",
        "tab\there",
    ),
    *(
        "line\nbreak",
        "dot.",
        " space ",
        "{braces}",
        "${dollar}",
        "[bold]*",
        "at@host:80",
        "über 数据",
        "e\u0301",
        "-dash",
    ),
]


def content(folder: Path) -> dict[str, str]:
    """Every file in a folder with its digest; SQLite's own, which reading changes, by what is in the tables."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm", ".lock"))):
        text = dump(path) if path.suffix == ".db" else path.read_bytes()
        found[str(path.relative_to(folder))] = hashlib.sha256(text).hexdigest()
    return found


def dump(path: Path) -> bytes:
    with contextlib.closing(sqlite3.connect(path)) as store:
        return "\n".join(store.iterdump()).encode()


def settled(folder: Path) -> None:
    """Nothing of the store in a log beside it, as when its last process has ended."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def recorded(folder: Path, name: str = "lines", **files: str) -> str:
    """A run that is recorded in the working directory `folder`, with a checkpoint."""
    with recording.recording(URI, name, None, {}, {}, {"config.yaml": "seed: 7\n", **files}) as tracker:
        (folder / "new").mkdir()
        (folder / "new" / "state_dict.pt").write_bytes(b"weights")
        artifacts.put(tracker.client, tracker.run_id, folder / "new", "checkpoints/last-1", Patience())
    shutil.rmtree(folder / "new")
    return tracker.run_id


@pytest.fixture
def project(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a store."""
    place = tmp_path / "project"
    place.mkdir()
    shutil.copy(empty_store, place / "mlflow.db")
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_any_name_keeps_its_runs(
    name: str, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / name
    place.mkdir()
    shutil.copy(empty_store, place / "mlflow.db")
    monkeypatch.chdir(place)
    run_id = recorded(place)
    uri = f"sqlite:///{place}/mlflow.db"
    uris.check(uri)
    assert recall.text(uri, run_id, "config.yaml") == "seed: 7\n"
    client = stores.open_store(uri)
    own = MlflowClient(f"sqlite:///{'./' * (NAMES.index(name) + 1)}mlflow.db")  # MLflow remembers what it has opened
    assert [f.path for f in own.list_artifacts(run_id, "checkpoints/last-1")] == ["checkpoints/last-1/state_dict.pt"]
    assert Path(own.download_artifacts(run_id, "config.yaml", str(tmp_path))).read_text() == "seed: 7\n"
    artifacts.delete(client, run_id, "checkpoints/last-1", Patience())
    assert own.list_artifacts(run_id, "checkpoints") == []
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == [name], "nothing is written beside it"


def test_a_moved_folder_takes_its_runs_along_and_new_ones_stay_with_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = recorded(project)
    client = stores.open_store(URI)
    client.create_registered_model("model")
    client.create_model_version("model", f"{client.get_run(run_id).info.artifact_uri}/model", run_id)
    with contextlib.closing(sqlite3.connect("mlflow.db")) as store:
        place = ("mlflow.artifactLocation", f"{project.as_uri()}/mlruns/lines/traces/1/artifacts", "1")
        store.execute("INSERT INTO trace_tags (key, value, request_id) VALUES (?, ?, ?)", place)
        store.commit()
    new = project.rename(tmp_path / "else where")
    monkeypatch.chdir(new)
    capsys.readouterr()
    assert recall.text(URI, run_id, "config.yaml") == "seed: 7\n"
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        f"mlflow.db was moved from {project} to {new}: the artifacts of 1 run are taken from {new}/mlruns from now on"
    )
    recall.text(URI, recorded(new), "config.yaml")
    recall.text(URI, recorded(new, "another"), "config.yaml")
    assert capsys.readouterr().err == "", "it is said once"
    assert not project.exists()
    assert str(project) not in dump(new / "mlflow.db").decode(), "in no table of MLflow's"
    for run in MlflowClient(f"sqlite:///{new}/mlflow.db").search_runs(["1", "2"]):
        assert list(moved._path(run.info.artifact_uri).glob("config.yaml"))  # type: ignore[union-attr]


def test_a_copy_has_its_own_runs_and_the_original_stays_as_it_was(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = recorded(project)
    settled(project)
    copy = Path(shutil.copytree(project, tmp_path / "copy"))
    before = content(project)
    monkeypatch.chdir(copy)
    capsys.readouterr()
    client = stores.open_store(URI)
    assert capsys.readouterr().err.startswith(f"mlflow.db was copied from {project} to {copy}: ")
    assert Path(artifact_places.repository(client, run_id).download_artifacts("config.yaml")).is_relative_to(copy)
    recorded(copy)
    artifacts.delete(client, run_id, "checkpoints/last-1", Patience())
    for text in ("seed: 8\n", "seed: 9\n"):  # more than once, in turns with the original, in one process
        (tmp_path / "more").mkdir()
        (tmp_path / "more" / "config.yaml").write_text(text)
        artifacts.put(client, run_id, tmp_path / "more", None, Patience())
        shutil.rmtree(tmp_path / "more")
        assert recall.text(URI, run_id, "config.yaml") == text
        assert recall.text(f"sqlite:///{project}/mlflow.db", run_id, "config.yaml") == "seed: 7\n"
    assert content(project) == before
    assert artifact_places.local(stores.open_store(f"sqlite:///{project}/mlflow.db"), run_id).is_relative_to(project)  # type: ignore[union-attr]


def test_a_folder_that_another_takes_the_place_of_is_not_written_to(
    project: Path, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process, which keeps connections: a notebook, or a sweep."""
    first = recorded(project)
    away = project.rename(tmp_path / "away")
    settled(away)
    before = content(away)
    project.mkdir()
    shutil.copy(empty_store, project / "mlflow.db")
    monkeypatch.chdir(project)
    second = recorded(project)
    assert content(away) == before
    assert [row.run_id for row in stores.rows(URI)] == [second]
    shutil.rmtree(project)
    away.rename(project)
    monkeypatch.chdir(project)
    assert [row.run_id for row in stores.rows(URI)] == [first]
    assert recall.text(URI, first, "config.yaml") == "seed: 7\n"


def as_before(folder: Path) -> None:
    """The store as it was made when nothing told of its folder."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as store:
        store.execute(f"DROP TABLE {moved.TABLE}")
        store.commit()


@pytest.mark.parametrize("how", ["moved", "copied", "stayed", "moved later, by another name"])
def test_a_store_from_before_is_brought_along_as_well(
    how: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = recorded(project)
    as_before(project)
    settled(project)
    place = project
    if how == "moved later, by another name":
        (tmp_path / "link").symlink_to(project)
        stores.open_store(f"sqlite:///{tmp_path}/link/mlflow.db")
        (tmp_path / "link").unlink()
    if how.startswith("moved"):
        place = project.rename(tmp_path / "new")
    if how == "copied":
        place = Path(shutil.copytree(project, tmp_path / "new"))
    before = content(project) if how == "copied" else {}
    monkeypatch.chdir(place)
    assert recall.text(URI, run_id, "config.yaml") == "seed: 7\n"
    recorded(place)
    assert [p.parent.name for p in place.glob("mlruns/*/*")] == ["lines", "lines"]
    assert project.exists() is not how.startswith("moved")
    if how == "copied":
        assert content(project) == before


def test_places_that_somebody_has_chosen_elsewhere_stay(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An experiment of MLflow's own, or of another working directory, with an `mlruns` of that."""
    monkeypatch.setenv("RUNNER_PLACES", str(tmp_path))  # by which a person allows what is not beside the store
    for record in (True, False):
        client = stores.open_store(URI)
        other = tmp_path / f"disk-{record}" / "mlruns" / "big"
        client.create_experiment(f"big-{record}", artifact_location=other.as_uri())
        run_id = recorded(project, f"big-{record}")
        if not record:
            as_before(project)
        project = project.rename(tmp_path / f"new-{record}")
        monkeypatch.chdir(project)
        assert recall.text(URI, run_id, "config.yaml") == "seed: 7\n"
        assert artifact_places.local(stores.open_store(URI), run_id) == other / run_id / "artifacts"
        assert artifact_places.local(stores.open_store(URI), recorded(project, f"big-{record}")).parent.parent == other  # type: ignore[union-attr]


def test_a_store_without_its_artifacts_says_what_to_bring_along(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = recorded(project)
    settled(project)
    (tmp_path / "new").mkdir()
    shutil.copy(project / "mlflow.db", tmp_path / "new")
    before = content(project)
    monkeypatch.chdir(tmp_path / "new")
    with pytest.raises(ConfigError, match=r"kept no config\.yaml"):
        recall.text(URI, run_id, "config.yaml")
    assert capsys.readouterr().err.endswith(f"; some are not there: bring {project}/mlruns along\n")
    assert content(project) == before
    shutil.copytree(project / "mlruns", "mlruns")
    assert recall.text(URI, run_id, "config.yaml") == "seed: 7\n"


@pytest.mark.parametrize("link", ["folder", "file"])
def test_another_name_of_the_same_store_moves_nothing(
    link: str, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = recorded(project)
    before = dump(project / "mlflow.db")
    other = tmp_path / "link"
    if link == "folder":
        other.symlink_to(project)
    else:
        other.mkdir()
        (other / "mlflow.db").symlink_to(project / "mlflow.db")
    uri = f"sqlite:///{other}/mlflow.db"
    assert recall.text(uri, run_id, "config.yaml") == "seed: 7\n"
    assert dump(project / "mlflow.db") == before
    stores.experiment(stores.open_store(uri), uri, "more")
    assert stores.open_store(URI).get_experiment_by_name("more").artifact_location == f"file://{project}/mlruns/more"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("former", "place", "now"),
    [
        ("/a", "file:///a/mlruns/x/1/artifacts", "file:///new/mlruns/x/1/artifacts"),
        ("/a", "file://localhost/a/mlruns/x", "file:///new/mlruns/x"),
        ("/a", "/a/mlruns/0", "file:///new/mlruns/0"),
        ("/a%20b", "/a%20b/mlruns/0", "file:///new/mlruns/0"),
        ("/a b", "file:///a%20b/mlruns/0", "file:///new/mlruns/0"),
        ("/new/b", "file:///new/b/mlruns/x", "file:///new/mlruns/x"),
        ("/", "file:///new/mlruns/x", None),
        ("/a", "file:///ab/mlruns/x", None),
        ("/a", "file:///a/../etc", None),
        ("/a", "file:///a/%2E%2E/etc", None),
        ("/a", "file://host/a/mlruns/x", None),
        ("/a", "s3://bucket/a/mlruns/x", None),
        ("/a", "mlflow-artifacts:/a/mlruns/x", None),
        ("/a", "models:/m-1", None),
        ("/a", "", None),
        ("/a", None, None),
    ],
)
def test_a_place_follows_if_it_was_in_the_store_s_folder(former: str, place: Any, now: str | None) -> None:
    found = moved._moved(place, [Path(former)], Path("/new"))[1]
    assert (found.as_uri() if found else None) == now


def test_a_record_that_lies_moves_nothing_out_of_the_store_s_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a stranger's store says of its former folder."""
    run_id = recorded(project)
    for former in ("/", str(tmp_path), "", "relative", "\0", "/nowhere/../.."):
        with contextlib.closing(sqlite3.connect("mlflow.db")) as store:
            store.execute(f"UPDATE {moved.TABLE} SET folder = ?", (former,))
            store.execute("UPDATE runs SET artifact_uri = ?", (f"file://{tmp_path}/canary",))
            store.commit()
        client = stores.open_store(URI)
        place = client.get_run(run_id).info.artifact_uri.removeprefix("file://")
        assert place.startswith(str(project)) or place == f"{tmp_path}/canary"
        with pytest.raises(ConfigError, match="no folder of its own"):
            artifact_places.local(client, run_id)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["project"]


def test_artifacts_of_a_run_stay_within_it(project: Path) -> None:
    run_id = recorded(project)
    client = stores.open_store(URI)
    for place in ("..", "../../x", "/etc/x", "checkpoints/../../.."):
        with pytest.raises(ConfigError, match="expected a path within the run's artifacts"):
            artifacts.delete(client, run_id, place, Patience())
        with pytest.raises(ConfigError, match="expected a path within the run's artifacts"):
            artifacts.put(client, run_id, project / "mlruns", place, Patience())
    assert recall.text(URI, run_id, "config.yaml") == "seed: 7\n"


def test_a_name_that_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"caf\xe9")
    place.mkdir()
    for refused in (uris.check, stores.open_store):
        with pytest.raises(ConfigError, match=r"^tracking.uri: the name '.*caf\\udce9/mlflow.db' is not UTF-8"):
            refused(f"sqlite:///{place}/mlflow.db")


# moved = stayed

#: So few epochs of the shipped experiments that all of them are trained in seconds; those that train nothing as well.
SHORT = ("plots=[]", "trainer.threads=1", "device=cpu")


def call(command: Any, *words: str) -> int:
    """A command on a recorded run, in this process."""
    from runner.commands._result import finished
    from runner.commands._words import call

    done = finished(call(command.__name__.rpartition(".")[2], command.with_run, list(words), invoke._changed))
    done.text()
    return done.code


@pytest.fixture(scope="module", params=KINDS)
def trained(
    empty_store: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with experiments that come with the package, begun there: name -> run id."""
    place = tmp_path_factory.mktemp("trained") / "project"
    place.mkdir()
    shutil.copy(empty_store, place / "mlflow.db")
    runs = {}
    with contextlib.chdir(place):
        with composing.hydra():
            found = {path.stem: composing.settings(f"experiments={path.stem}", *SHORT) for path in here(request.param)}
        for name, one in found.items():
            settings = replace(one, trainer=replace(brief(one.trainer, 1), validate_every=1))
            text = OmegaConf.to_yaml(OmegaConf.structured(settings))
            assert train.with_settings(settings, Context(name, text, [])).code == 0
            runs[name] = stores.rows(URI, name)[0].run_id
    settled(place)
    return place, runs


def gone_on(place: Path, runs: dict[str, str]) -> dict[str, Any]:
    """What becomes of the runs when they go on in the folder `place`."""
    found: dict[str, Any] = {}
    with contextlib.chdir(place):
        permission.begin([])
        for name, run_id in runs.items():
            status, tags, _ = recall.facts(URI, run_id)
            trainer = recall.settings(URI, run_id).trainer
            if not trainer.trains:
                there = Path(artifact_places.repository(stores.open_store(URI), run_id).download_artifacts("outputs"))
                found[name] = status, content(there)
                continue
            assert call(resume, run_id, f"trainer.{'epochs' if trainer.steps is None else 'steps'}=2") == 0
            status, tags, _ = recall.facts(URI, run_id)
            points = recall.points(URI, run_id, ["train/loss", "valid/loss", "test/loss"])
            assert len(points["train/loss"]) > 1
            found[name] = status, points, tags["checkpoint.last.sha256"], tags["checkpoint.best.sha256"]
    settled(place)
    return found


def test_moved_or_copied_is_stayed(trained: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """Of every shipped experiment: weights and losses are the same bits, and no folder writes into another."""
    project, runs = trained
    assert len(runs) >= len(here(SOME))
    copy = Path(shutil.copytree(project, tmp_path / "copy"))
    saved = Path(shutil.copytree(project, tmp_path / "a%2Fb #?;'\"{}[]$&ü"))
    before = content(project)
    some = {name: runs[name] for name in ("diabetes", "digits_cnn", "conv2d")}
    copied = gone_on(copy, some)
    with contextlib.chdir(copy):
        assert call(evaluate, runs["diabetes"]) == 0
    assert content(project) == before
    after = content(copy)
    stayed = gone_on(project, runs)
    assert copied == {name: stayed[name] for name in some}
    assert content(copy) == after
    shutil.rmtree(project)
    assert gone_on(saved, runs) == stayed
    assert not project.exists()


#: Every character at once that something on the way might take for something else; no newline, which would wrap lines.
ODD = "a%2Fb %41 #?x=1;'\"{}${x}[]$&*!ü~@:=,.\\"
STUDY = """
data: {name: table, path: data.csv, target: y, valid: 0.2}
model: {layers: [{Linear: 1}, experiments.deadly.Dies]}
loss: {name: MSELoss}
optimizer: {name: SGD, lr: 0.05}
trainer: {epochs: 4}
checkpoint: {every: 1}
plots: []
"""
DEADLY = """
import os, signal, time
from pathlib import Path
from torch import nn

class Dies(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = 0

    def forward(self, x):
        self.steps += self.training
        if self.training and self.steps == 4 and Path("die").exists():
            while not list(Path("mlruns").glob("odd/*/artifacts/checkpoints/last-2/state_dict.pt")):
                time.sleep(0.01)
            Path("die").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return x
"""


def test_killed_runs_sweeps_and_spools_go_on_where_their_folder_of_any_name_is(
    empty_store: Path, tmp_path: Path
) -> None:
    place = tmp_path / ODD
    (place / "experiments").mkdir(parents=True)
    (place / "conf" / "optimizer").mkdir(parents=True)
    (place / "experiments" / "odd.yaml").write_text(STUDY)
    (place / "experiments" / "deadly.py").write_text(DEADLY)
    (place / "conf" / "optimizer" / "slow.yaml").write_text("name: SGD\nlr: 0.001\n")
    (place / "data.csv").write_text("x,y\n" + "".join(f"{n / 50},{n / 25 + 1}\n" for n in range(100)))
    (place / "die").touch()
    shutil.copy(empty_store, place / "mlflow.db")
    runner("experiments=odd", "optimizer=slow", cwd=place, code=-9)
    words = ("-m", "experiments=odd", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2")
    sweep = runner(*words, "optimizer.lr=interval(0.01,0.1)", "tracking.log_model=true", cwd=place).run_id
    [left] = (place / ".runner" / "spool").glob("*/")
    taken, run_id = spool.take(left), left.name
    assert taken is not None
    taken.append([{"points": [["late", 0.5, 1, 1]]}])
    taken.release()
    settled(place)
    copy, before = Path(shutil.copytree(place, tmp_path / "copy")), content(place)

    done = runner("sync", cwd=copy)
    assert done.out == f"run {run_id}: delivered to sqlite:///{copy}/mlflow.db, KILLED\n"
    assert recall.points(f"sqlite:///{copy}/mlflow.db", run_id, ["late"]) == {"late": {1: 0.5}}
    assert content(place) == before

    place = place.rename(tmp_path / f"moved {ODD}")
    done = runner("resume", run_id, cwd=place)
    assert done.err.startswith(f"mlflow.db was moved from {tmp_path / ODD} to {place}: the artifacts of 4 runs ")
    assert recall.points(f"sqlite:///{place}/mlflow.db", run_id, ["late"]) == {"late": {1: 0.5}}
    runner("resume", sweep, "hydra.sweeper.n_trials=3", cwd=place)
    runner("predict", run_id, "inputs=data.csv", "output=out.csv", cwd=place)
    runner("export", run_id, "format=pt2", "output=model.pt2", cwd=place)
    assert run_id in [row.run_id for row in stores.rows(f"sqlite:///{place}/mlflow.db")]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["copy", place.name]
    former = str(tmp_path / ODD)
    files = [path for path in place.rglob("*") if path.is_file() and path.suffix != ".log"]
    assert len(files) > 20
    for path in files:
        text = dump(path) if path.suffix == ".db" else path.read_bytes()
        for needle in (former, former.replace("'", "''"), (tmp_path / ODD).as_uri()):
            assert needle.encode() not in text, path


@pytest.mark.parametrize("guarded", [True, False])
def test_a_run_whose_store_is_moved_away_under_it_writes_nothing_into_the_former_folder(
    guarded: bool, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = recorded(project)
    client = stores.open_store(URI)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "state_dict.pt").write_bytes(b"more")
    project.rename(tmp_path / "new")
    if not guarded:
        monkeypatch.setattr(artifact_places, "demand", lambda client: None)
    for place in ("checkpoints/last-2", None):
        with pytest.raises(OSError, match="is not there any more") if guarded else contextlib.nullcontext():
            artifacts.put(client, run_id, tmp_path / "more", place, Patience())
    assert project.exists() is not guarded


@pytest.mark.parametrize("uri", [URI, "sqlite:///{project}/mlflow.db"])
def test_a_run_at_work_goes_on_where_its_folder_is_moved_to(uri: str, project: Path, tmp_path: Path) -> None:
    def checkpoint(step: int) -> Snapshot:
        folder = tmp_path / f"last-{step}"
        folder.mkdir()
        (folder / "state_dict.pt").write_text(f"of step {step}")
        (folder / "sha256.json").write_text('{"state_dict.pt": "0"}')
        return Snapshot("last", step, folder)

    new = tmp_path / "new"
    with recording.recording(uri.format(project=project), "lines", None, {}, {"seed": "0"}, {"a.txt": "a"}) as tracker:
        for step in range(1, 5):
            tracker.record(Step(step, torch.tensor(float(step))))
            tracker.record(checkpoint(step))
            if step == 2:
                tracker.drain()
                project.rename(new)
    assert not project.exists()
    assert list(new.glob(".runner/spool/*")) == []
    run = MlflowClient(f"sqlite:///{new}/mlflow.db").get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert recall.points(URI, tracker.run_id, ["train/loss"]) == {"train/loss": {n: float(n) for n in range(1, 5)}}
    places = [kept.place for kept in checkpoints.recorded(URI, tracker.run_id, "last")]
    assert places == ["checkpoints/last-4", "checkpoints/last-3"]
    for place in places:
        found = new / "mlruns" / "lines" / tracker.run_id / "artifacts" / place / "state_dict.pt"
        assert found.read_text() == f"of step {place[-1]}"


def test_recorded_data_of_an_absolute_path_stay_where_they_were_or_are_named_anew(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = project / "data.csv"
    table.write_text("x,y\n" + "".join(f"{n / 50},{n / 25 + 1}\n" for n in range(100)))
    words = (f"data.path='{table}'", "data.target=y", "trainer.epochs=1", "trainer.threads=1", "plots=[]")
    with composing.hydra():
        settings = composing.settings("data=table", *words)
    text = OmegaConf.to_yaml(OmegaConf.structured(settings))
    assert train.with_settings(settings, Context("table", text, [])).code == 0
    run_id = stores.rows(URI)[0].run_id
    new = project.rename(tmp_path / "new")
    monkeypatch.chdir(new)
    permission.begin([])
    for command in (resume, evaluate):
        with pytest.raises(ConfigError) as caught:
            call(command, run_id, *(["trainer.epochs=2"] if command is resume else []))
        assert str(caught.value) == (
            f"data.path: there is no '{project}'; the run was recorded with an absolute path, which does not move"
            " along: bring the data back there, or name where they are now: data.path=..."
        )
    (new / "other.csv").write_text(table.name + ",y\n" + "".join(f"{n / 40},{n}\n" for n in range(100)))
    with pytest.raises(ConfigError, match="are not those that the run was trained on"):
        call(resume, run_id, f"data.path={new}/other.csv")
    assert call(resume, run_id, "trainer.epochs=2", "data.path=data.csv") == 0
    assert call(evaluate, run_id, "split=valid") == 0, "it is recorded where they are"

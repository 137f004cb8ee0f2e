"""A spool names files within itself and servers that a person names; one's own is delivered without further words."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.commands import sync
from runner.settings import Settings, Tracking
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.settings.trust import permission, record_reading
from runner.tracking import recording
from runner.tracking.store import liveness, reconcile, stores
from runner.tracking.write import marks, spool, spool_check, spool_header
from runner.tracking.write.spool import Undelivered
from runner.tracking.write.sync import forget, settle
from runner.training.events import Step
from tests.support.stranger import RUN, Stranger

CANARY = "c4n4ryc4n4ry"


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stranger]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made = Stranger()
    yield made
    made.close()


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder with a file of the person's, which nobody is to get and nothing is to change."""
    found = tmp_path / "private"
    found.mkdir()
    (found / "id_rsa").write_text(CANARY)
    return found


PROCESS = {"host": "b", "pid": 1, "start": "1", "machine": "b"}
END = {"end": "FINISHED", "reason": "", "tags": {}, "at": 1}


def files(**changes: Any) -> dict[str, Any]:
    return {"files": 0, "from": "/nowhere", "to": None, "tags": {}, "move": False, **changes}


def planted(tmp_path: Path, uri: str, *entries: Any, run_id: str = RUN) -> Path:
    """A spool as a stranger hands it over, in the working directory."""
    folder = tmp_path / ".runner" / "spool" / run_id
    folder.mkdir(parents=True)
    (folder / "header.json").write_text(json.dumps({"uri": uri, "process": PROCESS}))
    (folder / "log.jsonl").write_text("".join(f"{e if isinstance(e, str) else json.dumps(e)}\n" for e in entries))
    (folder / "delivered").write_text("0")
    return folder


def synced(uri: str = "sqlite:///mlflow.db", typed: bool = False) -> int:
    """`runner sync`, in the working directory; its exit code."""
    words = [f"tracking.uri={uri}"] if typed else []
    permission.begin(words)
    return sync.with_settings(Settings(tracking=Tracking(uri=uri)), Context("runner", overrides=words)).code


def own(stranger: Stranger) -> Path:
    """A spool of one's own: its server went away."""
    with pytest.raises(Undelivered) as error:
        _train(stranger)
    assert str(error.value).endswith("in this directory: runner sync")
    return Path(".runner/spool") / RUN


def _train(stranger: Stranger) -> None:
    with recording.recording(stranger.uri, "tests", None, {}, {}, {}) as tracker:
        tracker.record(Step(1, torch.tensor(0.5)))
        stranger.away = True


def back(stranger: Stranger) -> None:
    stranger.away = False


def test_a_spool_of_ones_own_is_delivered_without_further_words(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("runner.tracking.write.tracker.CLOSING", 0.0)
    folder = own(stranger)
    back(stranger)
    assert not stranger.has_heard("train/loss")
    (folder / "header.json").write_text((folder / "header.json").read_text())  # as a copy of the folder has it
    assert synced() == 0, capsys.readouterr().out
    assert stranger.has_heard("train/loss")
    assert not folder.exists()


def test_the_mark_of_one_run_is_none_of_another_run_or_server(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("runner.tracking.write.tracker.CLOSING", 0.0)
    folder, evil = own(stranger), Stranger()
    back(stranger)
    right = json.loads((folder / "header.json").read_text())
    for changes in ({"uri": evil.uri}, {"process": PROCESS}, {"mark": "0" * 64}, {"mark": None}, {"mark": 1}):
        (folder / "header.json").write_text(json.dumps({**right, **changes}))
        before = len(stranger.heard)
        assert synced() == 1
        assert "which is named in the spool alone: nothing was sent there" in capsys.readouterr().out
        assert (evil.heard, len(stranger.heard)) == ([], before)
    evil.close()


def test_a_mark_needs_the_key_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a"))
    mark = marks.mark("x", 1)
    assert marks.is_ours(mark, "x", 1)
    assert not marks.is_ours(mark, "x", 2)
    assert (tmp_path / "a/runner/key").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "b"))
    assert not marks.is_ours(mark, "x", 1)
    (tmp_path / "b/runner/key").chmod(0o644)
    assert marks.mark("x", 1) == ""
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    assert marks.mark("x", 1) == ""
    assert not marks.is_ours("", "x", 1)


@pytest.mark.parametrize("how", ["typed", "MLFLOW_TRACKING_URI", "RUNNER_PLACES"])
def test_a_server_that_the_person_names_gets_a_spool_of_its_own_process_alone(
    how: str, stranger: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(tmp_path, stranger.uri, {"points": [["a", 1.0, 1, 1]]}, END)
    if how != "typed":
        monkeypatch.setenv(how, stranger.uri)
    words = {"uri": stranger.uri, "typed": True} if how == "typed" else {}
    stranger.tags = {reconcile.PROCESS: json.dumps(liveness.process())}
    assert synced(**words) == 1  # type: ignore[arg-type]
    assert "belongs to another process than the spool" in capsys.readouterr().out
    assert not stranger.has_heard("log-batch")
    stranger.tags, stranger.status = {reconcile.PROCESS: json.dumps(PROCESS)}, "FINISHED"
    assert synced(**words) == 0  # type: ignore[arg-type]
    assert stranger.has_heard('"key": "a"')


def test_a_file_of_the_folder_names_no_server(stranger: Stranger, tmp_path: Path) -> None:
    planted(tmp_path, stranger.uri, {"points": [["a", 1.0, 1, 1]]}, END)
    assert synced(stranger.uri) == 1
    assert stranger.heard == []


def link(name: str, to: str = "id_rsa") -> Callable[[Path, Path], None]:
    def act(folder: Path, private: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (folder / name).exists():
            (folder / name).unlink()
        (folder / name).symlink_to(private / to)

    return act


def hard_link(folder: Path, private: Path) -> None:
    (folder / "files/0").mkdir(parents=True)
    os.link(private / "id_rsa", folder / "files/0/x")


def pipe(folder: Path, private: Path) -> None:
    (folder / "files/0").mkdir(parents=True)
    os.mkfifo(folder / "files/0/x")


def moved(name: str) -> Callable[[Path, Path], None]:
    """The spool itself, or a folder that it is in, is a link."""

    def act(folder: Path, private: Path) -> None:
        whole = {"run": folder, "spool": folder.parent, "runner": folder.parents[1]}[name]
        whole.rename(private / "moved")
        whole.symlink_to(private / "moved")

    return act


def here(folder: Path, private: Path) -> None:
    (folder / "files/0").mkdir(parents=True)
    (folder / "files/0/x").write_text("x")


def nothing(folder: Path, private: Path) -> None:
    pass


#: Entries of a log, and what else is in the spool; `{private}` is a folder of the person's.
HOSTILE: dict[str, tuple[list[Any], Callable[[Path, Path], None]]] = {
    "files elsewhere": ([files(**{"from": "{private}"})], nothing),
    "files elsewhere to be removed": ([files(**{"from": "{private}", "move": True, "to": "checkpoints/x"})], nothing),
    "files elsewhere that are here too": ([files(**{"from": "{private}", "move": True})], here),
    "files by ..": ([files(**{"from": "{private}/../private"})], nothing),
    "files that look temporary": ([files(**{"from": "/tmp/runner-abcdefgh/../../{private}"})], nothing),
    "a place by ..": ([files(to="../../x")], link("files/0/.x", ".")),
    "a place from the root": ([files(to="/etc")], nothing),
    "files by the number": ([files(files="../../../private")], nothing),
    "files by a number below": ([files(files=-1)], nothing),
    "a link to a file": ([files()], link("files/0/x")),
    "a link to a folder": ([files()], link("files/0", ".")),
    "a link to a folder inside": ([files()], link("files/0/x", ".")),
    "all files by a link": ([files()], link("files", ".")),
    "a file with another name": ([files()], hard_link),
    "a pipe": ([files()], pipe),
    "the log by a link": ([], link("log.jsonl")),
    "the header by a link": ([END], link("header.json")),
    "the mark by a link": ([END], link("delivered")),
    "a part by a link": ([END], link("delivered.part")),
    "the lock by a link": ([END], link("lock")),
    "the spool by a link": ([END], moved("run")),
    "all spools by a link": ([END], moved("spool")),
    "everything by a link": ([END], moved("runner")),
    "an end that is none": ([{**END, "end": "GONE"}], nothing),
    "an end without a time": ([{"end": "FINISHED", "reason": ""}], nothing),
    "points that are none": ([{"points": [["a", "b", 1, 1]]}], nothing),
    "points of no step": ([{"points": [["a", 1, 1, 1.5]]}], nothing),
    "points too few": ([{"points": [["a", 1]]}], nothing),
    "a step beyond": ([{"points": [["a", 1, 1, 2**63]]}], nothing),
    "params that are none": ([{"params": {"a": 1}}], nothing),
    "tags that are none": ([{**END, "tags": {"a": []}}], nothing),
    "no JSON": (["{"], nothing),
    "a list": (["[]"], nothing),
    "brackets": (["[" * 200_000], nothing),
    "a number": (["1" * 10_000], nothing),
    "no UTF-8": (["\\udcff"], nothing),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_strange_spool_sends_and_changes_nothing(
    name: str,
    stranger: Stranger,
    private: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Even if the person names the server, and it says that the run is the spool's."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stranger.uri)
    stranger.tags, stranger.status = {reconcile.PROCESS: json.dumps(PROCESS)}, "FINISHED"
    entries, act = HOSTILE[name]
    told = json.loads(json.dumps(entries).replace("{private}", str(private)))
    folder = planted(tmp_path, stranger.uri, *told)
    act(folder, private)
    good = planted(tmp_path, stranger.uri, {"points": [["good", 1.0, 1, 1]]}, END, run_id="f" * 32)
    assert synced() == 1
    out = capsys.readouterr().out
    assert (private / "id_rsa").read_text() == CANARY
    assert not stranger.has_heard(CANARY)
    assert not stranger.has_heard("PUT")
    assert f"run {RUN}: not delivered: " in out
    if "by a link" not in name or name.startswith(("the log", "the header", "the mark", "a part", "the lock")):
        assert not good.exists(), "another spool is delivered"
        assert stranger.has_heard('"key": "good"')


def test_without_the_guard_a_spool_sends_any_file(
    stranger: Stranger, private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_check, "check", lambda folder: None)
    monkeypatch.setattr(spool, "is_ours", lambda taken: True)
    stranger.tags = {reconcile.PROCESS: json.dumps(PROCESS)}
    planted(tmp_path, stranger.uri, files(**{"from": str(private)}), END)
    synced()
    assert stranger.has_heard("PUT /api/2.0/mlflow-artifacts/artifacts/0/x/id_rsa")
    for act in (link("files/0/x"), link("files/0", "."), hard_link):
        stranger.heard.clear()
        shutil.rmtree(tmp_path / ".runner")
        act(planted(tmp_path, stranger.uri, files(), END), private)
        synced()
        assert stranger.has_heard(CANARY)


@pytest.mark.parametrize("run_id", ["a b", ".hidden", "a'b", "-x", "ä", "a.b"])
def test_a_spool_of_no_run_is_left_alone(
    run_id: str, stranger: Stranger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(tmp_path, stranger.uri, END, run_id=run_id)
    assert synced(stranger.uri, typed=True) == 1
    assert "not delivered: the name of a spool's folder is " in capsys.readouterr().out
    assert stranger.heard == []


HEADERS = [
    "",
    "{",
    "[]",
    "1",
    "{}",
    '{"uri": 1, "process": {}}',
    '{"uri": "x", "process": []}',
    "[" * 200_000,
    "\ud83d",
]


def test_a_damaged_header_is_named(stranger: Stranger, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = planted(tmp_path, stranger.uri, END)
    for text in HEADERS:
        (folder / "header.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        assert synced(stranger.uri, typed=True) == 1
        assert "header.json of " in capsys.readouterr().out
    for text in ("x", "-1", "1e5", "9" * 50):
        (folder / "header.json").write_text(json.dumps({"uri": stranger.uri, "process": PROCESS}))
        (folder / "delivered").write_text(text)
        assert synced(stranger.uri, typed=True) == 1
        assert "expected a whole number" in capsys.readouterr().out
    assert stranger.heard == []


def test_a_spool_of_a_local_store_is_delivered_beside_it_alone(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever its header says that the store is, and by no link."""
    client = stores.open_store(store)
    run_id = client.create_run("0", tags={reconcile.PROCESS: json.dumps(PROCESS)}).info.run_id
    there, away = Path(store.removeprefix("sqlite:///")), tmp_path / "away"
    away.mkdir()
    monkeypatch.chdir(away)
    folder = planted(away, f"sqlite:///{there}", {"points": [["a", 1.0, 1, 1]]}, END, run_id=run_id)
    assert f"{away / 'mlflow.db'}, which is not there" in settle(folder).message
    (away / "mlflow.db").symlink_to(there)
    assert "is a symbolic link to a store elsewhere" in settle(folder).message
    assert client.get_run(run_id).data.metrics == {}
    (away / "mlflow.db").unlink()
    with sqlite3.connect(there) as open_store:
        open_store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    open_store.close()
    shutil.copy(there, away / "mlflow.db")
    assert settle(folder).message == f"delivered to sqlite:///{away / 'mlflow.db'}, FINISHED"


def test_files_that_a_killed_process_of_ones_own_has_left_are_delivered(
    stranger: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    left = Path(tempfile.mkdtemp(prefix="runner-"))
    try:
        (left / "sub").mkdir()
        (left / "sub" / "a.txt").write_text("mine")
        planted(tmp_path, stranger.uri, files(**{"from": str(left / "sub")}), END)
        stranger.tags, stranger.status = {reconcile.PROCESS: json.dumps(PROCESS)}, "FINISHED"
        (left / "sub" / "link").symlink_to("/etc/hostname")
        assert synced(stranger.uri, typed=True) == 1
        (left / "sub" / "link").unlink()
        left.chmod(0o755)
        assert synced(stranger.uri, typed=True) == 1, "a folder that others could have made"
        left.chmod(0o700)
        assert synced(stranger.uri, typed=True) == 0
        assert stranger.has_heard("mine")
    finally:
        shutil.rmtree(left)


def test_a_password_is_not_in_the_spool_and_comes_from_where_it_came_from(
    stranger: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = stranger.uri.replace("://", "://me:hunter2hunter2@")
    stranger.tags = {reconcile.PROCESS: json.dumps(PROCESS)}
    taken = spool.create(uri, RUN, PROCESS)
    taken.append([{"points": [["a", 1.0, 1, 1]]}, END])
    taken.release()
    assert "hunter2" not in "".join(path.read_text() for path in taken.folder.iterdir() if path.is_file())
    shown = stranger.uri.replace("://", "://***@")
    assert spool_header.command(taken.folder, taken.header) == f"runner sync tracking.uri='{shown}'"
    assert synced() == 1
    assert f"the user and password of {shown} are not kept on the disk; type: " in capsys.readouterr().out
    assert synced(uri) == 0, "the working directory's configuration gives the password of just this server"
    assert record_reading.line(capsys.readouterr().out) == f"run {RUN}: delivered to {shown}, RUNNING"


def test_a_server_below_one_that_the_person_names_gets_its_spool_itself(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`http://host` allows `http://host/mlflow`, which is another server than the first."""
    stranger.tags = {reconcile.PROCESS: json.dumps(PROCESS)}
    uri = stranger.uri.replace("://", "://me:hunter2hunter2@")
    for named in (stranger.uri, uri):
        taken = spool.create(f"{named}/mlflow", RUN, PROCESS)
        taken.append([{"points": [["a", 1.0, 1, 1]]}, END])
        taken.release()
        monkeypatch.setenv("RUNNER_PLACES", f"{named}/")
        assert synced() == 0, capsys.readouterr().out
        assert not stranger.has_heard(" /api/")
        assert stranger.has_heard(" /mlflow/api/")
        assert stranger.has_heard("Authorization") == (named == uri)


@pytest.mark.parametrize("name", ["log.jsonl", "header.json"])
def test_a_damaged_spool_is_named_by_whoever_wants_to_let_go_of_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = planted(tmp_path, "http://host", END)
    (folder / name).write_text("{\n")
    with pytest.raises(ConfigError, match=f"{name} .*is not JSON|{name} is not JSON"):
        forget("http://host", RUN[:6])
    assert folder.exists()

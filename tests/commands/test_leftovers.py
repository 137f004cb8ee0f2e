"""Runs are tagged, described, deleted and brought back; what is left over goes for good, and nothing else."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runner.commands import _words, clean, delete, note, restore, tag
from runner.settings.errors import ConfigError
from runner.tracking.read import recall
from runner.tracking.store import cleaning, reconcile, stores
from runner.tracking.write import spool


def begun(store: str, name: str, parent: str = "", sweep: bool = False, status: str = "FINISHED") -> str:
    """A run with a file of its own."""
    client = stores.open_store(store)
    tags = {"mlflow.parentRunId": parent} if parent else {"sweep.jobs": "2"} if sweep else {}
    tags |= reconcile.tags() if status == "RUNNING" else {}
    run = client.create_run(stores.experiment(client, store, "tests").experiment_id, tags=tags, run_name=name)
    (folder(store, run.info.run_id) / "checkpoints").mkdir(parents=True)
    (folder(store, run.info.run_id) / "checkpoints/weights.pt").write_bytes(b"x" * 1000)
    client.log_metric(run.info.run_id, "valid/loss", 0.5)
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    return str(run.info.run_id)


def folder(store: str, run_id: str) -> Path:
    return Path(str(stores.sqlite_path(store))).parent / "mlruns/tests" / run_id / "artifacts"


def files(store: str) -> set[str]:
    root = Path(str(stores.sqlite_path(store))).parent
    return {str(path) for path in (root / "mlruns").rglob("*") if path.is_file()}


def active(store: str) -> list[str]:
    return [row.run_id for row in stores.rows(store)]


# Words


def call(command: Any, *words: str) -> Any:
    return _words.call(command.__name__.rpartition(".")[2], command.with_run, list(words), lambda *_: None)


def test_tags_are_set_found_and_removed(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    run_id = begun(store, "one")
    assert call(tag, run_id, "owner=ada", "my.paper=fig 3").plain["tags"] == {"owner": "ada", "my.paper": "fig 3"}
    assert [row.run_id for row in stores.rows(store, condition="tags.owner = 'ada'")] == [run_id]
    assert call(tag, run_id, "owner=null", "api_key=abc").plain["tags"] == {"my.paper": "fig 3", "api_key": "***"}
    for words, message in {
        ("sweep.jobs=2", "torch=3"): "sweep.jobs: this tag is runner's or MLflow's own",
        ("owner=null",): "owner: run",
        ("a*b=1",): "a*b: a tag's name has letters",
        ("long=" + "x" * 6000,): "long: its text has 6,000 characters",
        (): "tag needs a tag",
    }.items():
        with pytest.raises(ConfigError) as error:
            call(tag, run_id, *words)
        assert str(error.value).startswith(message)
    assert stores.rows(store)[0].tags["my.paper"] == "fig 3"


def test_a_note_is_what_mlflow_shows(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    run_id = begun(store, "one")
    assert call(note, run_id).plain["note"] == ""
    assert call(note, run_id, "lr=0.1 was too much").plain["note"] == "lr=0.1 was too much"
    assert stores.rows(store)[0].tags["mlflow.note.content"] == "lr=0.1 was too much"
    assert call(note, "last").plain == {"id": run_id, "note": "lr=0.1 was too much"}
    assert call(note, run_id, "").plain["note"] == ""
    assert "mlflow.note.content" not in stores.rows(store)[0].tags


# Deleted and brought back


def test_a_sweep_is_deleted_and_restored_with_its_jobs(store: str) -> None:
    sweep = begun(store, "sweep", sweep=True)
    jobs = [begun(store, f"job {number}", parent=sweep) for number in range(3)]
    alone, before = begun(store, "alone"), files(store)
    delete.with_run(store, jobs[0])
    done = delete.with_run(store, sweep[:12], alone)
    assert {one["id"]: set(one["jobs"]) for one in done.plain["deleted"]} == {sweep: set(jobs[1:]), alone: set()}
    assert active(store) == []
    assert files(store) == before
    assert {one["id"] for one in restore.with_run(store).plain["deleted"]} == {sweep, alone, jobs[0]}
    restore.with_run(store, sweep)
    assert set(active(store)) == {sweep, *jobs[1:]}, "the job that was deleted before stays deleted"
    assert not any("runner.deleted_with" in row.tags for row in stores.rows(store))
    restore.with_run(store, jobs[0][:10], alone)
    assert set(active(store)) == {sweep, *jobs, alone}
    with pytest.raises(ConfigError, match="is the id of no deleted run"):
        restore.with_run(store, alone)


def test_a_run_at_work_is_not_deleted_nor_another_one_with_it(store: str) -> None:
    sweep = begun(store, "sweep", sweep=True)
    begun(store, "job", parent=sweep, status="RUNNING")
    other = begun(store, "other")
    for words in ([other, sweep], [sweep]):
        with pytest.raises(ConfigError, match="is RUNNING, and stays"):
            delete.with_run(store, *words)
    (spool.place(store) / other).mkdir(parents=True)
    with pytest.raises(ConfigError, match="has yet to be delivered"):
        delete.with_run(store, other)
    assert len(active(store)) == 3


def test_a_deleted_run_is_named_with_the_way_back(store: str) -> None:
    run_id = begun(store, "one")
    delete.with_run(store, run_id)
    with pytest.raises(ConfigError, match=f"runner restore {run_id}"):
        recall.find(store, run_id)


# For good


def test_what_is_left_over_goes_and_nothing_else(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(str(stores.sqlite_path(store))).parent
    sweep = begun(store, "sweep", sweep=True)
    gone = [sweep, begun(store, "job", parent=sweep), begun(store, "alone")]
    stay = [begun(store, "stays"), begun(store, "works", status="RUNNING")]
    orphan = root / "mlruns/tests" / ("0" * 32)
    shutil.copytree(folder(store, stay[0]).parent, orphan)
    foreign = root / "mlruns/0" / ("1" * 32)  # of MLflow's store of files, or of anybody
    shutil.copytree(folder(store, stay[0]).parent, foreign)
    (foreign / "meta.yaml").write_text("run_id: 1")
    others = root / "mlruns/tests" / ("2" * 32) / "artifacts"
    others.mkdir(parents=True)
    (others / "report.txt").write_text("not of ours")
    part, live = (
        folder(store, stay[number]) / f".a.{pid}.part" for number, pid in ((0, 999_999_999), (0, os.getpid()))
    )
    work = folder(store, stay[1]) / ".a.999999999.part"
    for path in (part, live, work):
        path.write_text("half")
    delete.with_run(store, sweep, gone[2])
    expected = {path for path in files(store) if not any(one in path for one in (*gone, "0" * 32, str(part)))}

    before = files(store)
    result = clean.with_words(store)
    assert files(store) == before
    assert result.plain["removed"] is False
    assert result.plain["bytes"] == 1000 * len(gone) + 1000 + 4
    assert {(one["kind"], one["name"]) for one in result.plain["found"]} == {
        *((cleaning.RUN, run_id) for run_id in gone),
        (cleaning.ORPHAN, "0" * 32),
        (cleaning.TEMPORARY, str(part)),
    }
    json.dumps(result.plain)
    result.text()
    assert "yes=true removes these 5, 4.0 kB, for good" in capsys.readouterr().out

    assert clean.with_words(store, yes="true").plain["failed"] == []
    assert files(store) == expected
    assert set(active(store)) == set(stay)
    assert not any(folder(store, run_id).parent.exists() for run_id in gone)
    with closing(sqlite3.connect(str(stores.sqlite_path(store)))) as file:
        assert {run for (run,) in file.execute("SELECT DISTINCT run_uuid FROM metrics")} == set(stay)
    assert clean.with_words(store, yes="true").plain["found"] == []


def test_files_of_another_store_beside_it_stay(store: str) -> None:
    root = Path(str(stores.sqlite_path(store))).parent
    mine = begun(store, "mine")
    shutil.copy(root / "mlflow.db", root / "other.db")
    with closing(sqlite3.connect(root / "mlflow.db")) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(root / "mlflow.db", root / "other.db")
    delete.with_run(store, mine)
    clean.with_words(store, yes="true")
    other = f"sqlite:///{root}/other.db"
    theirs = begun(other, "theirs")
    assert clean.with_words(store, yes="true").plain["found"] == []
    assert folder(store, theirs).is_dir()
    with closing(sqlite3.connect(root / "damaged.db")) as file:
        file.execute("CREATE TABLE runs (run_uuid)")
    (root / "damaged.db").write_bytes((root / "damaged.db").read_bytes()[:100] + b"x" * 8000)
    with pytest.raises(ConfigError, match=r"damaged.db is beside the store and cannot be read"):
        clean.with_words(store)


def test_a_place_that_is_not_the_runs_own_is_left_alone(store: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    linked, moved, sent = (begun(store, name) for name in ("linked", "moved", "sent"))
    shutil.move(folder(store, linked), elsewhere)
    folder(store, linked).symlink_to(elsewhere)
    with closing(sqlite3.connect(str(stores.sqlite_path(store)))) as file, file:
        for run_id, place in ((moved, elsewhere.as_uri()), (sent, f"s3://bucket/{sent}/artifacts")):
            file.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (place, run_id))
    delete.with_run(store, linked, moved, sent)
    found = clean.with_words(store, yes="true").plain["found"]
    assert {one["name"] for one in found if one["kept"]} == {linked, moved, sent}
    assert (elsewhere / "checkpoints/weights.pt").stat().st_size == 1000
    assert len(restore.with_run(store).plain["deleted"]) == 3


def test_a_run_that_was_restored_meanwhile_stays(store: str) -> None:
    run_id = begun(store, "one")
    delete.with_run(store, run_id)
    found = cleaning.leftovers(store)
    restore.with_run(store, run_id)
    assert cleaning.remove(store, found) == []
    assert active(store) == [run_id]
    assert folder(store, run_id).is_dir()


def test_a_delivered_spool_goes_and_one_that_waits_stays(store: str) -> None:
    from runner.tracking.store import liveness

    run_id, waiting = begun(store, "one"), begun(store, "two")
    for one, entries in ((run_id, []), (waiting, [{"points": [["valid/loss", 0.5, 0, 1]]}])):
        left = spool.create(store, one, liveness.process())
        left.append(list(entries))
        left.release()
    found = clean.with_words(store, yes="true").plain["found"]
    assert [(one["kind"], one["name"]) for one in found] == [(cleaning.SPOOL, run_id)]
    assert not (spool.place(store) / run_id).exists()
    assert (spool.place(store) / waiting).exists()


def test_a_server_is_not_cleaned() -> None:
    with pytest.raises(ConfigError, match="is a server, whose files are out of reach"):
        clean.with_words("http://127.0.0.1:9")

"""A run whose row misses a value, as an import may leave it, stops no command: it is listed, the others are found."""

import sqlite3
from contextlib import closing

import pytest
from mlflow.exceptions import MlflowException

from runner.commands import runs
from runner.settings.errors import ConfigError
from runner.tracking import recording
from runner.tracking.read import recall
from runner.tracking.store import reconcile, search, stores

#: Columns of a run that may be NULL, with what is listed of a run without: name, status, whether it has a start.
NULLS = {
    "start_time": ("odd", "FINISHED", False),
    "end_time": ("odd", "FINISHED", True),
    "name": ("odd", "FINISHED", True),  # its name is a tag as well
    "status": ("odd", "", True),
    "user_id": ("odd", "FINISHED", True),
    "lifecycle_stage": ("odd", "FINISHED", True),
}


def odd(store: str, column: str) -> tuple[str, str]:
    """Two runs of a store: a whole one, and one that was begun later and misses a value."""
    client = stores.open_store(store)
    group = stores.experiment(client, store, "tests").experiment_id
    whole, other = (client.create_run(group, run_name=name).info.run_id for name in ("whole", "odd"))
    for run_id in (whole, other):
        client.set_terminated(run_id)
    with closing(sqlite3.connect(str(stores.sqlite_path(store)))) as file, file:
        file.execute(f"UPDATE runs SET {column} = NULL WHERE run_uuid = ?", (other,))
    return whole, other


@pytest.mark.parametrize("column", NULLS)
def test_it_is_listed_with_what_it_has(store: str, column: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole, other = odd(store, column)
    rows = {row.run_id: row for row in stores.rows(store)}
    assert set(rows) == {whole, other}
    assert rows[whole].status == "FINISHED"
    row = rows[other]
    assert (row.name, row.status, row.started is not None) == NULLS[column]
    assert row.experiment == "tests"
    assert (row.seconds is None) == (column in ("start_time", "end_time"))
    assert runs.with_words(store).text() is None
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 2
    assert "1970-01-01" not in "".join(lines), "no time is an empty column"


def test_those_without_a_start_come_last_and_the_newest_are_still_as_many_as_asked_for(store: str) -> None:
    whole, other = odd(store, "start_time")
    assert [row.run_id for row in stores.rows(store)] == [whole, other]
    assert [row.run_id for row in stores.rows(store, most=1)] == [whole]
    assert stores.rows(store, "another") == []


@pytest.mark.parametrize("column", ["start_time", "status", "user_id"])
def test_the_other_runs_are_found_and_a_new_one_is_recorded(store: str, column: str) -> None:
    whole, other = odd(store, column)
    assert recall.find(store, "last") == whole
    assert recall.find(store, whole[:12]) == whole
    with pytest.raises(ConfigError, match=f"run {other} has no {column} in its store: MLflow cannot read it"):
        recall.find(store, other)
    with recording.recording(store, "tests", None, {}, {}, {}) as tracker:
        pass
    assert recall.find(store, "last") == tracker.run_id


@pytest.mark.parametrize("column", ["start_time", "user_id"])
def test_a_running_one_keeps_no_dead_run_from_being_ended(store: str, column: str) -> None:
    whole, other = odd(store, column)
    client = stores.open_store(store)
    dead = '{"host": "x", "machine": "x", "start": "", "pid": 1}'
    client.update_run(whole, status="RUNNING")
    client.set_tag(whole, reconcile.PROCESS, dead)
    with closing(sqlite3.connect(str(stores.sqlite_path(store)))) as file, file:
        file.execute("UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", (other,))
        file.execute("UPDATE runs SET start_time = 1 WHERE run_uuid = ?", (whole,))
    assert reconcile.reconcile(client) == [whole]


def test_without_the_second_search_mlflow_would_find_none(store: str) -> None:
    """Negative control."""
    whole, other = odd(store, "start_time")
    client = stores.open_store(store)
    group = client.get_experiment_by_name("tests").experiment_id
    with pytest.raises(MlflowException, match="start_time cannot be None"):
        client.search_runs([group])
    assert [run.info.run_id for run in search.runs(client, [group])] == [whole]
    assert [run.missing for run in search.incomplete(client)] == [("start_time",)]
    assert search.incomplete(client)[0].run_id == other


def test_what_the_store_refuses_is_still_an_error(store: str) -> None:
    odd(store, "start_time")
    client = stores.open_store(store)
    with pytest.raises(MlflowException, match="Invalid"):
        search.runs(client, ["0"], "attributes.nonsense = 1")

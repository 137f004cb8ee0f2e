"""What goes into a local store in a few statements is what MLflow itself would have written."""

import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from runner.tracking import recording
from runner.tracking.store import mlflow_private, stores
from runner.tracking.write import bulk
from runner.training.events import Epoch, Step

NOW = 1_700_000_000_000


def some(rng: np.random.Generator, count: int) -> list[list[Any]]:
    """Of several keys, out of order, some twice, some that are no numbers."""
    keys = ("train/loss", "valid/Mean Error-2", "lr", "a.b_c")
    values = [0.5, 0.25, -0.0, 3, math.nan, math.inf, -math.inf, 1e-320, 1.7976931348623157e308]
    found = [
        [keys[rng.integers(4)], values[rng.integers(len(values))], NOW + int(rng.integers(3)), int(rng.integers(5))]
        for _ in range(count)
    ]
    return found + found[: count // 4]


def rows(path: Path, run_id: str) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as store:
        return {
            table: sorted(
                store.execute(
                    f"SELECT key, value, timestamp, step, is_nan FROM {table} WHERE run_uuid = ?",
                    [run_id],
                )
            )
            for table in ("metrics", "latest_metrics")
        }


def texts(path: Path, run_id: str) -> dict[str, dict[str, str]]:
    with closing(sqlite3.connect(path)) as store:
        return {
            table: dict(store.execute(f"SELECT key, value FROM {table} WHERE run_uuid = ?", [run_id]))
            for table in ("params", "tags")
        }


def made(client: MlflowClient) -> str:
    return str(client.create_run(stores.experiment(client, client.tracking_uri, "points").experiment_id).info.run_id)


@pytest.mark.parametrize("seed", range(8))
def test_all_rows_are_mlflows_own(store: str, seed: int) -> None:
    rng, client = np.random.default_rng(seed), stores.open_store(store)
    ours, theirs = made(client), made(client)
    for _ in range(3):
        told = some(rng, 40)
        assert bulk.insert(client, ours, told)
        client.log_batch(theirs, metrics=[Metric(*point) for point in told])
    path = stores.sqlite_path(store)
    assert path is not None
    assert rows(path, ours) == rows(path, theirs)
    for key in {point[0] for point in told}:
        one, other = (client.get_metric_history(run, key) for run in (ours, theirs))
        assert len(one) == len(other) > 5


def test_a_recorded_run_tells_its_points_so(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log_batch, told = MlflowClient.log_batch, []

    def log(self: MlflowClient, run_id: str, *given: Any, **more: Any) -> None:
        told.extend(more.get("metrics", ()))
        log_batch(self, run_id, *given, **more)

    monkeypatch.setattr(MlflowClient, "log_batch", log)
    with recording.recording(store, "points", None, {}, {}, {}) as tracker:
        for step in range(1, 51):
            tracker.record(Step(step, torch.tensor(float(step))))
        tracker.record(Epoch(1, 50, {"valid/loss": 0.5}))
    assert len(tracker.client.get_metric_history(tracker.run_id, "train/loss")) == 50
    assert tracker.client.get_run(tracker.run_id).data.metrics == {"train/loss": 50.0, "valid/loss": 0.5}
    assert told == []


def test_a_run_that_is_made_and_ended_calls_for_nothing_else(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MlflowClient, "log_batch", None)
    with recording.recording(
        store, "points", None, {}, {"seed": "0", "optimizer.lr": "0.1"}, {"a.txt": "a"}
    ) as tracker:
        tracker.record(Step(1, torch.tensor(1.0)))
    data = tracker.client.get_run(tracker.run_id).data
    assert data.params == {"seed": "0", "optimizer.lr": "0.1"}
    assert data.tags["runner.status_reason"] == ""


def test_params_and_tags_are_mlflows_own(store: str) -> None:
    client, path = stores.open_store(store), stores.sqlite_path(store)
    assert path is not None
    ours, theirs = made(client), made(client)
    told = [({"a": "1", "b.c": ""}, {"x": "y", "long": "ä" * 6000}), ({"b.c": "", "d": "'\n"}, {"x": "z", "new": ""})]
    for params, tags in told:
        assert bulk.insert(client, ours, params=params, tags=tags)
        client.log_batch(theirs, params=[Param(*p) for p in params.items()], tags=[RunTag(*t) for t in tags.items()])
    found, expected = (texts(path, run) for run in (ours, theirs))
    assert found["params"] == expected["params"] == {"a": "1", "b.c": "", "d": "'\n"}
    for run in (found, expected):
        del run["tags"]["mlflow.runName"]
    assert found["tags"] == expected["tags"]
    assert client.get_run(ours).data.tags["x"] == "z"


def test_a_param_of_another_value_is_for_mlflow_to_refuse(store: str) -> None:
    client = stores.open_store(store)
    run_id = made(client)
    assert bulk.insert(client, run_id, params={"a": "1"})
    assert not bulk.insert(client, run_id, params={"b": "1", "a": "2"}, tags={"t": "1"})
    assert client.get_run(run_id).data.params == {"a": "1"}
    assert "t" not in client.get_run(run_id).data.tags


@pytest.mark.parametrize("tags", [{"mlflow.runName": "other"}, {"a?": "b"}, {"a": "b" * 6001}, {"a": 1}], ids=str)
def test_tags_that_are_more_than_tags_are_for_mlflow(store: str, tags: dict[str, Any]) -> None:
    client = stores.open_store(store)
    run_id = made(client)
    before = client.get_run(run_id).data.tags
    assert not bulk.insert(client, run_id, params={"a": "1"}, tags=tags)
    assert client.get_run(run_id).data.tags == before


WRONG: dict[str, list[Any]] = {
    "a name that MLflow refuses": ["a?b", 1.0, NOW, 1],
    "a name that is no path": ["a//b", 1.0, NOW, 1],
    "a name that leads out": ["../a", 1.0, NOW, 1],
    "a name that is absolute": ["/a", 1.0, NOW, 1],
    "a long name": ["a" * 251, 1.0, NOW, 1],
    "a value that is no number": ["a", "1.0", NOW, 1],
    "a value that is true": ["a", True, NOW, 1],
    "a time before 1970": ["a", 1.0, -1, 1],
    "a step that is no whole number": ["a", 1.0, NOW, 1.5],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_mlflow_may_refuse_is_for_mlflow(store: str, wrong: str) -> None:
    client = stores.open_store(store)
    run_id = made(client)
    assert not bulk.insert(client, run_id, [["a", 1.0, NOW, step] for step in range(20)] + [WRONG[wrong]])
    assert client.get_metric_history(run_id, "a") == []


def test_a_run_that_was_deleted_takes_none(store: str) -> None:
    client = stores.open_store(store)
    run_id = made(client)
    client.delete_run(run_id)
    assert not bulk.insert(client, run_id, [["a", 1.0, NOW, step] for step in range(20)])


def test_another_store_takes_none() -> None:
    client = MlflowClient("http://127.0.0.1:9")
    assert not bulk.insert(client, "0" * 32, [["a", 1.0, NOW, step] for step in range(20)])


def test_tables_of_another_version_take_none(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = stores.open_store(store)
    run_id = made(client)
    monkeypatch.setitem(mlflow_private.TABLES, "SqlMetric", {"key", "value", "timestamp", "step", "run_uuid"})
    assert not bulk.insert(client, run_id, [["a", 1.0, NOW, step] for step in range(20)])
    monkeypatch.undo()
    assert bulk.insert(client, run_id, [["a", 1.0, NOW, step] for step in range(20)])

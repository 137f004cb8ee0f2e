"""Points that go into a local store in one statement are those that MLflow itself would have written."""

import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Metric

from runner import points, stores, tracking
from runner.events import Epoch, Step

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


def made(client: MlflowClient) -> str:
    return str(client.create_run(stores.experiment(client, client.tracking_uri, "points")).info.run_id)


@pytest.mark.parametrize("seed", range(8))
def test_all_rows_are_mlflows_own(store: str, seed: int) -> None:
    rng, client = np.random.default_rng(seed), stores.open_store(store)
    ours, theirs = made(client), made(client)
    for _ in range(3):
        told = some(rng, 40)
        assert points.insert(client, ours, told)
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
    with tracking.recording(store, "points", None, {}, {}, {}) as tracker:
        for step in range(1, 51):
            tracker.record(Step(step, torch.tensor(float(step))))
        tracker.record(Epoch(1, 50, {"valid/loss": 0.5}))
    assert len(tracker.client.get_metric_history(tracker.run_id, "train/loss")) == 50
    assert tracker.client.get_run(tracker.run_id).data.metrics == {"train/loss": 50.0, "valid/loss": 0.5}
    assert told == []


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
    assert not points.insert(client, run_id, [["a", 1.0, NOW, step] for step in range(20)] + [WRONG[wrong]])
    assert client.get_metric_history(run_id, "a") == []


def test_a_run_that_was_deleted_takes_none(store: str) -> None:
    client = stores.open_store(store)
    run_id = made(client)
    client.delete_run(run_id)
    assert not points.insert(client, run_id, [["a", 1.0, NOW, step] for step in range(20)])


def test_another_store_takes_none() -> None:
    client = MlflowClient("http://127.0.0.1:9")
    assert not points.insert(client, "0" * 32, [["a", 1.0, NOW, step] for step in range(20)])


def test_tables_of_another_version_take_none(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = stores.open_store(store)
    run_id = made(client)
    monkeypatch.setattr(points, "COLUMNS", points.COLUMNS - {"is_nan"})
    assert not points.insert(client, run_id, [["a", 1.0, NOW, step] for step in range(20)])
    monkeypatch.undo()
    assert points.insert(client, run_id, [["a", 1.0, NOW, step] for step in range(20)])

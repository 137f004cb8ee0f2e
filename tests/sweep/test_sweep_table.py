"""The table of a sweep: ranks, and files that give back what went in."""

import csv
import io
import json
import math
from collections.abc import Iterator

import mlflow
import pytest
from mlflow import MlflowClient

from runner.sweeps.report import files, words
from runner.sweeps.report.table import Row, Table

ODD = {"model.layers": "[16,32]", "note": 'a "quoted", größe\nof $5', "seed": "0"}


def table(mode: str = "min") -> Table:
    rows = [
        Row(0, {"optimizer.lr": "0.1", **ODD}, "a" * 32, "FINISHED", 0.5, {"valid/loss": 1, "lr": 0.1, "epoch": 3}, 3),
        Row(1, {"optimizer.lr": "1e-9", "seed": "1"}, "b" * 32, "FINISHED", 0.25, {"valid/Accuracy": 0.5}, 2, pruned=2),
        Row(2, {"optimizer.lr": "10", "seed": "1"}, "c" * 32, "FAILED", 1e-9, reason="FloatingPointError: nan,\nat 3"),
        Row(3, {"optimizer.lr": "1", "seed": "1"}, "d" * 32, "FINISHED", math.nan, {"valid/Accuracy": math.inf}),
        Row(4, {"optimizer.lr": "2", "seed": "1"}),
    ]  # fmt: skip
    return Table(rows, "valid/loss", mode)


def test_failed_jobs_and_those_without_a_number_have_no_rank() -> None:
    assert [row.number for row in table().standing] == [1, 0]
    assert [row.number for row in table("max").standing] == [0, 1]
    best = table().best
    assert best is not None
    assert best.number == 1


def test_a_job_is_done_by_its_share_of_epochs() -> None:
    shares = [Row(0, {}), Row(1, {}, status="RUNNING", epoch=3, epochs=12), Row(2, {}, status="FAILED", epochs=12)]
    assert [row.share for row in shares] == [0.0, 0.25, 1.0]


def test_csv_gives_back_every_job_the_best_first() -> None:
    lines = list(csv.DictReader(io.StringIO(files.csv(table()))))
    assert [line["job"] for line in lines] == ["1", "0", "2", "3", "4"]
    assert [line["rank"] for line in lines] == ["1", "2", "", "", ""]
    assert [line["pruned"] for line in lines] == ["2", "", "", "", ""]
    first, failed = lines[1], lines[2]
    assert {key: first[key] for key in ODD} == ODD
    assert first["valid/loss"] == "0.5"  # the best, not the newest
    assert failed["reason"] == "FloatingPointError: nan,\nat 3"
    assert lines[3]["valid/Accuracy"] == "inf"


def test_columns_stand_in_their_order_and_once() -> None:
    header = files.csv(table()).split("\n")[0].split(",")
    keys = ["optimizer.lr", "model.layers", "note", "seed"]
    metrics = ["valid/loss", "lr", "valid/Accuracy"]
    assert header == ["rank", "job", *keys, "status", *metrics, "epoch", "seconds", "pruned", "reason", "run_id"]


def test_json_has_the_same_rows_and_no_nan() -> None:
    found = json.loads(files.mlflow_table(table()), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    rows = [dict(zip(found["columns"], line, strict=True)) for line in found["data"]]
    lines = list(csv.DictReader(io.StringIO(files.csv(table()))))
    assert found["columns"] == [name.replace(".", "/") for name in lines[0]]
    assert not any("." in name for name in found["columns"])  # MLflow's UI would show the column empty
    for row, line in zip(rows, lines, strict=True):
        same = {key: "" if value is None else str(value) for key, value in row.items()}
        assert same == {k.replace(".", "/"): "" if value in ("nan", "inf") else value for k, value in line.items()}


@pytest.mark.parametrize("rows", [[], [Row(0, {})]])
def test_an_empty_table_has_its_columns(rows: list[Row]) -> None:
    assert files.csv(Table(rows)).startswith("rank,job,status,valid/loss,epoch")
    assert len(json.loads(files.mlflow_table(Table(rows)))["data"]) == len(rows)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MlflowClient, str]]:
    """A client of a new store, and an experiment in it."""
    folder = tmp_path_factory.mktemp("store")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")  # load_table searches there
    client = MlflowClient()
    yield client, client.create_experiment("sweeps", str(folder / "artifacts"))
    mlflow.set_tracking_uri(None)


def test_mlflow_finds_and_reads_the_table(store: tuple[MlflowClient, str]) -> None:
    client, experiment = store
    run = client.create_run(experiment).info.run_id
    for _ in range(2):  # written again, it is replaced and not appended to
        client.log_text(run, files.mlflow_table(table()), files.JSON)
    client.set_tag(run, *files.TAG)
    frame = client.load_table(experiment, files.JSON, [run])
    assert list(frame.columns) == json.loads(files.mlflow_table(table()))["columns"]
    assert frame["job"].tolist() == [1, 0, 2, 3, 4]
    assert frame["model/layers"].tolist()[1] == "[16,32]"
    assert frame["valid/loss"].tolist()[:3] == [0.25, 0.5, 1e-9]
    assert frame["run_id"].tolist()[1] == "a" * 32


def test_the_tag_is_the_one_that_mlflow_sets_itself(store: tuple[MlflowClient, str]) -> None:
    client, experiment = store
    run = client.create_run(experiment).info.run_id
    client.log_table(run, {"job": [0]}, files.JSON)
    key, value = files.TAG
    assert json.loads(client.get_run(run).data.tags[key]) == json.loads(value)


def test_keys_are_as_short_as_they_can_be() -> None:
    keys = ["optimizer.lr", "model.knobs.width", "data.knobs.width", "seed", "trainer.seed", "data.width"]
    assert words.short(keys) == {
        "optimizer.lr": "lr",
        "model.knobs.width": "model.knobs.width",
        "data.knobs.width": "data.knobs.width",
        "seed": "seed",
        "trainer.seed": "trainer.seed",
        "data.width": "data.width",
    }
    assert len(set(words.short(keys).values())) == len(keys)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (3.21, "3.2 s"), (99.94, "99.9 s"), (99.96, "1:40 min"), (3599.4, "59:59 min"), (3725, "1:02 h")],
)
def test_times_are_told_in_words(seconds: float | None, text: str) -> None:
    assert words.took(seconds) == text

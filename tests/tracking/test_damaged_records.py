"""A damaged or hostile run stops no other: not a training, not a listing, not a sync, not the reconciling."""

import hashlib
import itertools
import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.commands import resume, runs
from runner.settings import Trainer, random_state
from runner.settings.errors import ConfigError
from runner.settings.trust import record_reading
from runner.sweeps import manifest
from runner.sweeps.manifest import Job, Manifest
from runner.sweeps.report import rows
from runner.sweeps.search import search
from runner.tracking import own_code, recorded_code, recording
from runner.tracking.read import checkpoints, recall
from runner.tracking.store import artifact_places, liveness, reconcile, stores
from runner.training.events import Step
from tests.support.command import runner

#: What stands in a tag where something else is expected.
JUNK = [
    "",
    "{",
    "[]",
    "null",
    "1",
    '"a"',
    "[" * 100_000,
    "1" * 10_000,
    "NaN",
    "1e999",
    "{}",
    "\u2028",
    "-1",
    "../..",
    "x" * 5000,
]
PROCESSES = [
    *JUNK,
    '{"pid": 1}',
    '{"host": "a", "pid": "1", "start": "1", "machine": "b"}',
    '{"host": "a", "pid": -1, "start": "1", "machine": "b"}',
    '{"host": "a", "pid": 1e300, "start": "1", "machine": "b"}',
    '{"host": "a", "pid": 99999999999999999999, "start": "1", "machine": "b"}',
    '{"host": ["a"], "pid": 1, "start": 1, "machine": {}}',
    json.dumps({**liveness.process(), "pid": 2**40}),
]
TAGS = (
    *("runner.heartbeat", "sweep.jobs", "sweep.best", "sweep.front", "sweep.job", "sweep.pruned", "best.value"),
    *("checkpoint.last", "checkpoint.last.kept", "checkpoint.last.step", "checkpoint.last.sha256", "threads"),
    *("checkpoint.best.kept", "runner.code", "device", "sweep.together", "mlflow.parentRunId", "runner.status_reason"),
)


def train(uri: str, run_id: str | None = None) -> str:
    with recording.recording(uri, "tests", None, {}, {}, {}, run_id) as tracker:
        tracker.record(Step(1, torch.tensor(0.5)))
    return tracker.run_id


def test_damaged_runs_stop_no_other_run_and_no_listing(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = stores.open_store(store)
    bad = [client.create_run("0", tags={reconcile.PROCESS: process}, start_time=1) for process in PROCESSES]
    bad += [client.create_run("0", tags={**reconcile.tags(), **dict.fromkeys(TAGS, junk[:5000])}) for junk in JUNK]
    client.log_metric(bad[0].info.run_id, "epoch", float("nan"), step=-1)
    client.log_metric(bad[1].info.run_id, "epoch", float("inf"))
    with sqlite3.connect(store.removeprefix("sqlite:///")) as columns:
        columns.execute("UPDATE runs SET end_time = 9e18 WHERE run_uuid = ?", (bad[3].info.run_id,))
        columns.execute("UPDATE runs SET start_time = 9e18, name = NULL WHERE run_uuid = ?", (bad[4].info.run_id,))
    columns.close()
    train(store)
    found = {row.run_id: row for row in stores.rows(store, most=100)}
    assert len(found) == len(bad) + 1
    assert runs.table(list(found.values()), 120).row_count == len(found)
    assert rows.children(client, "0", "x") == {}
    ended = [run for run in bad[: len(PROCESSES)] if found[run.info.run_id].status == "KILLED"]
    assert len(ended) >= len(PROCESSES) - 1, "what says nothing of its process, nor anything for long, is given up"
    why = client.get_run(bad[1].info.run_id).data.tags["runner.status_reason"]
    assert why.startswith("its tag runner.process cannot be read, and it was last heard of at 1970-01-01")


def test_a_damaged_run_that_was_heard_of_lately_is_left_alone(store: str) -> None:
    client = stores.open_store(store)
    heard = str(int(time.time()))
    client.create_run("0", tags={reconcile.PROCESS: "{", reconcile.HEARTBEAT: heard}, start_time=1)
    client.create_run("0", tags={reconcile.PROCESS: "{", reconcile.HEARTBEAT: "1e18"}, start_time=1)
    assert sorted(row.status for row in stores.rows(store)) == ["KILLED", "RUNNING"], "no beat comes from the future"


def test_without_the_guard_a_tag_ends_every_training_on_the_store(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.open_store(store).create_run("0", tags={reconcile.PROCESS: "{"}, start_time=1)
    monkeypatch.setattr(reconcile, "owner", lambda run: json.loads(run.data.tags.get(reconcile.PROCESS, "{}")))
    with pytest.raises(json.JSONDecodeError):
        stores.rows(store)


@pytest.fixture
def run(store: str) -> str:
    """A run that has ended, in `store`."""
    return train(store)


def test_damaged_tags_of_a_run_itself_are_named(store: str, run: str) -> None:
    client = stores.open_store(store)
    right = {"checkpoint.last.kept": "[]", "checkpoint.best.kept": "[]"}
    for key, junk in itertools.product(right, JUNK):
        client.set_tag(run, key, junk[:5000])
        if junk != right[key]:
            message = refused(lambda: checkpoints.recorded(store, run, key.split(".")[1]))  # noqa: B023
            assert message.startswith(f"the tag {key} ")


def refused(act: Callable[[], Any]) -> str:
    """The one sentence of a refusal."""
    with pytest.raises(ConfigError) as error:
        act()
    assert len(str(error.value)) < 500
    assert "\n" not in str(error.value)
    return str(error.value)


#: Checkpoints that a run's tags may not name.
KEPT: list[dict[str, Any]] = [
    {"place": "../../../canary", "step": 1, "sha256": {}},
    {"place": "/canary", "step": 1, "sha256": {}},
    {"place": "checkpoints/../../canary", "step": 1, "sha256": {}},
    {"place": "plots", "step": 1, "sha256": {}},
    {"place": "checkpoints\\..\\x", "step": 1, "sha256": {}},
    {"place": ["checkpoints/last-1"], "step": 1, "sha256": {}},
    {"place": "checkpoints/last-1", "step": "1", "sha256": {}},
    {"place": "checkpoints/last-1", "step": 1.5, "sha256": {}},
    {"place": "checkpoints/last-1", "step": 1, "sha256": {"a": 1}},
    {"place": "checkpoints/last-1", "step": 1},
    {"place": "checkpoints/last-1", "step": 1, "sha256": {}, "more": 1},
]


def test_a_continued_run_deletes_nothing_that_its_tags_name_elsewhere(store: str, run: str) -> None:
    client = stores.open_store(store)
    for entry in KEPT:
        client.set_tag(run, "checkpoint.last.kept", json.dumps([entry]))
        for act in (lambda: train(store, run), lambda: checkpoints.state(store, run, [])):
            assert "checkpoint.last.kept" in refused(act), entry


def put(store: str, run_id: str, name: str, content: bytes | Callable[[Path], None]) -> None:
    """Have a file among a run's artifacts, or whatever `content` makes there."""
    found = artifact_places.local(stores.open_store(store), run_id)
    assert found is not None
    (found / name).parent.mkdir(parents=True, exist_ok=True)
    content(found / name) if callable(content) else (found / name).write_bytes(content)


GOOD = {"task": "regression", "classes": [], "notes": {}, "example": {"shape": [1], "dtype": "float32"}}
DATA: dict[str, Any] = {
    "no JSON": "{",
    "a list": [],
    "too deep": "[" * 200_000,
    "no task": {**GOOD, "task": None},
    "no classes": {**GOOD, "classes": {"a": 1}},
    "no notes": {**GOOD, "notes": [1]},
    "no example": {**GOOD, "example": None},
    "a word for a shape": {**GOOD, "example": {"shape": "12", "dtype": "float32"}},
    "a size below nothing": {**GOOD, "example": {"shape": [-1], "dtype": "float32"}},
    "a size beyond memory": {**GOOD, "example": {"shape": [2**40, 2**40], "dtype": "float32"}},
    "a function for a type": {**GOOD, "example": {"shape": [1], "dtype": "load"}},
    "words for means": {**GOOD, "notes": {"mean": ["a"], "std": [1]}},
    "a word for a size": {**GOOD, "notes": {"size": ["a", 1], "channels": 3}},
    "a size too large": {**GOOD, "notes": {"size": [10**9, 10**9], "channels": 3}},
    "a word for features": {**GOOD, "notes": {"features": "abc"}},
}


def test_damaged_notes_of_data_are_named(store: str, run: str) -> None:
    for name, text in DATA.items():
        put(store, run, "data.json", (text if isinstance(text, str) else json.dumps(text)).encode())
        assert f"data.json of run {run}" in refused(lambda: recall.data(store, run)), name


def test_what_is_no_file_or_too_large_is_not_read(store: str, run: str) -> None:
    put(store, run, "config.yaml", os.mkfifo)
    put(store, run, "data.json", lambda path: path.symlink_to("/dev/zero"))
    put(store, run, "environment.txt", b"x" * 17_000_000)
    put(store, run, "code.json", b"\xff")
    for name in ("config.yaml", "data.json", "environment.txt", "code.json"):
        assert f"{name} of run {run}" in refused(lambda: recall.text(store, run, name))  # noqa: B023


@pytest.mark.parametrize("threads", ["0", "5000", "٣", "1" * 5000, "-1", "x"])
def test_a_number_of_threads_that_no_file_may_say_no_tag_may(threads: str) -> None:
    assert random_state.recorded(Trainer(), {"threads": threads}) is None
    assert random_state.recorded(Trainer(), {"threads": "3"}) == 3


# Sweeps


def plan(**changes: Any) -> dict[str, Any]:
    job = Job(0, ["seed=1"], {"seed": "1"}, {"seed": 1})
    told: dict[str, Any] = json.loads(Manifest("x", ["hydra/launcher=one_by_one"], "valid/loss", "min", [job]).text())
    told["jobs"][0] |= changes.pop("job", {})
    return {**told, **changes}


MANIFESTS: dict[str, dict[str, Any]] = {
    "a flag": {"launcher": ["--config-dir=/tmp"]},
    "another store": {"launcher": ["tracking.uri=http://evil"]},
    "trust": {"launcher": ["--trust=os"]},
    "a word without a key": {"launcher": ["resume"]},
    "storage": {"launcher": ["hydra.sweeper.storage=sqlite:////tmp/evil.db"]},
    "a folder": {"launcher": ["hydra.sweep.dir=/tmp"]},
    "no list": {"launcher": "hydra/launcher=x"},
    "a job's number": {"job": {"number": "0"}},
    "a job's number below": {"job": {"number": -1}},
    "a job's number beyond": {"job": {"number": 10**9}},
    "a job's words": {"job": {"words": [1]}},
    "what is varied": {"job": {"varied": {"seed": 1}}},
    "no configuration": {"job": {"config": []}},
    "an unknown key": {"job": {"config": {"sed": 1}}},
    "another type": {"job": {"config": {"seed": "many"}}},
    "a part that is none": {"job": {"config": {"trainer": 5}}},
    "a key too many": {"job": {"more": 1}},
    "no jobs": {"jobs": 5},
    "jobs that are none": {"jobs": [5]},
    "another key": {"more": 1},
    "no job at all": {"jobs": []},
    "a search without its sweeper": {"search": {"n_trials": 1}},
    "a sweeper without its search": {"launcher": ["hydra/sweeper=optuna"]},
    "another order": {"mode": "up"},
    "jobs beyond counting": {"numbered": 10**12},
    "a search that is none": {"search": [1]},
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_is_none_is_refused(name: str) -> None:
    assert manifest.read(json.dumps(plan())).jobs[0].config == {"seed": 1}
    with pytest.raises(ConfigError) as error:
        manifest.read(json.dumps(plan(**MANIFESTS[name])))
    assert len(str(error.value)) < 500


def test_a_manifest_does_not_say_which_run_is_a_jobs() -> None:
    assert manifest.read(json.dumps(plan(job={"run_id": "../../home"}))).jobs[0].run_id == ""


def test_too_many_jobs_are_refused() -> None:
    told = plan()
    told["jobs"] = told["jobs"] * 10_001
    with pytest.raises(ConfigError, match="expected at most 10,000"):
        manifest.read(json.dumps(told))


WISH: dict[str, Any] = {
    "space": {"seed": {"low": 0, "high": 1}},
    "objectives": [["valid/loss", "min"]],
    "sampler": {"name": "tpe"},
    "seed": 0,
    "n_trials": 3,
    "n_jobs": 1,
    "max_failure_rate": 0.0,
    "bases": [{"presets": {}, "config": {}}],
}


@pytest.mark.parametrize(
    "changes",
    [
        *({"objectives": value} for value in (None, [], [["a"]], [["a", "up"]], [[1, "min"]], "ab")),
        *({"space": value} for value in (None, [], {"a": 1}, {"a": {"low": 0}}, {"a": {"options": 1}})),
        *({"bases": value} for value in (None, [{}], {}, [1])),
        *({"sampler": 1}, {"n_trials": "3"}, {"fixed": "abc"}, {"storage": 1}, {"more": 1}),
    ],
    ids=str,
)
def test_a_search_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    assert search.read(WISH).n_trials == 3
    with pytest.raises(ConfigError):
        search.read({**WISH, **changes})


# Code


CODE: list[tuple[str, dict[str, Any]]] = [
    *((place, {}) for place in ("../x.py", "/etc/passwd", "a/../../x.py", "C:\\x.py", "", "a//b.py")),
    *(("experiments/x.py", {"module": module}) for module in ("", "a b", 1, "a..b", "../x", None, "__main__")),
    *(("experiments/x.py", {"sha256": sha256}) for sha256 in ("", "0" * 63, 5, None, "Z" * 64)),
    *(("experiments/x.py", {"kept": kept}) for kept in ("yes", 1, None)),
]


def test_a_list_of_code_that_is_none_is_refused(store: str, run: str) -> None:
    client = stores.open_store(store)
    for place, changes in CODE:
        entry = {"module": "experiments.x", "sha256": "0" * 64, "kept": True, **changes}
        text = json.dumps({"files": {place: entry}, "packages": {}}).encode()
        put(store, run, own_code.NAME, text)
        client.set_tag(run, own_code.TAG, hashlib.sha256(text).hexdigest())
        uses = (recorded_code.use, lambda uri, run_id: recorded_code.take_up(uri, [run_id], "current", "x"))
        for use in uses:
            assert "code.json of run" in refused(lambda: use(store, run))  # noqa: B023


# The command line


def test_a_recorded_configuration_reads_no_secret_into_the_store(workplace: Path) -> None:
    words = ("trainer.epochs=2", "plots=[]", "checkpoint.every=1", "hydra.job.name=x")
    run_id = runner(*words[:3], cwd=workplace).run_id
    uri = f"sqlite:///{workplace / 'mlflow.db'}"
    [config] = workplace.glob(f"mlruns/*/{run_id}/artifacts/config.yaml")
    right = config.read_text()
    environment = {"CANARY_SECRET": "c4n4ryc4n4ry"}
    for wrong in (
        right.replace("  tags: {}", "  tags:\n    note: ${oc.env:CANARY_SECRET}"),
        right.replace("  tags: {}", "  tags:\n    note: \\${oc.env:CANARY_SECRET}"),
    ):
        assert wrong != right
        config.write_text(wrong)
        done = runner("resume", run_id, "trainer.epochs=3", cwd=workplace, env=environment, code=None)
        assert done.code == (0 if "\\$" in wrong else 2), done.err
        assert "Traceback" not in done.err
    assert [f for f in workplace.rglob("*") if f.is_file() and b"c4n4ryc4n4ry" in f.read_bytes()] == []
    assert recall.settings(uri, run_id).tracking.tags == {"note": "${oc.env:CANARY_SECRET}"}
    # and a damaged tag is one sentence
    stores.open_store(uri).set_tag(run_id, "checkpoint.best.step", "[{")
    done = runner("evaluate", run_id, "split=train", cwd=workplace, code=2)
    assert done.err.count("\n") == 1
    assert "checkpoint.best.step" in done.err


def test_what_a_resumed_run_is_told_is_masked(store: str) -> None:
    told = resume._drifted({"tracking.tags.dbpassword": (None, "hunter2hunter2")}, 3, {})
    assert "hunter2" not in str(told)
    assert record_reading.number("nan", 1.0) == 1.0

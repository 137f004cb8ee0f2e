"""`sweep.keep`: whose checkpoints, predictions and plots a sweep leaves, whatever happens to it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.settings import Settings, Sweep
from runner.sweeps.manifest import Job
from runner.sweeps.report import rows
from runner.sweeps.report.table import Row, Table
from runner.sweeps.run import keeping
from runner.sweeps.run.info import SweepInfo
from runner.sweeps.run.outcome import Outcome
from runner.tracking.store import stores
from tests.support.command import runner
from tests.support.sweeping import Family, artifacts, family, furnish, group

SWEEP = ("-m", "experiments=bad", "seed=1,2,3,4", "plots=[loss_curve]")
PARTS = ("checkpoints", "plots", "predictions.npy")


@pytest.fixture
def place(workplace: Path) -> Path:
    furnish(workplace)
    return workplace


def keepers(found: Family, part: str) -> list[str]:
    """Ids of the runs that have a part, which may not be an empty folder."""
    places = {job.info.run_id: artifacts(found.place, job) / part for job in found.jobs}
    return [run_id for run_id, path in places.items() if path.is_file() or (path.is_dir() and any(path.iterdir()))]


def tagged(found: Family) -> list[str]:
    return [job.info.run_id for job in found.jobs if "checkpoint.last" in job.data.tags]


def assert_only_the_best(found: Family) -> None:
    best = [found.parent.data.tags["sweep.best"]]
    assert {part: keepers(found, part) for part in PARTS} == dict.fromkeys(PARTS, best)
    assert tagged(found) == best
    dropped = [job.data.tags.get("sweep.dropped") for job in found.jobs if job.info.run_id not in best]
    assert dropped == ["best"] * (len(found.jobs) - 1)
    assert "sweep.dropped" not in next(job for job in found.jobs if job.info.run_id in best).data.tags


@pytest.mark.parametrize("launcher", ["basic", "one_by_one", "vectorized"])
@pytest.mark.parametrize("every", ["null", "1"])
def test_best_keeps_the_files_of_the_best_job(place: Path, launcher: str, every: str) -> None:
    more = (f"hydra/launcher={launcher}", f"checkpoint.every={every}", "sweep.keep=best")
    runner(*SWEEP, *more, cwd=place)
    found = family(place)
    assert found.statuses == ["FINISHED"] * 4
    assert_only_the_best(found)
    assert found.steps() == [list(range(1, 13))] * 4
    assert all("valid/loss" in job.data.metrics for job in found.jobs)


@pytest.mark.parametrize("launcher", ["one_by_one", "vectorized"])
def test_none_keeps_no_files_and_all_those_of_every_job(place: Path, launcher: str) -> None:
    runner(*SWEEP, f"hydra/launcher={launcher}", "checkpoint.every=1", "sweep.keep=none", cwd=place)
    found = family(place)
    assert found.statuses == ["FINISHED"] * 4
    assert {part: keepers(found, part) for part in PARTS} == {"checkpoints": [], "plots": [], "predictions.npy": []}
    assert tagged(found) == []
    assert [job.data.tags["sweep.dropped"] for job in found.jobs] == ["none"] * 4


def test_all_is_the_default(place: Path) -> None:
    runner(*SWEEP, "hydra/launcher=vectorized", cwd=place)
    found = family(place)
    ids = [job.info.run_id for job in found.jobs]
    assert {part: keepers(found, part) for part in PARTS} == dict.fromkeys(PARTS, ids)


def test_the_values_are_those_of_a_sweep_that_keeps_all(place: Path) -> None:
    runner(*SWEEP, "hydra/launcher=one_by_one", cwd=place)
    runner(*SWEEP, "hydra/launcher=one_by_one", "sweep.keep=none", cwd=place)
    from tests.support.sweeping import families

    metrics: list[list[dict[str, Any]]] = [[job.data.metrics for job in one.jobs] for one in families(place)]
    assert metrics[0] == metrics[1]


def test_a_killed_sweep_goes_on_from_its_checkpoints_and_keeps_the_best(place: Path) -> None:
    words = (*SWEEP, "checkpoint.every=1", "sweep.keep=best", "hydra/launcher=basic")
    killed = group(*words, "model.knobs.plan='3:kill'", cwd=place, env={"KEPT": "2"})
    killed.wait()
    before = family(place)
    assert [job.info.status for job in before.jobs][:2] == ["FINISHED", "FINISHED"]
    assert before.jobs[2].info.run_id in tagged(before), "the checkpoint that it goes on from"
    done = runner("resume", "last", cwd=place)
    assert done.last.split()[2] == "FINISHED"
    found = family(place)
    assert found.statuses == ["FINISHED"] * 4
    assert found.jobs[2].data.tags["runner.resumed"] == "after step 4"
    assert found.steps() == [list(range(1, 13))] * 4
    assert_only_the_best(found)


def test_commands_say_why_a_job_has_no_checkpoint_and_reproduce_repeats_it(place: Path) -> None:
    runner(*SWEEP, "sweep.keep=best", "hydra/launcher=one_by_one", cwd=place)
    found = family(place)
    assert runner("evaluate", "last", "split=valid", cwd=place).code == 0
    dropped = next(job.info.run_id for job in found.jobs if "sweep.dropped" in job.data.tags)
    for words in (
        ("evaluate", dropped, "split=valid"),
        ("resume", dropped, "trainer.epochs=4"),
        ("export", dropped, "format=safetensors", "output=m.safetensors"),
    ):
        done = runner(*words, cwd=place, code=2)
        assert "sweep.keep=best" in done.err, words
        assert f"runner reproduce {dropped[:8]}" in done.err, words
    assert runner("reproduce", dropped, cwd=place).code == 0


#: Of the jobs of a sweep, the worst first: status, whether they have files, and whether these stay with `best`.
ENDINGS: list[list[tuple[str, bool, bool]]] = [
    [("FINISHED", True, False), ("FINISHED", True, False), ("FINISHED", True, True)],
    [
        ("FINISHED", True, True),
        ("FINISHED", False, False),
        ("FAILED", True, True),
    ],  # the second was worse than the third
    [("FINISHED", True, False), ("FINISHED", True, True), ("FAILED", False, False)],
    [("FINISHED", False, False), ("FAILED", True, True), ("FINISHED", False, False)],
    [("KILLED", True, True), ("FINISHED", True, True), ("FINISHED", False, False)],
]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("keep", ["best", "none"])
def test_the_end_of_a_sweep_leaves_the_files_of_the_best_job_that_has_any(
    store: str, tmp_path: Path, keep: str, mode: str
) -> None:
    client = stores.open_store(store)
    experiment = client.create_experiment("kept", tmp_path.as_uri())
    for endings in ENDINGS:
        parent = client.create_run(experiment).info.run_id
        for number, (status, has_files, _) in enumerate(endings):
            own = {"checkpoint.last": "checkpoints/last-1"} if has_files else {"sweep.dropped": "best"}
            tags = {"mlflow.parentRunId": parent, "sweep.job": str(number), **own}
            run = client.create_run(experiment, tags=tags).info.run_id
            client.log_metric(run, "valid/loss", -number if mode == "min" else number)
            if has_files:
                client.log_text(run, "weights", "checkpoints/last-1/weights")
            client.set_terminated(run, status)
        runs = rows.children(client, experiment, parent)
        table = Table(rows.rows([Job(n, [], {}, {}) for n in runs], {}, runs, {}, "valid/loss"), mode=mode)
        info = SweepInfo(parent, "kept", "valid/loss", store, mode=mode)
        keeping.clear(client, info, keep, table)
        stay = [bool(client.list_artifacts(runs[n].info.run_id, "checkpoints")) for n in range(3)]
        expected = [stays and (keep == "best" or status != "FINISHED") for status, _, stays in endings]
        assert stay == expected, endings
        dropped = ["sweep.dropped" in client.get_run(runs[n].info.run_id).data.tags for n in range(3)]
        assert dropped == [not one for one in expected], endings


def test_files_of_the_best_mean_stay_although_another_seed_was_better(store: str, tmp_path: Path) -> None:
    """Which one that is, is known at the end alone: until then no job of a sweep over seeds is beaten."""
    client = stores.open_store(store)
    experiment = client.create_experiment("kept", tmp_path.as_uri())
    parent = client.create_run(experiment).info.run_id
    info = SweepInfo(parent, "kept", "valid/loss", store, over_seeds=True)
    desk, table = keeping.Keeping(info), Table([])
    for number, value in enumerate((0.1, 0.9, 0.4, 0.5)):
        tags = {"mlflow.parentRunId": parent, "sweep.job": str(number), "checkpoint.last": "checkpoints/last-1"}
        run = client.create_run(experiment, tags=tags).info.run_id
        client.log_text(run, "weights", "checkpoints/last-1/weights")
        client.set_terminated(run, "FINISHED")
        job: Any = SimpleNamespace(settings=Settings(sweep=Sweep(keep="best")), keeps=None)
        desk.follow(number, job)
        assert job.keeps(job)
        overrides = {"optimizer.lr": str(number // 2), "seed": str(number % 2)}
        table.rows.append(Row(number, overrides, run, "FINISHED", value))
        desk.settle(job, Outcome(number, run, "FINISHED", value))
        assert client.list_artifacts(run, "checkpoints")
    keeping.clear(client, info, "best", table)
    assert [bool(client.list_artifacts(row.run_id, "checkpoints")) for row in table.rows] == [False, False, True, False]

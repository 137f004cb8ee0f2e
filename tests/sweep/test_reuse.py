"""Earlier runs with the digests of a sweep's jobs: asked for one by one, or found among all runs of the experiment."""

import pytest
from mlflow import MlflowClient

from runner.sweeps.report import rows
from runner.tracking.store import stores


def ran(client: MlflowClient, experiment: str, start: int, status: str, **tags: str) -> str:
    run = client.create_run(experiment, start_time=start, tags={rows.DIGEST: "x", **tags}).info.run_id
    client.set_terminated(run, status)
    return str(run)


def test_both_ways_find_the_newest_finished_run_that_was_not_pruned(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = stores.open_store(store)
    experiment, other = client.create_experiment("a"), client.create_experiment("b")
    digest, pruned = rows.DIGEST, rows.PRUNED
    ran(client, experiment, 1, "FINISHED", **{digest: "one"})
    newest = ran(client, experiment, 5, "FINISHED", **{digest: "one"})
    ran(client, experiment, 7, "FAILED", **{digest: "one"})
    ran(client, experiment, 9, "FINISHED", **{digest: "one", pruned: "2"})
    ran(client, other, 9, "FINISHED", **{digest: "one"})
    two = ran(client, experiment, 3, "FINISHED", **{digest: "two"})
    ran(client, experiment, 3, "FAILED", **{digest: "three"})
    deleted = ran(client, experiment, 8, "FINISHED", **{digest: "one"})
    client.delete_run(deleted)
    client.set_terminated(client.create_run(experiment, start_time=20).info.run_id, "FINISHED")
    digests = {0: "one", 1: "two", 2: "three", 3: "none", 4: "one"}
    for few in (50, 0):
        monkeypatch.setattr(rows, "FEW", few)
        found = rows.finished(client, experiment, digests)
        assert {number: run.info.run_id for number, run in found.items()} == {0: newest, 1: two, 4: newest}

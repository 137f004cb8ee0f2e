"""`runner best`: means over seeds of all runs of an experiment, a study or a sweep, out of the store alone."""

import json
import statistics
import subprocess
import sys
from typing import Any

import jsonschema
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from scipy import stats

from runner.commands import _answers, best
from runner.settings.errors import ConfigError
from runner.tracking.store import stores

#: Learning rate -> values of seeds 0 to 3.
VALUES = {"0.1": [0.2, 0.21, 0.25, 0.22], "0.01": [0.5, 0.53, 0.52, 0.55], "1": [0.1, 0.4, 0.9, 0.3]}
METRIC = "valid/Accuracy"


def record(client: MlflowClient, experiment: str, value: float, status: str = "FINISHED", **more: str) -> str:
    """Make a run as the runner leaves it in the store: params, tags and a metric. more: further params."""
    params = {"seed": "0", "optimizer.lr": "0.1", "tracking.run_name": f"named {value}", **more}
    words = " ".join(["experiments=mine", *(f"{key}={word}" for key, word in more.items())])
    tags = {"best.metric": METRIC, "best.value": repr(value), "best.mode": "max", "runner.overrides": words}
    run = client.create_run(experiment).info.run_id
    client.log_batch(
        run,
        metrics=[Metric(METRIC, value - 0.05, 0, 0), Metric("valid/loss", -value, 0, 0)],
        params=[Param(*pair) for pair in params.items()],
        tags=[RunTag(*pair) for pair in tags.items()],
    )
    client.set_terminated(run, status)
    return str(run)


@pytest.fixture
def runs(store: str) -> dict[tuple[str, int], str]:
    """(learning rate, seed) -> run of an experiment `tried`, `data.seed` following the seed."""
    client = stores.open_store(store)
    home = client.create_experiment("tried")
    return {
        (rate, seed): record(client, home, value, seed=str(seed), **{"optimizer.lr": rate, "data.seed": str(seed)})
        for rate, values in VALUES.items()
        for seed, value in enumerate(values)
    }


def summed(value: dict[str, Any]) -> list[tuple[str, int]]:
    return [(one["overrides"]["optimizer.lr"], one["n"]) for one in value["configurations"]]


def test_an_experiment_is_compared_by_its_means_over_seeds(store: str, runs: dict[tuple[str, int], str]) -> None:
    value = best.plain(store, "tried")
    assert (value["metric"], value["mode"], value["over"]) == (METRIC, "max", ["seed"])
    assert summed(value) == [("0.01", 4), ("1", 4), ("0.1", 4)]
    assert value["best"]["mean"] == pytest.approx(statistics.fmean(VALUES["0.01"]))
    ps = {one["overrides"]["optimizer.lr"]: one["p"] for one in value["configurations"][1:]}
    assert ps == pytest.approx({rate: stats.ttest_rel(VALUES["0.01"], VALUES[rate]).pvalue for rate in ("1", "0.1")})
    assert value["run"] == runs["0.01", 3]
    assert value["commands"] == {
        "train": "runner experiments=mine seed=3 optimizer.lr=0.01 data.seed=3",
        "reproduce": f"runner reproduce {runs['0.01', 3][:8]} tracking.uri={store}",
        "export": f"runner export {runs['0.01', 3][:8]} format=pt2 output=model.pt2 tracking.uri={store}",
    }
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    jsonschema.validate({"event": "result", "code": 0, "command": "best", **value}, _answers.schema())
    printed = best.lines(value)
    assert printed[2].split()[:2] == ["1", "optimizer.lr=0.01"]
    assert any(
        line.startswith("best  optimizer.lr=0.01: valid/Accuracy 0.525 ± 0.021 over 4 seeds") for line in printed
    )


def test_a_study_is_found_in_every_experiment(store: str, runs: dict[tuple[str, int], str]) -> None:
    client = stores.open_store(store)
    record(client, client.create_experiment("other"), 0.6, seed="4", **{"optimizer.lr": "0.01", "data.seed": "4"})
    assert summed(best.plain(store, "mine")) == [("0.01", 5), ("1", 4), ("0.1", 4)]


def test_another_metric_in_another_direction(store: str, runs: dict[tuple[str, int], str]) -> None:
    value = best.plain(store, "tried", metric="valid/loss")
    assert (value["mode"], summed(value)[0][0]) == ("min", "0.01")
    assert summed(best.plain(store, "tried", metric="valid/loss", mode="max"))[0][0] == "0.1"


def test_the_newest_finished_run_of_a_seed_counts(store: str, runs: dict[tuple[str, int], str]) -> None:
    client = stores.open_store(store)
    home = client.get_experiment_by_name("tried").experiment_id
    again = {"optimizer.lr": "0.01", "data.seed": "3", "seed": "3"}
    newer = record(client, home, 0.9, **again)
    record(client, home, 0.95, "KILLED", **again)
    value = best.plain(store, "tried")
    assert (value["run"], value["best"]["n"], len(value["best"]["runs"])) == (newer, 4, 4)
    record(client, home, 0.9, "FAILED", **{"optimizer.lr": "0.01", "data.seed": "4", "seed": "4"})
    assert best.plain(store, "tried")["configurations"][-1]["left_out"] == "seed=4 FAILED"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"experiment": "trie"}, "did you mean 'tried'"),
        ({"metric": "valid/Acuracy"}, "did you mean 'valid/Accuracy'"),
        ({"mode": "least"}, "neither min nor max"),
        ({"over": ","}, "names no key"),
        ({"over": "sed"}, "did you mean 'seed'"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(
    store: str, runs: dict[tuple[str, int], str], words: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        best.plain(store, **{"experiment": "tried", **words})


def test_no_torch_is_loaded(store: str, runs: dict[tuple[str, int], str]) -> None:
    code = f"""
import sys
from runner.commands import best
print(best.with_words({store!r}, "tried").plain["run"], "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [runs["0.01", 3], "False"]

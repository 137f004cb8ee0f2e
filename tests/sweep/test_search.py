"""Searches: the space and the study in this process, the sweeper as people type it."""

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from mlflow import MlflowClient
from omegaconf import OmegaConf

from runner.cli import search_space
from runner.cli.compose import trials
from runner.settings import made
from runner.settings.errors import ConfigError
from runner.sweeps.report.table import Row, Table
from runner.sweeps.run.outcome import Outcome
from runner.sweeps.search import samplers, space
from runner.sweeps.search.search import SearchSpec
from runner.sweeps.search.space import Choice, Interval, Space
from runner.sweeps.search.study import Study
from runner.training.drive import drive
from runner.training.prepare import prepare
from tests.support import composing
from tests.support.command import HANGS, begin, runner

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.ERROR)


def read(*words: str) -> tuple[Space, list[str]]:
    return search_space.read(OverridesParser.create().parse_overrides(list(words)))


#: What a word means, and what the published plugin's distribution of it holds.
WORDS = {
    "x=interval(1, 5)": Interval(1, 5),
    "x=int(interval(1, 5))": Interval(1, 5, whole=True),
    "x=tag(log, interval(1e-4, 1e-1))": Interval(1e-4, 1e-1, log=True),
    "x=tag(log, int(interval(1, 100)))": Interval(1, 100, log=True, whole=True),
    "x=int(tag(log, interval(1, 100)))": Interval(1, 100, log=True, whole=True),
    "x=range(1, 10, step=2)": Interval(1, 10, 2, whole=True),
    "x=range(0.5, 5.5, step=1)": Interval(0.5, 5.5, 1),
    "x=choice(16, 32, 64)": Choice((16, 32, 64)),
    "x=choice(true, relu, 0.1, 1e-3)": Choice((True, "relu", 0.1, 0.001)),
    "x=choice('a b', [1,2], {a:1})": Choice(("a\\ b", "[1,2]", "{a:1}")),
    "x=1,null": Choice((1, None)),
}


@pytest.mark.parametrize("word", WORDS)
def test_words_mean_what_they_do_in_the_published_plugin(word: str) -> None:
    assert read(word) == ({"x": WORDS[word]}, [])


def test_a_shuffled_range_is_a_choice() -> None:
    found = read("x=shuffle(range(1, 4))")[0]["x"]
    assert isinstance(found, Choice)
    assert sorted(found.options) == [1, 2, 3]


def test_what_is_not_searched_holds_for_every_trial_and_the_last_word_counts() -> None:
    found = read("a=interval(0,1)", "b=1", "~c", "a=2", "b=choice(1,2)")
    assert found == ({"b": Choice((1, 2))}, ["~c", "a=2"])


OLDER = [
    ({"type": "float", "low": 1e-4, "high": 0.1, "log": True}, Interval(1e-4, 0.1, log=True)),
    ({"type": "float", "low": -5.5, "high": 5.5, "step": 0.5}, Interval(-5.5, 5.5, 0.5)),
    ({"type": "int", "low": 1, "high": 5}, Interval(1, 5, whole=True)),
    ({"type": "categorical", "choices": [1, "a"]}, Choice((1, "a"))),
]


@pytest.mark.parametrize(("given", "part"), OLDER)
def test_the_older_form_means_the_same(given: Any, part: object) -> None:
    assert search_space.older("x", given) == part


@pytest.mark.parametrize("given", ["5", {"type": "flaot"}, {"type": "int", "low": 1}, {"type": "int", "lw": 1}])
def test_a_wrong_older_form_is_refused_with_its_key(given: object) -> None:
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.search_space\.x"):
        search_space.older("x", given)


PARTS: Space = {
    "lr": Interval(1e-4, 0.1, log=True),
    "width": Interval(1, 10, 3, whole=True),
    "p": Interval(0, 0.5, 0.1),
    "act": Choice(("ReLU", "Tanh", "GELU")),
    "bias": Choice((True, False)),
}


def test_every_end_and_every_choice_is_in_a_corner() -> None:
    found = space.corners(PARTS)
    assert len(found) == 3
    for key, part in PARTS.items():
        assert {point[key] for point in found} == set(part.ends())
    assert found[1]["width"] == 10
    assert found[1]["p"] == 0.5


def test_a_space_survives_a_file() -> None:
    assert space.read(json.loads(json.dumps(space.plain(PARTS)))) == PARTS


WRONG_PARTS = [Interval(1, 0), Interval(0, 1, log=True), Interval(0, 1, 0), Interval(0, math.inf), Choice(())]


@pytest.mark.parametrize("part", [*WRONG_PARTS, Interval(1, 5, 0.5, log=True)])
def test_an_interval_that_is_none_is_refused_with_its_key(part: Any) -> None:
    with pytest.raises(ConfigError, match=r"^optimizer\.lr: "):
        space.check({"optimizer.lr": part})


@pytest.mark.parametrize("value", [0.1, 1e-05, 1 / 3, 123456789.125, -2.5e-300, 7, True, None, "ReLU", "[1,2]"])
def test_a_value_in_a_name_reads_back_exactly(value: Any) -> None:
    override = OverridesParser.create().parse_override(f"x={space.typed(value)}")
    assert override.value() == (value if value != "[1,2]" else [1, 2])
    assert type(override.value()) is type(value) or value == "[1,2]"


def search(study: Study, until: int, stop_in: int | None = None) -> None:
    """Trials of a bowl; `stop_in` is left unfinished, and the search with it."""
    while study.count < until:
        number, values = study.ask("sweep")
        if number == stop_in:
            return
        told(study, number, values)


def told(found: Study, number: int, values: dict[str, Any], status: str = "FINISHED", pruned: int = 0) -> None:
    value = math.log10(values["lr"] * 100) ** 2 + (values["width"] - 4) ** 2 / 10
    found.tell(Outcome(number, "", status, value, pruned=pruned or None), [value])


BOWL: Space = {"lr": Interval(1e-4, 0.1, log=True), "width": Interval(1, 10, 3, whole=True)}


def study(folder: Path, sampler: str = "tpe", parts: Space = BOWL, name: str = "x", **arguments: Any) -> Study:
    spec = {"_target_": f"optuna.samplers.{samplers.NAMES[sampler]}", **arguments}
    return Study(f"sqlite:///{folder / 'study.db'}", name, parts, spec, 3, ["minimize"])


def values(found: Study) -> list[dict[str, Any]]:
    return [trial.params for trial in found._study.get_trials()]


@pytest.mark.parametrize("sampler", samplers.NAMES)
def test_a_search_that_was_interrupted_finds_what_it_would_have_found(sampler: str, tmp_path: Path) -> None:
    parts: Space = {"lr": Choice((1e-4, 1e-3, 0.1)), "width": Interval(1, 10, 3, whole=True)}
    few = {"parts": parts if sampler == "grid" else BOWL}
    few |= {"population_size": 4} if sampler == "nsgaii" else {}
    whole = study(tmp_path, sampler, name="whole", **few)
    search(whole, 12)
    search(study(tmp_path, sampler, **few), 12, stop_in=6)
    after = study(tmp_path, sampler, **few)
    [left] = after.left_by("sweep")
    assert left == 6
    told(after, left, after.again(left))
    search(after, 12)
    assert values(after) == values(whole)
    assert len({str(point) for point in values(whole)}) > 6, "trials repeat each other"


def test_another_seed_finds_something_else(tmp_path: Path) -> None:
    one, other = study(tmp_path, seed=1), study(tmp_path, name="y", seed=2)
    search(one, 3)
    search(other, 3)
    assert values(one) != values(other)


def test_a_trial_that_was_killed_before_it_had_all_values_gets_the_rest(tmp_path: Path) -> None:
    before = study(tmp_path)
    trial = before._study.ask()
    lr = trial.suggest_float("lr", 1e-4, 0.1, log=True)
    after = study(tmp_path)
    assert after.left_by("sweep") == [0]
    assert after.again(0).keys() == BOWL.keys()
    assert after.again(0)["lr"] == lr


def test_states_and_values_are_told(tmp_path: Path) -> None:
    found = study(tmp_path)
    for status, pruned in (("FINISHED", 0), ("FINISHED", 3), ("FAILED", 0)):
        number, point = found.ask("sweep")
        told(found, number, point, status, pruned)
    done = found._study.get_trials()
    assert [trial.state.name for trial in done] == ["COMPLETE", "PRUNED", "FAIL"]
    assert done[1].intermediate_values == {3: done[1].value}
    assert done[1].value is not None
    assert found.left_by("sweep") == []


def test_a_grid_ends_when_everything_was_tried(tmp_path: Path) -> None:
    parts: Space = {"lr": Choice((1e-3, 0.1)), "width": Interval(1, 10, 3, whole=True)}
    found = study(tmp_path, "grid", parts)
    assert found.total(100) == 8
    search(found, found.total(100))
    assert len({str(point) for point in values(found)}) == 8


def test_a_trial_of_another_sweep_is_not_taken(tmp_path: Path) -> None:
    found = study(tmp_path)
    found.ask("1234567890")
    with pytest.raises(ConfigError, match="runner resume 12345678 continues it"):
        study(tmp_path).left_by("another")


def test_a_study_for_another_space_or_with_other_directions_is_refused(tmp_path: Path) -> None:
    parts: Space = {**BOWL, "act": Choice(("ReLU", "Tanh"))}
    study(tmp_path, "random", parts).ask("sweep")
    with pytest.raises(ConfigError, match="another search space"):
        study(tmp_path, "random", {**parts, "act": Choice(("GELU",))}).ask("sweep")
    with pytest.raises(ConfigError, match="with directions minimize"):
        Study(f"sqlite:///{tmp_path / 'study.db'}", "x", parts, {"name": "tpe"}, 0, ["maximize"])


WRONG_SAMPLERS = [
    ({"_target_": "optuna.samplers.TPSampler"}, "did you mean"),
    ({"_target_": "os.system"}, "is not one of tpe, cmaes"),
    ({"name": "tpe", "n_startup": 3}, "did you mean 'n_startup_trials'"),
    ({"name": "tpe", "seed": "x"}, "not a whole number"),
    ({"name": "grid"}, "a finite list of values, at most 10,000"),
]


@pytest.mark.parametrize(("spec", "problem"), WRONG_SAMPLERS)
def test_a_wrong_sampler_is_refused(spec: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        samplers.check(spec, BOWL)


@pytest.mark.parametrize("package", ["optuna", "cmaes"])
def test_without_the_library_the_remedy_is_told(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    samplers.check({"name": "cmaes"}, BOWL)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package}; pip install 'runner-torch\[optuna\]'"):
        samplers.check({"name": "cmaes"}, BOWL)


def test_the_plugin_does_not_load_the_library() -> None:
    code = "import sys, hydra_plugins.runner_optuna, runner.cli.command, runner.cli.search;"
    code += "sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_trial_is_composed_from_what_was_frozen_as_hydra_would(monkeypatch: Any, workplace: Path) -> None:
    monkeypatch.chdir(workplace)
    parts, fixed = read(
        "data=digits",
        "loss=cross_entropy",
        "optimizer=choice(adam,sgd)",
        "model=digits_cnn",
        "scheduler=choice(cosine,step)",
        "optimizer.lr=tag(log,interval(1e-3,0.1))",
        "model.knobs.width=choice(8,16)",
        "++optimizer.weight_decay=interval(0,0.1)",
        "metrics=choice([Accuracy],[])",
    )
    with composing.hydra():
        groups = ("optimizer", "scheduler")
        bases = trials.bases(parts, fixed, lambda _, words: composing.config(words), lambda key: key in groups)
        assert len(bases) == 4
        for number, point in enumerate(space.corners(parts) * 2):
            point["optimizer"] = ["adam", "sgd"][number // 2]
            job = trials.job(number, point, fixed, json.loads(json.dumps(bases)))
            assert job.config == OmegaConf.to_container(composing.config(job.words), resolve=True)
            assert job.name.startswith(f"optimizer={point['optimizer']}, scheduler=")
            assert made(job.config).optimizer["lr"] == point["optimizer.lr"]


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(1, 5), (2, 2), (3, 3), (5, 1), (2, 2), (1, 6)]
    rows = [Row(n, {}, status="FINISHED", metrics={"a": a, "b": -b}) for n, (a, b) in enumerate(points)]
    rows += [Row(6, {}, status="FAILED", metrics={"a": 0, "b": 0}), Row(7, {}, status="FINISHED", pruned=1)]
    both = Table(rows, objectives=[("a", "min"), ("b", "max")])
    assert [row.number for row in both.front] == [0, 1, 4, 3]
    assert Table(rows).front == []


def test_a_wish_survives_a_file() -> None:
    from runner.sweeps.search.search import read as recall

    wish = SearchSpec(space.plain(BOWL), [("valid/loss", "min")], {"name": "tpe"}, 0, 10, 2, 0.5)
    assert recall(json.loads(json.dumps(wish.plain()))) == SearchSpec(
        json.loads(json.dumps(space.plain(BOWL))), [("valid/loss", "min")], {"name": "tpe"}, 0, 10, 2, 0.5
    )


OPTUNA = [
    "-m",
    "hydra/sweeper=optuna",
    "trainer.threads=1",
    "plots=[]",
    "device=cpu",
    "data.points=40",
    "data.valid=10",
]
LR = "optimizer.lr=tag(log,interval(1e-3,0.5))"


def children(place: Path) -> dict[int, Any]:
    """Job number -> run, of the only sweep there is."""
    client = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    [parent] = [run for run in runs if "sweep.jobs" in run.data.tags]
    jobs = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(jobs) + 1 == len(runs)
    found = {int(run.data.tags["sweep.job"]): run for run in jobs}
    assert len(found) == len(jobs)
    return found


def trials_of(place: Path) -> list[Any]:
    [path] = place.glob(".runner/sweeps/*/study.db")
    storage = f"sqlite:///{path}"
    [name] = optuna.get_all_study_names(storage)
    return list(optuna.load_study(study_name=name, storage=storage).get_trials())


REFUSED = {
    "optimizer.lr=interval(-1,1)": "optimizer.lr: -1.0 is out of range",
    "optimizer.lr=interval(1,0.1)": "optimizer.lr: the interval from 1 to 0.1 is empty",
    "seed=1": "hydra.sweeper.params: the search space is empty",
    f"{LR} hydra.sweeper.direction=maximize": "hydra.sweeper.direction: maximize is not what best means",
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_wrong_search_is_refused_before_it_begins(words: str, workplace: Path) -> None:
    done = runner(*OPTUNA, *words.split(), cwd=workplace, code=2)
    assert REFUSED[words] in done.err
    with sqlite3.connect(workplace / "mlflow.db") as store:
        assert store.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    store.close()


STUDY = """
defaults:
  - override /hydra/sweeper: optuna
  - override /hydra/sweeper/sampler: tpe
data: {name: line, points: 64, valid: 20}
optimizer: {name: SGD, lr: 0.1}
trainer: {epochs: 12, batch_size: 16, threads: 1}
model: {layers: [experiments.slow.Slow, {Linear: 1}]}
checkpoint: {every: 1}
plots: []
device: cpu
hydra:
  sweeper:
    sampler: {_target_: optuna.samplers.TPESampler, seed: 7, n_startup_trials: 4}
    n_trials: 10
    params:
      optimizer.lr: tag(log, interval(1e-3, 0.5))
      optimizer.momentum: choice(0, 0.9)
"""
SLOW = """
import contextlib, os, sqlite3, time
from torch import nn


def runs_with(tag):
    with contextlib.closing(sqlite3.connect("mlflow.db")) as store:
        return store.execute("select count(*) from tags where key = ?", (tag,)).fetchone()[0]


class Slow(nn.Module):
    # In its second epoch, a job waits until its checkpoint is in the store; the one of number JOBS waits for its end.
    steps = 0

    def forward(self, x):
        self.steps += self.training
        if self.training and self.steps > 4 and "JOBS" in os.environ:
            begun = runs_with("mlflow.parentRunId")
            while runs_with("checkpoint.last.step") < begun or begun == int(os.environ["JOBS"]):
                time.sleep(0.01)
        return x
"""


def test_a_search_killed_at_trial_6_of_10_and_resumed_ends_with_exactly_10(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    (workplace / "experiments/slow.yaml").write_text(STUDY)
    (workplace / "experiments/slow.py").write_text(SLOW)
    process = begin("-m", "experiments=slow", cwd=workplace, env={"JOBS": "6"})
    _wait_for_checkpoints(workplace, 6)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    before = children(workplace)
    assert len(before) == 6
    assert [trial.state.name for trial in trials_of(workplace)] == ["COMPLETE"] * 5 + ["RUNNING"]
    (workplace / "experiments/slow.yaml").write_text(STUDY.replace("epochs: 12", "epochs: 13"))
    runner("resume", _parent(workplace), cwd=workplace)
    after, done = children(workplace), trials_of(workplace)
    assert [trial.state.name for trial in done] == ["COMPLETE"] * 10
    assert sorted(after) == list(range(10))
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert {number: run.info.run_id for number, run in after.items() if number < 6} == {
        number: run.info.run_id for number, run in before.items()
    }
    client = MlflowClient(f"sqlite:///{workplace / 'mlflow.db'}")
    for number, run in after.items():
        points = client.get_metric_history(run.info.run_id, "valid/loss")
        assert [point.step for point in points] == [4 * epoch for epoch in range(1, 13)]
        assert done[number].value == min(point.value for point in points)
        assert float(run.data.params["optimizer.lr"]) == done[number].params["optimizer.lr"]
        told = f"optimizer.lr={done[number].params['optimizer.lr']!r}, optimizer.momentum="
        assert run.info.run_name.startswith(told)
    more = runner("resume", _parent(workplace), "hydra.sweeper.n_trials=11", cwd=workplace)
    assert "10 are FINISHED already" in more.out
    assert len(trials_of(workplace)) == len(children(workplace)) == 11
    next(workplace.glob(".runner/sweeps/*/study.db")).unlink()
    gone = runner("resume", _parent(workplace), "hydra.sweeper.n_trials=12", cwd=workplace, code=2)
    assert "hydra.sweeper.storage: " in gone.err
    assert len(children(workplace)) == 11


def _parent(place: Path) -> str:
    return next(iter(children(place).values())).data.tags["mlflow.parentRunId"][:12]


def _wait_for_checkpoints(place: Path, jobs: int) -> None:
    """Until so many jobs have one."""
    end = time.monotonic() + HANGS
    while len(list(place.glob("mlruns/*/*/artifacts/checkpoints"))) < jobs:
        assert time.monotonic() < end, f"job {jobs} did not come"
        time.sleep(0.02)


def test_failed_and_pruned_trials_are_told_and_the_sweep_fails(workplace: Path) -> None:
    words = ["hydra/sweeper/sampler=grid", "optimizer.lr=choice(0.3,0.001,1e30)", "trainer.epochs=4"]
    words += ["hydra.sweeper.sampler.seed=1"]  # 0.3 comes before 0.001
    done = runner(*OPTUNA, *words, "sweep.pruner=asha", "hydra.sweeper.n_trials=50", cwd=workplace, code=1)
    states = {trial.params["optimizer.lr"]: trial for trial in trials_of(workplace)}
    assert len(trials_of(workplace)) == 3, "a grid has an end"
    assert states[1e30].state.name == "FAIL"
    assert states[0.3].state.name == "COMPLETE"
    runs = {float(run.data.params["optimizer.lr"]): run for run in children(workplace).values()}
    assert runs[1e30].info.status == "FAILED"
    assert states[0.001].state.name == "PRUNED"
    assert runs[0.001].data.tags["sweep.pruned"] == "1"
    assert runs[0.001].info.status == "FINISHED"
    assert " identical " in runner("reproduce", runs[0.001].info.run_id, cwd=workplace).last
    assert done.last.startswith("sweep ")
    assert " FAILED best=" in done.last


def test_too_many_failures_end_the_search(workplace: Path) -> None:
    words = ["optimizer.lr=choice(1e30,1e31)", "trainer.epochs=4", "hydra.sweeper.max_failure_rate=0.5"]
    done = runner(*OPTUNA, *words, "hydra.sweeper.n_jobs=2", cwd=workplace, code=1)
    assert "the search ends after 2 of 20 trials: 2 of the last 2 failed" in done.err
    assert [trial.state.name for trial in trials_of(workplace)] == ["FAIL", "FAIL"]


def test_two_objectives_give_a_front_and_a_storage_of_ones_own_goes_on(workplace: Path) -> None:
    more = ["metrics=[MeanAbsoluteError]", "sweep.metric=[valid/loss,train/loss]", LR, "trainer.epochs=3"]
    more += ["hydra.sweeper.direction=[minimize,maximize]", "hydra/sweeper/sampler=random"]
    more += ["hydra.sweeper.storage=sqlite:///own.db", "hydra.sweeper.study_name=mine"]
    done = runner(*OPTUNA, *more, "hydra.sweeper.n_trials=3", cwd=workplace)
    assert "on the front, job " in done.out
    assert "the best again" not in done.out
    found = optuna.load_study(study_name="mine", storage=f"sqlite:///{workplace / 'own.db'}")
    runs = children(workplace)
    for trial in found.get_trials():
        metrics = runs[trial.number].data.metrics
        assert trial.values == [metrics["valid/loss"], metrics["train/loss"]]
    assert {trial.number for trial in found.best_trials} == {
        int(line.partition("job ")[2].partition(":")[0]) for line in done.out.splitlines() if "on the front" in line
    }
    assert "has 3 trials already" in runner(*OPTUNA, *more, "hydra.sweeper.n_trials=3", cwd=workplace, code=2).err


GRID = """
data: {name: digits}
model: {knobs: {width: 8}, layers: [Flatten, {Linear: "${model.knobs.width}"}, ReLU, {Linear: 10}]}
loss: {name: CrossEntropyLoss}
optimizer: {name: SGD, lr: 0.1, momentum: 0.9}
trainer: {epochs: 9, batch_size: 128, threads: 1}
plots: []
device: cpu
"""


def test_asha_over_27_jobs_spends_40_percent_fewer_epochs_and_finds_the_best(workplace: Path, monkeypatch: Any) -> None:
    """As a command; the full grid is the same jobs, from their manifest, in this process."""
    (workplace / "experiments").mkdir()
    (workplace / "experiments/grid.yaml").write_text(GRID)
    rates = "optimizer.lr=0.01,0.3,0.001,0.1,0.03,0.003,0.05,0.005,0.02"
    done = runner("-m", "experiments=grid", rates, "model.knobs.width=8,16,32", "sweep.pruner=asha", cwd=workplace)
    jobs = children(workplace)
    spent = {number: int(run.data.metrics["epoch"]) for number, run in jobs.items()}
    pruned = {
        number: int(run.data.tags["sweep.pruned"]) for number, run in jobs.items() if "sweep.pruned" in run.data.tags
    }
    assert len(jobs) == 27
    assert {run.info.status for run in jobs.values()} == {"FINISHED"}
    assert pruned == {number: epochs for number, epochs in spent.items() if epochs < 9}
    assert sum(spent.values()) <= 0.6 * 27 * 9
    client = MlflowClient(f"sqlite:///{workplace / 'mlflow.db'}")
    manifest = json.loads(Path(client.download_artifacts(_whole_parent(jobs), "manifest.json")).read_text())
    full = {}
    for job in manifest["jobs"]:
        run = prepare(made(job["config"]), "full")
        drive(run)
        run.close()
        assert run.epoch == 9, "without a pruner nothing is given up"
        full[job["number"]] = run.best.value
    best = min(full, key=lambda number: full[number])
    assert f"best={jobs[best].info.run_id}" in done.last
    assert float(jobs[best].data.tags["best.value"]) == full[best]


def _whole_parent(jobs: dict[int, Any]) -> str:
    return str(jobs[0].data.tags["mlflow.parentRunId"])

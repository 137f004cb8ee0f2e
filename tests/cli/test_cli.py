"""The command line as people use it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from runner.commands import best
from tests.cli.test_checks import WRONG as MESSAGES
from tests.support.command import HANGS, begin, ended, fresh, newest, runner
from tests.support.composing import shown
from tests.support.sweeping import until

SHORT = ("plots=[]", "trainer.epochs=3")


def runs(workplace: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    return list(client.search_runs([e.experiment_id for e in client.search_experiments()]))


def artifacts(run: Run) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://"))


def test_the_first_command_leaves_a_whole_run_in_a_new_store(tmp_path: Path) -> None:
    done = fresh("experiments=linear_regression", cwd=tmp_path)
    [run] = runs(tmp_path)
    assert done.last.startswith(f"run {run.info.run_id} FINISHED train/loss=")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    points = client.get_metric_history(run.info.run_id, "train/loss")
    assert [p.step for p in points] == list(range(1, 301))
    assert points[-1].value < 2e-4
    found = {str(p.relative_to(artifacts(run))) for p in artifacts(run).rglob("*") if p.is_file()}
    assert {"plots/loss_curve.png", "plots/fit.png", "predictions.npy", "config.yaml", "environment.txt"} <= found
    weights = torch.load(newest(artifacts(run)) / "state_dict.pt", weights_only=True)
    assert weights["0.weight"].item() == pytest.approx(0.5, abs=0.005)
    assert weights["0.bias"].item() == pytest.approx(0, abs=0.003)
    assert not (tmp_path / "outputs").exists()


def test_python_dash_m_is_the_same_command(workplace: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runner", *SHORT], cwd=workplace, capture_output=True, text=True, timeout=HANGS
    )
    assert done.returncode == 0, done.stderr
    assert " FINISHED " in done.stdout.strip().splitlines()[-1]


def test_overrides_reach_the_run(workplace: Path) -> None:
    words = "experiments=digits_cnn optimizer=adamw optimizer.lr=0.003 model.knobs.width=32 trainer.epochs=3 device=cpu"
    done = runner(*words.split(), cwd=workplace)
    [run] = runs(workplace)
    assert run.info.run_id == done.run_id
    told = run.data.params
    assert (told["optimizer.name"], told["optimizer.lr"], told["trainer.epochs"]) == ("AdamW", "0.003", "3")
    weights = torch.load(newest(artifacts(run)) / "state_dict.pt", weights_only=True)
    assert weights["conv1.weight"].shape == (32, 1, 3, 3)


def test_a_sweep_makes_one_run_for_every_combination(workplace: Path) -> None:
    done = runner("-m", "experiments=linear_regression", "optimizer.lr=0.5,0.1", "seed=1,2", "plots=[]", cwd=workplace)
    [parent] = [r for r in runs(workplace) if "sweep.jobs" in r.data.tags]
    assert done.last.startswith(f"sweep {parent.info.run_id} FINISHED best=")
    found = [r for r in runs(workplace) if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {(r.data.params["optimizer.lr"], r.data.params["seed"]) for r in found} == {
        ("0.5", "1"),
        ("0.5", "2"),
        ("0.1", "1"),
        ("0.1", "2"),
    }
    assert len(found) == 4
    assert len({r.info.run_name for r in found}) == 4
    assert {r.info.status for r in found} == {"FINISHED"}
    # and compares the means of each rate
    value = json.loads((artifacts(parent) / "best.json").read_text())
    assert {one["overrides"]["optimizer.lr"]: one["n"] for one in value["configurations"]} == {"0.5": 2, "0.1": 2}
    assert parent.data.tags["sweep.comparison"] in done.out
    assert parent.data.tags["sweep.best"] in [run["run"] for run in value["best"]["runs"]]
    assert parent.data.metrics["valid/loss.mean"] == value["best"]["mean"]
    assert (artifacts(parent) / "seeds.csv").read_text().startswith("rank,optimizer.lr,seeds,finished,valid/loss.mean,")
    for name in (parent.info.run_id, "linear_regression"):
        again = best.plain(f"sqlite:///{workplace}/mlflow.db", name)
        assert again["run"] == parent.data.tags["sweep.best"]
        assert again["configurations"][1]["p"] == value["configurations"][1]["p"]


def test_the_same_seed_gives_the_same_bits_twice(workplace: Path) -> None:
    words = ("experiments=digits_cnn", "trainer.epochs=2", "plots=[]")
    first, second = runner(*words, cwd=workplace).run_id, runner(*words, cwd=workplace).run_id
    other = runner(*words, "seed=1", cwd=workplace).run_id
    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")

    def losses(run_id: str) -> list[float]:
        return [p.value for p in client.get_metric_history(run_id, "train/loss")]

    def digest(run_id: str) -> str:
        return str(client.get_run(run_id).data.tags["checkpoint.last.sha256"])

    assert losses(first) == losses(second) != losses(other)
    assert digest(first) == digest(second) != digest(other)


def test_named_layers_are_changed_added_and_removed_from_the_command_line(workplace: Path) -> None:
    done = runner(
        "summary",
        "experiments=digits_cnn",
        "model.layers.conv1.Conv2d.out_channels=8",
        "~model.layers.drop",
        "+model.layers.more.Linear.out_features=10",
        cwd=workplace,
    )
    assert "(N, 8, 8, 8)" in done.out
    assert "drop" not in done.out
    assert "more" in done.out
    assert runs(workplace) == []


#: One of each kind: a preset, Hydra's grammar, a key, a type, a range, layers, data, a store, a name that is not ours.
WRONG = [
    *("data=lines", "metrics=Accuracy", "trainer.epoch=3", "trainer.epochs=a", "optimizer.lr=-1"),
    *("model.layers=[{Linear:2}]", "data=arrays data.path=nope.npz", "tracking.uri=sqlite:////nowhere/at/all.db"),
    "loss.name=os.system",
]


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_configuration_is_its_message_and_no_run(words: str, tmp_path: Path) -> None:
    """As a command, which may advise a line below; wrong.yaml has the message, and many more."""
    done = runner(*words.split(), cwd=tmp_path, code=2)
    message, _, advised = shown(done.err.rstrip("\n"), tmp_path).partition("\ntry: ")
    assert message == MESSAGES[words]
    assert "\n" not in advised
    assert not (tmp_path / "mlflow.db").exists()


def test_a_command_that_is_none_is_one_message(tmp_path: Path) -> None:
    done = runner("sumary", cwd=tmp_path, code=2)
    assert "there is no command 'sumary'; did you mean 'summary'?" in done.err
    assert "Traceback" not in done.err


FAILS = """
from torch import nn

class Fails(nn.Module):
    calls = 0  # of this model: one that is only tried counts its own

    def forward(self, x):
        if self.training and not x.is_meta:
            self.calls += 1
        if self.calls > 3:
            raise RuntimeError("out of patience")
        return x
"""


def test_an_exception_leaves_a_failed_run_with_what_was_recorded(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    (workplace / "experiments/bad.py").write_text(FAILS)
    done = runner("model.layers=[{Linear:1},experiments.bad.Fails]", "data.valid=0", cwd=workplace, code=1)
    [run] = runs(workplace)
    assert done.last.startswith(f"run {run.info.run_id} FAILED")
    assert run.info.status == "FAILED"
    assert run.data.tags["runner.status_reason"] == "RuntimeError: out of patience"
    assert "out of patience" in (artifacts(run) / "traceback.txt").read_text()
    history = MlflowClient(f"sqlite:///{workplace}/mlflow.db").get_metric_history(run.info.run_id, "train/loss")
    assert [p.step for p in history] == [1, 2, 3]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_as_killed_with_what_was_recorded(
    number: signal.Signals, code: int, workplace: Path
) -> None:
    process = begin("trainer.epochs=1000000", "plots=[]", cwd=workplace)
    until(lambda: "epoch 5/" in (workplace / ".out").read_text(), "for the fifth epoch")
    os.kill(process.pid, number)
    done = ended(process, workplace, code)
    [run] = runs(workplace)
    assert done.last.startswith(f"run {run.info.run_id} KILLED")
    assert run.info.status == "KILLED"
    assert number.name in run.data.tags["runner.status_reason"]
    history = MlflowClient(f"sqlite:///{workplace}/mlflow.db").get_metric_history(run.info.run_id, "train/loss")
    assert [p.step for p in history] == list(range(1, len(history) + 1))


LOADED = """
import sys
from runner.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {"torch", "mlflow", "matplotlib", "numpy", "pandas", "sklearn", "rich"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("words", [("--cfg", "job"), ("--help",), ("--info", "searchpath"), ("-sc", "query=bash")])
def test_looking_at_the_configuration_loads_nothing_heavy(words: tuple[str, ...], tmp_path: Path) -> None:
    env = {**os.environ, "COMP_LINE": "runner optimizer=ad", "COMP_POINT": "19"}
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=HANGS
    )
    assert done.returncode == 0, done.stderr


def test_hydras_own_flags_work(tmp_path: Path) -> None:
    help_text = runner("--help", cwd=tmp_path).out
    assert "runner summary" in help_text
    assert "experiments: avg_pool1d" in help_text
    shown = runner("--cfg", "job", "experiments=digits_cnn", "optimizer.lr=0.7", cwd=tmp_path).out
    assert "lr: 0.7" in shown
    assert "file://" in runner("--info", "searchpath", cwd=tmp_path).out


def test_tab_completion_offers_the_presets(tmp_path: Path) -> None:
    env = {"COMP_LINE": "runner optimizer=ad", "COMP_POINT": "19"}
    done = fresh("-sc", "query=bash", cwd=tmp_path, env=env)
    assert done.out.split() == ["optimizer=adagrad", "optimizer=adam", "optimizer=adamw"]
    env = {"COMP_LINE": "runner experiments=digits_l", "COMP_POINT": "27"}
    assert fresh("-sc", "query=bash", cwd=tmp_path, env=env).out.split() == ["experiments=digits_lenet"]


def test_runs_lists_the_newest_first(workplace: Path) -> None:
    first = runner(*SHORT, cwd=workplace).run_id
    second = runner(*SHORT, "seed=5", cwd=workplace).run_id
    table = runner("runs", cwd=workplace).out.splitlines()
    assert [line.split()[0] for line in table[1:]] == [second[:8], first[:8]]
    assert "FINISHED" in table[1]
    assert "seed=5" in table[1]


def test_another_store_is_named_by_override_or_by_environment(workplace: Path) -> None:
    (workplace / "a").mkdir()
    (workplace / "mlflow.db").rename(workplace / "a/one.db")
    uri = f"sqlite:///{workplace}/a/one.db"
    runner(*SHORT, f"tracking.uri={uri}", cwd=workplace)
    runner(*SHORT, cwd=workplace, env={"MLFLOW_TRACKING_URI": uri})
    client = MlflowClient(uri)
    assert len(client.search_runs([e.experiment_id for e in client.search_experiments()])) == 2
    assert not (workplace / "mlflow.db").exists()


def test_a_study_of_ones_own_is_found_in_the_working_directory(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    (workplace / "experiments/mine.yaml").write_text("seed: 9\ntrainer: {epochs: 2}\nplots: []\n")
    done = runner("experiments=mine", cwd=workplace)
    [run] = runs(workplace)
    assert run.data.params["seed"] == "9"
    assert "in experiment 'mine'" in done.out


def test_a_typing_error_in_a_study_is_found_too(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/mine.yaml").write_text("trainer: {epoch: 2}\n")
    done = runner("experiments=mine", cwd=tmp_path, code=2)
    assert "trainer.epoch: there is no such key; did you mean 'epochs'? (experiments/mine.yaml:1)" in done.err


NAMED = """
data: {name: line, points: 10}
optimizer: {_target_: torch.optim.Adam}
loss: {name: L1Loss}
"""


def test_a_study_that_names_a_component_does_not_inherit_another_ones_arguments(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/mine.yaml").write_text(NAMED)
    shown = runner("--cfg", "job", "experiments=mine", cwd=tmp_path).out
    assert "data:\n  name: line\n  points: 10\nmodel" in shown
    assert "optimizer:\n  _target_: torch.optim.Adam\nscheduler" in shown
    assert "sigma" in runner("--cfg", "job", cwd=tmp_path).out


def test_target_is_another_spelling_of_name(workplace: Path) -> None:
    runner("optimizer._target_=torch.optim.Adam", "optimizer.lr=0.01", *SHORT, cwd=workplace)
    [run] = runs(workplace)
    assert run.data.params["optimizer.name"] == "torch.optim.Adam"


LAYERS = "model: {layers: {a: {Linear: 3}, b: {Linear: 1}}}"


def test_a_study_may_name_its_layers_without_a_word_about_the_default(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/mine.yaml").write_text(LAYERS)
    shown = runner("summary", "experiments=mine", cwd=tmp_path).out
    assert "Linear(out_features=3, in_features=1)" in shown


SOURCES = """
from runner.data import Data

def pairs():
    return Data(train=([1.0], [2.0]))

def arrays():
    import numpy as np
    from runner.data import Tensors
    return Data(train=Tensors(np.ones((4, 1)), np.ones((4, 1))))
"""


@pytest.mark.parametrize("name", ["pairs", "arrays"])
def test_a_data_source_that_gives_something_else_is_told_so(name: str, tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/mine.py").write_text(SOURCES)
    (tmp_path / "experiments/mine.yaml").write_text(f"data: {{name: experiments.mine.{name}}}")
    done = runner("experiments=mine", cwd=tmp_path, code=2)
    assert done.err.startswith("data")
    assert "Traceback" not in done.err

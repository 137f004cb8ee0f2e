"""`runner diff`: a planted cause is named, it alone, and what is equal is never said to differ, nor the reverse."""

import copy
import dataclasses
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from rich.console import Console

from runner.commands import diff, resume
from runner.settings import Model, Settings, Tracking, Trainer
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.settings.trust import recorded_settings, secrets
from runner.settings.values.lookup import use_folder
from runner.tracking import screen
from runner.tracking.read import difference, recall
from runner.tracking.session import record
from runner.training.machine.signals import Signals
from runner.training.prepare import prepare

MINE = """
import os

import torch
from torch import nn

from runner.data import Data, Tensors


class Times(nn.Module):
    def forward(self, x):
        return x * 1.5


class Noisy(nn.Module):
    def forward(self, output, target):
        noise = int.from_bytes(os.urandom(4), "little") / 2**32
        return ((output - target) ** 2).mean() * (1 + noise)


def line() -> Data:
    x = torch.linspace(-1, 1, 16).unsqueeze(1)
    return Data(Tensors(x, 2 * x), Tensors(x[::3], 2 * x[::3]))
"""
ROWS = [(n, n % 5 / 2, (n * 7 % 11) / 3) for n in range(24)]
LAYERS = [{"Linear": 4}, "Tanh", {"Dropout": 0.1}, {"Linear": 1}]


class Place:
    """A folder with a store, a table and code of one's own; `train` returns the id of a new run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, f"sqlite:///{folder / 'mlflow.db'}"
        (folder / "experiments").mkdir()
        self.write(MINE)
        self.table = self.csv("table.csv")
        self.base, self.twin = self.train(), self.train()

    def csv(self, name: str, last: float = 0.5) -> str:
        rows = [*ROWS, (24, last, 1.0)]
        (self.folder / name).write_text("\n".join(["a,b,y", *(",".join(map(str, row)) for row in rows)]) + "\n")
        return str(self.folder / name)

    def write(self, code: str) -> None:
        (self.folder / "experiments" / "mine.py").write_text(code)
        self.forget()

    def forget(self) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
            del sys.modules[name]
        use_folder(self.folder / "experiments")

    def train(self, **changes: Any) -> str:
        """Train a small run; a change is a value of the settings by its dotted key, with `__` for the dot."""
        settings = Settings(
            data={"name": "table", "path": getattr(self, "table", ""), "target": "y", "valid": 0.2, "test": 0.2},
            model=Model(layers=LAYERS),
            loss={"name": "HuberLoss", "delta": 1.0},
            optimizer={"name": "SGD", "lr": 0.05},
            scheduler={"name": "StepLR", "step_size": 1, "gamma": 0.5},
            plots=[],
            device="cpu",
            trainer=Trainer(epochs=2, batch_size=4, threads=1),
            tracking=Tracking(uri=self.uri),
        )
        for name, value in changes.items():
            part, _, key = name.partition("__")
            whole = getattr(settings, part)
            if not key:
                setattr(settings, part, value)
            elif isinstance(whole, dict):
                whole[key] = value
            else:
                setattr(whole, key, value)
        return self.recorded(settings)

    def recorded(self, settings: Settings) -> str:
        run, ids = prepare(settings, "mine"), list[str]()
        text = recorded_settings.write(secrets.without(dataclasses.asdict(settings)))
        with Signals() as signals:
            try:
                record(run, Context("mine", text, []), screen.quiet(), signals, begun=ids.append)
            finally:
                run.close()
        self.forget()
        return ids[0]

    def between(self, a: str, b: str, **options: Any) -> dict[str, Any]:
        return difference.between(self.uri, a, b, **options)


@pytest.fixture(scope="module")
def place(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("difference")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    before, modules = Path.cwd(), {k: v for k, v in sys.modules.items() if k.partition(".")[0] == "experiments"}
    os.chdir(folder)
    yield Place(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
        del sys.modules[name]
    sys.modules.update(modules)
    os.chdir(before)


def named(found: dict[str, Any], where: str = "causes") -> list[tuple[str, str]]:
    return [(cause["kind"], cause["key"]) for cause in found[where]]


def layers(at: int, value: Any) -> list[Any]:
    return [value if n == at else layer for n, layer in enumerate(LAYERS)]


ONE = {
    "seed": ({"seed": 1}, ("seed", "seed"), 1),
    "rate": ({"optimizer__lr": 0.04}, ("configuration", "optimizer.lr"), 2),
    "batch": ({"trainer__batch_size": 5}, ("configuration", "trainer.batch_size"), 1),
    "width": ({"model__layers": layers(0, {"Linear": 5})}, ("configuration", "model.layers[0].Linear"), 1),
    "order": ({"model__layers": [LAYERS[n] for n in (0, 2, 1, 3)]}, ("configuration", "model.layers"), 1),
    "activation": ({"model__layers": layers(1, "ReLU")}, ("configuration", "model.layers[1]"), 1),
    "one layer more": ({"model__layers": [*LAYERS[:2], "ReLU", *LAYERS[2:]]}, ("configuration", "model.layers[2]"), 1),
    "init": ({"model__init": {"Linear": "xavier_uniform_"}}, ("configuration", "model.init"), 1),
    "dropout": ({"model__layers": layers(2, {"Dropout": 0.5})}, ("configuration", "model.layers[2].Dropout"), 1),
    "share": ({"data__valid": 0.3}, ("configuration", "data.valid"), 1),
    "shuffle": ({"trainer__shuffle": False}, ("configuration", "trainer.shuffle"), 1),
    "augmentation": ({"data__mixup": 0.4}, ("configuration", "data.mixup"), 1),
    "loss": ({"loss__delta": 0.1}, ("configuration", "loss.delta"), 1),
    "optimizer": ({"optimizer": {"name": "Adam", "lr": 0.05}}, ("configuration", "optimizer"), 2),
    "precision": ({"trainer__precision": "fp64"}, ("configuration", "trainer.precision"), 1),
    "schedule": ({"scheduler__gamma": 0.1}, ("configuration", "scheduler.gamma"), 6),
}


@pytest.mark.parametrize("name", ONE)
def test_one_changed_value_is_the_cause(name: str, place: Place) -> None:
    changes, cause, step = ONE[name]
    found = place.between(place.base, place.train(**changes))
    assert named(found) == [cause]
    assert found["same"] is False
    assert found["first_step"]["metric"] == "train/loss"
    assert found["first_step"]["step"] == step
    assert named(found, "beside") == []
    assert {key for _, key in named(found, "consequences")} <= {"data"}
    same_steps = found["numbers"]["steps"][0] == found["numbers"]["steps"][1]
    assert [line.partition(":")[0] for line in found["unknown"]] == ([] if same_steps else ["weights"])
    assert cause[1] in found["conclusion"]


def test_a_run_at_work_is_not_called_equal(place: Place) -> None:
    client = MlflowClient(place.uri)
    client.update_run(place.twin, status="RUNNING")
    found = place.between(place.base, place.twin)
    client.update_run(place.twin, status="FINISHED")
    assert (found["same"], found["causes"], found["first_step"]) == (None, [], None)
    assert found["unknown"] == ["B is RUNNING: what it has yet to record"]


def test_equal_runs_are_equal_and_a_run_is_itself(place: Place) -> None:
    found = place.between(place.base, place.twin)
    assert (found["same"], found["causes"], found["first_step"], found["first_layer"]) == (True, [], None, None)
    itself = place.between(place.base, place.base)
    assert itself["same"] is True
    assert "same run" in itself["conclusion"]


def test_a_changed_value_of_the_table_is_the_cause(place: Place) -> None:
    found = place.between(place.base, place.train(data__path=place.csv("other.csv", last=0.75)))
    assert named(found) == [("configuration", "data.path")]
    assert named(found, "consequences") == [("data", "data")]
    before = (place.folder / "table.csv").read_text()
    place.csv("table.csv", last=0.75)
    changed = place.train()
    (place.folder / "table.csv").write_text(before)
    found = place.between(place.base, changed)
    assert named(found) == [("data", "data")]
    assert found["causes"][0]["a"].keys() == {"train", "valid", "test"}


def test_the_same_data_elsewhere_change_nothing(place: Place) -> None:
    found = place.between(place.base, place.train(data__path=place.csv("moved.csv")))
    assert (found["same"], named(found), named(found, "beside")) == (True, [], [("configuration", "data.path")])


def test_threads_explain_threads(place: Place) -> None:
    found = place.between(place.base, place.train(trainer__threads=2))
    assert named(found) == [("configuration", "trainer.threads")]
    assert named(found, "consequences") == [("environment", "threads")]


def test_metrics_and_names_change_nothing(place: Place) -> None:
    found = place.between(place.base, place.train(metrics=["MeanAbsoluteError"]))
    assert (found["same"], named(found), named(found, "beside")) == (True, [], [("configuration", "metrics[0]")])
    assert found["numbers"]["only"]["b"] == ["test/MeanAbsoluteError", "valid/MeanAbsoluteError"]
    found = place.between(place.base, place.train(tracking__run_name="mine", tracking__tags={"of": "me"}))
    assert (found["same"], named(found)) == (True, [])
    assert named(found, "beside") == [("record", "tracking.run_name"), ("record", "tracking.tags.of")]


OWN = {
    "data": {"name": "experiments.mine.line"},
    "model": Model(layers=[{"Linear": 3}, "experiments.mine.Times", {"Linear": 1}]),
}


def test_a_changed_line_of_own_code_is_the_cause(place: Place) -> None:
    before = place.train(**OWN)
    place.write(MINE.replace("x * 1.5", "x * 1.25"))
    found = place.between(before, place.train(**OWN))
    assert named(found) == [("code", "experiments/mine.py")]
    assert "+        return x * 1.25" in found["causes"][0]["diff"]
    assert named(found, "consequences") == []
    place.write(MINE.replace("2 * x)", "3 * x)"))
    found = place.between(before, place.train(**OWN))
    assert named(found) == [("code", "experiments/mine.py")]
    assert named(found, "consequences") == [("data", "data")]
    place.write(MINE.replace("* 1.5", "* 1.5  # as measured"))
    found = place.between(before, place.train(**OWN))
    assert (found["same"], named(found), named(found, "beside")) == (True, [], [("code", "experiments/mine.py")])
    place.write(MINE)


def test_numbers_that_part_without_a_cause_are_said_to(place: Place) -> None:
    found = place.between(*(place.train(loss={"name": "experiments.mine.Noisy"}) for _ in range(2)))
    assert named(found) == []
    assert found["first_step"]["step"] == 1
    assert "all recorded causes are equal" in found["conclusion"]


def test_weights_to_start_from_are_the_cause(place: Place) -> None:
    one = place.train(model__start={"run": place.base, "checkpoint": "last"})
    two = place.train(model__start={"run": place.train(seed=5), "checkpoint": "last"})
    assert named(place.between(place.base, one)) == [("weights", "model.start")]
    assert named(place.between(one, two)) == [("weights", "model.start")]
    twin = place.between(one, place.train(model__start={"run": place.twin, "checkpoint": "last"}))
    assert (twin["same"], named(twin), named(twin, "beside")) == (True, [], [("weights", "model.start.run")])


def test_what_was_changed_while_a_run_went_on_is_the_cause(place: Place) -> None:
    run, longer = place.train(), place.train(trainer__epochs=3)

    def change(recorded: Settings) -> Settings:
        settings = copy.deepcopy(recorded)
        settings.trainer.epochs, settings.optimizer["lr"] = 3, 0.01
        return settings

    resume.with_run(place.uri, run, change)
    found = place.between(longer, run)
    assert named(found) == [("resumed", "optimizer.lr"), ("resumed", "trainer.epochs")]
    assert found["causes"][0]["first"] == recall.last_step(place.uri, place.base) + 2 == found["first_step"]["step"]


def test_other_machines_and_packages_are_named(place: Place) -> None:
    run, client = place.train(), MlflowClient(place.uri)
    client.set_tag(run, "device", "cuda:0 NVIDIA H200")
    found = place.between(place.base, run)
    assert named(found) == [("environment", "device")]
    client.set_tag(run, "device", "cpu")
    text = recall.text(place.uri, run, "environment.txt")
    path = Path(client.get_run(run).info.artifact_uri.removeprefix("file://")) / "environment.txt"
    numpy = next(line for line in text.splitlines() if line.startswith("numpy=="))
    path.write_text(text.replace(numpy, "numpy==0.9").replace("rich==", "rich==9"))
    found = place.between(place.base, run)
    assert named(found) == [("environment", "numpy"), ("environment", "packages")]
    assert (found["causes"][0]["b"], found["same"]) == ("0.9", True)


def test_a_longer_run_is_equal_as_far_as_both_go(place: Place) -> None:
    plain: dict[str, Any] = {"scheduler": None}
    found = place.between(place.train(**plain), place.train(trainer__epochs=3, **plain))
    assert found["same"] is False
    assert named(found) == [("configuration", "trainer.epochs")]
    assert (found["first_step"], found["numbers"]["common"]) == (None, found["numbers"]["steps"][0])
    assert "B has" in found["conclusion"]


def test_what_is_gone_is_never_called_equal(place: Place) -> None:
    run, client = place.train(), MlflowClient(place.uri)
    folder = Path(client.get_run(run).info.artifact_uri.removeprefix("file://"))
    for name in ("config.yaml", "data.json", "environment.txt"):
        (folder / name).unlink()
    for name in ("best", "last"):
        client.delete_tag(run, f"checkpoint.{name}.kept")
    found = place.between(place.base, run)
    assert found["same"] is None
    assert [line.partition(" of ")[0] for line in found["unknown"][:3]] == ["environment", "configuration", "data"]
    assert found["unknown"][3].startswith("weights:")


def test_the_first_layer_that_differs_is_named(place: Place) -> None:
    other = place.train(model__init={"3.bias": {"constant_": {"val": 0.25}}})
    found = place.between(place.base, other, deeply=True)
    assert found["deep"]["first_weights"]["first"]["tensor"] == "3.bias"
    assert (found["first_layer"]["layer"], found["first_layer"]["of"]) == ("3", "first weights")
    assert found["deep"]["first_batch"]["identical"] is True
    assert found["deep"]["outputs"]["first"]["tensor"] == "3.output"
    batch = place.between(place.base, place.train(data__valid=0.3), deeply=True)["deep"]
    assert batch["first_weights"]["identical"] is True
    assert batch["first_batch"]["first"]["tensor"] == "x"


@pytest.mark.parametrize("width", [80, 200])
def test_the_text_fits_a_terminal(width: int, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    other = place.train(seed=1, tracking__run_name="a rather long name for a run " * 4, metrics=["MeanAbsoluteError"])
    shown = io.StringIO()
    console = screen.Plain(file=shown, width=width, force_terminal=False)
    monkeypatch.setattr(screen, "console", lambda: console)
    diff.with_run(place.uri, place.base, other).text()
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any("seed" in line and "0 -> 1" in line for line in lines)
    assert isinstance(console, Console)


def test_deep_is_true_or_false(place: Place) -> None:
    with pytest.raises(ConfigError, match="deep"):
        diff.with_run(place.uri, place.base, place.twin, deep="yes")

"""`runner.train` and the other calls from Python: what the command line does, and nothing left behind."""

import gc
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import runner
from runner.api import process, words
from runner.cli import hydra_private
from runner.data import Data, Tensors
from runner.settings.errors import ConfigError
from runner.settings.trust import omegaconf_private
from runner.tracking.store import stores
from runner.training.state import checkpoint
from tests.support import command

SHORT = ("plots=[]", "trainer.threads=1", "device=cpu", "data.points=32")


@pytest.fixture(scope="module")
def place(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("calls")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def trained(place: Path) -> Any:
    return runner.train("linear_regression", *SHORT, seed=3, trainer={"epochs": 3}, show=False)


def state() -> dict[str, Any]:
    """What a call may not change of this process."""
    return {
        "environment": dict(os.environ),
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),
        "python": random.getstate(),
        "threads of torch": torch.get_num_threads(),
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "dtype": torch.get_default_dtype(),
        "threads": threading.active_count(),
        "handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "folder": Path.cwd(),
        "garbage": gc.get_threshold(),
        "merging": OmegaConf.update,
        "hydra": [vars(owner).get(name) for owner, name in (*hydra_private.REPLACED, *omegaconf_private.REPLACED)],
        "singletons": [*map(str, hydra_private.Singleton.get_state())],
        "resolvers": sorted(omegaconf_private.resolvers()),
    }


def test_a_training_is_that_of_the_command_line(trained: Any, place: Path) -> None:
    typed = ("experiments=linear_regression", *SHORT, "seed=3", "trainer.epochs=3")
    done = command.runner(*typed, cwd=place)
    other = runner.run(done.run_id)
    assert checkpoint.digest(trained.model("last").state_dict()) == checkpoint.digest(other.model("last").state_dict())
    assert trained.history.equals(other.history)
    assert trained.config["trainer"] == other.config["trainer"]
    assert trained.status == "FINISHED"


def test_the_record_has_what_was_recorded(trained: Any) -> None:
    client = stores.open_store(trained.uri)
    points = {p.step: p.value for p in client.get_metric_history(trained.id, "train/loss")}
    assert trained.history["train/loss"].to_dict() == points
    assert trained.metrics == client.get_run(trained.id).data.metrics
    assert trained.evaluate("valid") == {"valid/loss": trained.history["valid/loss"].min()}
    assert "config.yaml" in trained.files()
    x = torch.tensor([[0.5], [2.0]])
    with torch.no_grad():
        assert torch.equal(trained.predict(x.numpy()), runner.load(trained.id)(x))


def test_a_call_leaves_nothing_behind(trained: Any) -> None:
    torch.manual_seed(5)
    before = state()
    runner.train("linear_regression", *SHORT, "trainer.deterministic=true", "trainer.precision=fp64", show=False)
    with pytest.raises(ConfigError):
        runner.train("linear_regression", "optimizer.lr=-1")
    runner.run("last")
    after = state()
    assert [key for key in before if before[key] != after[key]] == []


def test_fifty_trainings_in_a_loop_hold_no_more(trained: Any) -> None:
    def held() -> tuple[int, int]:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    for _ in range(3):
        runner.train("linear_regression", *SHORT, show=False)
    before = held()
    for seed in range(50):
        runner.train("linear_regression", *SHORT, seed=seed, show=False)
    assert all(now <= then for now, then in zip(held(), before, strict=True))


def test_all_that_is_wrong_is_raised_at_once(trained: Any) -> None:
    with pytest.raises(runner.ConfigError) as error:
        runner.train("linear_regression", {"optimizer.lr": -1}, "trainer.epoch=3", seed="x")
    keys = [line.partition(":")[0] for line in str(error.value).split("\n")]
    assert sorted(keys) == ["optimizer.lr", "seed", "trainer.epoch"]


def test_two_trainings_at_once_are_refused(trained: Any) -> None:
    problems: list[str] = []

    def other() -> None:
        try:
            runner.train("linear_regression", *SHORT, show=False)
        except ConfigError as error:
            problems.append(str(error))

    with process.lent():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another training is at work in this process" in problems[0]
    other()
    assert len(problems) == 1, "negative control: alone it is not refused"


def test_a_training_in_a_thread_is_that_of_the_main_one(trained: Any) -> None:
    runs: list[Any] = []
    typed = {"seed": 3, "trainer": {"epochs": 3}}
    thread = threading.Thread(
        target=lambda: runs.append(runner.train("linear_regression", *SHORT, show=False, **typed))
    )
    thread.start()
    thread.join()
    assert runs[0].history.equals(trained.history)


def test_ctrl_c_ends_the_run_killed(trained: Any) -> None:
    before = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        runner.train("linear_regression", *SHORT, "trainer.epochs=10000000", show=False)
    timer.join()
    last = runner.run("last")
    assert last.status == "KILLED"
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_goes_on(trained: Any) -> None:
    first = runner.train("linear_regression", *SHORT, "trainer.epochs=2", seed=3, show=False)
    longer = first.resume(epochs=3, show=False)
    assert longer.id == first.id
    assert longer.history["train/loss"].equals(trained.history["train/loss"])


def test_a_sweep_is_a_table_with_its_best_run(trained: Any) -> None:
    grid = {"optimizer.lr": [0.1, 0.4], "seed": range(2)}
    done = runner.sweep(
        "linear_regression", grid, *SHORT, "sweep.plots=false", trainer={"epochs": 2}, launcher="vectorized", show=False
    )
    assert list(done.table["optimizer.lr"]) == [0.1, 0.1, 0.4, 0.4]
    assert list(done.table["status"]) == ["FINISHED"] * 4
    assert done.best is not None
    assert done.best.metrics["valid/loss"] == done.table["valid/loss"].min()
    alone = runner.train("linear_regression", *SHORT, {"optimizer.lr": 0.4}, seed=1, trainer={"epochs": 2}, show=False)
    assert alone.metrics["valid/loss"] == pytest.approx(done.table["valid/loss"][3], rel=1e-6)


def test_data_and_a_module_are_handed_over(trained: Any) -> None:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    y = x.sum(1, keepdim=True)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    before = checkpoint.digest(module.state_dict())
    data = Data(Tensors(x[:48], y[:48]), Tensors(x[48:], y[48:]))
    run = runner.train(
        data=data, model=module, trainer={"epochs": 3, "batch_size": 16, "shuffle": False}, optimizer={"lr": 0.1},
        plots=[], show=False,
    )  # fmt: skip
    assert checkpoint.digest(module.state_dict()) == before, "the module is the caller's"
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    losses = []
    for _ in range(3):
        for start in range(0, 48, 16):
            loss = nn.functional.mse_loss(module(x[start : start + 16]), y[start : start + 16])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert list(run.history["train/loss"]) == losses
    with pytest.raises(ConfigError, match="handed over by a program in Python"):
        run.evaluate("valid")


def test_an_edited_module_of_experiments_is_read_anew(trained: Any, place: Path) -> None:
    (place / "experiments").mkdir(exist_ok=True)
    own = place / "experiments" / "mine.py"
    code = "from torch import nn\n\n\ndef loss(output, target):\n    return ((output - target) ** 2).mean() * {}\n"
    own.write_text(code.format(1))
    one = runner.train("linear_regression", *SHORT, "loss.name=experiments.mine.loss", "trainer.epochs=1", show=False)
    own.write_text(code.format(10))
    ten = runner.train("linear_regression", *SHORT, "loss.name=experiments.mine.loss", "trainer.epochs=1", show=False)
    assert ten.history["train/loss"][1] == pytest.approx(10 * one.history["train/loss"][1], rel=1e-6)


def test_a_table_is_predicted_as_a_table(trained: Any, place: Path) -> None:
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"a": generator.normal(size=40), "b": generator.normal(size=40)})
    table["c"] = table["a"] - 2 * table["b"]
    table.to_csv(place / "own.csv", index=False)
    given = {"data": {"name": "table", "path": "own.csv", "target": "c"}, "trainer": {"epochs": 2}, "plots": []}
    run = runner.train("linear_regression", "data=table", given, show=False)
    answer: Any = run.predict(table[["a", "b"]])
    assert len(answer) == 40
    assert np.isfinite(answer.select_dtypes("number")).all().all()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"), (1e-7, "1e-07"), (3, "3"), (True, "true"), (None, "null"), ("a b", "a b"), ("1e3", "'1e3'"),
        ([1, "x"], "[1,x]"), ({"lr": 0.1, "betas": (0.9, 0.99)}, "{lr:0.1,betas:[0.9,0.99]}"), (np.float32(0.5), "0.5"),
        (torch.tensor(2), "2"), (range(3), "[0,1,2]"), ("a,b=c", "'a,b=c'"), (float("inf"), ".inf"),
    ],
)  # fmt: skip
def test_values_become_words(value: Any, text: str) -> None:
    assert words.value_text(value) == text


def test_a_value_that_no_record_can_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr: Linear is no plain value"):
        words.of_call("x", [{"optimizer.lr": nn.Linear(1, 1)}], {})


TWO = """
import os, runner
before = dict(os.environ)
for seed in range(3):
    run = runner.train("linear_regression", "plots=[]", "trainer.threads=1", "device=cpu", seed=seed, show=False)
    assert run.status == "FINISHED"
assert dict(os.environ) == before
print(run.id)
"""


def test_two_processes_train_beside_each_other_in_one_folder(workplace: Path) -> None:
    begun = [
        subprocess.Popen([sys.executable, "-c", TWO], cwd=workplace, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ids = [process.communicate(timeout=command.HANGS)[0].strip() for process in begun]
    assert [process.returncode for process in begun] == [0, 0]
    listed = runner.runs(uri=f"sqlite:///{workplace}/mlflow.db")
    assert len(listed) == 6
    assert set(ids) <= set(listed["id"])
    assert set(listed["status"]) == {"FINISHED"}
    assert not list(workplace.glob(".runner/spool/*/*")), "all of it is delivered"

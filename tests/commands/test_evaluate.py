"""`runner evaluate`: the figures of a recorded run once more, and those on other data."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

import runner as package
from runner.data import Data, Tensors
from runner.settings.errors import ConfigError
from runner.training.checking import rescale
from tests.support.command import Done, runner

#: Trained for too long, so that the best weights are not the last ones.
WORDS = (
    "experiments=diabetes model=mlp model.knobs.outputs=1 optimizer=adam optimizer.lr=0.02 trainer.epochs=30"
    " trainer.validate_every=1 trainer.batch_size=32 plots=[]"
)


@pytest.fixture(scope="module")
def trained(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    workplace = tmp_path_factory.mktemp("trained")
    shutil.copy(empty_store, workplace / "mlflow.db")
    return workplace, runner(*WORDS.split(), cwd=workplace).run_id


def history(workplace: Path, run_id: str, name: str) -> list[float]:
    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    return [p.value for p in sorted(client.get_metric_history(run_id, name), key=lambda p: p.step)]


def figures(done: Done) -> dict[str, float]:
    """What the last line says of losses and metrics."""
    words = [word.split("=") for word in done.last.split()[2:]]
    return {key: float(value) for key, value in words if "/" in key}


def test_the_best_checkpoint_gives_the_recorded_test_figures(trained: tuple[Path, str]) -> None:
    workplace, run_id = trained
    found = figures(runner("evaluate", run_id, cwd=workplace))
    assert set(found) == {"test/loss", "test/R2Score", "test/MeanAbsoluteError"}
    for name, value in found.items():
        assert value == pytest.approx(history(workplace, run_id, name)[-1], rel=1e-6)


def test_the_best_checkpoint_gives_the_best_recorded_value_and_the_last_another(trained: tuple[Path, str]) -> None:
    workplace, run_id = trained
    recorded = history(workplace, run_id, "valid/loss")
    best = runner("evaluate", "last", "split=valid", cwd=workplace)
    last = runner("evaluate", "last", "split=valid", "checkpoint=last", cwd=workplace)
    assert min(recorded) < recorded[-1]
    assert figures(best)["valid/loss"] == pytest.approx(min(recorded), rel=1e-6)
    assert figures(last)["valid/loss"] == pytest.approx(recorded[-1], rel=1e-6)
    assert best.last.startswith(f"evaluate {run_id} checkpoint=best step=")
    assert "recorded" in best.out


def test_evaluating_writes_nothing(trained: tuple[Path, str]) -> None:
    workplace, run_id = trained
    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    before = client.get_run(run_id).to_dictionary()
    runner("evaluate", "last", "split=train", "device=cpu", "trainer.batch_size=7", "metrics=[R2Score]", cwd=workplace)
    assert client.get_run(run_id).to_dictionary() == before
    assert len(client.search_runs(["0", "1"])) == 1


def test_another_file_is_scaled_as_the_model_knows_it(workplace: Path) -> None:
    rng = np.random.default_rng(0)
    tables = {"t": rng.normal([100, 5], [20, 1], (60, 2)), "other": rng.normal([150, 9], [5, 4], (40, 2))}
    for name, rows in tables.items():
        lines = [f"{a!r},{b!r},{2 * a - 3 * b!r}" for a, b in rows.tolist()]
        (workplace / f"{name}.csv").write_text("\n".join(["a,b,c", *lines]))
    words = "data=table data.path=t.csv data.target=c trainer.epochs=3 optimizer.lr=0.1 plots=[]"
    run_id = runner(*words.split(), cwd=workplace).run_id
    whole = ("split=train", "data.path=other.csv", "data.valid=0", "data.test=0")
    found = figures(runner("evaluate", run_id, *whole, cwd=workplace))["train/loss"]
    rows = torch.from_numpy(tables["other"])
    with torch.no_grad():
        output = package.load(run_id, f"sqlite:///{workplace}/mlflow.db")(rows)[:, 0].numpy()
    wanted = np.mean((output - (2 * rows[:, 0] - 3 * rows[:, 1]).numpy()) ** 2)
    assert found == pytest.approx(float(wanted), rel=1e-4)


NOTED = {"task": "binary", "classes": ["a", "b"], "notes": {"features": ["u"]}, "example": {"shape": [1]}}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"classes": ("a", "c")}, "the classes"),
        ({"task": "regression"}, "the task"),
        ({"notes": {"features": ["v"]}}, "features"),
        ({"train": Tensors(torch.zeros(3, 2), torch.zeros(3))}, "the shape of an example"),
    ],
)
def test_data_that_mean_something_else_are_refused(changed: dict[str, object], message: str) -> None:
    fitting = {
        "train": Tensors(torch.zeros(3, 1), torch.zeros(3)),
        "task": "binary",
        "classes": ("a", "b"),
        "notes": {"features": ["u"]},
    }
    rescale.check(Data(**fitting), NOTED)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        rescale.check(Data(**{**fitting, **changed}), NOTED)  # type: ignore[arg-type]


WRONG = {
    "split=tset": ["split: 'tset' is not one of train, valid, test"],
    "checkpoint=first": ["checkpoint: 'first' is not one of best, last"],
    "splitt=test": ["splitt: ", "did you mean split=test?"],
    "trainer.epoch=3": ["trainer.epoch: "],
    "trainer.batch_size=many": ["trainer.batch_size: ", "many"],
    "trainer.batch_size=8,16": ["trainer.batch_size: a recorded run takes one value at a time"],
    "data=digits": ["data: presets belong to new runs; give single values, such as data.name=digits"],
    "data.name=digits": ["data: the shape of an example: [1, 8, 8], and the model was trained with [10]"],
    "model.knobs.hidden=3": ["model: evaluate takes this key from the record"],
    "optimizer.lr=3": ["optimizer: evaluate takes this key from the record"],
    "data.test=0": ["split: the data has no test set; it has train and valid"],
}


def test_evaluate_says_what_is_wrong(trained: tuple[Path, str]) -> None:
    workplace, _ = trained
    for words, parts in WRONG.items():
        done = runner("evaluate", "last", *words.split(), cwd=workplace, code=2)
        for part in parts:
            assert part in done.err, (words, done.err)
        assert "Traceback" not in done.err


def test_a_damaged_checkpoint_is_no_basis_for_a_figure(workplace: Path) -> None:
    runner("plots=[]", "trainer.epochs=2", cwd=workplace)
    [place] = workplace.glob("mlruns/runner/*/artifacts/checkpoints/last-*/state_dict.pt")
    damaged = bytearray(place.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    place.write_bytes(damaged)
    done = runner("evaluate", "last", "checkpoint=last", "split=valid", cwd=workplace, code=1)
    assert "is damaged" in done.err
    assert "Traceback" not in done.err

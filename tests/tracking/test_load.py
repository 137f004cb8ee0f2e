"""A recorded run's model, loaded and used: the same numbers as at the end of its training."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch import Tensor

import runner as package
from runner.data import Data
from runner.model import planning, stack
from runner.settings import Settings
from runner.settings.errors import ConfigError
from runner.tracking.read import load, recall
from runner.training.state import checkpoint
from runner.training.state.checkpoint import CheckpointError
from tests.cli.test_cli import artifacts
from tests.support import components
from tests.support.command import newest, runner

WORDS = "experiments=save_and_load"


def uri(workplace: Path) -> str:
    return f"sqlite:///{workplace}/mlflow.db"


def folder(workplace: Path, run_id: str) -> Path:
    return artifacts(MlflowClient(uri(workplace)).get_run(run_id))


def settings(workplace: Path, run_id: str) -> Settings:
    return recall.settings(uri(workplace), run_id)


def valid(data: Data) -> Tensor:
    assert data.valid is not None
    return torch.stack([data.valid[i][0] for i in range(len(data.valid))])  # type: ignore[arg-type]


def outputs(model: torch.nn.Module, x: Tensor) -> np.ndarray:
    with torch.no_grad():
        return model(x).numpy()


@pytest.fixture(scope="module")
def saved(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that several tests look at, and its working directory."""
    workplace = tmp_path_factory.mktemp("saved")
    shutil.copy(empty_store, workplace / "mlflow.db")
    return workplace, runner(WORDS, cwd=workplace).run_id


@pytest.fixture
def own(workplace: Path) -> tuple[Path, str]:
    """The same for a test that changes it."""
    return workplace, runner(WORDS, "trainer.epochs=1", "plots=[]", cwd=workplace).run_id


def test_what_is_loaded_gives_the_run_s_own_predictions(saved: tuple[Path, str]) -> None:
    workplace, run_id = saved
    x = valid(components.data(settings(workplace, run_id).data))
    model = package.load(run_id[:8], uri(workplace), "last")
    assert not model.training
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    np.testing.assert_allclose(
        outputs(model, x),
        np.load(folder(workplace, run_id) / "predictions.npy", allow_pickle=False),
        rtol=1e-6,
        atol=1e-7,
    )


def test_state_dict_and_full_model_give_equal_outputs(saved: tuple[Path, str]) -> None:
    workplace, run_id = saved
    data = components.data(settings(workplace, run_id).data)
    classes = stack.classes(
        planning.plan(
            settings(workplace, run_id).model.layers, load.example(recall.data(uri(workplace), run_id), "meta")
        )
    )
    for name in ("last", "best"):
        whole = checkpoint.load_model(newest(folder(workplace, run_id), name) / "model.pt", classes).eval()
        filled = package.load(run_id, uri(workplace), name)
        np.testing.assert_array_equal(outputs(whole, valid(data)), outputs(filled, valid(data)))


def test_the_best_differs_from_the_last_when_training_went_on_too_long(workplace: Path) -> None:
    words = "model=mlp model.knobs.outputs=1 optimizer=adam optimizer.lr=0.01 plots=[] metrics=[] trainer.patience=3"
    run_id = runner("experiments=diabetes", *words.split(), cwd=workplace).run_id
    client = MlflowClient(uri(workplace))
    points = [p.value for p in client.get_metric_history(run_id, "valid/loss")]
    data = components.data(settings(workplace, run_id).data)
    model = package.load("last", uri(workplace), raw=False)
    assert data.valid is not None
    loss = np.mean((outputs(model, valid(data)) - data.valid.y.numpy()) ** 2)  # type: ignore[union-attr]
    assert min(points) < points[-1]
    assert loss == pytest.approx(min(points), rel=1e-4)


def test_raw_inputs_are_standardized_as_the_data_source_did(workplace: Path) -> None:
    rows = np.random.default_rng(0).normal([100, 5], [20, 1], (60, 2))
    lines = [f"{a!r},{b!r},{2 * a - b!r}" for a, b in rows.tolist()]
    (workplace / "t.csv").write_text("\n".join(["a,b,c", *lines]))
    words = "data=table data.path=t.csv data.target=c trainer.epochs=3 optimizer.lr=0.1 plots=[]"
    run_id = runner(*words.split(), cwd=workplace).run_id
    noted = json.loads((folder(workplace, run_id) / "data.json").read_text())
    x = (rows - noted["notes"]["mean"]) / noted["notes"]["std"]
    np.testing.assert_allclose(
        outputs(package.load(run_id, uri(workplace)), torch.from_numpy(rows)),
        outputs(package.load(run_id, uri(workplace), raw=False), torch.from_numpy(x).float()),
        rtol=1e-6,
    )
    np.save(workplace / "x.npy", rows)
    runner("predict", run_id, "inputs=x.npy", "output=p.npy", cwd=workplace)
    np.testing.assert_array_equal(
        np.load(workplace / "p.npy", allow_pickle=False),
        outputs(package.load(run_id, uri(workplace)), torch.from_numpy(rows)),
    )


def test_predict_writes_what_the_loaded_model_gives(saved: tuple[Path, str]) -> None:
    workplace, run_id = saved
    x = valid(components.data(settings(workplace, run_id).data))
    np.save(workplace / "x.npy", x.numpy())
    done = runner("predict", "last", "inputs=x.npy", "output=pred.npy", cwd=workplace)
    assert done.out.startswith(f"pred.npy: ({len(x)}, ")
    np.testing.assert_array_equal(
        np.load(workplace / "pred.npy", allow_pickle=False), outputs(package.load(run_id, uri(workplace)), x)
    )


WRONG = {
    "inputs=none.npy output=p.npy": ["inputs: there is no 'none.npy'"],
    "inputs=wide.npy output=p.npy": ["inputs: 'wide.npy' has the shape (3, 7); the run was trained on (N, 1, 8, 8)"],
    "inputs=one.npy output=p.npy": ["inputs: 'one.npy' has the shape (1, 8, 8)", "save x[None]"],
    "inputs=words.npy output=p.npy": ["inputs: 'words.npy' holds <U1"],
    "inputs=pickle.npy output=p.npy": ["inputs:", "pickle.npy"],
    "inputs=good.npy output=good.npy": ["output: 'good.npy' exists already", "overwrite=true"],
    "inputs=good.npy output=no/p.npy": ["output: there is no folder 'no'"],
    "inputs=good.npy output=p.txt": ["output: 'p.txt' ends in '.txt'; expected .npy or .npz or .csv"],
    "inputs=good.npy output=p.npy checkpoint=first": ["checkpoint: 'first' is not one of best, last"],
    "inputs=good.npy output=p.npy raw=maybe": ["raw: 'maybe' is neither true nor false"],
    "input=good.npy output=p.npy": ["input: ", "did you mean 'inputs'?"],
    "output=p.npy": ["predict needs inputs=..."],
}


def test_predict_says_what_is_wrong_and_writes_nothing(saved: tuple[Path, str]) -> None:
    workplace, _ = saved
    np.save(workplace / "wide.npy", np.ones((3, 7)))
    np.save(workplace / "one.npy", np.ones((1, 8, 8)))
    np.save(workplace / "words.npy", np.full((3, 1, 8, 8), "a"))
    np.save(workplace / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(workplace / "good.npy", np.ones((3, 1, 8, 8)))
    for words, parts in WRONG.items():
        done = runner("predict", "last", *words.split(), cwd=workplace, code=2)
        for part in parts:
            assert part in done.err, (words, done.err)
        assert "Traceback" not in done.err
        assert not (workplace / "p.npy").exists()
    runner("predict", "last", "inputs=good.npy", "output=good.npy", "overwrite=true", cwd=workplace, code=2)
    runner("predict", "last", "inputs=good.npy", "output=wide.npy", "overwrite=true", cwd=workplace)
    assert np.load(workplace / "wide.npy", allow_pickle=False).shape == (3, 10)


def test_a_damaged_checkpoint_is_refused_even_when_the_file_beside_it_agrees(own: tuple[Path, str]) -> None:
    workplace, run_id = own
    place = newest(folder(workplace, run_id), "best")
    state = torch.load(place / "state_dict.pt", weights_only=True)
    checkpoint.save(place, Weights(state), "state_dict")  # writes a new sha256.json too
    with pytest.raises(CheckpointError, match="is damaged"):
        package.load(run_id, uri(workplace))
    np.save(workplace / "x.npy", np.ones((3, 1, 8, 8)))
    done = runner("predict", "last", "inputs=x.npy", "output=p.npy", cwd=workplace, code=1)
    assert "is damaged" in done.err
    assert "Traceback" not in done.err
    package.load(run_id, uri(workplace), "last")


class Weights:
    """Stands in for a model with other weights."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = {name: tensor + 1 for name, tensor in state.items()}

    def state_dict(self) -> dict[str, Tensor]:
        return self.state


def test_a_run_that_kept_only_the_full_model_is_loaded_too(workplace: Path) -> None:
    run_id = runner("trainer.epochs=2", "plots=[]", "checkpoint.format=model", cwd=workplace).run_id
    x = valid(components.data(settings(workplace, run_id).data))
    np.testing.assert_allclose(
        outputs(package.load(run_id, uri(workplace), "last"), x),
        np.load(folder(workplace, run_id) / "predictions.npy"),
        rtol=1e-6,
    )


def test_loading_leaves_the_caller_s_random_numbers_alone(saved: tuple[Path, str]) -> None:
    workplace, run_id = saved
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    package.load(run_id, uri(workplace))
    assert torch.equal(torch.rand(2), expected)


def test_a_wrong_run_or_checkpoint_is_named(saved: tuple[Path, str]) -> None:
    workplace, run_id = saved
    with pytest.raises(ConfigError, match="'first' is not one of best, last"):
        package.load(run_id, uri(workplace), "first")
    with pytest.raises(ConfigError, match="no run's id begins with 'zzz'"):
        package.load("zzz", uri(workplace))


def test_importing_the_package_is_light(tmp_path: Path) -> None:
    code = "import sys, runner; assert not {'torch', 'mlflow', 'numpy', 'hydra'} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=1500)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0, 4), (1, 2, 8)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_arrays_come_back_as_they_were_saved(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    np.save(tmp_path / "a.npy", array, allow_pickle=False)
    found = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert (found.shape, found.dtype) == (shape, array.dtype)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("words", [("evaluate", "last"), ("resume", "last"), ("explain", "last")])
def test_a_server_that_is_away_is_one_sentence(words: tuple[str, ...], tmp_path: Path) -> None:
    done = runner(*words, "tracking.uri=http://127.0.0.1:9", cwd=tmp_path, code=1)
    said = "the tracking store does not answer as expected: http://127.0.0.1:9 does not answer: Connection refused"
    assert done.err.startswith(said)
    assert done.err.count("\n") == 1

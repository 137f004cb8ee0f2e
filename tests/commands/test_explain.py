"""Runs that only push their inputs through, and the arithmetic of layers on the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch import nn

from runner.settings.errors import ConfigError
from runner.tracking.read import checkpoints, recall
from runner.training.forward import write_outputs
from tests.support.command import Done, newest, runner

CNN = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten", "drop", "head"]


def artifacts(done: Done, folder: Path) -> Path:
    run = MlflowClient(f"sqlite:///{folder}/mlflow.db").get_run(done.run_id)
    return Path(run.info.artifact_uri.removeprefix("file://"))


def sections(text: str) -> dict[str, str]:
    """What is said about each layer."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        name = line.split()[0] if line.endswith("──") else name
        found[name] = f"{found.get(name, '')}{line}\n"
    return found


# Running forward


def test_a_run_without_epochs_keeps_every_layers_output(workplace: Path) -> None:
    done = runner("experiments=max_pool2d", cwd=workplace)
    kept = artifacts(done, workplace)
    assert done.last == f"run {done.run_id} FINISHED"
    np.testing.assert_array_equal(np.load(kept / "inputs.npy"), np.arange(20.0).reshape(1, 1, 4, 5))
    np.testing.assert_array_equal(np.load(kept / "outputs/pool.npy"), [[[[6, 8], [16, 18]]]])
    np.testing.assert_array_equal(np.load(kept / "predictions.npy"), [[[[6, 8], [16, 18]]]])
    assert "max(0, 1, 5, 6) = 6" in (kept / "explain/pool.md").read_text()
    assert "(../plots/explain_pool.png)" in (kept / "explain/pool.md").read_text()
    assert (kept / "plots/explain_pool.png").stat().st_size > 5000
    assert (newest(kept) / "state_dict.pt").exists()
    assert MlflowClient(f"sqlite:///{workplace}/mlflow.db").get_run(done.run_id).data.metrics == {}


def test_ordinary_data_without_epochs_goes_through_in_batches(workplace: Path) -> None:
    done = runner("experiments=digits_cnn", "trainer.epochs=0", "plots=[]", cwd=workplace)
    kept = artifacts(done, workplace)
    outputs = {path.stem: np.load(path) for path in (kept / "outputs").iterdir()}
    assert sorted(outputs) == sorted(CNN)
    assert {len(output) for output in outputs.values()} == {len(np.load(kept / "inputs.npy"))}
    np.testing.assert_array_equal(outputs["relu1"], np.maximum(outputs["conv1"], 0))
    np.testing.assert_array_equal(outputs["drop"], outputs["flatten"])
    assert {path.stem for path in (kept / "explain").iterdir()} == set(CNN)
    assert {path.stem for path in (kept / "plots").iterdir()} == {f"explain_{name}" for name in CNN}


def test_batches_make_no_difference_to_what_is_kept(tmp_path: Path) -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(0))
    x = torch.arange(-6.0, 6.0).reshape(6, 2)
    write_outputs(model, [x.clone()], 6, tmp_path / "one")
    write_outputs(model, [part.clone() for part in x.split(4)], 6, tmp_path / "two")
    for folder in ("one", "two"):
        np.testing.assert_array_equal(np.load(tmp_path / folder / "inputs.npy"), x)
        np.testing.assert_array_equal(np.load(tmp_path / folder / "outputs/0.npy"), x.clamp(min=0))
    assert (tmp_path / "one/outputs/1.npy").exists()
    assert not (tmp_path / "two/outputs/1.npy").exists()  # its outputs belong to no example
    assert model.training


def test_a_layer_is_filed_inside_of_the_record_whatever_its_name(tmp_path: Path) -> None:
    model = nn.Sequential()
    model.add_module("/a/b", nn.ReLU())
    write_outputs(model, [torch.ones(1, 1)], 1, tmp_path / "kept")
    assert (tmp_path / "kept/outputs/_a_b.npy").exists()


VALUES = {
    "": "data.x: missing; give the inputs, or data.fill=arange (or ones) with data.shape",
    "data.fill=ones": "data.shape: missing; data.fill=ones needs it, as in data.shape=[1,1,4,4]",
    "data.fill=one data.shape=[1,2]": "data.fill: 'one' is not one of 'arange', 'ones'",
    "data.fill=ones data.shape=[0,2]": "data.shape: [0, 2] is no shape",
    "data.fill=ones data.x=[[1]]": "data.fill: 'ones' stands beside data.x",
    "data.x=[[1,2],[3]]": "data.x: its rows differ in length",
    "data.x=[[1,a]]": "data.x: x holds text; expected numbers",
    "data.x=[[1,2]] data.shape=[3,1]": "data.shape: [3, 1] holds 3 * 1 = 3 numbers, and data.x has 2",
    "data.x=[[1,2]] data.y=[1,2]": "x has 1 examples and y has 2",
    "data.x=[[1,2]] trainer.epochs=1": "data.y: missing, and training needs targets",
    "data.x=[[1,2]] plots=[examples]": "plots[0]: 'examples' cannot be drawn: it needs numbers to predict",
}


@pytest.mark.parametrize("words", VALUES)
def test_values_that_cannot_be_are_told(words: str, tmp_path: Path) -> None:
    done = runner("data=values", "trainer.epochs=0", "plots=[]", *words.split(), cwd=tmp_path, code=2)
    assert VALUES[words] in done.err
    assert not (tmp_path / "mlflow.db").exists()


def test_values_with_targets_can_be_trained_with(workplace: Path) -> None:
    words = ["data=values", "data.x=[-1,1,-2,2]", "data.shape=[4,1]", "data.y=[-3,3,-6,6]", "optimizer.lr=0.1"]
    done = runner(*words, "trainer.epochs=200", "plots=[]", cwd=workplace)
    weights = torch.load(newest(artifacts(done, workplace)) / "state_dict.pt", weights_only=True)
    assert weights["0.weight"].item() == pytest.approx(3, abs=1e-4)


# runner explain


def test_the_arithmetic_of_the_chapter_is_printed(tmp_path: Path) -> None:
    done = runner("explain", "experiments=conv1d_channels", cwd=tmp_path)
    assert "0*0.1 + 1*0.2 + 2*0.3 + 8*1 + 9*1 + 10*1 = 27.8" in done.out
    assert "L: floor((8 + 2*0 - 1*(3 - 1) - 1)/1 + 1) = 6" in done.out
    assert "[ 8][ 9][10] 11  12  13  14  15" in done.out  # the window
    assert max(map(len, done.out.splitlines())) <= 100
    assert not (tmp_path / "mlflow.db").exists()


def test_the_size_formula_stands_beside_the_size_that_came_out(tmp_path: Path) -> None:
    words = ["experiments=conv2d_options", "model.knobs.stride=2", "model.knobs.padding=1", "model.knobs.dilation=2"]
    done = runner("explain", *words, cwd=tmp_path)
    assert "H: floor((8 + 2*1 - 2*(3 - 1) - 1)/2 + 1) = 3" in done.out
    assert "(1, 2, 8, 8) -> (1, 2, 3, 3)" in done.out


def test_every_layer_of_a_cnn_is_worked(tmp_path: Path) -> None:
    found = sections(runner("explain", "experiments=digits_cnn", cwd=tmp_path).out)
    assert [name for name in found if name][: len(CNN)] == CNN
    for name in CNN:
        assert "output[0, 0" in found[name]
        assert "agrees within 1e-5" in found[name]
    assert "(bias) = " in found["conv1"]
    assert "3 of 24 channels" in found["conv2"]


def test_a_training_step_of_the_linear_regression_is_worked(tmp_path: Path) -> None:
    done = runner("explain", "experiments=linear_regression", cwd=tmp_path)
    step = done.out[done.out.index("one training step") :]
    for line in (
        "gradient of the weight, by the chain rule",
        "autograd: ",
        "new bias",
        "d loss/d weight = 2/200 * sum(",
    ):
        assert line in step
    assert step.count("agrees within 1e-5") == 6
    assert "one training step" not in runner("explain", "experiments=digits_mlp", cwd=tmp_path).out


def test_a_trained_run_is_explained_with_its_own_weights(workplace: Path) -> None:
    run_id = runner("experiments=linear_regression", "plots=[]", cwd=workplace).run_id
    for name in (run_id, run_id[:6], "last"):
        done = runner("explain", name, cwd=workplace)
        assert f"weights of run {run_id}" in done.out
    [weight] = checkpoints.weights(f"sqlite:///{workplace}/mlflow.db", run_id)["0.weight"].flatten().tolist()
    assert f"(-1)*{weight:.5g}" in done.out
    assert len(MlflowClient(f"sqlite:///{workplace}/mlflow.db").search_runs(["0", "1"])) == 1


def test_more_elements_of_a_run_are_explained(workplace: Path) -> None:
    runner("experiments=max_pool1d", cwd=workplace)
    uri = f"tracking.uri=sqlite:///{workplace}/mlflow.db"
    elsewhere = workplace / "elsewhere"
    elsewhere.mkdir()
    done = runner("explain", "last", "elements=2", uri, cwd=elsewhere)
    assert "max(0, 1) = 1" in done.out
    assert "max(14, 15) = 15" in done.out


def test_a_run_keeps_its_explanation_when_told_to(workplace: Path) -> None:
    words = ["experiments=digits_cnn", "trainer.epochs=1", "plots=[]", "checkpoint.format=model"]
    done = runner(*words, cwd=workplace)
    kept = artifacts(done, workplace)
    assert "agrees within" in runner("explain", "last", "checkpoint=last", "layer=head", cwd=workplace).out
    assert not (kept / "explain").exists()
    told = runner("explain", "last", "keep=true", cwd=workplace)
    assert told.last == f"kept with run {done.run_id}: explain/<layer>.md and plots/explain_<layer>.png"
    assert {path.stem for path in (kept / "explain").iterdir()} == set(CNN)
    assert {path.stem for path in (kept / "plots").iterdir()} == {f"explain_{name}" for name in CNN}
    (newest(kept, "best") / "model.pt").write_bytes(b"nothing")
    broken = runner("explain", "last", cwd=workplace, code=1)
    assert "model.pt" in broken.err
    assert "Traceback" not in broken.err


CHOSEN = {
    "elements=3": ["0*0.1 + 1*0.2 + 2*0.3 + 8*1 + 9*1 + 10*1 = 27.8", "output[0, 0, 2]", "output[0, 0, 5]"],
    "layer=conv elements=[0,0,5]": ["5*0.1 + 6*0.2 + 7*0.3 + 13*1 + 14*1 + 15*1 = 45.8", "[ 5][ 6][ 7]"],
}


@pytest.mark.parametrize("words", CHOSEN)
def test_elements_can_be_chosen(words: str, tmp_path: Path) -> None:
    done = runner("explain", "experiments=conv1d_channels", *words.split(), cwd=tmp_path)
    for part in CHOSEN[words]:
        assert part in done.out


UNCHOSEN = {
    "elements=0": "elements: '0' is not a whole number of at least 1, or an index such as [0,3,2,2]",
    "elements=[0,0,5]": "elements: [0,0,5] is an index into one layer's output; add layer=NAME",
    "elements=[0,0,6] layer=conv": "elements: [0, 0, 6] is not in the output, whose shape is (1, 1, 6)",
    "layer=con": "layer: there is no layer 'con' (layers: conv)",
}


@pytest.mark.parametrize("words", UNCHOSEN)
def test_a_choice_that_cannot_be_is_told(words: str, tmp_path: Path) -> None:
    done = runner("explain", "experiments=conv1d_channels", *words.split(), cwd=tmp_path, code=2)
    assert done.err == f"{UNCHOSEN[words]}\n"
    assert not done.out


def test_a_step_that_is_not_worked_says_why(tmp_path: Path) -> None:
    done = runner("explain", "experiments=linear_regression", "loss=l1", "optimizer=adam", cwd=tmp_path)
    assert "no step of training is worked (L1Loss, Adam): only one of MSELoss and plain SGD" in done.out


RUNS = {
    "nope": "no run's id begins with 'nope'",
    "it's": "no run's id begins with",
    "last": "there are no runs",
    "last first": "explain needs one RUN (a run id, a unique prefix of one, or `last`), found last and first",
    "last elemets=2": "elemets: explain of a recorded run takes no such key; did you mean 'elements'?",
    "last elements=0": "elements: '0' is not a whole number of at least 1",
    "last keep=yes": "keep: 'yes' is neither true nor false",
    "last checkpoint=first": "checkpoint: 'first' is not one of best, last",
    "last tracking.uri=sqlite:///none.db": "tracking.uri: there is no store",
}


@pytest.mark.parametrize("words", RUNS)
def test_a_run_that_cannot_be_found_is_told(words: str, workplace: Path) -> None:
    done = runner("explain", *words.split(), cwd=workplace, code=2)
    assert RUNS[words] in done.err
    assert "Traceback" not in done.err
    assert not (workplace / "none.db").exists()


def test_the_beginning_of_two_ids_names_neither(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    ids = [client.create_run("0").info.run_id for _ in range(17)]  # of 17 two begin alike
    first = next(i[0] for n, i in enumerate(ids) if any(i[0] == other[0] for other in ids[:n]))
    with pytest.raises(ConfigError, match="is the beginning of"):
        recall.find_run(f"sqlite:///{workplace}/mlflow.db", first)
    with pytest.raises(ConfigError, match=r"kept no config\.yaml"):
        recall.settings(f"sqlite:///{workplace}/mlflow.db", ids[0])


BROKEN = """
from torch import nn

nn.ReLU.forward = lambda self, x: x + 1

def relu():
    return nn.ReLU()
"""


def test_a_disagreement_with_torch_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/wrong.py").write_text(BROKEN)
    words = ["data=values", "data.x=[[1]]", "trainer.epochs=0", "model.layers=[experiments.wrong.relu]"]
    done = runner("explain", *words, cwd=tmp_path, code=None)
    assert (done.code, done.err.count("\n")) == (1, 1), done.out + done.err
    assert "worked by hand 1, torch gives 2" in done.err


# What cannot be

IMPOSSIBLE = {
    "experiments=max_pool2d model.layers.pool.MaxPool2d.kernel_size=6": [
        "model.layers.pool.MaxPool2d: the kernel does not fit along H: it covers 1*(6 - 1) + 1 = 6",
        "the padded input has 4",
        "size out = floor((4 + 2*0 - 1*(6 - 1) - 1)/2 + 1) = 0",
    ],
    "experiments=conv2d model.layers.conv.Conv2d.kernel_size=9": ["model.layers.conv.Conv2d: the kernel does not fit"],
    "experiments=conv2d_options model.knobs.groups=3": [
        "model.layers.conv.Conv2d: in_channels = 2 is not divisible by groups = 3 (2 = 0*3 + 2)"
    ],
    "experiments=conv2d_options +model.layers.conv.Conv2d.in_channels=5": [
        "model.layers.conv.Conv2d.in_channels: 5 does not fit: the input has shape (N, 2, 8, 8), so it must be 2"
        " (in_channels = size of dimension 1, the channels)"
    ],
    "experiments=conv2d_options model.knobs.stride=0": [
        "model.layers.conv.Conv2d.stride: 0 is out of range; expected a whole number of at least 1"
    ],
    "experiments=conv2d data.shape=[4,4,4]": ["takes inputs of shape (N, C, H, W), found 3 dimensions: (4, 4, 4)"],
    "experiments=max_pool1d +model.layers.rnn.LSTM.hidden_size=2": [
        "model.layers: the last layer gives a tuple, expected a tensor; `Select: 0` after it takes the first item"
    ],
    "experiments=avg_pool2d model.layers.pool.AvgPool2d.padding=2": [
        "model.layers.pool.AvgPool2d: padding along H is 2, more than half of the kernel: it may be floor(2/2) = 1"
    ],
    "experiments=digits_cnn model.layers.pool1.MaxPool2d=9": [
        "model.layers.pool1.MaxPool2d: the kernel does not fit along H",
        "model.layers.conv1.Conv2d  ->  (N, 24, 8, 8)",
    ],
}


@pytest.mark.parametrize("words", IMPOSSIBLE)
@pytest.mark.parametrize("command", ["", "explain"])
def test_what_cannot_be_is_told_with_layer_sizes_and_formula(command: str, words: str, tmp_path: Path) -> None:
    done = runner(*command.split(), *words.split(), cwd=tmp_path, code=2)
    for part in IMPOSSIBLE[words]:
        assert part in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "mlflow.db").exists()


STEP = """
from runner.training.step import plain

def step(state, parts):
    return plain(state, parts)
"""


def test_a_step_of_ones_own_is_not_worked(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    (workplace / "experiments/mine.py").write_text(STEP)
    done = runner("explain", "optimizer=sgd", "trainer.step=experiments.mine.step", cwd=workplace)
    assert "no step of training is worked: trainer.step" in done.out

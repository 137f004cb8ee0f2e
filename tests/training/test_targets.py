"""Targets are what the loss takes, wherever the examples come from; what may be meant either way is asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from runner.data import Data, Tensors
from runner.settings.errors import ConfigError
from runner.training.checking import targets
from runner.training.drive import drive
from runner.training.parts import source
from runner.training.run import Run
from runner.training.vectorized import drive_many, groups
from tests.conftest import Start
from tests.support import composing
from tests.support.command import runner
from tests.support.on_disk import OnDisk

N = 40
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 1, 2, 2), dtype=np.uint8)
X = PIXELS.astype(np.float32) / 255
LABELS = np.arange(N) // (N // 2)
ONE_HOT = np.eye(2, dtype=np.float32)[LABELS]
MINE = """
import numpy, torch
from runner.data import Data, Tensors
from runner.data._parts import parts

class Disk(torch.utils.data.Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y
    def __len__(self):
        return len(self.x)
    def __getitem__(self, index):
        return self.x[index], self.y[index]

def load(kind=Disk):
    held = numpy.load("whole.npz")
    x, y = torch.from_numpy(held["x"]), torch.from_numpy(held["y"])
    index = parts(len(x), 0.15, 0.15, 0, y)
    return Data(*(kind(x[i], y[i]) for i in index), "binary", ("cat", "dog"))

def memory():
    return load(Tensors)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: Any) -> Path:
    """The same pictures as arrays, as a table and as a folder."""
    monkeypatch.chdir(tmp_path)
    np.savez("whole.npz", x=X, y=LABELS)
    np.savez("decimal.npz", x=X, y=LABELS.astype(np.float32))
    np.savez("truth.npz", x=X, y=LABELS == 1)
    np.savez("hot.npz", x=X, y=ONE_HOT)
    np.savez("whole_hot.npz", x=X, y=ONE_HOT.astype(int))
    columns = {f"p{i}": X.reshape(N, 4)[:, i].astype(float) for i in range(4)}
    pandas.DataFrame({**columns, "label": LABELS}).to_csv("file.csv", index=False)
    pandas.DataFrame({**columns, "label": np.array(["cat", "dog"])[LABELS]}).to_parquet("file.parquet")
    for i, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        folder = tmp_path / "photos" / ("cat", "dog")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0]).save(folder / f"{i:03}.png")
    return tmp_path


TABLE = {"name": "table", "target": "label", "standardize": False}
IMAGES = {"name": "images", "path": "photos", "channels": 1}
SOURCES: dict[str, dict[str, Any]] = {
    "whole numbers": {"name": "arrays", "path": "whole.npz"},
    "decimals": {"name": "arrays", "path": "decimal.npz"},
    "truth": {"name": "arrays", "path": "truth.npz"},
    "named": {"name": "arrays", "path": "decimal.npz", "classes": ["cat", "dog"]},
    "csv": {**TABLE, "path": "file.csv"},
    "parquet": {**TABLE, "path": "file.parquet"},
    "values": {"name": "values"},
    "images": IMAGES,
    "images on disk": {**IMAGES, "in_memory": False},
    "dataset": {"name": "experiments.mine.load"},
    "tensors": {"name": "experiments.mine.memory"},
}
BCE, CROSS_ENTROPY = {"name": "BCEWithLogitsLoss"}, {"name": "CrossEntropyLoss"}


def trained(start: Start, data: dict[str, Any], loss: dict[str, Any], outputs: int, **changes: Any) -> Run:
    if data["name"] == "values":
        data = {"name": "values", "x": X.tolist(), "y": LABELS.tolist()}
    run = start(
        data=data, loss=loss, layers=["Flatten", {"Linear": outputs}], metrics=["Accuracy", "F1Score"], **changes
    )
    drive(run)
    return run


@pytest.mark.parametrize("loss", [BCE, CROSS_ENTROPY], ids=["bce", "cross entropy"])
def test_the_same_examples_train_alike_wherever_they_come_from(place, experiments, start, loss):
    (experiments / "mine.py").write_text(MINE)
    outputs = 1 if loss is BCE else 2
    found = {}
    for name, data in SOURCES.items():
        workers = {"workers": 1} if name == "images on disk" else {}
        run = trained(start, data, loss, outputs, batch_size=8, shuffle=True, **workers)
        assert run.data.task == "binary", name
        found[name] = run.history
        if name == "values":  # which has no validation data
            assert len(run.history["train/loss"]) == 3 * 5
            del found[name]
    wanted = found.pop("whole numbers")
    assert {"valid/loss", "valid/Accuracy", "valid/F1Score"} <= set(wanted)
    assert len(wanted["train/loss"]) == 3 * 4
    for name, history in found.items():
        assert history == wanted, name


@pytest.mark.parametrize("name", ["decimals", "csv", "images", "images on disk"])
@pytest.mark.parametrize("loss", [BCE, CROSS_ENTROPY], ids=["bce", "cross entropy"])
def test_the_losses_are_those_of_plain_torch(place, start, name, loss):
    outputs = 1 if loss is BCE else 2
    run = start(
        data={**SOURCES[name], "valid": 0, "test": 0}, loss=loss, layers=["Flatten", {"Linear": outputs}], epochs=4
    )
    linear = nn.Linear(4, outputs)
    linear.load_state_dict({key.rpartition(".")[2]: value for key, value in run.model.state_dict().items()})
    drive(run)
    x, y = torch.from_numpy(X).flatten(1), torch.from_numpy(LABELS)
    function = getattr(nn, loss["name"])()
    optimizer, losses = torch.optim.SGD(linear.parameters(), lr=0.1), []
    for _ in range(4):
        value = function(linear(x), y.float()[:, None] if loss is BCE else y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert [value for _, value in run.history["train/loss"]] == pytest.approx(losses, rel=1e-6)


# Probabilities

SOFT = np.random.default_rng(1).dirichlet([0.5] * 3, N).astype(np.float32)
LABELLED = np.random.default_rng(2).integers(0, 2, (N, 4))
CHANCE = np.random.default_rng(3).random(N).astype(np.float32)
EYE = np.eye(3, dtype=np.float32)[np.arange(N) % 3]


def test_a_loss_of_probabilities_and_its_accuracy_are_those_of_plain_torch(place, start):
    cases: list[tuple[Any, str, int, str, Callable[[Tensor], Any]]] = [
        (SOFT, "CrossEntropyLoss", 3, "multiclass", lambda o: o.argmax(1).numpy() == SOFT.argmax(1)),
        (EYE, "CrossEntropyLoss", 3, "multiclass", lambda o: o.argmax(1).numpy() == EYE.argmax(1)),
        (EYE.astype(np.int64), "CrossEntropyLoss", 3, "multiclass", lambda o: o.argmax(1).numpy() == EYE.argmax(1)),
        (EYE.astype(bool), "CrossEntropyLoss", 3, "multiclass", lambda o: o.argmax(1).numpy() == EYE.argmax(1)),
        (ONE_HOT, "CrossEntropyLoss", 2, "binary", lambda o: o.argmax(1).numpy() == LABELS),
        (LABELLED, "BCEWithLogitsLoss", 4, "multilabel", lambda o: (o > 0).numpy() == LABELLED),
        (LABELLED.astype(np.float32), "BCEWithLogitsLoss", 4, "multilabel", lambda o: (o > 0).numpy() == LABELLED),
        (EYE, "BCEWithLogitsLoss", 3, "multilabel", lambda o: (o > 0).numpy() == EYE),
        (EYE, "MultiLabelSoftMarginLoss", 3, "multilabel", lambda o: (o > 0).numpy() == EYE),
        (CHANCE, "BCEWithLogitsLoss", 1, "binary", lambda o: (o[:, 0] > 0).numpy() == (CHANCE > 0.5)),
        (CHANCE[:, None], "BCEWithLogitsLoss", 1, "binary", lambda o: (o[:, 0] > 0).numpy() == (CHANCE > 0.5)),
    ]
    for i, (y, loss, outputs, task, right) in enumerate(cases):
        np.savez(f"{i}.npz", x=X, y=y, x_valid=X, y_valid=y)
        run = trained(
            start, {"name": "arrays", "path": f"{i}.npz", "test": 0}, {"name": loss}, outputs, epochs=2, batch_size=16
        )
        assert run.data.task == task, i
        with torch.no_grad():
            output = run.model(torch.from_numpy(X))
            plain = getattr(nn, loss)()(output, torch.from_numpy(y).float().reshape(N, outputs))
        assert run.history["valid/loss"][-1][1] == pytest.approx(plain.item(), rel=1e-5), i
        assert run.history["valid/Accuracy"][-1][1] == pytest.approx(right(output).mean(), rel=1e-6), i


def test_many_runs_on_probabilities_are_each_the_run_alone(place, start):
    for y, loss, outputs in ((SOFT, CROSS_ENTROPY, 3), (LABELLED, BCE, 4), (CHANCE, BCE, 1)):
        np.savez("some.npz", x=X, y=y, x_valid=X[:20], y_valid=y[:20])
        given: dict[str, Any] = {
            "data": {"name": "arrays", "path": "some.npz"},
            "loss": loss,
            "layers": ["Flatten", {"Linear": 5}, "Tanh", {"Linear": outputs}],
            "metrics": ["Accuracy"],
            "batch_size": 8,
        }
        alone, together = ([start(seed=seed, **given) for seed in range(3)] for _ in range(2))
        for run in alone:
            drive(run)
        [group], left = groups(together)
        assert not left
        assert drive_many([together[i] for i in group], [[]] * 3) == [None] * 3
        for one, other in zip(alone, together, strict=True):
            for name, points in one.history.items():
                assert [v for _, v in other.history[name]] == pytest.approx([v for _, v in points], rel=1e-5), name


def test_a_users_rows_of_probabilities_are_classes_for_cross_entropy():
    rows = Tensors(torch.rand(6, 2), torch.eye(3).repeat(2, 1))
    for inputs in (rows, OnDisk(rows)):
        found = targets.fit(Data(inputs), nn.CrossEntropyLoss())
        assert (found.task, found.classes) == ("multiclass", ("0", "1", "2"))
    assert targets.fit(Data(Tensors(rows.x, rows.y * 2)), nn.CrossEntropyLoss()).task == "regression"
    assert targets.fit(Data(rows), nn.MSELoss()).task == "regression"


# What may be meant either way


def read(spec: dict[str, Any], loss: nn.Module) -> Data:
    """Read the data that `spec` names, with targets for `loss`."""
    return targets.read(source.resolve(spec), loss)


def decided(data: dict[str, Any], loss: dict[str, Any]) -> str:
    """The task, or `asks`."""
    function = getattr(nn, loss["name"])() if "." not in loss["name"] else nn.Module()
    try:
        return read(data, function).task
    except ConfigError as error:
        words = ("data.task: missing", "data.task=classification", "data.task=regression")
        return "asks" if all(word in str(error) for word in words) else str(error)


def test_the_loss_decides_where_it_can_and_else_the_person(place):
    counts = np.arange(N) % 15 + 18
    kinds: dict[str, Any] = {
        "0/1": LABELS,
        "0./1.": LABELS.astype(float),
        "1/2": LABELS + 1,
        "0..4": np.arange(N) % 5,
        "ages": counts,
        "prices": np.linspace(0.5, 99.25, N),
    }
    mse, own, cross, bce = ({"name": name} for name in ("MSELoss", "a.loss", "CrossEntropyLoss", "BCEWithLogitsLoss"))
    # Of an array and of a table: by mse, a loss of one's own, cross entropy and BCE.
    expected: dict[str, list[list[str]]] = {
        "0/1": [["asks", "binary", "binary", "binary"], ["asks", "asks", "binary", "binary"]],
        "0./1.": [["regression", "asks", "binary", "binary"], ["asks", "asks", "binary", "binary"]],
        "1/2": [["asks", "binary", "binary", "binary"], ["asks", "asks", "binary", "regression"]],
        "0..4": [["asks", "multiclass", "multiclass", "multiclass"], ["asks", "asks", "multiclass", "regression"]],
        "ages": [["regression"] + ["multiclass"] * 3, ["regression"] * 2 + ["multiclass", "regression"]],
        "prices": [["regression"] * 4, ["regression"] * 4],
    }  # fmt: skip
    for name, y in kinds.items():
        np.savez("y.npz", x=X, y=y)
        pandas.DataFrame({"a": CHANCE, "label": y}).to_csv("y.csv", index=False)
        for data, wanted in zip(
            ({"name": "arrays", "path": "y.npz"}, {**TABLE, "path": "y.csv"}), expected[name], strict=True
        ):
            assert [decided(data, loss) for loss in (mse, own, cross, bce)] == wanted, (name, data)
            for task in ("regression", "classification"):
                if name != "prices" or task == "regression":
                    given = decided({**data, "task": task}, mse)
                    assert given == "regression" if task == "regression" else given in ("binary", "multiclass")


@pytest.mark.parametrize("name", ["whole numbers", "csv", "images", "images on disk", "signs", "decimal signs"])
def test_two_classes_are_minus_one_and_one_to_a_loss_of_signs(place, name):
    np.savez("signs.npz", x=X, y=LABELS * 2 - 1)
    np.savez("decimal signs.npz", x=X, y=LABELS * 2.0 - 1)
    given = SOURCES.get(name, {"name": "arrays", "path": f"{name}.npz"})
    stated = {"task": "classification"} if name == "csv" else {}
    data = read({**given, **stated}, nn.SoftMarginLoss())
    assert data.task == "binary"
    pairs = [data.train[i][1] for i in range(len(data.train))]
    assert sorted(torch.stack(pairs).flatten().tolist()) == [-1.0] * 14 + [1.0] * 14
    assert pairs[0].shape == (1,)


def test_classes_that_the_loss_decides_are_split_like_classes_that_are_stated(place):
    for name in ("decimals", "csv"):
        found = [read({**SOURCES[name], **told}, nn.CrossEntropyLoss()) for told in ({}, {"task": "classification"})]
        assert torch.equal(found[0].train.x, found[1].train.x)
        assert found[0].valid.y.bincount().tolist() == [3, 3]
    assert read(SOURCES["csv"], nn.CrossEntropyLoss()).report[-1].endswith("which CrossEntropyLoss takes")


class Own(nn.Module):
    """A loss of one's own."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return output[target].mean()


def test_whole_numbers_of_ones_own_source_are_classes_for_ones_own_loss_and_where_they_are_not_in_memory():
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    fitted = targets.fit(Data(Tensors(torch.rand(6, 2), y)), Own())
    assert (fitted.task, fitted.classes) == ("multiclass", ("0", "1", "2"))
    assert targets.fit(Data(Tensors(torch.rand(6, 2), y[:, None].float())), Own()).task == "regression"
    pairs: Any = list(zip(torch.rand(6, 2), y, strict=True))
    assert targets.fit(Data(pairs), nn.CrossEntropyLoss()).task == "multiclass"
    assert targets.fit(Data(pairs), nn.MSELoss()).task == "regression"
    places: Any = [(torch.rand(6, 2), y), (torch.rand(3, 2), y[:3])]
    assert targets.fit(Data(places), nn.CrossEntropyLoss()).task == "multiclass"
    assert targets.fit(Data(places), nn.L1Loss()).task == "regression"


def test_a_source_is_read_as_often_as_needed_and_ones_own_once(place, experiments):
    (experiments / "mine.py").write_text(
        "import torch\nfrom runner.data import Data, Tensors\ncalls = []\n"
        "def load(task: str | None = None):\n    calls.append(1)\n"
        "    return Data(Tensors(torch.zeros(4, 1), torch.zeros(4, 1)))\n"
    )
    import sys

    read({"name": "experiments.mine.load"}, nn.MSELoss())
    assert len(sys.modules["experiments.mine"].calls) == 1


ONE, TWO = "model.layers=[Flatten,{Linear:1}]", "model.layers=[Flatten,{Linear:2}]"
THREE = "model.layers=[Flatten,{Linear:3}]"
FIT = f"trainer.epochs=2 {ONE}"
ADVICE = [
    # words, what the message advises, the words that follow the advice
    (f"data=table data.path=file.csv data.target=label {FIT}", "data.task=classification", "loss=bce_with_logits"),
    (f"data=table data.path=file.csv data.target=label {FIT}", "data.task=classification", f"loss=cross_entropy {TWO}"),
    (f"data=table data.path=file.csv data.target=label {FIT}", "data.task=regression", ""),
    (f"data=arrays data.path=whole.npz {FIT}", "data.task=classification", "loss=bce_with_logits"),
    (f"data=arrays data.path=whole.npz {FIT}", "data.task=regression", ""),
    (f"data=arrays data.path=whole.npz {FIT}", "loss=cross_entropy", TWO),
    (f"data=arrays data.path=whole_hot.npz trainer.epochs=2 {TWO}", "data.task=regression", ""),
    (f"data=arrays data.path=whole_hot.npz trainer.epochs=2 {TWO}", "loss=cross_entropy", ""),
    (f"data=table data.path=file.csv data.target=label loss=log_cosh {FIT}", "data.task=regression", ""),
    (f"data=table data.path=file.parquet data.target=label {FIT}", "loss=bce_with_logits", ""),
    (f"data=images data.path=photos data.channels=1 {FIT}", "loss=bce_with_logits", ""),
    (f"data=images data.path=photos data.channels=1 trainer.epochs=2 {TWO}", "loss=cross_entropy", ""),
    (f"data=arrays data.path=truth.npz trainer.epochs=2 {TWO}", "loss=cross_entropy", ""),
    (f"data=arrays data.path=prices.npz loss=cross_entropy {FIT}", "loss=mse", ""),
    (f"data=arrays data.path=many.npz loss=bce_with_logits {FIT}", "loss=cross_entropy", THREE),
    (f"data=arrays data.path=ages.npz loss=bce_with_logits data.task=regression {FIT}", "loss=mse", ""),
    (f"data=arrays data.path=broken.npz loss=cross_entropy {FIT}", "data.task=regression", f"loss=mse {THREE}"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "advice", "further"), ADVICE)
def test_the_advice_of_a_message_passes_the_check(place, words, advice, further):
    np.savez("prices.npz", x=X, y=np.linspace(0.5, 99.25, N))
    np.savez("many.npz", x=X, y=np.arange(N) % 3)
    np.savez("ages.npz", x=X, y=np.arange(N) % 25 + 18)
    np.savez("broken.npz", x=X, y=np.full((N, 3), 4))
    with composing.hydra():
        assert advice in composing.problem(*words.split())
        assert not composing.problem(*words.split(), advice, *further.split())


def test_the_advice_passes_the_command_line_too(place):
    words, advice, further = ADVICE[0]
    assert advice in runner("check", *words.split(), cwd=place, code=2).err
    assert "right" in runner("check", *words.split(), advice, *further.split(), cwd=place).out


@pytest.mark.parametrize("ignored", [-100, -1, 1])
def test_padding_is_not_learned_as_a_class_of_its_own(place, ignored):
    labels = np.where(np.arange(N) % 4 == 3, ignored, np.arange(N) % 3 + 2)
    np.savez("padded.npz", x=X, y=labels)
    np.savez("kept.npz", x=X[labels != ignored], y=labels[labels != ignored])
    words = ("data=arrays", "loss=cross_entropy", f"loss.ignore_index={ignored}")
    with composing.hydra():
        for outputs in (3, 4):
            model = f"model.layers=[Flatten,{{Linear: {outputs}}}]"
            assert f"x[y != {ignored}]" in composing.problem(*words, model, "data.path=padded.npz")
        assert not composing.problem(*words, "model.layers=[Flatten,{Linear: 3}]", "data.path=kept.npz")


def test_too_many_outputs_for_a_metric_of_two_classes_are_told_with_the_number(place):
    np.savez("two.npz", x=X, y=LABELS)
    words = ("data=arrays", "data.path=two.npz", "loss=cross_entropy", "metrics=[Accuracy]")
    with composing.hydra():
        assert "let it give 2" in composing.problem(*words, "model.layers=[Flatten,{Linear: 10}]")
        assert not composing.problem(*words, "model.layers=[Flatten,{Linear: 2}]")


@pytest.mark.parametrize("further", ["", "data.in_memory=false trainer.workers=1 trainer.epochs=1"])
def test_two_folders_of_photos_and_one_logit_from_training_to_evaluation(place, workplace, further):
    words = (
        f"data=images data.path=photos data.channels=1 loss=bce_with_logits {ONE} trainer.epochs=3 metrics=[Accuracy]"
    )
    plots = "plots=[loss_curve,confusion_matrix,examples]"
    done = runner(*words.split(), plots, *further.split(), cwd=workplace)
    told = runner("evaluate", done.run_id, cwd=workplace)
    assert "test/Accuracy=" in told.last
    pictures = {path.stem for path in workplace.rglob("plots/*") if path.is_file()}
    assert {"loss_curve", "confusion_matrix", "examples"} <= pictures
    [predictions] = workplace.rglob("predictions.npy")
    assert np.load(predictions).shape == (6, 1)


@pytest.mark.parametrize(
    ("labels", "ignored", "refusal"),
    [
        ([0, 1, 2, -100], -100, "is -100, and .* is 0: loss.ignore_index=0 leaves it out, or drop"),
        ([0.0, 1.0, -1.0], -1, "class '-1' of the data is 0"),
        ([1, 2, 3], 2, "class '2' of the data is 1: loss.ignore_index=1 leaves it out"),
        ([0, -1], -1, "class '-1' of the data is 0: drop those examples"),
        ([0, 1, 2], 2, ""),
        ([1, 2, 3], 0, ""),
    ],
)
def test_what_is_left_out_is_not_made_another_class(tmp_path, labels, ignored, refusal):
    np.savez(tmp_path / "xy.npz", x=np.random.rand(40, 3), y=np.array(labels)[np.arange(40) % len(labels)])
    loss = nn.CrossEntropyLoss(ignore_index=ignored)
    spec = {"name": "arrays", "path": str(tmp_path / "xy.npz")}
    data = read(spec, loss)
    if refusal:
        with pytest.raises(ConfigError, match=f"loss.ignore_index: {refusal}|{refusal}"):
            targets.check_ignored(source.resolve(spec), data, loss)
    else:
        targets.check_ignored(source.resolve(spec), data, loss)
        assert data.ignored == ignored

"""What each loss takes for targets and outputs: held to, fitted where it can be, and else refused with the remedy."""

import copy
import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from runner.plots import find
from runner.settings.errors import ConfigError
from runner.training.checking import checks
from runner.training.drive import drive
from runner.training.subject import Subject
from tests.conftest import Start, settings

MINE = """
import torch
from runner.data import Data, Tensors

def given(path, task="regression", classes=0):
    parts = torch.load(path)
    return Data(*(Tensors(*pair) for pair in parts), task, tuple(map(str, range(classes))))
"""


def points(n: int = 60) -> tuple[Tensor, Tensor]:
    """x of shape (n, 2), and a sign for each, which a line tells apart but for some."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n, 2, generator=generator)
    noise = torch.randn(n, generator=generator) / 3
    return x, torch.where(x[:, 0] - x[:, 1] + noise > 0.2, 1.0, -1.0)


def written(kind: str, folder: Path) -> dict[str, Any]:
    """The data's settings, of the same points in the same order in every kind of file."""
    x, y = points()
    if kind.startswith("table"):
        with (folder / "points.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["a", "b", "sign"])
            rows.writerows(
                [f"{a:.9g}", f"{b:.9g}", int(sign)] for (a, b), sign in zip(x.tolist(), y.tolist(), strict=True)
            )
        task = {"task": "classification"} if kind == "table of classes" else {}
        return {"name": "table", "path": "points.csv", "target": "sign", "standardize": False, **task}
    y = {"signs as int8": y.to(torch.int8), "zeros and ones": (y > 0).long(), "numbers": y}[kind]
    np.savez(folder / "points.npz", x=x.numpy(), y=y.numpy())
    return {"name": "arrays", "path": "points.npz"}


KINDS = ["numbers", "signs as int8", "zeros and ones", "table", "table of classes"]


@pytest.mark.parametrize("loss", ["SoftMarginLoss", "HingeEmbeddingLoss"])
@pytest.mark.parametrize("kind", KINDS)
def test_signs_stay_signs_and_train_as_in_plain_torch(
    kind: str, loss: str, start: Start, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    classes = kind not in ("numbers", "table")
    metrics = ["Accuracy"] if classes else []
    run = start(
        data={**written(kind, tmp_path), "valid": 0.25, "test": 0.25},
        loss={"name": loss},
        layers=[{"Linear": 1}] + (["Softplus"] if loss == "HingeEmbeddingLoss" else []),
        metrics=metrics,
        batch_size=10,
        shuffle=False,
        epochs=4,
    )
    x, y = points()
    train, valid = run.data.train, run.data.valid
    for source in (train, valid, run.data.test):
        place = [int((x == row).all(1).nonzero()) for row in source.x]
        assert source.y.tolist() == [[value] for value in y[place].tolist()]
    model, plain = copy.deepcopy(run.model), getattr(nn, loss)()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = []
    for _ in range(4):
        for a, b in zip(train.x.split(10), train.y.split(10), strict=True):
            optimizer.zero_grad()
            value = plain(model(a), b)
            value.backward()
            optimizer.step()
            found.append(value.item())
    drive(run)
    assert [value for _, value in run.history["train/loss"]] == pytest.approx(found, rel=1e-5)
    assert run.history["valid/loss"][-1][1] == pytest.approx(plain(model(valid.x), valid.y).item(), rel=1e-5)
    if classes:
        said = model(valid.x) > 0 if loss == "SoftMarginLoss" else model(valid.x) < plain.margin / 2
        right = (said == (valid.y > 0)).float().mean().item()
        assert run.history["valid/Accuracy"][-1][1] == pytest.approx(right)
        assert right > 0.6
    if classes and loss == "SoftMarginLoss":
        from runner.plots._data import classify

        assert find("confusion_matrix") is not None
        assert torch.equal(classify(Subject(run), valid).truth, (valid.y > 0).long().flatten())


@pytest.fixture
def problem(experiments: Path, tmp_path: Path) -> Callable[..., str]:
    """What is said of these targets; "" if nothing."""
    (experiments / "mine.py").write_text(MINE)

    def said(name: str, y: Tensor, outputs: int, last: Any = None, part: str = "train", **further: Any) -> str:
        if name == "KLDivLoss":  # torch warns of its default
            further["reduction"] = "batchmean"
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.pt"
        good = further.pop("good", y)
        x = torch.rand(len(y), 3)
        pairs = [(x, y if part == name_ else good) for name_ in ("train", "valid", "test")]
        torch.save(pairs, path)
        task, classes = further.pop("task", "regression"), further.pop("classes", 0)
        layers = [{"Linear": outputs}] + ([last] if last else [])
        data = {"name": "experiments.mine.given", "path": str(path), "task": task, "classes": classes}
        try:
            checks.check(settings(layers=layers, data=data, loss={"name": name, **further}))
        except ConfigError as error:
            return str(error)
        return ""

    return said


FLOATS = torch.tensor([[0.2, 0.8], [0.5, 0.5]])
SIGNS = torch.tensor([[1.0, -1.0], [-1.0, -1.0]])
FLAGS = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
CLASS = torch.tensor([0, 1])
SETS = torch.tensor([[1, -1], [0, 1]])
SMOOTH: Any = {"LogSoftmax": 1}

#: Targets that a loss takes.
RIGHT: list[tuple[Any, ...]] = [
    ("MSELoss", -5 * FLOATS, 2),
    ("HuberLoss", FLOATS, 2),
    ("BCELoss", FLOATS, 2, "Sigmoid"),
    ("BCEWithLogitsLoss", FLAGS, 2),
    ("MultiLabelSoftMarginLoss", FLAGS, 2),
    ("SoftMarginLoss", SIGNS, 2),
    ("HingeEmbeddingLoss", SIGNS, 2),
    ("PoissonNLLLoss", 3 * FLAGS, 2),
    ("KLDivLoss", FLOATS, 2, SMOOTH),
    ("CrossEntropyLoss", CLASS, 2),
    ("CrossEntropyLoss", FLOATS, 2),
    ("CrossEntropyLoss", torch.eye(2), 2),
    ("NLLLoss", CLASS, 2, SMOOTH),
    ("MultiMarginLoss", 2 * CLASS, 3),
    ("MultiLabelMarginLoss", SETS, 2),
    ("CrossEntropyLoss", torch.tensor([-100, 1]), 2),
    ("CrossEntropyLoss", 0 * CLASS, 2),
]
#: Targets that it does not take, and what is said.
WRONG: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    (("SoftMarginLoss", FLAGS, 2), {}, "needs targets of -1 and 1, and those of the train data go from 0 to 1; two"),
    (("SoftMarginLoss", 7 * FLOATS, 2), {}, "go from 1.4 to 5.6; try loss=mse"),
    (("HingeEmbeddingLoss", 0 * SIGNS, 2), {}, "HingeEmbeddingLoss needs targets of -1 and 1"),
    (("BCELoss", SIGNS, 2, "Sigmoid"), {}, "BCELoss needs targets from 0 to 1, and those of the train data go from -1"),
    (("BCEWithLogitsLoss", 2 * FLAGS, 2), {}, "needs targets from 0 to 1"),
    (("MultiLabelSoftMarginLoss", SIGNS, 2), {}, "MultiLabelSoftMarginLoss needs targets from 0 to 1"),
    (("PoissonNLLLoss", SIGNS, 2), {}, "needs counts, 0 or more, as targets, and those of the train data go from -1"),
    (("KLDivLoss", FLAGS, 2, SMOOTH), {}, "probabilities that add up to 1"),
    (("KLDivLoss", FLOATS, 2, SMOOTH), {"log_target": True}, "needs logarithms of probabilities"),
    (("CrossEntropyLoss", FLAGS, 2), {}, "needs classes, or probabilities that add up to 1"),
    (("CrossEntropyLoss", SIGNS, 2), {}, "needs classes, or probabilities that add up to 1"),
    (("CrossEntropyLoss", torch.tensor([0, 2]), 2), {}, "gives 2 numbers, and the data has 3 classes; let it give 3"),
    (("CrossEntropyLoss", torch.tensor([0, 10**12]), 2), {}, "holds the class 1000000000000, and the last layer gives"),
    (("CrossEntropyLoss", torch.tensor([-1, 1]), 2), {}, "class -1, .*; loss.ignore_index=-1 leaves such targets out"),
    (("CrossEntropyLoss", CLASS - 100, 2), {"ignore_index": -99}, "holds the class -100"),
    (("CrossEntropyLoss", 0 * CLASS - 100, 2), {}, "every target of the train data is -100, which is left out"),
    (("CrossEntropyLoss", 0 * CLASS, 2), {"weight": [0.0, 1.0]}, "loss.weight: is 0 for every class"),
    (("CrossEntropyLoss", CLASS, 2), {"weight": [1.0, 1.0, 1.0]}, "loss.weight: holds 3 numbers, and the last layer"),
    (("CrossEntropyLoss", CLASS.int(), 2), {}, r"the targets are int32; CrossEntropyLoss takes .* y.long\(\)"),
    (("NLLLoss", FLOATS, 2, SMOOTH), {}, "NLLLoss needs classes"),
    (("NLLLoss", CLASS, 2), {}, "takes log-probabilities, and the last layer, Linear, gives other"),
    (("NLLLoss", CLASS, 2, {"Softmax": 1}), {}, "the last layer, Softmax, gives other numbers; let {LogSoftmax: 1}"),
    (("BCELoss", FLAGS, 2), {}, "takes probabilities, and the last layer, Linear, .*; let Sigmoid follow"),
    (("MultiMarginLoss", CLASS, 3), {}, "gives 3 numbers, and the data has 2 classes; let it give 2"),
    (("MultiMarginLoss", CLASS - 1, 2), {}, "holds the class -1, and the last layer gives 2 numbers"),
    (("MultiLabelMarginLoss", FLAGS.long(), 2), {}, r"is \[0, 0\]; for 0 and 1 per class use MultiLabelSoftMarginLoss"),
    (("MultiLabelMarginLoss", FLAGS, 2), {}, "as whole numbers .*, and the targets are float32"),
    (("MultiLabelMarginLoss", SETS + 1, 2), {}, "0 to 1, then -1, and those of the train data go from 0 to 2"),
    (("MSELoss", FLOATS / 0, 2), {}, "the targets of the train data hold NaN or infinite"),
    (("BCEWithLogitsLoss", FLAGS, 2), {"pos_weight": [1.0, 2.0, 3.0]}, r"loss.pos_weight: has the shape \(3,\)"),
    (("SoftMarginLoss", SIGNS[:, 0], 1), {}, "compares number by number, so they must be the same, every example"),
    (("PoissonNLLLoss", FLOATS, 1), {}, r"gives \(N, 1\) and the targets have \(N, 2\); PoissonNLLLoss compares"),
    (
        ("HingeEmbeddingLoss", CLASS, 2),
        {"task": "multiclass", "classes": 3},
        "the data has classes; try loss=cross_entr",
    ),
    (("MSELoss", CLASS, 2), {}, r"the targets are int64; MSELoss takes floating-point numbers: y.float\(\)"),
]


@pytest.mark.parametrize("given", RIGHT, ids=lambda given: given[0])
def test_targets_of_the_right_kind_are_taken(given: tuple[Any, ...], problem: Callable[..., str]) -> None:
    assert problem(*given) == ""


@pytest.mark.parametrize(("given", "further", "message"), WRONG, ids=[given[0] for given, *_ in WRONG])
def test_targets_of_another_kind_are_refused(
    given: tuple[Any, ...], further: dict[str, Any], message: str, problem: Callable[..., str]
) -> None:
    found = problem(*given, **further)
    assert re.search(message, found), found


@pytest.mark.parametrize("part", ["valid", "test"])
def test_every_part_is_looked_at_to_its_last_target(part: str, problem: Callable[..., str]) -> None:
    good = SIGNS.repeat(50, 1)
    bad = good.clone()
    bad[-1, 0] = 0
    assert problem("SoftMarginLoss", good, 2) == ""
    assert f"of the {part} data go from -1 to 1" in problem("SoftMarginLoss", bad, 2, part=part, good=good)
    classes = CLASS.repeat(50)
    wrong = classes.clone()
    wrong[-1] = 9
    assert f"the {part} data holds the class 9" in problem("CrossEntropyLoss", wrong, 2, part=part, good=classes)


@pytest.mark.parametrize("ignored", [255, -1, -100])
def test_what_a_loss_ignores_is_no_class(ignored: int, problem: Callable[..., str]) -> None:
    y = torch.tensor([0, 1, ignored])
    assert problem("CrossEntropyLoss", y, 2, ignore_index=ignored) == ""
    assert "let it give 2" in problem("CrossEntropyLoss", y, 3, ignore_index=ignored)


def test_classes_that_a_source_names_need_not_all_be_held(problem: Callable[..., str]) -> None:
    assert problem("MultiMarginLoss", CLASS, 3, classes=3) == ""


DEEP: Any = {"a": {"Linear": 16}, "b": "ReLU", "c": {"Linear": 10}}
NARROW: Any = {"Conv2d": {"out_channels": 10, "kernel_size": 3}}


@pytest.mark.parametrize(
    ("layers", "place"),
    [
        ([{"Linear": 10}], "before model.layers[0].Linear, which works on the last dimension alone, is"),
        ([{"Linear": 16}, "ReLU", {"Linear": 10}], "before model.layers[0].Linear, which"),
        ([NARROW, "ReLU", {"Linear": 10}], "before model.layers[2].Linear, which"),
        ([{"Sequential": [{"Linear": 10}]}], "and Linear at the end are"),
        (DEEP, "before model.layers.a.Linear, which"),
        ([NARROW, "ReLU"], "and Linear at the end are"),
    ],
)
@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "MultiMarginLoss", "MSELoss"])
def test_a_missing_flatten_is_named_with_its_place_and_that_helps(
    layers: Any, place: str, loss: str, experiments: Path, tmp_path: Path
) -> None:
    (experiments / "mine.py").write_text(MINE)
    x, y = torch.rand(12, 1, 8, 8), torch.arange(12) % 10
    y = torch.rand(12, 10) if loss == "MSELoss" else y
    torch.save([(x, y)] * 3, tmp_path / "data.pt")
    task = {} if loss == "MSELoss" else {"task": "multiclass", "classes": 10}
    data = {"name": "experiments.mine.given", "path": str(tmp_path / "data.pt"), **task}
    with pytest.raises(ConfigError) as error:
        checks.check(settings(layers=layers, data=data, loss={"name": loss}))
    assert f"Flatten {place}" in str(error.value)
    assert "let it give" not in str(error.value)
    if loss != "MSELoss":
        assert "takes the classes in the second dimension, (N, 10)" in str(error.value)
    rows = list(layers.items()) if isinstance(layers, dict) else list(enumerate(layers))
    if match := re.search(r"before model\.layers(?:\[(\d+)\]|\.(\w+))", str(error.value)):
        index = [str(name) for name, _ in rows].index(match[1] or match[2])
        mended = [layer for _, layer in [*rows[:index], (0, "Flatten"), *rows[index:]]]
    else:
        mended = [*layers, "Flatten", {"Linear": 10}]
    checks.check(settings(layers=mended, data=data, loss={"name": loss}))


def test_check_counts_classes_that_became_signs() -> None:
    from runner.commands.check import _counts
    from runner.data import Data, Tensors

    y = torch.tensor([[-1.0], [1.0], [1.0]])
    data = Data(Tensors(y, y), task="binary", classes=("a", "b"))
    assert _counts(data.train, data) == [1, 2]
    padded = Data(Tensors(y, torch.tensor([0, -100, 1])), task="binary", classes=("a", "b"))
    assert _counts(padded.train, padded) == [1, 1]
    left_out = Data(Tensors(y, torch.tensor([0, 255, 1])), task="binary", classes=("a", "b"), ignored=255)
    assert _counts(left_out.train, left_out) == [1, 1]

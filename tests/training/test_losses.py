"""Laws of losses: any batches, accumulation and launcher give the loss of the whole, as plain torch computes it."""

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from torch import Tensor, nn

from runner.data import Batch, Data, Tensors, order_of
from runner.model.conventions import TABLE
from runner.settings.errors import ConfigError
from runner.training import measure
from runner.training.checking import targets
from runner.training.drive import drive
from runner.training.loop import train
from runner.training.parts import losses, metric_values
from runner.training.parts.losses_of_outputs import OF_OUTPUTS
from runner.training.run import Run
from runner.training.vectorized import drive_many, groups
from tests.conftest import Start
from tests.support import components

#: A data source of the user's: what a test has written down, part by part.
MINE = """
import torch
from runner.data import Data, Tensors

def given(path, task="regression", classes=0):
    parts = torch.load(path)
    return Data(*(Tensors(*pair) for pair in parts), task, tuple(map(str, range(classes))))

class Disk(torch.utils.data.Dataset):
    def __init__(self, pairs):
        self.pairs = pairs
    def __len__(self):
        return len(self.pairs[0])
    def __getitem__(self, index):
        return self.pairs[0][index], self.pairs[1][index]

def disk(path, task="regression", classes=0):
    return Data(*(Disk(pair) for pair in torch.load(path)), task, tuple(map(str, range(classes))))

class Mine(torch.nn.Module):
    def forward(self, output, target):
        return (output - target).pow(4).mean()
"""

Parts = tuple[Batch, Batch, Batch]


@pytest.fixture
def give(experiments: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Settings of a training on these parts: train, valid and test, each (x, y)."""
    (experiments / "mine.py").write_text(MINE)

    def given(parts: Parts, loss: dict[str, Any], layers: list[Any], source: str = "given", **further: Any) -> Any:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.pt"
        torch.save(list(parts), path)
        data = {"name": f"experiments.mine.{source}", "path": str(path)}
        return {"data": data, "loss": loss, "layers": layers, "shuffle": True, "test_checkpoint": "last", **further}

    return given


CLASSES = 4
SHAPES: dict[str, tuple[int, ...]] = {"(N, C)": (), "(N, C, T)": (5,), "(N, C, H, W)": (3, 2)}


def one_for_each_place(shape: tuple[int, ...]) -> list[Any]:
    """Layers that give as many classes for every place of an input (N, 3, *shape)."""
    if not shape:
        return [{"Linear": CLASSES}]
    return [{f"Conv{len(shape)}d": {"out_channels": CLASSES, "kernel_size": 1}}]


def drawn(draw: random.Random, total: int, ignored: int, shape: tuple[int, ...], kind: str) -> Batch:
    """Examples of whose targets a third is padding, and all of some."""
    generator = torch.Generator().manual_seed(draw.randrange(10**6))
    x = torch.rand((total, 3, *shape), generator=generator)
    if kind == "shares":
        return x, torch.rand((total, CLASSES, *shape), generator=generator).softmax(1)
    y = torch.randint(CLASSES, (total, *shape), generator=generator)
    y[torch.rand(y.shape, generator=generator) < 1 / 3] = ignored
    y[torch.rand(total, generator=generator) < 1 / 3] = ignored
    return x, y


def a_loss(draw: random.Random) -> tuple[dict[str, Any], str]:
    """(a loss that means over what counts, "classes" or "shares")."""
    name = draw.choice(["CrossEntropyLoss", "CrossEntropyLoss", "NLLLoss"])
    found: dict[str, Any] = {"name": name, "reduction": draw.choice(["mean", "mean", "sum"])}
    kind = draw.choice(["classes", "classes", "shares"]) if name == "CrossEntropyLoss" else "classes"
    if kind == "classes" and draw.random() < 0.7:
        found["ignore_index"] = draw.choice([-100, -1, 0, 2, -7])
    if draw.random() < 0.5:
        found["weight"] = draw.choice([[1.0, 0.5, 3.0, 0.25], [0.0, 1.0, 2.0, 1.0]])
    if name == "CrossEntropyLoss" and draw.random() < 0.5:
        found["label_smoothing"] = 0.2
    return found, kind


@pytest.mark.parametrize("seed", range(24))
def test_any_batches_and_accumulation_give_the_loss_of_the_whole(seed: int, start: Start, give: Any) -> None:
    draw = random.Random(seed)
    spec, kind = a_loss(draw)
    shape = draw.choice(list(SHAPES.values()))
    ignored = spec.get("ignore_index", -100)
    parts = tuple(drawn(draw, n, ignored, shape, kind) for n in (draw.randrange(9, 30), 270, 7))
    layers = one_for_each_place(shape) + ([{"LogSoftmax": 1}] if spec["name"] == "NLLLoss" else [])
    sizes = {"batch_size": draw.randrange(1, 9), "accumulate": draw.randrange(1, 5), "epochs": 2}
    source = draw.choice(["given", "given", "disk"])
    found = give(parts, spec, layers, source, precision="fp64", test_checkpoint="last", **sizes)
    run = start(**found)
    expected, weights = by_torch(copy.deepcopy(run.model), losses.build(spec).double(), run)
    drive(run)
    steps = [value for _, value in run.history["train/loss"]]
    assert steps == pytest.approx(expected["train"], rel=1e-10, abs=1e-12), spec
    assert [value for _, value in run.history["valid/loss"]] == pytest.approx(expected["valid"], rel=1e-10), spec
    assert run.history["test/loss"][0][1] == pytest.approx(expected["test"][0], rel=1e-10), spec
    for a, b in zip(run.model.parameters(), weights, strict=True):
        torch.testing.assert_close(a.detach(), b, rtol=1e-9, atol=1e-11)
    found = measure.values(run, run.data.train, "train")["train/loss"]
    assert found == pytest.approx(expected["whole"][0], rel=1e-10), spec


def in_one(source: Any) -> list[Tensor]:
    """(x, y) of all examples, in double precision."""
    whole = map(torch.stack, zip(*(source[i] for i in range(len(source))), strict=True))
    return [t.double() if t.is_floating_point() else t for t in whole]


def by_torch(model: nn.Module, loss: nn.Module, run: Run) -> tuple[dict[str, list[float]], list[Tensor]]:
    """The losses and the weights of a loop in plain torch, every group of batches in one, every part in one."""
    trainer = run.settings.trainer
    train, valid, test = map(in_one, (run.data.train, run.data.valid, run.data.test))
    total = copy.copy(loss)
    total.reduction = "sum"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found: dict[str, list[float]] = {"train": [], "valid": [], "test": [], "whole": []}
    for epoch in range(trainer.epochs):
        order = order_of(len(train[0]), run.settings.seed, epoch)
        for index in order.split(trainer.batch_size * trainer.accumulate):
            optimizer.zero_grad()
            value = loss(model(train[0][index]), train[1][index])
            if not value.isfinite():  # nothing counts: torch divides by 0
                value = total(model(train[0][index]), train[1][index])
            value.backward()
            optimizer.step()
            found["train"].append(value.item())
        with torch.no_grad():
            found["valid"].append(loss(model(valid[0]), valid[1]).item())
    with torch.no_grad():
        found["test"].append(loss(model(test[0]), test[1]).item())
        found["whole"].append(loss(model(train[0]), train[1]).item())
    return found, [p.detach() for p in model.parameters()]


#: (loss, output layers, targets) of every loss that takes the output's shape or a class for each example.
def others(draw: torch.Generator, n: int) -> dict[str, tuple[dict[str, Any], list[Any], Tensor]]:
    def numbers(*shape: int) -> Tensor:
        return torch.rand(shape, generator=draw)

    classes, signs = torch.randint(CLASSES, (n,), generator=draw), numbers(n, CLASSES).round() * 2 - 1
    sets = torch.stack([torch.randperm(CLASSES, generator=draw) for _ in range(n)])
    sets[:, 2:] = -1
    linear: list[Any] = [{"Linear": CLASSES}]
    weight = [0.5, 2.0, 1.0, 3.0]
    return {
        "MSELoss": ({}, linear, numbers(n, CLASSES) - 0.5),
        "L1Loss": ({"reduction": "sum"}, linear, numbers(n, CLASSES)),
        "SmoothL1Loss": ({"beta": 0.5}, linear, numbers(n, CLASSES)),
        "HuberLoss": ({"delta": 0.3}, linear, numbers(n, CLASSES)),
        "BCELoss": ({"weight": weight}, [*linear, "Sigmoid"], numbers(n, CLASSES).round()),
        "BCEWithLogitsLoss": ({"weight": weight, "pos_weight": weight}, linear, numbers(n, CLASSES)),
        "MultiLabelSoftMarginLoss": ({"weight": weight}, linear, numbers(n, CLASSES).round()),
        "SoftMarginLoss": ({}, linear, signs),
        "HingeEmbeddingLoss": ({"margin": 0.7}, linear, signs),
        "PoissonNLLLoss": ({"full": True}, linear, (5 * numbers(n, CLASSES)).round()),
        "KLDivLoss": ({"reduction": "batchmean"}, [*linear, {"LogSoftmax": 1}], numbers(n, CLASSES).softmax(1)),
        "MultiMarginLoss": ({"weight": weight, "margin": 0.5}, linear, classes),
        "MultiLabelMarginLoss": ({}, linear, sets),
        "experiments.mine.Mine": ({}, linear, numbers(n, CLASSES)),
    }


OTHERS = list(others(torch.Generator(), 2))


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_loss_is_that_of_the_whole_too(name: str, start: Start, give: Any) -> None:
    draw = torch.Generator().manual_seed(5)
    parts = []
    for n in (11, 259, 3):
        arguments, layers, y = others(draw, n)[name]
        parts.append((torch.rand((n, 3), generator=draw), y))
    spec = {"name": name, **arguments}
    run = start(
        **give(tuple(parts), spec, layers, precision="fp64", test_checkpoint="last", batch_size=2, accumulate=3)
    )
    expected, weights = by_torch(copy.deepcopy(run.model), losses.build(spec).double(), run)
    drive(run)
    for part in ("train", "valid", "test"):
        found = [value for _, value in run.history[f"{part}/loss"]]
        assert found == pytest.approx(expected[part], rel=1e-10), part
    for a, b in zip(run.model.parameters(), weights, strict=True):
        torch.testing.assert_close(a.detach(), b, rtol=1e-9, atol=1e-11)


def test_every_loss_of_torch_is_known_or_refused() -> None:
    """A loss that a later torch brings fails here: say in `conventions.TABLE` what it takes."""
    public = {
        kind
        for name, kind in vars(nn.modules.loss).items()
        if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__ == nn.modules.loss.__name__
        if not name.startswith("_")
    }
    assert public == TABLE.keys() | OF_OUTPUTS.keys()
    assert not TABLE.keys() & OF_OUTPUTS.keys()
    taken = {kind.__name__ for kind, wanted in TABLE.items() if not wanted.refused}
    assert taken == {*OTHERS, "CrossEntropyLoss", "NLLLoss"} - {"experiments.mine.Mine"}, "each is in a test of the law"
    for kind, wanted in TABLE.items():
        if wanted.refused:
            with pytest.raises(
                ConfigError, match=rf"loss.name: {kind.__name__} (takes more|has weights|is torch's old)"
            ):
                losses.build({"name": kind.__name__})
    with pytest.raises(ConfigError, match="_WeightedLoss is not known"):
        losses.build({"name": "torch.nn.modules.loss._WeightedLoss"})


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        ({"name": "CrossEntropyLoss"}, (5,)),
        ({"name": "CrossEntropyLoss", "ignore_index": 2, "label_smoothing": 0.1}, ()),
        ({"name": "CrossEntropyLoss", "weight": [1.0, 0.5, 3.0, 0.25], "label_smoothing": 0.1}, (5,)),
        ({"name": "CrossEntropyLoss", "weight": [0.0, 1.0, 1.0, 2.0], "ignore_index": -1}, ()),
        ({"name": "CrossEntropyLoss", "reduction": "sum"}, (5,)),
        ({"name": "NLLLoss", "ignore_index": -1}, ()),
    ],
)
def test_many_models_at_once_have_the_losses_of_each_alone(
    loss: dict[str, Any], shape: tuple[int, ...], start: Start, give: Any
) -> None:
    """Of one data set, and of one for each, of which the first has nothing to leave out."""
    draw, ignored = random.Random(3), loss.get("ignore_index", -100)
    layers = one_for_each_place(shape)
    if shape:  # convolutions are not stacked: one number for each class and place by a Linear layer
        layers = ["Flatten", {"Linear": CLASSES * 5}, {"Unflatten": {"dim": 1, "unflattened_size": [CLASSES, 5]}}]
    layers += [{"LogSoftmax": 1}] if loss["name"] == "NLLLoss" else []
    parts = [tuple(drawn(draw, n, ignored, shape, "classes") for n in (12, 270, 5)) for _ in range(2)]
    parts[0][0][1].clamp_(min=0)
    same = give(parts[1], loss, layers, batch_size=2)
    for first, second in ((same, same), (give(parts[0], loss, layers, batch_size=2), same)):
        alone = [start(**found, seed=seed) for seed, found in enumerate((first, second))]
        together = [start(**found, seed=seed) for seed, found in enumerate((first, second))]
        for run in alone:
            drive(run)
        found, reasons = groups(together)
        assert found or first is not second, reasons
        for members in found:
            assert drive_many([together[i] for i in members], [()] * len(members)) == [None] * len(members)
        for i in reasons:
            drive(together[i])
        for a, b in zip(alone, together, strict=True):
            for name, points in a.history.items():
                values = [value for _, value in b.history[name]]
                assert values == pytest.approx([value for _, value in points], rel=1e-4, abs=1e-6), name


def test_padding_trains_and_validates_as_torch_computes_it(start: Start, give: Any) -> None:
    """Eight sequences in two batches of four are one step; one whole batch of padding is nothing."""
    draw = random.Random(1)
    x, y = drawn(draw, 8, -100, (6,), "classes")
    y[4:] = -100
    y[4, 0] = 3
    loss, layers = {"name": "CrossEntropyLoss"}, one_for_each_place((6,))
    parts = ((x, y), (x, y), (x, y))
    whole = start(**give(parts, loss, layers))
    in_parts = start(**give(parts, loss, layers, batch_size=4, accumulate=2, shuffle=False))
    with torch.no_grad():
        expected = nn.CrossEntropyLoss()(whole.model(x), y).item()
        lone = (
            nn.CrossEntropyLoss()(whole.model(x[:4]), y[:4]).item(),
            nn.CrossEntropyLoss()(whole.model(x[4:]), y[4:]).item(),
        )
    for run in (whole, in_parts):
        drive(run)
        assert run.history["train/loss"][0][1] == pytest.approx(expected, rel=1e-6)
    assert sum(lone) / 2 != pytest.approx(expected, rel=1e-2), "the control: equal shares give another number"


@pytest.mark.parametrize("disk", [False, True])
def test_metrics_leave_out_what_the_loss_leaves_out(disk: bool) -> None:
    y = torch.tensor([0, 1, 2, -100, 1, -100] * 5)
    output = nn.functional.one_hot(y.clamp(min=0), 10).float() * 9
    held = Tensors(output, y)
    part: Any = torch.utils.data.TensorDataset(output, y) if disk else held
    loss = nn.CrossEntropyLoss()
    data = targets.fit(Data(held, part, task="multiclass", classes=tuple("abcdefghij")), loss)
    made = components.made_metrics(["Accuracy", {"F1Score": {"average": "macro"}}], data, loss, output[:2], None)
    watch = metric_values.watch(made, data, loss)
    assert watch is not None
    watch(output, y)
    assert metric_values.values(made)["Accuracy"] == 1.0
    plain = Data(held, Tensors(output, y.clamp(min=0)), task="multiclass", classes=data.classes)
    assert components.made_metrics(["Accuracy"], plain, loss, output[:2], None)["Accuracy"].ignore_index is None


def test_a_batch_of_padding_costs_nothing_and_moves_nothing(start: Start, give: Any) -> None:
    x, y = drawn(random.Random(1), 4, -100, (6,), "classes")
    y[2:] = -100
    parts = ((x, y), (x, y), (x, y))
    run = start(**give(parts, {"name": "CrossEntropyLoss"}, one_for_each_place((6,)), batch_size=2, shuffle=False))
    steps, weights = run.batches(), []
    for _, _ in zip(range(2), train(run.state, steps, run.step), strict=False):
        weights.append([p.detach().clone() for p in run.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    drive(run)
    assert [value == 0 for _, value in run.history["train/loss"]] == [False, True] * 2


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_padding_counts_in_mixed_precision_as_in_single(precision: str, start: Start, give: Any) -> None:
    parts = tuple(drawn(random.Random(n), n, -1, (6,), "classes") for n in (12, 300, 40))
    loss = {"name": "CrossEntropyLoss", "ignore_index": -1, "weight": [1.0, 0.5, 3.0, 0.25]}
    sizes = {"batch_size": 2, "accumulate": 3, "epochs": 1}
    found = []
    for kind in ("fp32", precision):
        run = start(**give(parts, loss, one_for_each_place((6,)), precision=kind, **sizes))
        sources = (run.data.train, run.data.valid, run.data.test)
        found.append([measure.values(run, source, "x")["x/loss"] for source in sources])
        drive(run)
        found[-1].append(run.history["train/loss"][0][1])
    assert found[1] == pytest.approx(found[0], rel=0.01)


def test_lbfgs_takes_the_mean_of_what_counts(start: Start, give: Any) -> None:
    x, y = drawn(random.Random(7), 20, -100, (), "classes")
    layers, lbfgs = one_for_each_place(()), {"name": "LBFGS", "lr": 0.5, "max_iter": 5}
    run = start(**give(((x, y),) * 3, {"name": "CrossEntropyLoss"}, layers, optimizer=lbfgs, precision="fp64"))
    model = copy.deepcopy(run.model)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value: Tensor = nn.CrossEntropyLoss()(model(x.double()), y)
        value.backward()
        return value

    expected = [optimizer.step(closure).item() for _ in range(3)]
    drive(run)
    assert [value for _, value in run.history["train/loss"]] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("source", "ignored"), [("given", -100), ("given", 2), ("disk", -1), ("disk", 0)])
def test_a_perfect_model_with_padding_is_perfect(
    shape: tuple[int, ...], source: str, ignored: int, start: Start, give: Any
) -> None:
    parts = tuple(drawn(random.Random(n), n, ignored, shape, "classes") for n in (12, 30, 9))
    named = [("Accuracy", {}), ("F1Score", {"average": "macro"}), ("JaccardIndex", {}), ("CohenKappa", {})]
    loss = {"name": "CrossEntropyLoss", "ignore_index": ignored}
    found = give(parts, loss, one_for_each_place(shape), source, batch_size=4)
    found["data"] |= {"task": "multiclass", "classes": CLASSES}
    run = start(**found, metrics=[{name: arguments} for name, arguments in named])
    drive(run)
    x, y = parts[1]
    with torch.no_grad():
        shares = run.model.eval()(x).softmax(1)
    for name, arguments in named:
        metric = getattr(torchmetrics, name)(task="multiclass", num_classes=CLASSES, ignore_index=ignored, **arguments)
        assert run.history[f"valid/{name}"][-1][1] == pytest.approx(float(metric(shares, y)), rel=1e-6), name
    counts = y != ignored
    right = (shares.argmax(1) == y)[counts].float().mean()
    assert run.history["valid/Accuracy"][-1][1] == pytest.approx(float(right), rel=1e-6)

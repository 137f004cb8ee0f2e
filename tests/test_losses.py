"""Laws of losses: any batches, accumulation and launcher give the loss of the whole, as plain torch computes it."""

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner import losses
from runner.data import Batch, order_of
from runner.prepare import prepare
from runner.run import Run, drive
from runner.vectorized import drive_many, groups
from tests.conftest import Start, settings

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
        return {"data": data, "loss": loss, "layers": layers, "shuffle": True, **further}

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
    found = give(parts, spec, layers, source, precision="fp64", **sizes)
    run = start(**found)
    expected, weights = by_torch(copy.deepcopy(run.model), losses.build(spec).double(), run)
    drive(run)
    steps = [value for _, value in run.history["train/loss"]]
    assert steps == pytest.approx(expected["train"], rel=1e-10, abs=1e-12), spec
    assert [value for _, value in run.history["valid/loss"]] == pytest.approx(expected["valid"], rel=1e-10), spec
    assert run.history["test/loss"][0][1] == pytest.approx(expected["test"][0], rel=1e-10), spec
    for a, b in zip(run.model.parameters(), weights, strict=True):
        torch.testing.assert_close(a.detach(), b, rtol=1e-9, atol=1e-11)
    found = run.look_at(run.data.train, "train")["train/loss"]
    assert found == pytest.approx(expected["whole"][0], rel=1e-10), spec


def by_torch(model: nn.Module, loss: nn.Module, run: Run) -> tuple[dict[str, list[float]], list[Tensor]]:
    """The losses and the weights of a loop in plain torch, every group of batches in one, every part in one."""
    trainer = run.settings.trainer
    train, valid, test = (
        tuple(t.double() if t.is_floating_point() else t for t in map(torch.stack, zip(*part, strict=True)))
        for part in ([source[i] for i in range(len(source))] for source in (run.data.train, run.data.valid, run.data.test))
    )
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

"""The training pictures that a plot shows: those of the batches that training has taken, to the bit."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from runner.data import Data, Tensors, order_of
from runner.settings import Model, Settings, Trainer
from runner.training.augment import balance
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.subject import Subject

DROPOUT = {"augment": [{"torch.nn.Dropout": {"p": 0.2}}]}
KINDS: list[dict[str, Any]] = [
    DROPOUT,
    {"mixup": 0.4},
    {"cutmix": 1.0, "mixup": 0.4, **DROPOUT},
    {"sample": "balanced", **DROPOUT},
]


class OnDisk(torch.utils.data.Dataset[Any]):
    """The examples of tensors, one at a time, each with noise of its own draws."""

    def __init__(self, source: Tensors) -> None:
        self.source, self.labels = source, source.y.tolist()  # type: ignore[union-attr]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        x, y = self.source[index]
        return x + torch.rand(()), y


def made(on_disk: bool, **data: Any) -> Run:
    settings = Settings(
        data={"name": "digits", "valid": 0.8, "test": 0.15, **data},
        model=Model(["Flatten", {"Linear": 10}]),
        loss={"name": "CrossEntropyLoss"},
        optimizer={"name": "SGD", "lr": 0.1},
        scheduler=None,
        trainer=Trainer(epochs=2, batch_size=16, accumulate=2),
    )
    run = prepare(settings, "seen")
    if on_disk:
        run.data = replace(run.data, train=OnDisk(run.data.train))  # type: ignore[arg-type]
    return run


def order(data: Data, epoch: int, balanced: bool) -> Tensor:
    """Return the examples of an epoch in their order."""
    classes = balance.labels(data, "data.sample")
    return balance.order(classes, 0, epoch) if balanced else order_of(len(classes), 0, epoch)


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("data", KINDS, ids=str)
def test_what_is_shown_is_what_training_has_seen(data: dict[str, Any], on_disk: bool) -> None:
    run = made(on_disk, **data)
    steps = [torch.cat([x for _, (x, _) in parts]) for parts in run.batches()]  # type: ignore[misc]
    each = run.steps_per_epoch
    for done in (0, 1, each, each + 1, 2 * each):
        run.state.step = done
        plain, epochs = Subject(run).treated(20, 5)
        assert len(plain) == 20
        assert len(epochs) == -(-done // each)
        for epoch, pictures in enumerate(epochs):
            taken = torch.cat(steps[epoch * each : min((epoch + 1) * each, done)])
            examples = order(run.data, epoch, "sample" in data)[: len(taken)].tolist()
            expected = [taken[examples.index(one)] if one in examples else None for one in range(20)]
            assert [one is None for one in pictures] == [one is None for one in expected]
            assert all(a is None or torch.equal(a.picture, b) for a, b in zip(pictures, expected, strict=True))  # type: ignore[arg-type]
    run.close()

"""The training pictures that a plot shows: those of the batches that training has taken, to the bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from runner.data import Data, Tensors, order_of
from runner.settings import Model, Settings, Trainer
from runner.settings.values.lookup import use_folder
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


def test_targets_that_are_pictures_are_mixed_without_a_word_of_transforms(tmp_path: Path) -> None:
    """`data.augment_target` says what transforms do to targets, and there are none."""
    code = "from runner.data import Data, Tensors\nimport torch\n\n\ndef dense():\n    x = torch.rand(8, 1, 8, 8)\n"
    (tmp_path / "mixed.py").write_text(code + "    return Data(Tensors(x, x))\n")
    use_folder(tmp_path)
    settings = Settings(
        data={"name": "experiments.mixed.dense", "mixup": 0.4},
        model=Model([{"Conv2d": {"out_channels": 1, "kernel_size": 1}}]),
        loss={"name": "MSELoss"},
        optimizer={"name": "SGD", "lr": 0.1},
        scheduler=None,
        plots=["augmented"],
        trainer=Trainer(epochs=1),
    )
    run = prepare(settings, "mixed")
    [[(_, (x, y))]] = run.batches()
    run.state.step = 1
    plain, [seen] = Subject(run).treated(8, 1)
    assert torch.equal(x, y)
    assert all(one is not None and torch.equal(one.picture, mixed) for one, mixed in zip(seen, x, strict=True))
    assert not any(torch.equal(one.picture, mixed) for one, mixed in zip(plain, x, strict=True))
    run.close()

"""What many models at once would compute otherwise than each alone is found before they are trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.settings import Settings
from runner.settings.values.lookup import use_folder
from runner.training.drive import drive
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.vectorized import drive_many, groups, trial
from tests.conftest import settings
from tests.training.test_vectorized import difference

WHOLE = {"layers": [{"Linear": 6}, "Tanh", {"Linear": 1}], "data": {"name": "line", "points": 39, "valid": 11}}
CYCLE = {"name": "CyclicLR", "base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "interval": "step"}

MINE = '''
import torch
from torch import nn


class Halves(nn.Module):
    """Lets its weight learn half as fast."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6))
        self.weight.register_hook(lambda gradient: gradient * 0.5)

    def forward(self, x):
        return x * self.weight


class HalvesLater(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6))
        self.weight.register_post_accumulate_grad_hook(lambda p: (p.grad.mul_(0.5), None)[1])

    def forward(self, x):
        return x * self.weight
'''


def jobs(**changes: Any) -> list[Settings]:
    given = {**WHOLE, "batch_size": 8, "epochs": 4, "precision": "fp64", "optimizer": {"name": "SGD", "lr": 0.1}}
    return [settings(**{**given, **changes, "seed": seed}) for seed in (1, 2)]


def alone(chosen: Settings) -> Run:
    run = prepare(chosen, "test")
    drive(run)
    run.close()
    return run


def reason(chosen: list[Settings]) -> str:
    runs = [prepare(one, "test") for one in chosen]
    together, others = groups(runs)
    for run in runs:
        run.close()
    assert not together
    return others[0]


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [
        ({"name": "SGD", "lr": 0.1, "momentum": 0.9}, {**CYCLE, "base_momentum": 0.0}),
        ({"name": "RMSprop", "lr": 0.1, "momentum": 0.9}, {**CYCLE, "base_momentum": 0.0}),
    ],
)
def test_a_momentum_that_comes_to_0(optimizer: dict[str, Any], scheduler: dict[str, Any]):
    """Torch leaves the momentum of before as it is in such a step."""
    assert "momentum" in reason(jobs(optimizer=optimizer, scheduler=scheduler))


@pytest.mark.parametrize("layer", ["Halves", "HalvesLater"])
def test_gradients_that_a_hook_changes(layer: str, tmp_path: Path):
    (tmp_path / "experiments").mkdir(exist_ok=True)
    (tmp_path / "experiments/hooked.py").write_text(MINE)
    use_folder(tmp_path / "experiments")
    layers = [{"Linear": 6}, f"experiments.hooked.{layer}", {"Linear": 1}]
    assert "hook" in reason(jobs(layers=layers))


def words(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 10, (50, 5))
    np.savez(folder / "words.npz", x=x, y=(x.mean(1, keepdims=True)).astype(np.float32))
    return {"name": "arrays", "path": str(folder / "words.npz"), "indices": True}


def embedded(**arguments: Any) -> list[Any]:
    return [{"Embedding": {"num_embeddings": 10, "embedding_dim": 3, **arguments}}, "Flatten", {"Linear": 1}]


def test_rows_of_padding(tmp_path: Path):
    data = words(tmp_path)
    assert "padding_idx" in reason(jobs(layers=embedded(padding_idx=1), data=data))


def test_gradients_are_tried(tmp_path: Path):
    """The same without the check for padding: outputs and losses agree, and gradients do not."""
    runs = [prepare(one, "test") for one in jobs(layers=embedded(padding_idx=1), data=words(tmp_path))]
    with pytest.raises(trial.Unstackable, match=r"gradients of .* differ"):
        trial.trial(runs)
    for run in runs:
        run.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {"name": "SGD", "lr": 0.1, "momentum": 0.9}, "scheduler": {**CYCLE, "base_momentum": 0.1}},
        {"metrics": ["MeanAbsoluteError"]},
        {},
    ],
)
def test_others_are_each_alone(changes: dict[str, Any]):
    """The control, and metrics of one job only, whose outputs lie in memory as those of a model alone do."""
    layers = [{"Linear": 6}, "Tanh", {"Linear": 2}]
    chosen = jobs(**{"layers": layers, "data": {"name": "experiments.two.halves"}, **changes})
    chosen[0].metrics = []
    runs = [prepare(one, "test") for one in chosen]
    assert groups(runs) == ([[0, 1]], {})
    assert drive_many(runs, [[], []]) == [None, None]
    for run, one in zip(runs, map(alone, chosen), strict=True):
        assert difference(run.model.state_dict(), one.model.state_dict()) < 1e-10
        assert run.history.keys() == one.history.keys()
        for name, points in run.history.items():
            assert np.allclose(np.array(list(points)), np.array(list(one.history[name])), rtol=0, atol=1e-6), name
        run.close()


@pytest.fixture(autouse=True)
def two(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir(exist_ok=True)
    (tmp_path / "experiments/two.py").write_text(
        "import torch\nfrom runner.data import Data, Tensors\n\n\ndef halves():\n"
        "    x = torch.linspace(-1, 1, 50).reshape(-1, 1)\n    y = torch.cat([x, x.abs()], 1)\n"
        "    return Data(train=Tensors(x[::2], y[::2]), valid=Tensors(x[1::2], y[1::2]))\n"
    )
    use_folder(tmp_path / "experiments")

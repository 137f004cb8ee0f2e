"""A class chosen over a preset keeps the preset's arguments that it takes; what a person has said is held to."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import composing
from tests.support.command import runner
from tests.support.sweeping import artifacts, client

MINE = """
import torch
from runner.data import Data, Tensors

class MyLoss(torch.nn.Module):
    def forward(self, output, target):
        return torch.nn.functional.cross_entropy(output, target)

class Smooth(MyLoss):
    def __init__(self, label_smoothing=0.5):
        super().__init__()
        self.label_smoothing = label_smoothing

class Anything(MyLoss):
    def __init__(self, **further):
        super().__init__()

class Plain(torch.optim.SGD):
    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)

def ten(points):
    return Data(Tensors(torch.rand(points, 1), torch.rand(points, 1)))
"""
STUDY = "defaults: [override /data: digits, override /model: digits_cnn, override /loss: cross_entropy]\n"
MY_LOSS = "loss.name=experiments.mine.MyLoss"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: Any, experiments: Path) -> Path:
    (experiments / "mine.py").write_text(MINE)
    (experiments / "x.yaml").write_text(f"{STUDY}loss: {{name: experiments.mine.MyLoss}}\n")
    (experiments / "smoothed.yaml").write_text(
        f"{STUDY}loss: {{name: experiments.mine.MyLoss, label_smoothing: 0.1}}\n"
    )
    (tmp_path / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "conf" / "loss" / "wrong.yaml").write_text("name: CrossEntropyLoss\nlabel_smoothin: 0.1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "component", "left"),
    [
        (["experiments=digits_cnn", MY_LOSS], "loss", {}),
        (["experiments=x"], "loss", {}),
        (["experiments=digits_cnn", "loss.name=experiments.mine.Smooth"], "loss", {"label_smoothing": 0.0}),
        (["experiments=digits_cnn", "loss.name=experiments.mine.Anything"], "loss", {"label_smoothing": None}),
        (["loss=huber", "loss.name=MSELoss"], "loss", {}),
        (["optimizer=sgd_momentum", "optimizer.name=experiments.mine.Plain"], "optimizer", {"lr": 0.01}),
        (["optimizer=adam", "optimizer.name=Adadelta"], "optimizer", {"lr": 0.001, "weight_decay": 0.0}),
        (["scheduler=cosine", "scheduler.name=ConstantLR"], "scheduler", {"interval": None}),
        (["data.name=experiments.mine.ten", "data.points=10"], "data", {"points": 10}),
    ],
)
def test_what_only_a_preset_has_said_does_not_refuse(
    words: list[str], component: str, left: dict[str, Any], there: Path
) -> None:
    with composing.hydra():
        assert composing.problem(*words) == ""
        found = dict(getattr(composing.settings(*words), component))
    found.pop("name")
    assert {key: found.get(key) for key in left} == left
    assert set(found) <= {*left, "valid", "test", "seed"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiments=digits_cnn", MY_LOSS, "loss.label_smoothing=0.1"], "loss.label_smoothing: MyLoss takes no"),
        (["experiments=smoothed"], "loss.label_smoothing: MyLoss takes no argument 'label_smoothing' (it takes none)"),
        (["optimizer=adam", "optimizer.name=SGD", "optimizer.betas=[0.9,0.99]"], "optimizer.betas: SGD takes no"),
        (
            ["scheduler=step", "scheduler.name=ConstantLR", "scheduler.gamma=0.5"],
            "scheduler.gamma: ConstantLR takes no",
        ),
        (["loss=wrong"], "loss.label_smoothin: CrossEntropyLoss takes no argument 'label_smoothin'"),
    ],
)
def test_what_a_person_has_said_refuses(words: list[str], message: str, there: Path) -> None:
    with composing.hydra():
        assert message in composing.problem(*words)


def test_a_loss_of_ones_own_over_a_preset_trains_and_its_record_does_without(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    (workplace / "experiments" / "mine.py").write_text(MINE)
    words = ("experiments=digits_cnn", "trainer.epochs=1", "plots=[]", "device=cpu")
    done = runner(*words, MY_LOSS, cwd=workplace)
    assert "label_smoothing of conf/loss/cross_entropy.yaml left out; experiments.mine.MyLoss takes no" in done.err
    plain = runner(*words, cwd=workplace)
    assert done.last.split()[3:] == plain.last.split()[3:], "another loss than cross-entropy"
    run = client(workplace).get_run(done.run_id)
    recorded = yaml.safe_load((artifacts(workplace, run) / "config.yaml").read_text())
    assert recorded["loss"] == {"name": "experiments.mine.MyLoss"}
    assert "loss.label_smoothing" not in run.data.params
    runner("evaluate", done.run_id, cwd=workplace)
    swept = runner("-m", *words, "loss.name=CrossEntropyLoss,experiments.mine.MyLoss", cwd=workplace)
    assert " FINISHED " in swept.last

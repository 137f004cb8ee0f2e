"""Studies that inherit from studies, and values that replace what they have nothing in common with."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.cli.compose import inherited
from runner.cli.guard import studies
from runner.settings.errors import ConfigError
from runner.settings.files import places
from tests.support import composing

FILES = {
    "base": "defaults: [override /data: digits, override /model: mlp, override /optimizer: adam,"
    " override /loss: cross_entropy, override /scheduler: cosine]\noptimizer: {lr: 0.005}\ndata: {flat: true}\n",
    "own": "model: {layers: {flatten: Flatten, rnn: {Linear: {out_features: 8, bias: false}}, head: {Linear: 10}}}\n"
    "data: {name: experiments.mine.ten, points: 20}\nloss: {CrossEntropyLoss: {label_smoothing: 0.1}}\n"
    "optimizer: {name: SGD, lr: 0.1, momentum: 0.9}\nscheduler: {name: StepLR, step_size: 3}\n",
    "head": "defaults: [base]\nmodel: {layers: {head: {Linear: {bias: false}}}}\n",
    "act": "defaults: [base]\nmodel: {layers: {relu1: Tanh, head: {Bilinear: 3}}}\n",
    "listed": "defaults: [base]\nmodel: {layers: [Flatten, {Linear: 10}]}\n",
    "unlisted": "defaults: [listed]\nmodel: {layers: {flat: Flatten, out: {Linear: 10}}}\n",
    "mine": "defaults: [base]\nmodel: {layers: {flatten: Flatten, out: {Linear: 10}}}\n",
    "repeated": "defaults: [base]\nmodel: {layers: {flatten: Flatten, head: {Linear: 12}}}\n",
    "deep": "defaults: [head]\nmodel: {layers: {head: {Linear: {out_features: 10}}}}\ntrainer: {epochs: 2}\n",
    "sgd": "defaults: [base]\noptimizer: {name: SGD, momentum: 0.9}\n",
    "preset": "defaults:\n  - override /optimizer: sgd\n  - own\n",
    "chosen": "defaults: [base, override /optimizer: sgd, override /data: line]\n",
    "before": "defaults: [_self_, base]\noptimizer: {lr: 1.0, weight_decay: 0.5}\n",
    "two": "defaults: [base, shorter]\n",
    "shorter": "trainer: {epochs: 4}\n",
    "without": "defaults: [base, override /scheduler: null]\n",
    "nothing": "defaults: [own]\nscheduler: null\n",
    "spelled": "defaults: [experiments/base.yaml]\n",
    "keyed": "defaults: [/experiments: base]\n",
    "again": "defaults: [again]\n",
    "one": "defaults: [other]\n",
    "other": "defaults: [one]\n",
    "outside": "defaults: [../conf/model/mlp]\n",
    "nobody": "defaults: [bass]\n",
    "stepped": "defaults: [shorter]\ntrainer: {steps: 50, average: {decay: 0.9}}\n",
    "passes": "defaults: [stepped]\ntrainer: {epochs: 2, average: {from: 0.5}}\n",
    "fewer": "defaults: [base]\nmodel: {layers: {drop1: null}}\n",
    "cut": "defaults: [mine]\nmodel: {layers: {flatten: null}}\n",
    "dotted": "defaults: [override /model: empty]\n"
    "model: {layers: {body: {experiments.mine.Block: {width: 4}}, head: {Linear: 1}}}\n",
    "parted": "defaults: [own]\noptimizer: {rnn: {name: Adam, lr: 0.1}, head: {name: SGD, lr: 0.2}}\n",
    "apart": "defaults: [base]\noptimizer: {hidden1: {name: Adam, lr: 0.1}, head: {name: SGD, lr: 0.2}}\n",
    "smoothed": "defaults: [base]\nloss: {label_smoothing: 0.1}\n",
    "named": "defaults: [override /loss: null]\nloss: {name: MSELoss}\n",
    "each": "defaults: [smoothed]\nloss: {digit: CrossEntropyLoss, odd: {name: CrossEntropyLoss, share: 0.5}}\n",
    "anew": "defaults: [named]\nloss: {digit: CrossEntropyLoss, odd: CrossEntropyLoss}\n",
    "share": "defaults: [each]\nloss: {odd: {share: 0.2}}\n",
    "joined": "defaults: [parted]\noptimizer: {name: Adam, lr: 0.3}\n",
    "layered": "defaults: [base]\nloss: {CrossEntropyLoss: null}\noptimizer: {SGD: {lr: 0.5}}\n"
    "scheduler: {CosineAnnealingLR: {T_max: 9}}\n",
    "nulled": "defaults: [empty_loss]\nloss: {name: experiments.mine.far}\noptimizer: {name: Adam}\n",
    "empty_loss": "loss: null\noptimizer: null\n",
    "anyhow": "defaults: [override /loss: huber, override /scheduler: step]\nloss: {name: experiments.mine.far}\n"
    "scheduler: {name: ConstantLR}\n",
    "short": "model: {inputs: {a: {Linear: 3}}, layers: {embed: {Embedding: 24}, conv: {Conv2d: 8},"
    " turn: {Permute: [0, 2, 1]}, both: {Sequential: [ReLU]}}}\n",
    "longer": "defaults: [short]\n"
    "model: {layers: {embed: {Embedding: {num_embeddings: 10}}, both: {Sequential: {b: Tanh}}}}\n",
    "tasks": "loss: {label: CrossEntropyLoss, size: {HuberLoss: {delta: 2.0}}, far: {name: L1Loss, share: 0.5}}\n"
    "metrics: {label: [Accuracy, {F1Score: {average: macro}}], size: {gap: MeanSquaredError}}\n"
    "data: {name: experiments.mine.ten, points: 20, augment: [RandomHorizontalFlip]}\n"
    "scheduler: {name: SequentialLR, schedulers: {up: LinearLR, down: CosineAnnealingLR}, milestones: [3]}\n",
    "smoother": "defaults: [tasks]\n"
    "loss: {label: {label_smoothing: 0.1}, size: {share: 2}, far: {MSELoss: {reduction: sum}}}\n"
    "scheduler: {schedulers: {up: {LinearLR: {total_iters: 7}}}}\n",
    "valued": "data: digits\nmodel: mlp\noptimizer: adam\nloss: cross_entropy\nscheduler: cosine\ntrainer: batches\n",
    "over": "defaults: [valued]\ndata: {digits: {flat: true}}\noptimizer: {lr: 0.1}\nscheduler: step\n",
    "sourced": "data: {diabetes: null}\nmodel: linear\n",
    "twice": "defaults: [override /data: line]\ndata: digits\n",
    "plain": "defaults: [digits_cnn]\nmodel: {layers: [Flatten, {Linear: 10}]}\n",
    "drawn": "defaults: [plain]\nplots: [filters]\n",
    "packed": "defaults: [digits_cnn]\nmodel: {layers: {all: {Sequential: [{Conv2d: 3}, Flatten, {Linear: 10}]}}}\n",
    "mlp": "defaults: [digits_cnn, override /model: mlp]\n",
    "whole": "model: {name: experiments.mine.ten, points: 4, freeze: [a]}\n",
    "unwhole": "defaults: [base]\nmodel: {experiments.mine.ten: {points: 4}}\n",
    "wide": "defaults: [digits_cnn]\nmodel: {layers: {conv1: {Conv2d: {out_channels: 64}}}}\n",
}
MINE = """
import torch
from runner.data import Data, Tensors

def ten(points):
    return Data(Tensors(torch.rand(points, 4), torch.arange(points) % 10), task="classification")

def far(output, target, **options):
    return ((output - target).abs() ** options.get("p", 4)).mean()
"""


MLP = ["flatten", "hidden1", "relu1", "drop1", "hidden2", "relu2", "drop2", "head"]


def load(name: str) -> tuple[dict[str, Any], Path] | None:
    return (yaml.safe_load(FILES[name]), Path(f"{name}.yaml")) if name in FILES else None


def preset(group: str, name: str) -> dict[str, Any]:
    return yaml.safe_load(places.preset(group, name).read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("head", "optimizer", {"lr": 0.005}),
        ("head", "model.layers", {"head": {"Linear": {"bias": False}}}),
        ("act", "model.layers", {"relu1": "Tanh", "head": {"Bilinear": 3}}),
        ("listed", "model.layers", ["Flatten", {"Linear": 10}]),
        ("unlisted", "model.layers", {"flat": "Flatten", "out": {"Linear": 10}}),
        ("mine", "model.layers", {"flatten": "Flatten", "out": {"Linear": 10}}),
        ("deep", "model.layers.head", {"Linear": {"bias": False, "out_features": 10}}),
        ("deep", "trainer.epochs", 2),
        ("sgd", "optimizer", {"name": "SGD", "momentum": 0.9}),
        ("chosen", "optimizer", {"lr": 0.005}),
        ("chosen", "data", {}),
        ("before", "optimizer", {"lr": 0.005, "weight_decay": 0.5}),
        ("two", "trainer.epochs", 4),
        ("stepped", "trainer", {"steps": 50, "average": {"decay": 0.9}}),
        ("passes", "trainer", {"epochs": 2, "average": {"from": 0.5}}),
        ("fewer", "model.layers", {"drop1": None}),
        ("longer", "model.layers.embed.Embedding", {"embedding_dim": 24, "num_embeddings": 10}),
        ("longer", "model.layers.both.Sequential", {"b": "Tanh"}),
        ("cut", "model.layers", {"out": {"Linear": 10}}),
        ("nothing", "scheduler", None),
        ("spelled", "optimizer.lr", 0.005),
        ("keyed", "optimizer.lr", 0.005),
        ("parted", "optimizer", {"rnn": {"name": "Adam", "lr": 0.1}, "head": {"name": "SGD", "lr": 0.2}}),
        ("apart", "optimizer", {"hidden1": {"name": "Adam", "lr": 0.1}, "head": {"name": "SGD", "lr": 0.2}}),
        ("each", "loss", {"digit": "CrossEntropyLoss", "odd": {"name": "CrossEntropyLoss", "share": 0.5}}),
        ("anew", "loss", {"digit": "CrossEntropyLoss", "odd": "CrossEntropyLoss"}),
        ("share", "loss", {"digit": "CrossEntropyLoss", "odd": {"name": "CrossEntropyLoss", "share": 0.2}}),
        ("joined", "optimizer", {"name": "Adam", "lr": 0.3}),
    ],
)
def test_a_study_holds_what_it_inherits_and_what_it_says(name: str, key: str, value: Any) -> None:
    found: Any = inherited.whole(name, load, preset).body
    for part in key.split("."):
        found = found[part]
    assert found == value


@pytest.mark.parametrize(
    ("name", "group", "chosen"),
    [
        ("head", "model", "mlp"),
        ("mine", "model", "empty"),
        ("repeated", "model", "empty"),
        ("preset", "optimizer", "sgd"),
        ("chosen", "data", "line"),
        ("without", "scheduler", None),
    ],
)
def test_the_presets_of_a_study_come_before_those_that_it_inherits(name: str, group: str, chosen: Any) -> None:
    assert inherited.whole(name, load, preset).presets[group] == chosen


def test_studies_in_a_circle_are_refused() -> None:
    for name, circle in (("again", "again -> again"), ("one", "one -> other -> one")):
        with pytest.raises(ConfigError, match=f"in a circle, {circle}; take one of them out"):
            inherited.whole(name, load, preset)


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("chosen", "data: flat of base.yaml left out; data=line was chosen instead"),
        ("mine", "model.layers: those of mine.yaml are the whole model, though flatten could be changes of inherited"),
        ("head", ""),
        ("unlisted", ""),
    ],
)
def test_what_is_left_out_of_a_study_is_said(name: str, remark: str) -> None:
    remarks = inherited.whole(name, load, preset).remarks
    assert remark in "\n".join(remarks)
    assert bool(remark) == bool(remarks)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: Any, experiments: Path) -> Path:
    for name, text in FILES.items():
        (experiments / f"{name}.yaml").write_text(text)
    (experiments / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


UNDRAWN = ["loss_curve", "confusion_matrix", "examples"]
WIDTH = {"Linear": 64}
UNDROPPED = {
    **{"flatten": "Flatten", "hidden1": WIDTH, "relu1": "ReLU", "hidden2": WIDTH, "relu2": "ReLU"},
    **{"drop2": {"Dropout": 0.0}, "head": {"Linear": 10}},
}
BODY = "model.layers.body.experiments.mine.Block"
SHORT, EMBED, INPUT = "experiments=short model.layers", "model.layers.embed.Embedding", "model.inputs.a.Linear"
LABEL, UP, F1 = "experiments=tasks loss.label", "scheduler.schedulers.up", {"F1Score": {"average": "macro"}}
SMOOTHER = {
    "label": {"name": "CrossEntropyLoss", "label_smoothing": 0.1},
    "size": {"name": "HuberLoss", "delta": 2.0, "share": 2},
    "far": {"MSELoss": {"reduction": "sum"}},
}
RNN, LINEAR = "model.layers.rnn", "experiments=own model.layers.rnn.Linear"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("experiments=deep", {"trainer.epochs": 2, "optimizer.lr": 0.005, "optimizer.betas": [0.9, 0.999]}),
        ("experiments=valued", {"data.flat": False, "optimizer.lr": 0.001, "trainer.batch_size": 64}),
        (
            "experiments=over",
            {"data.name": "digits", "data.flat": True, "optimizer.lr": 0.1, "scheduler.name": "StepLR"},
        ),
        (
            "experiments=wide loss.label_smoothing=0.1 loss={digit:CrossEntropyLoss,odd:{MSELoss:{}}}",
            {"loss": {"digit": "CrossEntropyLoss", "odd": {"MSELoss": {}}}},
        ),
        ("experiments=over data=line optimizer=sgd", {"data.name": "line", "optimizer.name": "SGD"}),
        ("experiments=sourced", {"data.name": "diabetes", "model.layers": [{"Linear": 1}]}),
        ("experiments=wide", {"model.layers.conv1.Conv2d": {"out_channels": 64, "kernel_size": 3, "padding": 1}}),
        (
            "experiments=own scheduler=null data=line optimizer=adam model=linear",
            {"scheduler": None, "data.points": 200, "optimizer.lr": 0.001, "model.layers": [{"Linear": 1}]},
        ),
        ("experiments=own ~scheduler data=line data.points=30", {"scheduler": None, "data.points": 30}),
        ("experiments=base scheduler=null optimizer=sgd", {"scheduler": None, "optimizer.lr": 0.005}),
        (f"experiments=own {RNN}={{GRU:{{hidden_size:64}}}}", {RNN: {"GRU": {"hidden_size": 64}}}),
        (f"experiments=own {RNN}={{Linear:{{out_features:9}}}}", {f"{RNN}.Linear": {"out_features": 9}}),
        (f"{LINEAR}={{out_features:9}}", {f"{RNN}.Linear": {"out_features": 9, "bias": False}}),
        ("experiments=digits_cnn model.layers=[Flatten]", {"model.layers": ["Flatten"]}),
        ("experiments=listed model.layers={out:{Linear:10}}", {"model.layers": {"out": {"Linear": 10}}}),
        ("experiments=plain", {"plots": UNDRAWN}),
        ("experiments=mlp", {"plots": UNDRAWN}),
        ("experiments=plain plots=[filters]", {"plots": ["filters"]}),
        ("experiments=drawn", {"plots": ["filters"]}),
        ("experiments=packed", {"plots": [*UNDRAWN, "filters", "feature_maps"]}),
        ("experiments=plain model.layers=[{Conv2d:3}]", {"plots": [*UNDRAWN, "filters", "feature_maps"]}),
        ("experiments=digits_cnn model=mlp", {"plots": [*UNDRAWN, "filters", "feature_maps"]}),
        (
            "experiments=whole",
            {"model.layers": [{"name": "experiments.mine.ten", "points": 4}], "model.freeze": ["a"]},
        ),
        ("experiments=unwhole", {"model.layers": [{"experiments.mine.ten": {"points": 4}}]}),
        (
            "experiments=base model={name:experiments.mine.ten,points:4}",
            {"model.layers": [{"name": "experiments.mine.ten", "points": 4}]},
        ),
        ("loss=null loss.name=experiments.mine.far", {"loss": {"name": "experiments.mine.far"}}),
        ("experiments=nulled", {"loss": {"name": "experiments.mine.far"}, "optimizer": {"name": "Adam"}}),
        ("loss=huber loss.name=experiments.mine.far", {"loss": {"name": "experiments.mine.far"}}),
        ("loss=huber loss.name=experiments.mine.far loss.p=3", {"loss": {"name": "experiments.mine.far", "p": 3}}),
        ("experiments=anyhow", {"loss": {"name": "experiments.mine.far"}, "scheduler": {"name": "ConstantLR"}}),
        ("experiments=stepped", {"trainer.steps": 50, "trainer.epochs": None}),
        ("experiments=passes trainer.steps=9", {"trainer.steps": 9, "trainer.epochs": None}),
        ("experiments=stepped trainer.average.from=0.5", {"trainer.average": {"from": 0.5}}),
        ("experiments=stepped trainer.average={from:0.5}", {"trainer.average": {"from": 0.5}}),
        ("experiments=stepped trainer.average=null", {"trainer.average": None}),
        ("experiments=stepped ~trainer.average", {"trainer.average": None}),
        ("experiments=layered", {"optimizer": {"name": "SGD", "lr": 0.5}, "scheduler.T_max": 9}),
        ("experiments=fewer", {"model.layers": UNDROPPED}),
        ("experiments=base model.layers.drop1=null", {"model.layers": UNDROPPED}),
        ("experiments=base model.layers={drop1:null}", {"model.layers": UNDROPPED}),
        (f"experiments=dotted {BODY}.width=7", {"model.layers.body": {"experiments.mine.Block": {"width": 7}}}),
        ("experiments=base optimizer={name:SGD,lr:0.2}", {"optimizer": {"name": "SGD", "lr": 0.2}}),
        ("experiments=parted optimizer={name:Adam,lr:0.2}", {"optimizer": {"name": "Adam", "lr": 0.2}}),
        ("experiments=own optimizer={rnn:{name:Adam}}", {"optimizer": {"rnn": {"name": "Adam"}}}),
        (f"{SHORT}.embed.Embedding.num_embeddings=10", {EMBED: {"embedding_dim": 24, "num_embeddings": 10}}),
        (f"{SHORT}.embed.Embedding={{num_embeddings:10}}", {f"{EMBED}.embedding_dim": 24}),
        (f"{SHORT}.embed={{Embedding:{{num_embeddings:10}}}}", {EMBED: {"num_embeddings": 10}}),
        (f"{SHORT}.embed.Embedding.embedding_dim=9", {EMBED: {"embedding_dim": 9}}),
        (f"{SHORT}.turn.Permute.dims=[0,1,2]", {"model.layers.turn.Permute": {"dims": [0, 1, 2]}}),
        (
            f"{SHORT}.conv.Conv2d.kernel_size=3 {INPUT}.bias=false",
            {
                "model.layers.conv.Conv2d": {"out_channels": 8, "kernel_size": 3},
                INPUT: {"out_features": 3, "bias": False},
            },
        ),
        ("experiments=head model.knobs.outputs=7", {"model.layers.head.Linear": {"out_features": 7, "bias": False}}),
        (
            "experiments=base model.layers=[{Linear:8}] model.layers[0].Linear.bias=false",
            {"model.layers": [{"Linear": {"out_features": 8, "bias": False}}]},
        ),
        ("experiments=smoother", {"loss": SMOOTHER, "scheduler.schedulers.up": {"LinearLR": {"total_iters": 7}}}),
        (f"{LABEL}.label_smoothing=0.1", {"loss.label": {"name": "CrossEntropyLoss", "label_smoothing": 0.1}}),
        (f"{LABEL}={{label_smoothing:0.1}}", {"loss.label": {"name": "CrossEntropyLoss", "label_smoothing": 0.1}}),
        (
            f"{LABEL}.CrossEntropyLoss.label_smoothing=0.1",
            {"loss.label": {"CrossEntropyLoss": {"label_smoothing": 0.1}}},
        ),
        (f"{LABEL}={{MultiMarginLoss:{{p:2}}}}", {"loss.label": {"MultiMarginLoss": {"p": 2}}}),
        (f"{LABEL}={{name:MultiMarginLoss,p:2}}", {"loss.label": {"name": "MultiMarginLoss", "p": 2}}),
        (f"{LABEL}=MultiMarginLoss", {"loss.label": "MultiMarginLoss"}),
        ("experiments=tasks loss.size.share=2", {"loss.size": {"name": "HuberLoss", "delta": 2.0, "share": 2}}),
        ("experiments=tasks loss.size.HuberLoss.delta=3", {"loss.size": {"HuberLoss": {"delta": 3}}}),
        ("experiments=tasks loss.size={L1Loss:{reduction:sum}}", {"loss.size": {"L1Loss": {"reduction": "sum"}}}),
        ("experiments=tasks metrics.label[0].top_k=3", {"metrics.label": [{"name": "Accuracy", "top_k": 3}, F1]}),
        ("experiments=tasks metrics.label[1]={AUROC:{}}", {"metrics.label": ["Accuracy", {"AUROC": {}}]}),
        ("experiments=tasks metrics.size.gap.squared=false", {"metrics.size.gap.name": "MeanSquaredError"}),
        (
            "experiments=tasks metrics.size.more=R2Score",
            {"metrics.size": {"gap": "MeanSquaredError", "more": "R2Score"}},
        ),
        ("experiments=tasks scheduler.schedulers.up.total_iters=4", {UP: {"name": "LinearLR", "total_iters": 4}}),
        ("experiments=tasks scheduler.schedulers.up.LinearLR.total_iters=4", {UP: {"LinearLR": {"total_iters": 4}}}),
        ("experiments=tasks data.augment[0].p=0.3", {"data.augment": [{"name": "RandomHorizontalFlip", "p": 0.3}]}),
        ("experiments=base optimizer={SGD:{lr:0.2}}", {"optimizer": {"name": "SGD", "lr": 0.2}}),
        ("experiments=base optimizer={Adam:{lr:0.2}}", {"optimizer": {"name": "Adam", "lr": 0.2}}),
        ("experiments=base scheduler={StepLR:{step_size:3}}", {"scheduler": {"name": "StepLR", "step_size": 3}}),
        ("scheduler={StepLR:{step_size:3}}", {"scheduler": {"name": "StepLR", "step_size": 3}}),
        ("experiments=parted optimizer={Adam:{lr:0.2}}", {"optimizer": {"name": "Adam", "lr": 0.2}}),
        ("experiments=tasks loss={HuberLoss:{delta:2}}", {"loss": {"name": "HuberLoss", "delta": 2}}),
        ("experiments=own loss={HuberLoss:{delta:2}} loss.delta=3", {"loss": {"name": "HuberLoss", "delta": 3}}),
        ("experiments=own metrics={F1Score:{average:macro}}", {"metrics": {"F1Score": {"average": "macro"}}}),
        ("experiments=base optimizer={lr:0.2}", {"optimizer.betas": [0.9, 0.999], "optimizer.lr": 0.2}),
    ],
)
def test_composed_values_replace_what_they_have_nothing_in_common_with(
    words: str, expected: dict[str, Any], there: Path
) -> None:
    with composing.hydra():
        settings = composing.settings(*words.split())
    for key, value in expected.items():
        found: Any = settings
        for name in key.split("."):
            found = found[name] if isinstance(found, dict) else getattr(found, name)
        assert found == value, key


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("experiments=outside", "experiments/../conf/model: "),
        ("experiments=nobody", "defaults: there is no study 'bass'; did you mean 'base'? (experiments/nobody.yaml"),
        ("experiments=twice", "data: expected keys and values; a preset is chosen"),
        ("experiments=head trainer.patience=0 trainer.clip_norm=0", "trainer.patience: 0 is out of range"),
    ],
)
def test_what_cannot_be_inherited_is_refused(words: str, problem: str, there: Path) -> None:
    with composing.hydra():
        assert problem in composing.problem(*words.split())


def test_values_of_another_class_than_a_typed_preset_are_said(there: Path) -> None:
    with composing.hydra():
        composing.settings("experiments=own", "data=line", "model=linear", "scheduler=null")
        assert studies.remarks == [
            "data: name, points of experiments/own.yaml left out; data=line was typed instead",
            "model: layers of experiments/own.yaml left out; model=linear was typed instead",
            "scheduler: name, step_size of experiments/own.yaml left out; scheduler=null was typed instead",
        ]


def test_the_place_of_a_value_is_the_file_that_sets_it(there: Path) -> None:
    (there / "experiments" / "base.yaml").write_text(FILES["base"] + "trainer: {epochs: -1}\n")
    with composing.hydra():
        assert "(experiments/base.yaml:4)" in composing.problem("experiments=head")

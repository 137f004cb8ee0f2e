"""Which object a name means, which names a configuration may use, and which arguments they take."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from runner.model import classes
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.values import lookup
from runner.training.parts import losses, optimizers, scheduling, source
from runner.training.parts.components import PLOT
from runner.training.parts.metrics import METRIC
from tests.support import components

KINDS = [classes.LAYER, losses.LOSS, optimizers.OPTIMIZER, scheduling.SCHEDULER, source.DATA, PLOT, METRIC]


@pytest.mark.parametrize(
    ("name", "kind", "module"),
    [
        ("Linear", classes.LAYER, "torch.nn"),
        ("Residual", classes.LAYER, "runner.layers"),
        ("MSELoss", losses.LOSS, "torch.nn"),
        ("AdamW", optimizers.OPTIMIZER, "torch.optim"),
        ("StepLR", scheduling.SCHEDULER, "torch.optim.lr_scheduler"),
        ("WarmupCosineLR", scheduling.SCHEDULER, "runner.schedules"),
        ("line", source.DATA, "runner.data.line"),
        ("Accuracy", METRIC, "torchmetrics"),
    ],
)
def test_a_bare_name_is_the_class_of_that_name(name, kind, module):
    found = lookup.find(name, kind, "key")
    assert found.__name__ == name
    assert getattr(sys.modules[module], name) is found


@pytest.mark.parametrize(
    ("wrong", "right", "kind"),
    [
        ("Adm", "Adam", optimizers.OPTIMIZER),
        ("linear", "Linear", classes.LAYER),
        ("Con2d", "Conv2d", classes.LAYER),
        ("MSEloss", "MSELoss", losses.LOSS),
        ("CosineLR", "WarmupCosineLR", scheduling.SCHEDULER),
        ("digit", "digits", source.DATA),
        ("Acuracy", "Accuracy", METRIC),
    ],
)
def test_a_wrong_name_is_answered_with_its_key_and_the_nearest_right_one(wrong, right, kind):
    with pytest.raises(ConfigError) as error:
        lookup.find(wrong, kind, "some.key")
    assert error.value.key == "some.key"
    assert str(error.value).startswith(f"some.key: {wrong!r} is not {kind.noun}")
    assert f"did you mean {right!r}" in str(error.value)


def test_nothing_is_proposed_where_no_name_is_near():
    assert did_you_mean("qqqqqqqq", lookup.known(optimizers.OPTIMIZER)) == ""


@pytest.mark.parametrize("wrong", [None, 3, "", ["Linear"], {"Linear": 1}])
def test_what_is_no_name_is_refused(wrong):
    with pytest.raises(ConfigError, match="is not the name of a layer"):
        lookup.find(wrong, classes.LAYER, "key")


def test_known_lists_only_what_find_accepts():
    for kind in KINDS:
        names = lookup.known(kind)
        assert names, kind.noun
        for name in names:
            assert kind.accepts(lookup.find(name, kind, "key")), name


def test_a_dotted_name_reaches_torch():
    assert lookup.find("torch.nn.Linear", classes.LAYER, "key") is nn.Linear
    assert lookup.find("torch.optim.Adam", optimizers.OPTIMIZER, "key") is torch.optim.Adam
    assert (
        lookup.find("torch.optim.lr_scheduler.StepLR", scheduling.SCHEDULER, "key") is torch.optim.lr_scheduler.StepLR
    )
    assert lookup.find("torchmetrics.classification.BinaryAccuracy", METRIC, "key").__name__ == "BinaryAccuracy"


DANGEROUS = [
    "torch.nn.functional.torch.load",
    "torch.load",
    "torch.hub.load",
    "torch.nn.Module",
    "torch.nn.modules.module.torch.os.system",
    "torch.optim.Optimizer",
    "torch.utils.data.DataLoader",
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "builtins.exec",
    "eval",
    "__import__",
    "exec",
    "open",
    "runner.settings.values.lookup.importlib.import_module",
    "runner.tracking.environment._output",
    "runner.tracking.environment.subprocess.run",
    "runner.tracking.store.stores.open_store",
    "runner.commands.ui.with_settings",
    "runner.training.state.checkpoint.save",
    "runner.__main__.main",
    "hydra.utils.instantiate",
    "experiments.os.system",
]


@pytest.mark.parametrize("name", DANGEROUS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.noun)
def test_a_configuration_cannot_reach_anything_but_parts_of_an_experiment(name, kind):
    with pytest.raises(ConfigError):
        lookup.find(name, kind, "key")


def test_refusing_depends_on_the_object_and_not_on_the_prefix():
    """The names above do exist: a check of the prefix alone would let them through."""
    anything = lookup.Kind("anything", (), lambda found: True)
    assert lookup.find("torch.nn.functional.torch.load", anything, "key") is torch.load
    assert callable(lookup.find("runner.tracking.environment._output", anything, "key"))


def test_a_name_of_another_package_is_answered_with_what_to_do():
    with pytest.raises(ConfigError, match=r"outside of torch, runner and experiments.*RUNNER_TRUST=os"):
        lookup.find("os.system", source.DATA, "data.name")


MINE = """
from os import system
from subprocess import run
from torch import nn
from runner.data import Data, Tensors
import torch

class Twice(nn.Module):
    def forward(self, x):
        return 2 * x

def twice() -> nn.Module:
    return Twice()

def load(n: int = 4) -> Data:
    return Data(Tensors(torch.zeros(n, 1), torch.zeros(n, 1)))
"""


def test_the_users_own_code_is_found_in_experiments(experiments: Path):
    (experiments / "mine.py").write_text(MINE)
    assert lookup.find("experiments.mine.Twice", classes.LAYER, "key")().forward(3) == 6
    assert lookup.find("experiments.mine.twice", classes.LAYER, "key").__name__ == "twice"
    assert len(components.data({"name": "experiments.mine.load", "n": 7}).train) == 7


def test_what_the_users_code_imports_is_not_the_users(experiments: Path):
    (experiments / "mine.py").write_text(MINE)
    for name in ("system", "run", "torch.load"):
        for kind in KINDS:
            with pytest.raises(ConfigError):
                lookup.find(f"experiments.mine.{name}", kind, "key")


def test_mistakes_in_the_users_code_are_told_apart(experiments: Path):
    (experiments / "mine.py").write_text(MINE)
    (experiments / "broken.py").write_text("1 / 0\n")
    (experiments / "lacking.py").write_text("import no_such_package\n")
    for name, message in {
        "experiments.mine.laod": "'experiments.mine' has no 'laod'; did you mean 'load'?",
        "experiments.yours.load": "there is no module 'experiments.yours'; expected experiments/yours.py",
        "experiments.broken.load": "importing 'experiments.broken' failed: ZeroDivisionError: division by zero",
        "experiments.lacking.load": "importing 'experiments.lacking' failed: No module named 'no_such_package'",
    }.items():
        with pytest.raises(ConfigError) as error:
            lookup.find(name, source.DATA, "data.name")
        assert str(error.value) == f"data.name: {message}"


def test_the_folder_named_last_comes_first(experiments: Path, tmp_path: Path):
    nearer = tmp_path / "nearer"
    nearer.mkdir()
    (experiments / "both.py").write_text("from torch import nn\nclass Far(nn.Identity): pass\n")
    (experiments / "far.py").write_text("from torch import nn\nclass Far(nn.Identity): pass\n")
    (nearer / "both.py").write_text("from torch import nn\nclass Near(nn.Identity): pass\n")
    lookup.use_folder(nearer)
    assert lookup.find("experiments.both.Near", classes.LAYER, "key")
    assert lookup.find("experiments.far.Far", classes.LAYER, "key")


def test_another_package_must_be_trusted_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "ours_alone.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="RUNNER_TRUST=ours_alone"):
        lookup.find("ours_alone.Twice", classes.LAYER, "key")
    assert "ours_alone" not in sys.modules, "the module of a refused name must not be run"
    monkeypatch.setenv("RUNNER_TRUST", "other, ours_alone")
    assert lookup.find("ours_alone.Twice", classes.LAYER, "key").__name__ == "Twice"
    monkeypatch.delitem(sys.modules, "ours_alone")


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        (torch.optim.SGD, {"learning_rate": 1}, "optimizer.learning_rate: SGD takes no argument 'learning_rate'"),
        (torch.optim.SGD, {"moment": 1}, "optimizer.moment: "),
        (torch.optim.SGD, {"lr": "abc"}, "optimizer.lr: 'abc'"),
        (torch.optim.SGD, {"lr": [0.1]}, "optimizer.lr: [0.1]"),
        (torch.optim.SGD, {"nesterov": "maybe"}, "optimizer.nesterov: 'maybe'"),
        (torch.optim.Adam, {"betas": 0.9}, "optimizer.betas: 0.9"),
        (torch.optim.LBFGS, {"max_iter": 2.5}, "optimizer.max_iter: 2.5"),
    ],
)
def test_a_wrong_argument_is_answered_with_its_key(target, arguments, message):
    with pytest.raises(ConfigError) as error:
        lookup.bind(target, arguments, "optimizer", free=["params"])
    assert message in str(error.value)


def test_a_missing_argument_is_named():
    with pytest.raises(ConfigError, match=r"^model.layers\[0\]: Conv2d needs 'out_channels' and 'kernel_size'$"):
        lookup.bind(nn.Conv2d, {"in_channels": 1}, "model.layers[0]")
    lookup.bind(nn.Conv2d, {"out_channels": 1, "kernel_size": 3}, "key", free=["in_channels"])


def test_right_arguments_are_accepted():
    lookup.bind(torch.optim.Adam, {"lr": 1, "betas": [0.9, 0.99], "fused": None, "amsgrad": True}, "k", free=["params"])
    lookup.bind(nn.Conv2d, {"in_channels": 1, "out_channels": 2, "kernel_size": [3, 5], "padding": "same"}, "k")
    lookup.bind(nn.Conv2d, {"in_channels": 1, "out_channels": 2, "kernel_size": 3, "padding": [1, 2]}, "k")


def test_target_is_another_spelling_of_name():
    assert lookup.component({"_target_": "torch.optim.SGD", "lr": 1}, "optimizer") == ("torch.optim.SGD", {"lr": 1})
    assert lookup.component({"name": "SGD", "lr": 1}, "optimizer") == ("SGD", {"lr": 1})
    bound = optimizers.resolve({"_target_": "torch.optim.SGD", "lr": 1})
    assert bound.target is torch.optim.SGD
    assert bound.arguments == {"lr": 1}


def test_a_component_without_a_name_is_refused():
    with pytest.raises(ConfigError, match=r"^optimizer.name: missing"):
        lookup.component({"lr": 1}, "optimizer")


def test_a_library_that_cannot_be_imported_is_an_error_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "of_another_build.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(tmp_path)
    kind = lookup.Kind("a metric", ("of_another_build",), callable)
    with pytest.raises(ConfigError, match="operator torchvision::nms") as error:
        lookup.find("Accuracy", kind, "metrics[0]")
    assert error.value.key == "metrics[0]"

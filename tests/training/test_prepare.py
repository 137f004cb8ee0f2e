"""Settings are resolved once: a name is looked up, and a layer constructed, as often as it must be."""

import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from runner.settings import Settings
from runner.settings.random_state import seed
from runner.settings.values import lookup
from runner.training.drive import drive
from runner.training.parts import losses
from runner.training.prepare import prepare
from runner.training.state import generators
from tests.conftest import Start
from tests.conftest import settings as of_test
from tests.support.composing import hydra, settings

STUDIES = [
    ["experiments=digits_mlp"],
    ["experiments=digits_cnn", "optimizer=adamw", "scheduler=one_cycle", "metrics=[Accuracy, F1Score]"],
    ["experiments=diabetes"],
    ["experiments=conv2d"],
    ["model=empty", "model.layers={hidden: {Repeat: {layers: [{Linear: 4}, ReLU], times: 3}}, last: {Linear: 1}}"],
    ["model=empty", "model.layers=[{Residual: [{Linear: 8}, {Linear: 1}]}, {Linear: 1}]"],
]


@pytest.fixture(scope="module", params=STUDIES, ids=lambda words: words[-1][:40])
def study(request: pytest.FixtureRequest) -> Iterator[Settings]:
    with hydra():
        yield settings(*request.param, "device=cpu")


def names(told: Settings) -> Counter[str]:
    """How often each name may be looked up: the names of layers once for a model, others where they stand."""
    parts = [told.data, told.optimizer, *([told.scheduler] if told.scheduler else [])]
    parts += [told.loss] if told.trainer.epochs else []
    return Counter([*(str(part["name"]) for part in parts), *told.plots])


def test_a_name_is_looked_up_once(study: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, find = Counter[tuple[str, str]](), lookup.find

    def counted(name: Any, kind: Any, key: str) -> Any:
        calls[kind.noun, name] += 1
        return find(name, kind, key)

    monkeypatch.setattr(lookup, "find", counted)
    prepare(study, "counted").close()
    assert set(calls.values()) == {1}
    assert {name for _, name in calls} >= set(names(study))


def test_a_layer_is_constructed_once_beyond_its_plan(study: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepare(study, "what there is")
    run.close()
    kinds = [type(m) for m in run.model.modules() if not list(m.children())]
    leaves = [kind for kind in kinds if kind.__init__ is not nn.Module.__init__]
    planned, drawn = Counter[type](), Counter[type]()
    for kind in set(leaves):

        def counted(self: Any, *args: Any, _kind: Any = kind, _init: Any = kind.__init__, **more: Any) -> None:
            if type(self) is _kind:
                meta = torch.empty(()).is_meta
                (planned if meta else drawn)[_kind] += 1
            _init(self, *args, **more)

        monkeypatch.setattr(kind, "__init__", counted)
    prepare(study, "counted").close()
    assert drawn == Counter(leaves)
    assert all(0 < planned[kind] <= drawn[kind] for kind in set(leaves))  # of a repeated layer one is planned


def test_a_loss_is_built_once(study: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    specs, build = [], losses.build
    monkeypatch.setattr(losses, "build", lambda spec: (specs.append(spec), build(spec))[1])
    prepare(study, "counted").close()
    assert len(specs) == (study.trainer.epochs > 0)


LOCKED = """
import threading
from torch import nn

class Locked(nn.Module):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def forward(self, output, target):
        return (output - target).square().mean()
"""


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_a_loss_that_cannot_be_copied_trains(start: Start, experiments: Path, precision: str) -> None:
    (experiments / "locked.py").write_text(LOCKED)
    own, torchs = (start(loss={"name": name}, precision=precision) for name in ("experiments.locked.Locked", "MSELoss"))
    for run in (own, torchs):
        drive(run)
    assert own.history == torchs.history


def test_nothing_holds_the_parameters_of_a_run_that_is_over() -> None:
    run = prepare(of_test(), "gone")
    run.close()
    left = [weakref.ref(parameter) for parameter in run.model.parameters()]
    del run
    gc.collect()
    assert [parameter() for parameter in left] == [None] * len(left)


COUNTS = """
import torch
from torch import nn

class Counts(nn.Linear):
    def __init__(self, in_features):
        super().__init__(in_features, 1)
        self.register_buffer("calls", torch.zeros(()))
        self.register_forward_pre_hook(lambda module, inputs: self.count())

    def count(self):
        self.calls += 1
"""


def test_a_run_begins_with_weights_that_no_check_has_changed(start: Start, experiments: Path) -> None:
    (experiments / "counts.py").write_text(COUNTS)
    run = start(layers=["experiments.counts.Counts", {"Dropout": 0.5}, {"Linear": 1}])
    drawn = generators.random_state(run.device)["torch"]
    seed(run.settings, run.threads)
    fresh = run.stack.make()
    assert all(map(torch.equal, run.model.state_dict().values(), fresh.state_dict().values()))
    assert torch.equal(drawn, generators.random_state(run.device)["torch"])

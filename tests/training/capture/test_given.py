"""Between two steps anything may be changed: a captured step takes nothing for given that is not."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.data import Batch
from runner.settings.values.lookup import use_folder
from runner.training.capture import choice
from runner.training.capture.given import Given
from runner.training.capture.step import CapturedStep
from runner.training.drive import advance
from runner.training.events import Event, Step
from runner.training.loop import State
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.step import plain
from tests.conftest import settings
from tests.support.command import HANGS
from tests.training.capture.test_step import same

ROOT = Path(__file__).parents[3]
LAYERS: list[Any] = [{"Linear": 6}, "BatchNorm1d", {"Dropout": 0.3}, "ReLU", {"Linear": 1}]
MOMENTUM = {"name": "SGD", "lr": 0.01, "momentum": 0.9}
NO_MOMENTUM = {"name": "SGD", "lr": 0.01}
ADAM = {"name": "Adam", "lr": 0.01}


def made(graph: Any, layers: Any = LAYERS, optimizer: Any = ADAM, **more: Any) -> Run:
    data = {"name": "line", "points": 48, "valid": 10}
    words = {"batch_size": 8, "epochs": 20, "graph": graph, **more}
    return prepare(settings(layers=layers, data=data, optimizer=optimizer, **words), "test")


class After:
    """An observer that changes something after one step."""

    def __init__(self, run: Run, step: int, change: Callable[[Run], object]) -> None:
        self.run, self.step, self.change = run, step, change

    def record(self, event: Event) -> None:
        if isinstance(event, Step) and event.step == self.step:
            self.change(self.run)


def trained(run: Run, step: int = 0, change: Callable[[Run], object] = bool) -> Run:
    advance(run, (run.recorder, After(run, step, change)))
    run.close()
    return run


def freeze(run: Run) -> None:
    run.model[0].requires_grad_(requires_grad=False)  # type: ignore[index,operator]


def replace_weight(run: Run) -> None:
    run.model[0].weight.data = run.model[0].weight.data * 2  # type: ignore[index,union-attr]


def replace_buffer(run: Run) -> None:
    run.model[1].running_mean = torch.ones(6)  # type: ignore[index,union-attr]


def replace_state(run: Run) -> None:
    for own in run.state.optimizer.state.values():
        own.update({name: value * 3 for name, value in own.items() if value.dim()})


def move_to_a_group(run: Run) -> None:
    groups = run.state.optimizer.param_groups
    run.state.optimizer.add_param_group({"params": [groups[0]["params"].pop()], "lr": 0.1})


def set_of_first_group(**numbers: Any) -> Callable[[Run], None]:
    return lambda run: run.state.optimizer.param_groups[0].update(numbers)


def halve(gradient: Tensor) -> Tensor:
    return gradient / 2


CHANGES: dict[str, tuple[Callable[[Run], object], dict[str, Any]]] = {
    "frozen": (freeze, MOMENTUM),
    "frozen, with NAdam": (freeze, {"name": "NAdam", "lr": 0.01}),
    "evaluation mode": (lambda run: run.model[1].eval(), ADAM),  # type: ignore[index]
    "dropout": (lambda run: setattr(run.model[2], "p", 0.6), ADAM),  # type: ignore[index]
    "other memory": (replace_weight, ADAM),
    "another buffer": (replace_buffer, ADAM),
    "no state": (lambda run: run.state.optimizer.state.clear(), MOMENTUM),
    "another state": (replace_state, ADAM),
    "another group": (move_to_a_group, MOMENTUM),
    "momentum": (set_of_first_group(momentum=0.9), NO_MOMENTUM),
    "weight decay": (set_of_first_group(weight_decay=0.1), ADAM),
    "the rate": (set_of_first_group(lr=0.1), ADAM),
}


@pytest.mark.parametrize("step", [2, 40, 61])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_between_two_steps_has_its_effect(name: str, step: int):
    change, optimizer = CHANGES[name]
    usual, captured = (trained(made(graph, optimizer=optimizer), step, change) for graph in (False, "auto"))
    assert choice.described(captured.step) == "captured"
    same(usual, captured)
    unchanged = trained(made(False, optimizer=optimizer)).history
    assert any(list(unchanged[name]) != list(usual.history[name]) for name in ("train/loss", "valid/loss"))


@pytest.mark.parametrize("step", [0, 2, 40])
def test_a_hook_of_a_gradient_has_its_effect(step: int):
    def hook(run: Run) -> None:
        run.model[0].weight.register_hook(halve)  # type: ignore[index,union-attr]

    def done(graph: Any) -> Run:
        run = made(graph)
        if step == 0:
            hook(run)
        return trained(run, step, hook)

    usual, captured = map(done, (False, "auto"))
    assert choice.described(captured.step) == "as it is: a parameter has a hook of your own"
    same(usual, captured)


def test_our_own_observers_change_nothing_so_that_nothing_is_looked_for():
    run = made("auto")
    advance(run, (run.recorder,))
    assert isinstance(run.step, CapturedStep)
    assert not run.step.watched
    assert trained(made("auto")).step.watched


def test_hooks_of_an_optimizer_are_called_at_each_step():
    calls: list[int] = []
    run = made("auto")
    run.state.optimizer.register_step_post_hook(lambda *_: calls.append(1))
    trained(run)
    assert len(calls) == run.steps
    assert choice.described(run.step) == "as it is: its optimizer has a hook of your own"


def test_hooks_of_a_layer_are_called_at_each_step():
    calls: list[int] = []
    run = made("auto")
    run.model.register_forward_hook(lambda model, *_: calls.append(1) if model.training else None)
    trained(run)
    assert len(calls) == run.steps
    assert choice.described(run.step) == "as it is: Sequential has a hook of your own"


def test_everything_but_numbers_is_given():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    given = Given([model], optimizer)
    model(torch.rand(4, 2)).sum().backward()
    with torch.no_grad():
        model[0].weight.add_(1)
    assert given.holds()
    model[1].register_forward_hook(lambda *_: None)
    assert not given.holds()


MINE = """
import numpy
import torch
from torch import nn


class Counts(torch.optim.SGD):
    def step(self):
        group = self.param_groups[0]
        group["count"] = group.get("count", 0) + 1
        group["lr"] = 0.1 / group["count"]
        super().step()


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.from_numpy(numpy.random.rand(*x.shape).astype("float32")) if self.training else x


class Alternates(nn.Module):
    '''Trains one of two, as a number that it reads in Python says.'''

    def __init__(self):
        super().__init__()
        self.each = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])

    def forward(self, x):
        return self.each[len(x) % 2](x)
"""


@pytest.fixture
def mine(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/given_mine.py").write_text(MINE)
    use_folder(tmp_path / "experiments")


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(("graph", "told"), [("auto", "as it is: Counts is of your own"), (True, "captured")])
def test_an_optimizer_may_count_where_torch_does_not_look(graph: Any, told: str):
    optimizer = {"name": "experiments.given_mine.Counts", "lr": 0.1}
    usual, captured = (trained(made(one, optimizer=optimizer)) for one in (False, graph))
    assert choice.described(captured.step).startswith(told)
    assert captured.state.optimizer.param_groups[0]["count"] == captured.steps
    same(usual, captured)


@pytest.mark.usefixtures("mine")
def test_what_others_draw_is_no_constant():
    layers = ["experiments.given_mine.Noise", {"Linear": 1}]
    usual, captured = (trained(made(graph, layers)) for graph in (False, True))
    assert choice.described(captured.step) == "as it is: it draws random numbers of Python or NumPy"
    same(usual, captured)


@pytest.mark.usefixtures("mine")
def test_shapes_that_train_different_parameters_are_captured_once_each():
    usual, captured = (
        trained(made(graph, ["experiments.given_mine.Alternates"], batch_size=9)) for graph in (False, True)
    )
    assert captured.step.captured == 2
    same(usual, captured)


def test_a_sparse_gradient_is_left_to_the_step_as_it_is():
    model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten(), nn.Linear(6, 1))

    def cost(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        output = model(batch[0])
        return output.square().mean(), output

    state = State(model, torch.optim.SGD(model.parameters(), lr=0.1), cost)
    step = CapturedStep(plain, torch.device("cpu"))
    for _ in range(6):
        step(state, [(1.0, (torch.randint(0, 5, (4, 2)), torch.zeros(4, 1)))])
    assert "sparse" in step.reason


#: A device must be known before the first backward pass of a process.
ON_A_DEVICE = """
import torch
from tests.support import pretend
pretend.register()
from runner.training.capture import choice
from runner.training.drive import advance
from runner.training.events import Snapshot
from tests.training.capture.test_given import ADAM, MOMENTUM, made, trained

cycle = {"name": "OneCycleLR", "max_lr": 0.1, "interval": "step"}
layers = [{"Linear": 6}, "ReLU", {"Linear": 1}]
for optimizer in (ADAM, MOMENTUM):
    more = {"scheduler": cycle, "device": "pretend", "deterministic": True}
    one, other = (trained(made(graph, layers, optimizer, **more)) for graph in ("auto", False))
    assert choice.described(one.step) == "captured"
    for name, value in one.model.state_dict().items():
        assert torch.equal(value.cpu(), other.model.state_dict()[name].cpu()), (optimizer, name)

class Reads:
    def __init__(self):
        self.held = []
    def record(self, event):
        if isinstance(event, Snapshot) and event.name == "last":
            state = torch.load(event.folder / "training.pt", weights_only=True, map_location="cpu")
            self.held.append((event.step, state["history"]["points"]["train/loss"][0].tolist()))

run, reads = made("auto", layers, device="pretend", every="10 steps", epochs=5), Reads()
advance(run, (run.recorder, reads))
assert reads.held == [(step, list(range(1, step + 1))) for step in (10, 20, 30)], reads.held
"""


def test_on_a_device_a_scheduled_momentum_is_followed_and_checkpoints_hold_all_losses():
    done = subprocess.run([sys.executable, "-c", ON_A_DEVICE], cwd=ROOT, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stderr

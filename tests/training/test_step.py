"""A step of one's own: named by trainer.step, checked before a run, recorded, continued exactly."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from runner.data import Tensors
from runner.settings.errors import ConfigError
from runner.settings.values.lookup import use_folder
from runner.training.checking import checks
from runner.training.drive import advance, drive
from runner.training.events import Step
from runner.training.loop import train
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.state import generators
from runner.training.vectorized import groups
from tests.conftest import Start, settings
from tests.support import composing

ROOT = Path(__file__).parents[2]
MINE = '''
import pathlib
import torch
from runner.training.step import descend, gradients

def plain(state, parts):
    """What trainer.step=null does."""
    loss = gradients(state, parts)
    state.optimizer.step()
    return loss

def halves(state, parts, share=0.5):
    loss = gradients(state, parts)
    state.optimizer.step()
    return {"loss": loss, "half": share * loss}

class Forgets:
    """SGD with a momentum that the step itself holds, and no checkpoint."""

    def __init__(self, state, beta=0.9):
        self.beta = beta
        self.velocity = [torch.zeros_like(p) for p in state.model.parameters()]

    def __call__(self, state, parts):
        loss = gradients(state, parts)
        [group] = state.optimizer.param_groups
        with torch.no_grad():
            for v, p in zip(self.velocity, state.model.parameters(), strict=True):
                v.mul_(self.beta).add_(p.grad)
                p.sub_(v, alpha=group["lr"])
        return loss

class Momentum(Forgets):
    """The same, in checkpoints too."""

    def state_dict(self):
        return {"velocity": self.velocity}

    def load_state_dict(self, state):
        self.velocity = [v.clone() for v in state["velocity"]]

def kinds(state, parts):
    loss = gradients(state, parts)
    state.optimizer.step()
    return {"loss": loss, "batches": torch.tensor(len(parts)), "double": 2 * loss}

class Mean:
    """The mean of all losses so far, in the same tensor at every step."""

    def __init__(self, state):
        self.mean, self.steps = torch.zeros(()), 0

    def __call__(self, state, parts):
        loss = gradients(state, parts)
        state.optimizer.step()
        self.steps += 1
        self.mean += (loss - self.mean) / self.steps
        return {"loss": loss, "mean": self.mean}

def graph(state, parts):
    [(_, batch)] = parts
    state.optimizer.zero_grad()
    loss, _ = state.cost(state.model, batch)
    loss.backward()
    state.optimizer.step()
    return loss

def noise(state, parts):
    [(_, (x, y))] = parts
    x.add_(1)
    return plain(state, parts)

def quarters(state, parts):
    [(_, (x, y))] = parts
    first, second, third, fourth = x.chunk(4)
    return plain(state, parts)

def nothing_later(state, parts):
    loss = plain(state, parts)
    return {"loss": loss} if state.step < 2 else {"other": loss}

class Norm:
    """Reads the weights as it is made."""

    def __init__(self, state):
        self.norm = sum(p.norm().item() for p in state.model.parameters())

    def __call__(self, state, parts):
        return plain(state, parts)

class Half(Norm):
    def state_dict(self):
        return {}

class Odd(Half):
    def state_dict(self):
        return {"path": pathlib.Path("here")}

    def load_state_dict(self, state):
        pass

def measured(state, parts):
    return {"loss": plain(state, parts), "eval_loss": torch.ones(())}

def odd(state, parts):
    return {"loss": plain(state, parts), "D(x)": torch.ones(())}

class Second:
    """Has an optimizer of its own, and no checkpoint of it."""

    def __init__(self, state):
        self.optimizer = torch.optim.SGD(state.model.parameters(), lr=0.1)

    def __call__(self, state, parts):
        loss = gradients(state, parts)
        self.optimizer.step()
        return loss

def bare(state, parts):
    loss = gradients(state, parts)
    state.optimizer.step()
    return loss

def number_(state, parts):
    return 0.5

def mixed(state, parts):
    return {"loss": torch.tensor(1.0), "penalty": 0.5}

def descends(state, parts):
    loss = gradients(state, parts)
    descend(state)
    return loss

def fails(state, parts):
    raise ValueError("no such thing")

def several(state, parts):
    return torch.ones(3)

def nameless(state, parts):
    return {"first": torch.tensor(1.0)}

def nothing(state, parts):
    gradients(state, parts)

def one(state):
    return 0

class Still:
    def __init__(self, state):
        pass

number = 3
'''
WIDE = {"layers": [{"Linear": 6}, "ReLU", {"Dropout": 0.4}, {"Linear": 1}], "batch_size": 16, "epochs": 6}


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "mysteps.py").write_text(MINE)
    use_folder(tmp_path)
    monkeypatch.delitem(sys.modules, "experiments.mysteps", raising=False)


def weights(run: Run) -> list[Tensor]:
    return [p.detach().clone() for p in run.model.parameters()]


def driven(run: Run) -> Run:
    if not run.state.step:
        generators.set_random_state(run.ready, run.device)  # others have been prepared or trained since
    drive(run)
    return run


def test_the_plain_step_written_out_is_the_plain_step(start: Start) -> None:
    ours, own = (driven(start(**copy.deepcopy(WIDE), step=name)) for name in (None, "experiments.mysteps.plain"))
    assert all(map(torch.equal, weights(ours), weights(own)))
    assert ours.history == own.history


@pytest.mark.parametrize("precision", ["fp32", "fp64", "bf16"])
def test_a_step_that_holds_a_momentum_is_torchs_momentum(start: Start, precision: str) -> None:
    torchs = start(**copy.deepcopy(WIDE), precision=precision, optimizer={"name": "SGD", "lr": 0.05, "momentum": 0.5})
    own = start(
        **copy.deepcopy(WIDE),
        precision=precision,
        optimizer={"name": "SGD", "lr": 0.05},
        step={"name": "experiments.mysteps.Momentum", "beta": 0.5},
    )
    for a, b in zip(weights(driven(torchs)), weights(driven(own)), strict=True):
        torch.testing.assert_close(a, b)


def stopped(run: Run, after: int) -> Run:
    generators.set_random_state(run.ready, run.device)
    run.stop = lambda: KeyboardInterrupt() if run.state.step == after else None
    with pytest.raises(KeyboardInterrupt):
        advance(run, [run.recorder])
    return run


@pytest.mark.parametrize("name", ["Momentum", "Forgets"])
def test_a_step_with_a_state_is_continued_exactly_and_without_it_is_not(start: Start, name: str) -> None:
    step = f"experiments.mysteps.{name}"
    whole = driven(start(**copy.deepcopy(WIDE), step=step))
    first, second = (start(**copy.deepcopy(WIDE), step=step) for _ in range(2))
    stopped(first, 9)
    second.load_state_dict(first.model.state_dict(), copy.deepcopy(first.state_dict()))
    same = all(map(torch.equal, weights(whole), weights(driven(second))))
    assert same == (name == "Momentum")


def test_further_losses_are_recorded_at_every_step(start: Start) -> None:
    run = driven(start(step={"name": "experiments.mysteps.halves", "share": 0.25}, epochs=4))
    losses, halves = (run.history[f"train/{name}"] for name in ("loss", "half"))
    assert [step for step, _ in halves] == [step for step, _ in losses] == [1, 2, 3, 4]
    assert [value for _, value in halves] == pytest.approx([value / 4 for _, value in losses])


def test_a_step_of_the_loop_keeps_its_further_losses(start: Start) -> None:
    steps: list[Step] = []

    class Notes:
        def record(self, event: Any) -> None:
            if isinstance(event, Step):
                steps.append(event)

    drive(start(step="experiments.mysteps.halves"), Notes())
    assert [name for name, _ in steps[0].others] == ["half"]
    assert steps[0].others[0][1].item() == pytest.approx(steps[0].read() / 2)


def test_further_losses_may_be_of_other_types(start: Start) -> None:
    run = driven(start(step="experiments.mysteps.kinds"))
    losses, batches, doubles = (run.history[f"train/{name}"] for name in ("loss", "batches", "double"))
    assert [value for _, value in batches] == [1.0] * 3
    assert [value for _, value in doubles] == pytest.approx([2 * value for _, value in losses])


def test_a_loss_is_recorded_as_it_was_at_its_step(start: Start) -> None:
    run = driven(start(step="experiments.mysteps.Mean", batch_size=8, epochs=1))
    losses, means = (np.array([value for _, value in run.history[f"train/{name}"]]) for name in ("loss", "mean"))
    np.testing.assert_allclose(means, losses.cumsum() / np.arange(1, len(losses) + 1), rtol=1e-5)


def test_a_recorded_loss_holds_no_graph(start: Start) -> None:
    run = start(step="experiments.mysteps.graph")
    steps = list(train(run.state, run.batches(), run.step))
    assert not any(step.loss.requires_grad for step in steps)


def test_a_step_may_write_into_its_batch(start: Start) -> None:
    run = start(step="experiments.mysteps.noise")
    assert isinstance(run.data.train, Tensors)
    before = run.data.train.x.clone()
    driven(run)
    assert torch.equal(run.data.train.x, before)


def test_a_step_is_tried_with_batches_of_the_size_of_the_training(start: Start) -> None:
    driven(start(step="experiments.mysteps.quarters", batch_size=16))


def test_a_step_that_reads_weights_is_made_with_weights(start: Start) -> None:
    wide = [{"Linear": 1001}, {"Linear": 1001}, {"Linear": 1}]  # too many to try a step
    step: Any = start(step="experiments.mysteps.Norm", layers=wide).step
    assert step.norm > 0


def test_what_a_later_step_returns_is_checked_too(start: Start) -> None:
    with pytest.raises(ConfigError, match="one must be called 'loss'"):
        driven(start(step="experiments.mysteps.nothing_later", epochs=6))


WRONG: dict[str, tuple[Any, str]] = {
    "no dots": ("plain", "expected one such as experiments.mine.step"),
    "no module": ("experiments.nowhere.step", "there is no module"),
    "no such name": ("experiments.mysteps.plian", "did you mean 'plain'"),
    "a number": ("experiments.mysteps.number", "is not a step of your own"),
    "torch's": ("torch.optim.SGD", "is not a step of your own"),
    "one argument": ("experiments.mysteps.one", "expected step(state, parts)"),
    "not called": ("experiments.mysteps.Still", "expected step(state, parts)"),
    "unknown argument": ({"name": "experiments.mysteps.Momentum", "gamma": 1}, "takes no argument 'gamma'"),
    "fails": ("experiments.mysteps.fails", "ValueError: no such thing (mysteps.py, line "),
    "three numbers": ("experiments.mysteps.several", "must return the loss, a tensor without dimensions"),
    "no loss": ("experiments.mysteps.nameless", "returned first; one must be called 'loss'"),
    "nothing": ("experiments.mysteps.nothing", "nothing returned None; it must return the loss"),
    "a float": ("experiments.mysteps.number_", "number_ returned a float; it must return the loss"),
    "a float among tensors": ("experiments.mysteps.mixed", "mixed returned penalty, a float; it must"),
    "an optimizer that is lost": ("experiments.mysteps.Second", "Second.optimizer is an optimizer that no checkpoint"),
    "a name of ours": ("experiments.mysteps.measured", "returned 'eval_loss', which is that of all training data"),
    "a name that MLflow refuses": ("experiments.mysteps.odd", "use letters, digits and _"),
    "a state that is not loaded": ("experiments.mysteps.Half", "has state_dict alone"),
    "a state that no checkpoint gives back": ("experiments.mysteps.Odd", "must hold tensors and plain values"),
    "an argument that is filled in": ({"name": "experiments.mysteps.halves", "state": 1}, "is filled in; leave it out"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_step_is_refused_before_a_run_exists(case: str) -> None:
    step, message = WRONG[case]
    with pytest.raises(ConfigError) as error:
        checks.check(settings(step=step))
    assert str(error.value).startswith("trainer.step")
    assert message in str(error.value)


def test_a_step_of_ones_own_is_trained_alone(start: Start) -> None:
    runs = [start(step="experiments.mysteps.plain", seed=seed) for seed in range(2)]
    together, alone = groups(runs)
    assert together == []
    assert set(alone.values()) == {"trainer.step names a step of your own"}


@pytest.fixture
def gan(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    monkeypatch.chdir(ROOT)
    use_folder(ROOT / "experiments")

    def made(*words: str) -> Run:
        with composing.hydra():
            return prepare(composing.settings("experiments=gan_digits", "device=cpu", "plots=[]", *words), "gan")

    return made


def test_two_optimizers_are_continued_exactly(gan: Callable[..., Run]) -> None:
    whole, first, second = (gan("trainer.epochs=3", "trainer.threads=1") for _ in range(3))
    driven(whole)
    stopped(first, 30)
    second.load_state_dict(first.model.state_dict(), copy.deepcopy(first.state_dict()))
    driven(second)
    for run in (whole, first, second):
        run.close()
    assert all(map(torch.equal, weights(whole), weights(second)))
    assert list(whole.history["train/discriminator"]) == list(second.history["train/discriminator"])


def test_each_optimizer_has_its_own_half_of_the_model(gan: Callable[..., Run]) -> None:
    run = gan("trainer.epochs=1")
    run.close()
    ours, second = (one.param_groups[0] for one in run.state.optimizers.values())
    assert (ours["lr"], second["lr"]) == (0.002, 0.001)
    halves = [set(map(id, group["params"])) for group in (ours, second)]
    assert halves[0].isdisjoint(halves[1])
    assert halves[0] | halves[1] == set(map(id, run.model.parameters()))


def test_the_scaled_gradients_of_fp16_are_not_taken_as_they_are(start: Start) -> None:
    with pytest.raises(ConfigError, match=r"^trainer.step: bare takes its step with the scaled gradients of fp16"):
        start(step="experiments.mysteps.bare", precision="fp16")
    ours, own = (
        driven(start(**copy.deepcopy(WIDE), step=s, precision="fp16")) for s in (None, "experiments.mysteps.descends")
    )
    assert all(map(torch.equal, weights(ours), weights(own)))


def test_clipping_that_would_do_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^trainer.clip_norm: cuts the gradients of the configured optimizer"):
        checks.check(settings(step="experiments.mysteps.Momentum", clip_norm=0.1))
    checks.check(settings(step="experiments.mysteps.bare", clip_norm=0.1))


def test_lbfgs_is_answered_with_how_it_is_called() -> None:
    with pytest.raises(ConfigError, match=r"^trainer.step: bare failed with .*LBFGS takes a function"):
        checks.check(settings(step="experiments.mysteps.bare", optimizer={"name": "LBFGS"}))

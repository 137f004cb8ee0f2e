"""Steps of many runs come in blocks: their length, what observers are given, and programs that fit into memory."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from runner.settings import memory
from runner.tracking.write import entries
from runner.training.drive import drive
from runner.training.events import Epoch, Event, Finished, Snapshot, Step, Steps, deliver
from runner.training.finite import Diverged
from runner.training.state.history import History
from runner.training.vectorized import blocks, drive_many, following, forecast, groups, schedules
from tests.training.test_vectorized import Made, Seen, apart, jobs, made

__all__ = ["made"]
DIGITS = {"name": "digits", "valid": 0.2, "test": 0.7}
SETTINGS: dict[str, Any] = {
    "layers": ["Flatten", {"Linear": 8}, "Tanh", {"Linear": 10}],
    "data": DIGITS,
    "loss": {"name": "CrossEntropyLoss"},
    "batch_size": 64,
    "epochs": 8,
}
#: Of examples 0.1 * 1797 in batches of 64.
PER_EPOCH = 3


class Whole(Seen):
    """An observer that is given steps as they come."""

    takes_steps = True


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let blocks be as long as they may: this machine may be busy."""
    monkeypatch.setattr(blocks, "SECONDS", 1000.0)
    monkeypatch.setattr(following, "SECONDS", 1000.0)


def lengths(seen: Seen) -> list[int]:
    return [len(event.losses) for event in seen.of(Steps)]


def test_steps_are_the_same_one_by_one_and_at_once() -> None:
    steps, whole, single = Steps(5, np.array([0.5, 0.25, 0.125])), Whole(), Seen()
    deliver([whole, single], steps)
    assert whole.events == [steps]
    assert [(step.step, step.read()) for step in single.of(Step)] == [(5, 0.5), (6, 0.25), (7, 0.125)]
    histories = [History(), History()]
    histories[0].record(steps)
    for step in steps.each():
        histories[1].record(step)
    assert histories[0].points == histories[1].points == {"train/loss": [(5, 0.5), (6, 0.25), (7, 0.125)]}


def test_a_record_of_steps_at_once_is_that_of_each() -> None:
    steps = Steps(5, np.array([0.5, np.inf, 0.125]))
    each = [(step, 1.5) for step in steps.each()]
    assert (
        entries.points([(steps, 1.5)])
        == entries.points(each)
        == [  # type: ignore[arg-type]
            ("train/loss", 0.5, 1500, 5),
            ("train/loss", 0.125, 1500, 7),
        ]
    )


def test_a_block_ends_with_the_epoch_that_is_validated(made: Made) -> None:
    told = jobs(3, **SETTINGS, validate_every=4)
    seen: list[Seen] = [Whole() for _ in told]
    drive_many([made(one) for one in told], [[one] for one in seen])
    assert lengths(seen[0]) == [4 * PER_EPOCH] * 2
    assert [event.step for event in seen[0].of(Epoch)] == [12, 24]


def test_a_block_ends_where_a_checkpoint_is_due(made: Made) -> None:
    told = jobs(2, **SETTINGS, validate_every=8, every="5 steps")
    seen: list[Seen] = [Whole() for _ in told]
    drive_many([made(one) for one in told], [[one] for one in seen])
    assert [event.step for event in seen[0].of(Snapshot) if event.name == "last"] == [5, 10, 15, 20, 24]
    assert lengths(seen[0]) == [5, 5, 5, 5, 4]


@pytest.mark.parametrize(("most", "expected"), [(1, 24), (7, 4), (64, 1)])
def test_a_block_is_as_long_as_its_time_allows(
    made: Made, most: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "MOST", most)
    monkeypatch.setattr(following, "SECONDS", 0.0)  # all is recorded at once
    told = jobs(2, **SETTINGS, validate_every=8)
    runs, seen = [made(one) for one in told], Whole()
    drive_many(runs, [[seen], []])
    # The first block is one step, whose time tells the rest.
    assert len(lengths(seen)) == expected + (most > 1)
    others = [made(one) for one in told]
    for other in others:
        drive(other)
    assert apart(runs, others) < 1e-10


def test_steps_wait_until_something_is_due(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MOST", 1)
    told, seen = jobs(2, **SETTINGS, validate_every=8), Whole()
    drive_many([made(one) for one in told], [[seen], []])
    assert lengths(seen) == [24]


def test_a_run_that_diverges_within_a_block_ends_with_its_step(made: Made) -> None:
    layers = ["Flatten", {"Linear": 8}, "ReLU", {"Linear": 10}]
    told = jobs(3, **SETTINGS | {"layers": layers}, validate_every=8)
    told[1].optimizer["lr"] = 1e200
    runs, seen = [made(one) for one in told], [Whole() for _ in told]
    errors = drive_many(runs, [[one] for one in seen])
    other, expected = made(told[1]), Seen()
    with pytest.raises(Diverged) as raised:
        drive(other, expected)
    assert str(errors[1]) == str(raised.value)
    assert runs[1].state.step == other.state.step < 12
    losses = [step.read() for step in expected.of(Step)]
    assert [value for event in seen[1].of(Steps) for value in event.losses] == pytest.approx(losses)
    assert [step for step, _ in runs[1].history["train/loss"]] == list(range(1, runs[1].state.step))
    assert [errors[0], errors[2]] == [None, None]


SCHEDULE = """
from torch.optim.lr_scheduler import LRScheduler


class Own(LRScheduler):
    def get_lr(self):
        group = self.optimizer.param_groups[0]
        taken = sum(float(state.get("step", 0)) for state in self.optimizer.state.values())
        return [group["lr"] * (0.9 if taken % 2 else 0.8)]
"""


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_a_schedule_of_the_users_own_is_asked_at_its_step(made: Made, experiments: Any, interval: str) -> None:
    (experiments / "own_schedule.py").write_text(SCHEDULE)
    scheduler = {"name": "experiments.own_schedule.Own", "interval": interval}
    told = jobs(2, **SETTINGS | {"epochs": 4}, optimizer="adam", scheduler=scheduler, validate_every=4)
    runs, seen = [made(one) for one in told], Whole()
    drive_many(runs, [[seen], []])
    others = [made(one) for one in told]
    for other in others:
        drive(other)
    assert apart(runs, others) < 1e-10


@pytest.mark.parametrize("name", ["CosineAnnealingLR", "OneCycleLR", "ReduceLROnPlateau", "WarmupCosineLR"])
def test_schedules_that_are_the_same_are_computed_once(made: Made, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []
    once = schedules._moved
    monkeypatch.setattr(schedules, "_moved", lambda run, n: (moved.append(run.settings.seed), once(run, n))[1])
    arguments = {"max_lr": 0.1} if name == "OneCycleLR" else {}
    told = jobs(4, **SETTINGS | {"epochs": 3}, scheduler={"name": name, **arguments}, optimizer="adam")
    for i, one in enumerate(told):
        one.optimizer |= {"lr": [0.01, 0.02][i % 2], "weight_decay": 0.0}
    runs = [made(one) for one in told]
    drive_many(runs, [[] for _ in runs])
    # One cycle has its own first rate, whatever the optimizer's was.
    assert len(set(moved)) == {"ReduceLROnPlateau": 0, "OneCycleLR": 1}.get(name, 2)
    others = [made(one) for one in told]
    for other in others:
        drive(other)
    assert apart(runs, others) < 1e-10


def test_a_rate_that_an_observer_changes_counts(made: Made) -> None:
    class Halves:
        def __init__(self, run: Any) -> None:
            self.run = run

        def record(self, event: Event) -> None:
            if isinstance(event, Epoch) and event.epoch == 2:
                self.run.state.optimizer.param_groups[0]["lr"] /= 2

    told = jobs(3, **SETTINGS, optimizer="adam")
    for one in told:
        one.optimizer["lr"] = 0.01
    runs = [made(one) for one in told]
    drive_many(runs, [[], [Halves(runs[1])], []])
    others = [made(one) for one in told]
    for i, other in enumerate(others):
        drive(other, *([Halves(other)] if i == 1 else []))
    assert apart(runs, others) < 1e-10


# Memory


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    return lambda size: monkeypatch.setattr(memory, "free", lambda where: int(size / forecast.SHARE) + 1)


def test_groups_are_cut_to_what_fits(made: Made, room: Callable[[float], None]) -> None:
    runs = [made(one) for one in jobs(5, **SETTINGS, optimizer="adam")]
    each = forecast.bytes_of_each(runs)
    lines: list[str] = []
    room(5 * each)
    assert groups(runs, lines.append) == ([[0, 1, 2, 3, 4]], {})
    assert lines == []
    room(3.9 * each)
    together, alone = groups(runs, lines.append)
    assert together == [[0, 1], [2, 3, 4]]
    assert alone == {}
    assert len(lines) == 1
    assert lines[0].startswith("5 models as one program would take ")
    room(0.5 * each)
    together, alone = groups(runs, lines.append)
    assert together == []
    assert set(alone.values()) == {"there is no memory for two of them at once"}


def test_a_forecast_is_no_less_than_what_is_kept(made: Made) -> None:
    """Of the tensors that a program keeps: as many bytes for each model, and none for what all of them share."""
    from runner.training.vectorized.program import Program
    from runner.training.vectorized.shared import Shared

    shared, runs = Shared(), [made(one) for one in jobs(6, **SETTINGS, optimizer="adam")]
    own = forecast.bytes_of_each(runs)
    for run in runs:
        shared.take(run)
    each = forecast.bytes_of_each(runs)
    assert own > each
    program = Program(runs)
    program.block(1)
    flats = [program.stacked.flat, program.stacked.gradient, *program.update.states]
    kept = sum(flat.nbytes for flat in flats) / len(runs)
    assert kept + kept / 4 <= each


def test_free_memory_is_some_of_all() -> None:
    import torch

    where = torch.device("cpu")
    assert 0 < memory.free(where) <= memory.memory(where)


def test_finished_events_follow_the_steps(made: Made) -> None:
    told, seen = jobs(2, **SETTINGS | {"epochs": 2}), Whole()
    drive_many([made(one) for one in told], [[seen], []])
    kinds: Iterator[type] = (type(event) for event in seen.events)
    assert [kind for kind in kinds if kind in (Steps, Epoch, Finished)] == [Steps, Epoch, Steps, Epoch, Finished]

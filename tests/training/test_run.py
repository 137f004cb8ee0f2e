"""One experiment under way: the same bits twice, what is best, when it stops, and that looking changes nothing."""

import copy
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from torch import nn

from runner.settings.errors import ConfigError
from runner.settings.random_state import THREADS
from runner.training import finish, measure
from runner.training.drive import drive
from runner.training.events import Artifacts, Epoch, Event, Finished, Snapshot, Step
from runner.training.machine.signals import Interrupted, Signals
from runner.training.run import Run
from runner.training.state import checkpoint
from runner.training.subject import Subject
from tests.conftest import Start

NOISY = [{"Linear": 8}, "BatchNorm1d", "ReLU", {"Dropout": 0.3}, {"Linear": 1}]
DIGITS: dict[str, Any] = {
    "data": {"name": "digits", "flat": True, "valid": 0.3, "test": 0.2},
    "layers": [{"Linear": 16}, "ReLU", {"Linear": 10}],
    "loss": {"name": "CrossEntropyLoss"},
    "optimizer": {"name": "Adam", "lr": 0.01},
    "batch_size": 128,
}


class Notes:
    """Everything that a run told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)

    def all(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def driven(run: Run) -> Notes:
    notes = Notes()
    drive(run, notes)
    return notes


def losses(run: Run) -> list[float]:
    return [value for _, value in run.history["train/loss"]]


def values(run: Run, name: str) -> list[float]:
    return [value for _, value in run.history[name]]


# The same seed


def test_the_same_seed_gives_the_same_bits_twice(start: Start):
    runs = [start(layers=NOISY, batch_size=16, epochs=4, seed=seed) for seed in (5, 5, 6)]
    for run in runs:
        torch.rand(17)  # what was drawn before must not matter; prepare() has already seeded the weights
        torch.manual_seed(run.settings.seed)
        drive(run)
    first, again, other = runs
    assert losses(first) == losses(again)
    assert len(losses(first)) == 16
    assert checkpoint.digest(first.model.state_dict()) == checkpoint.digest(again.model.state_dict())
    assert losses(first) != losses(other)
    assert checkpoint.digest(first.model.state_dict()) != checkpoint.digest(other.model.state_dict())


def test_a_run_starts_from_its_seed_whatever_was_drawn_before(start: Start):
    found = []
    for before in (1, 50):
        torch.rand(before)
        run = start(layers=NOISY, batch_size=16, epochs=2)
        drive(run)
        found.append((losses(run), checkpoint.digest(run.model.state_dict())))
    assert found[0] == found[1]


def test_the_order_of_the_batches_follows_the_seed(start: Start):
    def first_batch(**changes: Any) -> torch.Tensor:
        [(_, (x, _))] = next(start(batch_size=8, **changes).batches())
        return x

    assert torch.equal(first_batch(seed=1), first_batch(seed=1))
    assert not torch.equal(first_batch(seed=1), first_batch(seed=2))
    assert torch.equal(first_batch(seed=1, shuffle=False), first_batch(seed=2, shuffle=False))


@pytest.mark.parametrize("looks", [2, 5, 100])
def test_validation_does_not_change_training(start: Start, looks: int):
    """Dropout draws from the global generator and BatchNorm keeps what it sees: both would tell."""
    runs = [start(layers=NOISY, batch_size=16, epochs=10, validate_every=every) for every in (1, looks)]
    found = []
    for run in runs:
        torch.manual_seed(1)
        drive(run)
        found.append((losses(run), checkpoint.digest(run.model.state_dict())))
    assert found[0] == found[1]
    assert len(values(runs[0], "valid/loss")) == 10
    assert len(values(runs[1], "valid/loss")) == -(-10 // looks)


def test_checkpoints_do_not_change_training(start: Start):
    found = []
    for every in (None, "3 steps"):
        run = start(layers=NOISY, batch_size=16, epochs=6, every=every, format="both")
        drive(run)
        found.append(losses(run))
    assert found[0] == found[1]


# What is told


def test_every_step_and_every_look_is_told_once_and_in_order(start: Start):
    run = start(batch_size=20, epochs=5, validate_every=2)
    notes = driven(run)
    assert [step.step for step in notes.all(Step)] == list(range(1, 21))
    looks = notes.all(Epoch)
    assert [(look.epoch, look.step) for look in looks] == [(2, 8), (4, 16), (5, 20)]
    assert all(set(look.metrics) == {"valid/loss", "lr", "epoch"} for look in looks)
    for look in looks:
        assert notes.events.index(look) > notes.events.index(notes.all(Step)[look.step - 1])
    [finished] = notes.all(Finished)
    assert (finished.step, finished.reason) == (20, "5 of 5 epochs done")
    assert finished.metrics == {}, "what was told before is not told again"
    assert run.history["valid/loss"] == [(look.step, look.metrics["valid/loss"]) for look in looks]


def test_the_learning_rate_is_told_as_it_was_used(start: Start):
    run = start(
        epochs=6, scheduler={"name": "StepLR", "step_size": 2, "gamma": 0.1}, optimizer={"name": "SGD", "lr": 1}
    )
    drive(run)
    assert values(run, "lr") == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert values(run, "epoch") == [1, 2, 3, 4, 5, 6]


def test_a_straight_line_is_learned(start: Start):
    run = start(epochs=200, optimizer={"name": "SGD", "lr": 0.5})
    drive(run)
    assert run.model[0].weight.item() == pytest.approx(0.5, abs=0.01)
    assert losses(run)[-1] < 2e-4 < losses(run)[0]


# The best


def test_early_stopping_stops_after_patience_looks_without_gain(start: Start):
    """A learning rate of nearly 2 / curvature: the loss falls first and then only trembles."""
    run = start(layers=NOISY, batch_size=16, epochs=200, patience=4, optimizer={"name": "SGD", "lr": 0.05})
    [finished] = driven(run).all(Finished)
    seen = values(run, "valid/loss")
    best = min(range(len(seen)), key=seen.__getitem__)
    assert len(seen) == best + 1 + 4 < 200
    assert run.state.step == 4 * len(seen)
    assert (run.best.value, run.best.step) == (seen[best], 4 * (best + 1))
    assert finished.reason == f"no better valid/loss than {seen[best]:.6g} for 4 validations"


def test_a_gain_below_min_delta_is_none(start: Start):
    run = start(epochs=100, patience=2, min_delta=1e9)
    drive(run)
    assert run.state.step == 3
    assert run.best.step == 1


def test_mode_max_keeps_the_highest(start: Start):
    run = start(**DIGITS, epochs=6, metrics=["Accuracy"], monitor="valid/Accuracy", mode="max")
    drive(run)
    seen = values(run, "valid/Accuracy")
    assert run.best.value == max(seen) > min(seen)


def test_the_best_weights_give_the_best_value_again(start: Start):
    run = start(layers=NOISY, batch_size=16, epochs=30, optimizer={"name": "SGD", "lr": 0.3})
    notes = driven(run)
    assert run.best.step < run.state.step, "choose a training whose last step is not its best"
    folders = {snapshot.name: snapshot.folder for snapshot in notes.all(Snapshot)}
    for name, expected in (("best", min(values(run, "valid/loss"))), ("last", values(run, "valid/loss")[-1])):
        run.model.load_state_dict(checkpoint.load_state_dict(folders[name] / "state_dict.pt"))
        assert measure.values(run, run.data.valid, "valid")["valid/loss"] == expected


def test_the_model_is_the_last_one_after_the_best_was_written(start: Start):
    run = start(layers=NOISY, batch_size=16, epochs=8)
    before, snapshots = [], []
    for event in _events(run):
        if isinstance(event, Step):
            before.append(checkpoint.digest(run.model.state_dict()))
        if isinstance(event, Snapshot):
            snapshots.append(event.name)
            assert checkpoint.digest(run.model.state_dict()) == before[-1]
    assert set(snapshots) == {"best", "last"}


def _events(run: Run) -> Any:
    from runner.training.loop import train

    for step in train(run.state, run.batches(), run.step):
        run.recorder.record(step)
        yield step
        for event in run.after(step):
            run.recorder.record(event)
            yield event
    yield from finish.finish(run, finish.draw)


def test_a_first_value_that_is_not_a_number_is_not_the_best_for_ever(start: Start):
    run = start()
    for value, step in ((float("nan"), 1), (3.0, 2), (float("nan"), 3), (2.0, 4), (2.5, 5)):
        run.best.compare(value, step, run.model)
    assert (run.best.value, run.best.step) == (2.0, 4)


def test_without_validation_data_the_training_loss_decides(start: Start):
    run = start(
        data={"name": "line", "points": 64, "valid": 0}, batch_size=16, epochs=5, patience=1, monitor="train/loss"
    )
    drive(run)
    assert run.monitor == "train/loss"
    assert run.best.value == min(value for _, value in run.history["train/eval_loss"])


def test_a_monitor_that_is_not_measured_is_refused_before_training(start: Start):
    with pytest.raises(
        ConfigError, match=r"^trainer.monitor: 'valid/Acuracy' is not one of .* did you mean 'valid/Acc"
    ):
        start(**DIGITS, metrics=["Accuracy"], monitor="valid/Acuracy")
    with pytest.raises(ConfigError, match=r"^trainer.monitor: 'valid/loss' is not one of train/loss"):
        start(data={"name": "line", "valid": 0}, monitor="valid/loss")


@pytest.mark.parametrize(
    "spec", ["F1Score", {"F1Score": {"average": "macro"}}, {"name": "F1Score", "average": "macro"}]
)
def test_a_metric_can_be_monitored_however_it_is_written(start: Start, spec):
    run = start(**DIGITS, epochs=1, metrics=[spec], monitor="valid/F1Score", mode="max")
    drive(run)
    assert run.best.value == values(run, "valid/F1Score")[0]


# Metrics


def test_metrics_are_those_of_all_the_data_at_once(start: Start):
    metrics = ["Accuracy", {"F1Score": {"average": "macro"}}, {"AUROC": {"thresholds": None}}]
    run = start(**DIGITS, epochs=3, metrics=metrics)
    [finished] = driven(run).all(Finished)
    for part, found in (("valid", run.last_values()), ("test", finished.metrics)):
        source = getattr(run.data, part)
        run.model.eval()
        with torch.no_grad():
            output = run.model(source.x)
        assert found[f"{part}/loss"] == pytest.approx(nn.CrossEntropyLoss()(output, source.y).item(), rel=1e-5)
        of = {"task": "multiclass", "num_classes": 10}
        for name, metric in {
            "Accuracy": torchmetrics.Accuracy(**of),
            "F1Score": torchmetrics.F1Score(**of, average="macro"),
            "AUROC": torchmetrics.AUROC(**of),
        }.items():
            assert found[f"{part}/{name}"] == pytest.approx(metric(output.softmax(1), source.y).item(), rel=1e-5), name
    assert (
        values(run, "valid/Accuracy")[-1] == (run.model(run.data.valid.x).argmax(1) == run.data.valid.y).float().mean()
    )


def test_regression_metrics_are_those_of_all_the_data_at_once(start: Start):
    run = start(epochs=5, batch_size=10, metrics=["MeanAbsoluteError", "R2Score"])
    drive(run)
    output, y = run.model(run.data.valid.x).detach(), run.data.valid.y
    assert run.last_values()["valid/MeanAbsoluteError"] == pytest.approx((output - y).abs().mean().item(), rel=1e-5)
    r2 = 1 - ((output - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert run.last_values()["valid/R2Score"] == pytest.approx(r2.item(), rel=1e-4)


def two_classes(folder: Path) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 2)).astype(np.float32)
    np.savez(folder / "two.npz", x=x, y=(x.sum(1) > 0).astype(np.int64))
    return {"name": "arrays", "path": str(folder / "two.npz"), "valid": 0.3, "test": 0.0}


@pytest.mark.parametrize(("loss", "outputs"), [("BCEWithLogitsLoss", 1), ("CrossEntropyLoss", 2)])
def test_two_classes_are_learned_with_one_logit_or_two(start: Start, tmp_path: Path, loss, outputs):
    run = start(
        data=two_classes(tmp_path),
        layers=[{"Linear": outputs}],
        loss={"name": loss},
        optimizer={"name": "Adam", "lr": 0.1},
        metrics=["Accuracy"],
        epochs=40,
    )
    drive(run)
    output, y = run.model(run.data.valid.x), run.data.valid.y.flatten()
    guess = output.argmax(1) if outputs == 2 else (output.flatten() > 0).long()
    assert run.last_values()["valid/Accuracy"] == pytest.approx((guess == y).float().mean().item())
    assert run.last_values()["valid/Accuracy"] > 0.9


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["Acuracy"], "'Accuracy'"),
        ([{"Accuracy": {"tresholds": 1}}], "tresholds"),
        (["MeanSquaredError"], "multiclass"),
        ([3], "expected a name such as Accuracy"),
    ],
)
def test_a_wrong_metric_is_refused_before_training(start: Start, metrics, message):
    with pytest.raises(ConfigError) as error:
        start(**DIGITS, metrics=metrics)
    assert error.value.key.startswith("metrics")
    assert message in str(error.value)


def test_a_metric_for_classes_is_refused_for_numbers(start: Start):
    with pytest.raises(ConfigError, match="Accuracy needs classes"):
        start(metrics=["Accuracy"])


# Checkpoints on the way


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        (None, [24]),
        ("10 steps", [10, 20, 24]),
        (1, [4, 8, 12, 16, 20, 24]),
        ("4 epochs", [16, 24]),
        ("100 minutes", [24]),
        ("0.0000001 minutes", [*range(1, 25)]),
    ],
)
def test_checkpoints_are_written_when_they_are_due(start: Start, every, steps):
    run = start(batch_size=16, epochs=6, every=every)
    notes = driven(run)
    last, best = ([s.step for s in notes.all(Snapshot) if s.name == name] for name in ("last", "best"))
    assert last == steps
    assert best == sorted(set(best))
    assert best[-1] == run.best.step


# Precision, compilation, epochs


@pytest.mark.parametrize("precision", ["fp32", "fp64", "bf16", "fp16"])
def test_every_precision_trains_to_the_same_accuracy(start: Start, precision):
    weights = {"name": "CrossEntropyLoss", "weight": [1.0] * 10}
    run = start(**{**DIGITS, "loss": weights}, epochs=8, precision=precision, metrics=["Accuracy"])
    drive(run)
    assert run.last_values()["valid/Accuracy"] > 0.8
    assert Subject(run).predict(run.data.valid)[2].dtype == (torch.float64 if precision == "fp64" else torch.float32)


def test_a_compiled_model_trains_like_an_eager_one(start: Start):
    runs = [
        start(epochs=4, batch_size=16, layers=[{"Linear": 4}, "Tanh", {"Linear": 1}], compile=c)
        for c in (False, "aot_eager")
    ]
    for run in runs:
        drive(run)
    assert losses(runs[1]) == pytest.approx(losses(runs[0]), rel=1e-6)
    assert values(runs[1], "valid/loss") == pytest.approx(values(runs[0], "valid/loss"), rel=1e-6)
    assert list(runs[1].model.state_dict()) == list(runs[0].model.state_dict())


def test_accumulation_through_a_run_equals_the_larger_batch(start: Start):
    changes: dict[str, Any] = {"precision": "fp64", "epochs": 4, "data": {"name": "line", "points": 150, "valid": 20}}
    four, one = start(**changes, batch_size=16, accumulate=4), start(**changes, batch_size=64)
    for run in (four, one):
        drive(run)
    assert four.steps_per_epoch == one.steps_per_epoch == 3
    assert losses(four) == pytest.approx(losses(one), rel=1e-12)
    assert values(four, "valid/loss") == pytest.approx(values(one, "valid/loss"), rel=1e-12)


def test_a_schedule_goes_by_the_length_of_the_run(start: Start):
    spec = {"name": "OneCycleLR", "max_lr": 0.1}
    run = start(
        scheduler=spec, optimizer={"name": "SGD", "lr": 1, "momentum": 0.9}, batch_size=20, accumulate=2, epochs=5
    )
    assert run.schedule.scheduler.total_steps == 10
    drive(run)
    assert run.state.step == 10


def test_a_model_with_nothing_to_learn_is_refused(start: Start):
    with pytest.raises(ConfigError, match=r"^model.layers: no layer has parameters to train; trainer.epochs=0"):
        start(layers=["Tanh"])


def test_no_epochs_only_run_the_model_forward(start: Start):
    run = start(layers=["Tanh"], epochs=0)
    notes = driven(run)
    assert notes.all(Step) == notes.all(Epoch) == []
    x, _, output = Subject(run).predict(run.data.valid)
    assert torch.equal(output, torch.tanh(x))


def test_threads_and_deterministic_are_set(start: Start):
    start(threads=2, deterministic=True)
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    start()
    assert torch.get_num_threads() == 1
    assert not torch.are_deterministic_algorithms_enabled()
    start(threads=None)
    assert torch.get_num_threads() == THREADS


# What is left


def test_predictions_are_in_the_order_of_the_data(start: Start, tmp_path: Path):
    run = start(**DIGITS, epochs=1)
    kept = {p.name: p for k in driven(run).all(Artifacts) for p in k.folder.rglob("*") if p.is_file()}
    x, y, output = Subject(run).predict(run.data.valid)
    assert torch.equal(x, run.data.valid.x)
    assert torch.equal(y, run.data.valid.y)
    run.model.eval()
    torch.testing.assert_close(output, run.model(run.data.valid.x).detach())
    assert np.array_equal(np.load(kept["predictions.npy"], allow_pickle=False), output.numpy())
    assert len(x) > 256, "more than one batch, or the order could not be wrong"


def test_predicting_leaves_the_mode_as_it_was(start: Start):
    run = start(layers=NOISY)
    run.model.train()
    first, second = (Subject(run).predict(run.data.valid)[2] for _ in range(2))
    assert torch.equal(first, second)
    assert run.model.training


def test_closing_removes_the_runs_files(start: Start):
    run = start(epochs=1, every="1 steps")
    drive(run)
    assert any(run.folder.iterdir())
    run.close()
    assert not run.folder.exists()


def test_a_signal_stops_between_two_steps(start: Start):
    run = start(epochs=50)

    class Impatient:
        def record(self, event: Event) -> None:
            if isinstance(event, Step) and event.step == 7:
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals, pytest.raises(Interrupted, match="SIGTERM") as stop:
        drive(run, Impatient(), stop=signals.stop)
    assert stop.value.exit_code == 143
    assert run.state.step == 7
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_subject_can_be_copied(start: Start):
    """As a plot of one's own may do, or a pickle."""
    subject = Subject(start())
    assert copy.copy(subject).run is subject.run
    with pytest.raises(AttributeError):
        subject.nothing  # noqa: B018

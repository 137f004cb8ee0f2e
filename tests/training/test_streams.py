"""Dropout on accelerators is drawn from streams by counter: their quality, and that a stack draws those of each."""

import contextlib
import functools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.training.drive import drive
from runner.training.parts import dropout
from runner.training.prepare import prepare
from runner.training.state import checkpoint, generators
from runner.training.vectorized import blocks, drive_many, groups, replays, update
from tests.training.test_vectorized import IMAGES, Seen, apart, jobs
from tests.whole.test_device import elsewhere

DIGITS = {"name": "digits", "valid": 0.2, "test": 0.7}
LOSS: dict[str, Any] = {"loss": {"name": "CrossEntropyLoss"}, "metrics": ["Accuracy"], "batch_size": 64, "epochs": 2}


def draws(seed: int = 0, layer: int = 0, call: int = 1, count: int = 1000) -> Tensor:
    """Numbers of one layer in one step, from 0 to 1."""
    module = nn.Sequential(*(nn.Dropout() for _ in range(layer + 1)))
    keys = dropout.keys([seed], len(module))[layer] + torch.tensor([call]) * dropout.STEP
    return dropout.draws(keys, -(-count // 2))[0, :count].double() / 2**32 + 0.5


def test_draws_are_uniform() -> None:
    x = draws(count=2**20)
    assert abs(float(x.mean()) - 0.5) < 4 / math.sqrt(12 * len(x))
    counts = torch.histc(x, 256, 0, 1)
    expected = len(x) / 256
    assert abs(float(((counts - expected) ** 2 / expected).sum()) - 255) < 4 * math.sqrt(2 * 255)
    for bit in range(32):
        ones = float(((x * 2**32).long() >> bit).bitwise_and(1).double().mean())
        assert abs(ones - 0.5) < 5 * 0.5 / math.sqrt(len(x)), bit


def test_draws_that_follow_each_other_are_independent() -> None:
    x = draws(count=2**20) - 0.5
    for lag in (1, 2, 3, 4, 64, 128, 1000, 2**16):
        together = float((x[lag:] * x[:-lag]).mean()) * 12
        assert abs(together) < 5 / math.sqrt(len(x) - lag), lag


@pytest.mark.parametrize("kind", ["seed", "layer", "call"])
def test_streams_are_independent(kind: str) -> None:
    """Of neighbouring seeds, layers and steps, in place and shifted."""
    streams = torch.stack([draws(**{kind: number}, count=2**14) for number in range(1, 33)]) - 0.5
    for shift in (0, 1, 2, 7):
        together = streams[:, shift:] @ streams[:, : streams.shape[1] - shift].T * 12 / (streams.shape[1] - shift)
        together.fill_diagonal_(0)
        assert float(together.abs().max()) < 5.5 / math.sqrt(streams.shape[1] - shift), shift
    counts = torch.histc(streams, 64, -0.5, 0.5)
    expected = streams.numel() / 64
    assert abs(float(((counts - expected) ** 2 / expected).sum()) - 63) < 5 * math.sqrt(2 * 63)


def test_a_poor_hash_fails_these(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropout, "draws", lambda keys, count: (_numbers(count) * 2**20 + keys).view(torch.int32)[None])
    with pytest.raises(AssertionError):
        test_draws_are_uniform()
    monkeypatch.setattr(dropout, "draws", lambda keys, count: (_numbers(count) * dropout.STEP).view(torch.int32)[None])
    with pytest.raises(AssertionError):
        test_streams_are_independent("call")


def _numbers(count: int) -> Tensor:
    return torch.arange(count)


# On a device


def _masks() -> list[Any]:
    device = torch.device("pretend:0")
    models = [nn.Sequential(nn.Dropout(p), nn.Dropout2d(0.25)) for p in (0.4, 0.0, 1.0)]
    x = torch.ones(3, 32, 8, 4, 5, device=device)
    stack = dropout.Streams(models, [1, 2, 3], device)
    found = []
    for _ in range(2):
        flat = stack.mask(models[0][0], x.shape[1:], [0.4, 0.0, 1.0], x.dtype)
        channels = stack.mask(models[0][1], (32, 8, 1, 1), [0.25] * 3, x.dtype)
        for i, model in enumerate(models):
            alone = dropout.Streams([model], [i + 1], device)
            alone.load_state_dict({"dropout": stack.calls[:, i].cpu() - 1}, 0)
            with alone.active():
                same = [torch.equal(model[0](x[i]), flat[i]), torch.equal(model[1](x[i]), channels[i].expand_as(x[i]))]
            found.append((*same, float((flat[i] == 0).double().mean()), float(flat[i].mean())))
    found.append([vars(module).get("forward") for module in models[0]])
    return found


def test_a_stack_draws_the_masks_of_each() -> None:
    *masks, left = elsewhere(_masks)
    for i, (flat, channels, zeros, mean) in enumerate(masks):
        assert flat
        assert channels
        assert zeros == pytest.approx((0.4, 0.0, 1.0)[i % 3], abs=0.05)
        assert mean == pytest.approx((1.0, 1.0, 0.0)[i % 3], abs=0.1)
    assert left == [None, None]


def _apart(layers: str, optimizer: str, stops: bool, changes: dict[str, Any]) -> tuple[float, list[str], int]:
    """How far jobs trained as one program on the device are from each alone, how they ended, and steps replayed."""
    replayed = 0
    take = replays.Replays.__call__

    def counting(self: replays.Replays, size: int) -> None:
        nonlocal replayed
        replayed += size in self._replays
        take(self, size)

    replays.Replays.__call__ = counting  # type: ignore[method-assign]
    update.FUSED = changes.pop("from", update.FUSED)
    told = jobs(3, layers=IMAGES[layers], optimizer=optimizer, data=DIGITS, device="pretend", **LOSS | changes)
    if stops:
        told[0].trainer.patience, told[0].trainer.min_delta = 1, 10.0
        told[1].optimizer["lr"] = 1e38
    runs, seen = [prepare(one, "test") for one in told], [Seen() for _ in told]
    assert groups(runs) == ([[0, 1, 2]], {})
    errors = drive_many(runs, [[one] for one in seen])
    others = [prepare(one, "test") for one in told]
    for other, error in zip(others, errors, strict=True):
        with contextlib.nullcontext() if error is None else pytest.raises(type(error)) as raised:
            generators.set_random_state(other.ready, other.device)
            drive(other)
        assert error is None or str(raised.value) == str(error)
    fine = [i for i, error in enumerate(errors) if error is None]
    ends = [type(error).__name__ if error else runs[i].stopped for i, error in enumerate(errors)]
    return apart([runs[i] for i in fine], [others[i] for i in fine]), ends, replayed


@pytest.mark.parametrize(
    ("layers", "optimizer", "changes"),
    [
        ("convolutions", "adamw", {}),
        ("convolutions", "adam", {"from": 1}),  # torch's fused step for each of them
        ("nested", "adam", {"clip_norm": 0.5, "graph": False}),
        ("nested", "nesterov", {"clip_norm": 0.5}),
    ],
)
def test_together_is_alone_on_a_device(layers: str, optimizer: str, changes: dict[str, Any]) -> None:
    """Captured or not, with one formula for all or torch's fused steps."""
    schedule = {"scheduler": {"name": "CosineAnnealingLR", "interval": "step"}}
    distance, ends, replayed = elsewhere(functools.partial(_apart, layers, optimizer, False, schedule | changes))
    assert ends == ["", "", ""]
    assert (replayed > 0) == ("graph" not in changes)
    assert distance < 1e-10


def test_a_run_that_ends_early_on_a_device_leaves_the_others_alone() -> None:
    distance, ends, _ = elsewhere(functools.partial(_apart, "nested", "nesterov", True, {"epochs": 4}))
    assert ends[0].startswith("no better")
    assert ends[1:] == ["Diverged", ""]
    assert distance < 1e-10


def _continued(together: bool) -> float:
    """How far runs that were interrupted within an epoch and go on the other way are from uninterrupted ones."""
    told = jobs(2, layers=IMAGES["nested"], optimizer="adam", data=DIGITS, device="pretend", **LOSS)
    blocks.MOST = 1  # type: ignore[misc]
    reason, runs, seen = KeyboardInterrupt("enough"), [prepare(one, "test") for one in told], [Seen() for _ in told]

    def stop() -> BaseException | None:
        return reason if runs[0].state.step == 3 or runs[1].state.step == 3 else None

    if together:
        drive_many(runs, [[one] for one in seen], stop=stop)
    else:
        for run, one in zip(runs, seen, strict=True):
            with pytest.raises(KeyboardInterrupt):
                drive(run, one, stop=lambda run=run: reason if run.state.step == 3 else None)
    others, expected = [prepare(one, "test") for one in told], [prepare(one, "test") for one in told]
    for run, one in zip(others, seen, strict=True):
        folder = next(event.folder for event in one.events if getattr(event, "name", "") == "last")
        weights = checkpoint.load_state_dict(folder / "state_dict.pt")
        run.load_state_dict(weights, checkpoint.load_training(folder / "training.pt"))
    if together:
        for run in others:
            drive(run)
    else:
        drive_many(others, [[], []])
    for run in expected:
        drive(run)
    return apart(others, expected)


@pytest.mark.parametrize("together", [True, False])
def test_what_was_interrupted_on_a_device_goes_on_exactly(together: bool) -> None:
    assert elsewhere(functools.partial(_continued, together)) < 1e-10


def _saved() -> list[Any]:
    told = jobs(1, layers=IMAGES["nested"], data=DIGITS, device="pretend", format="both", **LOSS)[0]
    run, seen = prepare(told, "test"), Seen()
    drive(run, seen)
    folder = next(event.folder for event in seen.events if getattr(event, "name", "") == "best")
    model = checkpoint.load_model(folder / "model.pt", {type(m) for m in run.model.modules()})
    return [sorted(vars(m)) for m in model.modules() if isinstance(m, nn.Dropout)] + [repr(run.model) == repr(model)]


def test_a_saved_model_knows_nothing_of_streams() -> None:
    *layers, same = elsewhere(_saved)
    assert same
    assert all(names == sorted(vars(nn.Dropout(0.1))) for names in layers)

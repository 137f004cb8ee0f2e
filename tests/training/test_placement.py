"""Channels side by side, and products of fewer bits: the numbers stay within rounding, and nothing outlives its run."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import runner
from runner.settings import Trainer, random_state
from runner.settings.errors import ConfigError
from runner.training.checking import checks
from runner.training.drive import drive
from runner.training.run import Run
from runner.training.state import checkpoint
from runner.training.subject import Subject
from runner.training.vectorized import groups
from tests.conftest import Start, settings
from tests.support import pretend
from tests.support.command import newest
from tests.support.command import runner as command
from tests.support.on_disk import OnDisk

CONV: dict[str, Any] = {
    "data": {"name": "digits"},
    "layers": [
        {"Conv2d": {"out_channels": 6, "kernel_size": 3}}, "BatchNorm2d", "ReLU",
        {"Conv2d": {"out_channels": 4, "kernel_size": 3}}, "Flatten", {"Linear": 10},
    ],
    "loss": {"name": "CrossEntropyLoss"},
    "optimizer": {"name": "SGD", "lr": 0.1},
    "batch_size": 256,
    "epochs": 2,
}  # fmt: skip


def weights(run: Run) -> dict[str, Tensor]:
    return checkpoint.copy(run.model)


@pytest.mark.parametrize("on_disk", [False, True])
def test_channels_last_gives_the_same_numbers_within_rounding(start: Start, on_disk: bool) -> None:
    results = []
    for channels_last in (False, True):
        run = start(**CONV, precision="fp64", channels_last=channels_last)
        if on_disk:
            object.__setattr__(run.data, "train", OnDisk(run.data.train))
        drive(run)
        inner = run.model[3].weight  # type: ignore[index]
        assert inner.is_contiguous(memory_format=torch.channels_last) == channels_last
        results.append((weights(run), Subject(run).outputs(run.data.valid)[1]))  # type: ignore[arg-type]
    torch.testing.assert_close(results[0], results[1], rtol=1e-8, atol=1e-10)


def test_batches_of_images_and_volumes_come_in_that_order(start: Start) -> None:
    run = start(**CONV, channels_last=True)
    images, volumes = torch.rand(4, 3, 5, 5), torch.rand(4, 3, 5, 5, 5)
    assert run.placement.inputs(images).is_contiguous(memory_format=torch.channels_last)
    assert run.placement.inputs(volumes).is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(run.placement.inputs(images), images)
    assert run.placement.inputs(images[0, 0]) is not None


def test_saved_weights_lie_in_memory_as_all_others_do(start: Start, tmp_path: Path) -> None:
    run = start(**CONV, channels_last=True)
    checkpoint.save(tmp_path / "files", run.model, "both")
    state = checkpoint.load_state_dict(tmp_path / "files" / "state_dict.pt")
    assert all(tensor.is_contiguous() for tensor in state.values())
    plain = start(**CONV)
    plain.model.load_state_dict(state)
    x = run.batch_of(5)
    torch.testing.assert_close(plain.model.eval()(x), run.model.eval()(x))
    assert checkpoint.digest(plain.model.state_dict()) == checkpoint.digest(run.model.state_dict())


def test_runs_with_channels_last_are_not_stacked_and_share_no_data_with_others(start: Start) -> None:
    runs = [start(seed=seed, **CONV, channels_last=True) for seed in (0, 1)]
    together, alone = groups(runs)
    assert together == []
    assert "channels_last" in alone[0]


@pytest.mark.parametrize("layers", [[{"Linear": 1}], ["Flatten", {"Linear": 1}]])
def test_channels_last_without_a_convolution_is_refused(layers: list[Any]) -> None:
    with pytest.raises(ConfigError) as error:
        checks.check(settings(layers=layers, channels_last=True))
    assert error.value.key == "trainer.channels_last"


WORDS = ("experiments=cnn", "trainer.channels_last=true", "trainer.matmul_precision=high", "device=cpu")
STUDY = """# @package _global_
defaults:
  - override /data: digits
  - override /model: digits_cnn
  - override /loss: cross_entropy
  - override /optimizer: adam
trainer: {epochs: 2, batch_size: 256}
plots: []
"""


def test_it_is_resumed_reproduced_evaluated_and_loaded_as_it_was_recorded(workplace: Path, store: str) -> None:
    (workplace / "experiments").mkdir()
    (workplace / "experiments/cnn.yaml").write_text(STUDY)
    run_id = command(*WORDS, cwd=workplace).run_id
    assert "identical" in command("reproduce", run_id, cwd=workplace).last
    evaluated = command("evaluate", run_id, cwd=workplace).out
    table = next(line.split() for line in evaluated.splitlines() if line.strip().startswith("test/loss"))
    assert table[1] == table[2]
    command("resume", run_id, "trainer.epochs=3", cwd=workplace)
    longer = command("experiments=cnn", *WORDS[1:], "trainer.epochs=3", cwd=workplace).run_id
    [first, second] = (newest(next((workplace / "mlruns").glob(f"*/{one}*/artifacts"))) for one in (run_id, longer))
    same = [checkpoint.digest(checkpoint.load_state_dict(place / "state_dict.pt")) for place in (first, second)]
    assert same[0] == same[1]
    model = runner.load(run_id, store)
    assert all(p.is_contiguous() for p in model.parameters())


def test_it_is_the_same_on_another_device(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    (workplace / "experiments/cnn.yaml").write_text(STUDY)
    env = pretend.environment(workplace / "site")
    words = (*WORDS, "trainer.graph=false", "model.knobs.dropout=0")
    stayed = command(*words, cwd=workplace).run_id
    moved = command(*words, "device=pretend", cwd=workplace, env=env).run_id
    places = [newest(next((workplace / "mlruns").glob(f"*/{one}*/artifacts"))) for one in (stayed, moved)]
    one, other = (checkpoint.load_state_dict(place / "state_dict.pt") for place in places)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


# Products of fp32


@contextlib.contextmanager
def put_back() -> Iterator[None]:
    try:
        yield
    finally:
        random_state.restrain(Trainer(threads=1))


def now() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def test_no_run_inherits_how_another_multiplies() -> None:
    before = now()
    with put_back():
        for precision, expected in (("high", True), ("highest", False), ("medium", True), (None, None), ("high", True)):
            random_state.restrain(Trainer(threads=1, matmul_precision=precision))
            assert now() == (before if precision is None else (precision, expected))
    assert now() == before


def test_a_process_that_sets_nothing_is_left_alone(start: Start) -> None:
    """It may use torch's newer names, which the older ones cannot read then."""
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        drive(start())
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.backends.cuda.matmul.fp32_precision = "none"


def test_runs_with_other_products_are_not_stacked_together(start: Start) -> None:
    with put_back():
        runs = [start(seed=seed, matmul_precision=p) for p in (None, "high") for seed in (0, 1)]
        assert groups(runs)[0] == [[0, 1], [2, 3]]

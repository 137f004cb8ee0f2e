"""What a person sees while a run goes on."""

import io
import time

import pytest
import torch
from rich.console import Console

from runner.tracking import training_screen
from runner.training.events import Epoch, Step
from runner.training.parts.length import Length


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=160, highlight=False, markup=False)


@pytest.mark.parametrize("done", [0, 188_000])
def test_speed_and_time_left_are_those_of_this_process(done: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = training_screen.Lines(console(terminal=False), Length(200_000, 2_000, 2_000), done)
    now[0] += 2.0
    lines.record(Step(done + 400, torch.tensor(0.5)))
    lines.record(Epoch(95, done + 400, {"valid/loss": 0.25}))
    left = (200_000 - done - 400) / 200
    assert f"200 steps/s  {left:.0f} s left" in lines.console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("done", "epoch"), [(0, "epoch 0/100"), (188_000, "epoch 94/100")])
def test_the_bar_goes_on_where_the_run_was_continued(done: int, epoch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    bar = training_screen.Bar(console(terminal=True), Length(200_000, 2_000, 2_000), done)
    try:
        task = bar.progress.tasks[0]
        assert (task.completed, task.fields["place"]) == (done, epoch)
        now[0] += 2.0
        bar.record(Step(done + 400, torch.tensor(0.5)))
        assert (task.completed, task.fields["rate"]) == (done + 400, "200")
    finally:
        bar.close()

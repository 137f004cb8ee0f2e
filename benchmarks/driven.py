"""One job as the runner trains it, with a tracker, and the bare loop that does the same work."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import ends
from runner.data import order_of
from runner.settings.context import Context
from runner.tracking import identity, recording, training_screen
from runner.training.drive import drive
from runner.training.prepare import prepare


def tracked(settings: Any) -> tuple[float, dict[str, Any]]:
    """Return the seconds of `drive` up to its last step, and the weights."""
    with ends.ending(), driven(settings) as (run, work, *_):
        synchronize(run.device)
        begun = time.perf_counter()
        work()
        synchronize(run.device)
        seconds = time.perf_counter() - begun
    return seconds, run.model.state_dict()


@contextlib.contextmanager
def driven(settings: Any) -> Iterator[tuple[Any, Callable[[], None], Any, str]]:
    """Yield a prepared run, a function that drives it with a tracker and lines to nowhere, its record, and its id.

    The record is closed after the block at the latest, so that no work goes on in the background.
    """
    run = prepare(settings, "benchmark")
    facts = identity.of_run(run, Context("benchmark", "# the configuration\n" * 60))
    record = contextlib.ExitStack()
    tracker = record.enter_context(recording.recording(settings.tracking.uri, "benchmark", None, *facts))
    with Path(os.devnull).open("w") as null, contextlib.closing(record):
        lines = training_screen.Lines(Console(file=null), run.length)
        try:
            yield run, lambda: drive(run, tracker, lines), record, tracker.run_id
        finally:
            run.close()


def bare(settings: Any, validate: bool = True) -> tuple[float, dict[str, Any]]:
    """Return the seconds of the bare loop, and the weights. validate: make the passes that the runner makes."""
    run, trainer = prepare(settings, "benchmark"), settings.trainer
    model, optimizer, loss_fn = run.model, run.state.optimizer, run.loss
    train, valid, accuracy = run.data.train, run.data.valid, bool(run.metrics)
    scheduler = run.schedule.scheduler  # steps once an epoch, or is None
    every = trainer.validate_every if validate else trainer.epochs + 1
    mixed = torch.autocast(run.device.type, torch.bfloat16, enabled=trainer.precision == "bf16")
    run.close()

    synchronize(run.device)
    begun = time.perf_counter()
    for epoch in range(trainer.epochs):
        model.train()
        for x, y in _batches(train, trainer.batch_size, epoch):
            optimizer.zero_grad()
            with mixed:
                loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
        if (epoch + 1) % every == 0:
            model.eval()
            with torch.no_grad(), mixed:
                output = model(valid.x)
                loss_fn(output, valid.y).item()
                if accuracy:
                    (output.argmax(1) == valid.y).float().mean().item()
        if scheduler is not None:
            scheduler.step()
    synchronize(run.device)
    return time.perf_counter() - begun, model.state_dict()


def _batches(train: Any, size: int | None, epoch: int) -> Iterator[Any]:
    """Yield all examples at once, or batches in the order that the runner draws for an epoch from seed 0."""
    if size is None:
        yield train.x, train.y
        return
    for index in order_of(len(train.x), 0, epoch).to(train.x.device).split(size):
        yield train.x[index], train.y[index]


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

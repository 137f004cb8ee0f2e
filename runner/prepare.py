"""Everything checked, the data read, the parts built: a run that is ready to start."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from runner import build, checks, exact, fitting, losses, scheduling, targets
from runner.best import Best
from runner.data import Data, Source, Tensors
from runner.randomness import THREADS as THREADS
from runner.randomness import seed as seed
from runner.run import Run, steps_per_epoch
from runner.settings import Settings


def prepare(settings: Settings, name: str) -> Run:
    """Check everything, read the data and build the parts. Raises ConfigError before any work is done."""
    checked = checks.check(settings)
    device, loss, data = checked.device, checked.loss, checked.data
    if not checked.complete:
        seed(settings)  # a data source of the user's may draw numbers
        data = targets.read(settings.data, loss)
        fitting.indices(data, checked.plan)  # which the checks could not see
    seed(settings)
    trainer = settings.trainer
    state = build.state(checked.plan.make(), settings.optimizer, trainer, device)
    steps = trainer.epochs * steps_per_epoch(settings, data)
    schedule = scheduling.build(settings.scheduler, state.optimizer, trainer.epochs, steps, checked.mode)
    run = Run(
        name,
        settings,
        _moved(data, device, trainer.precision),
        checked.plan,
        state,
        losses.cost(loss.to(device, torch.float64 if trainer.precision == "fp64" else None), trainer, device),
        loss,
        schedule,
        {k: m.to(device) for k, m in checked.metrics.items()},
        device,
        Path(tempfile.mkdtemp(prefix="runner-")),
        Best(checked.mode, trainer.min_delta),
    )
    run.ready = exact.random_state(device)
    return run


def _moved(data: Data, device: torch.device, precision: str) -> Data:
    """What is in memory goes to the device as a whole."""

    def move(source: Source) -> Source:
        dtype = torch.float64 if precision == "fp64" else None
        return source.to(device, dtype) if isinstance(source, Tensors) else source

    valid, test = (None if source is None else move(source) for source in (data.valid, data.test))
    return replace(data, train=move(data.train), valid=valid, test=test)

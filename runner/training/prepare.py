"""Everything checked, the data read, the parts built: a run that is ready to start."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from runner.data import Data, Source, Tensors
from runner.settings import Settings, memory
from runner.settings.errors import ConfigError
from runner.settings.random_state import THREADS as THREADS
from runner.settings.random_state import seed as seed
from runner.training import step
from runner.training.checking import agreement, checks, cost, fitting, targets
from runner.training.parts import losses, optimizers, scheduling
from runner.training.parts.batches import steps_per_epoch
from runner.training.run import Run
from runner.training.state import generators
from runner.training.state.best import Best
from runner.training.state.snapshots import Snapshots


def prepare(settings: Settings, name: str, threads: int | None = None, noted: dict[str, Any] | None = None) -> Run:
    """Check everything, read the data and build the parts. Raises ConfigError before any work is done.

    threads: that a recorded run was trained with, and that it goes on with; None: as trainer.threads says.
    noted: what a recorded run has noted of its data, if they are to be read as its model knows them.
    """
    checked = checks.check(settings, noted, threads)
    parts, trainer = checked.parts, settings.trainer
    data = checked.data if checked.complete else whole(settings, checked, noted)
    loss = losses.counted(parts.loss, data)
    loss.to(parts.device, torch.float64 if trainer.precision == "fp64" else None)
    threads = threads or cost.threads(settings, checked.plan, cost.batch_size(settings, data), parts.device)
    seed(settings, threads)
    try:
        moved = _moved(data, parts.device, trainer.precision)
        state = optimizers.state(
            _model(checked), parts.optimizer, losses.cost(loss, trainer, parts.device), trainer, parts.device
        )
    except RuntimeError as error:
        if not memory.is_short(error):
            raise
        raise ConfigError("device", f"{parts.device} has no room left for model and data: {memory.reason(error)};"
            " end what else uses it, or use a smaller model, or device=cpu") from error  # fmt: skip
    steps = trainer.epochs * steps_per_epoch(settings, data)
    schedule = scheduling.build(parts.scheduler, state.optimizer, trainer.epochs, steps, checked.mode)
    folder = Path(tempfile.mkdtemp(prefix="runner-"))
    run = Run(
        name,
        settings,
        parts,
        moved,
        checked.plan,
        state,
        step.choose(state, parts.step),
        loss,
        schedule,
        {k: m.to(parts.device) for k, m in checked.metrics.items()},
        parts.device,
        folder,
        Best(checked.mode, trainer.min_delta),
        Snapshots(folder, settings.checkpoint.format),
        threads=threads,
    )
    run.ready = generators.random_state(parts.device)
    return run


def _model(checked: checks.Checked) -> nn.Module:
    """The model with its first weights, which the checks may have drawn already; the generators go on from there."""
    start = checked.start
    if start.model is None or start.random_state is None:
        return checked.plan.make()
    generators.set_random_state(start.random_state, checked.parts.device)
    return start.model


def whole(settings: Settings, checked: checks.Checked, noted: dict[str, Any] | None = None) -> Data:
    """All of the data, of which the checks have read a part. Raises ConfigError for what only the whole shows."""
    seed(settings)  # a data source of the user's may draw numbers
    data = targets.read(checked.parts.data, checked.parts.loss, noted=noted)
    fitting.indices(data, checked.plan)
    if settings.trainer.epochs:
        agreement.check_targets(checked.parts.loss, data, checked.plan.output)
    return data


def _moved(data: Data, device: torch.device, precision: str) -> Data:
    """What is in memory goes to the device as a whole."""

    def move(source: Source) -> Source:
        dtype = torch.float64 if precision == "fp64" else None
        return source.to(device, dtype) if isinstance(source, Tensors) else source

    valid, test = (None if source is None else move(source) for source in (data.valid, data.test))
    return replace(data, train=move(data.train), valid=valid, test=test)

"""Settings to a run that is ready to start: check everything, read the data, build the parts."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from runner.data import Data
from runner.settings import Settings, memory
from runner.settings.errors import ConfigError
from runner.settings.random_state import seed
from runner.training.capture import choice
from runner.training.checking import checks, cost, fitting, target_values, targets
from runner.training.parts import losses, optimizers, scheduling
from runner.training.parts.batches import steps_per_epoch
from runner.training.parts.placement import placement
from runner.training.run import Run
from runner.training.state import generators
from runner.training.state.best import Best
from runner.training.state.snapshots import Snapshots


def prepare(settings: Settings, name: str, threads: int | None = None, noted: dict[str, Any] | None = None) -> Run:
    """Check everything, read the data and build the parts.

    settings: of one run, composed from YAML or made in Python.
    name: of the run's experiment, for titles of plots.
    threads: of a recorded run that goes on; None: by trainer.threads.
    noted: the notes on the data of a recorded run, to whose scale new data is brought; None: there is no such run.
    Raises ConfigError, or ConfigErrors with all problems, before anything is trained.

        settings = Settings(data={"name": "line"}, model=Model([{"Linear": 1}]), loss={"name": "MSELoss"}, ...)
        run = prepare(settings, "mine")
        try:
            drive(run)
        finally:
            run.close()

    The random generators of this process are seeded, torch's threads and determinism set, and `run.folder` is made.
    """
    checked = checks.check(settings, noted, threads)
    parts, trainer = checked.parts, settings.trainer
    data = checked.data if checked.complete else whole(settings, checked, noted)
    loss = losses.counted(parts.loss, data)
    loss.to(parts.device, torch.float64 if trainer.precision == "fp64" else None)
    threads = threads or cost.threads(settings, checked.plan, cost.batch_size(settings, data), parts.device)
    seed(settings, threads)
    try:
        place = placement(trainer, parts.device)
        valid, test = (None if source is None else place.source(source) for source in (data.valid, data.test))
        moved = replace(data, train=place.source(data.train), valid=valid, test=test)
        cost_of_batch = losses.cost(loss, trainer, parts.device)
        state = optimizers.state(place.ordered(_model(checked)), parts.optimizer, cost_of_batch, trainer, parts.device)
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
        choice.choose(state, parts.step, trainer, [loss, state.model], steps, parts.device),
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
    """Return the model with its first weights. If the checks have drawn these, sets the random state after that."""
    start = checked.start
    if start.model is None or start.random_state is None:
        return checked.plan.make()
    generators.set_random_state(start.random_state, checked.parts.device)
    return start.model


def whole(settings: Settings, checked: checks.Checked, noted: dict[str, Any] | None = None) -> Data:
    """Read all of the data, of which the checks have read a part. Raises ConfigError for problems of the rest."""
    seed(settings)  # a data source of the user's own may draw numbers
    data = targets.read(checked.parts.data, checked.parts.loss, noted=noted)
    fitting.indices(data, checked.plan)
    if settings.trainer.epochs:
        target_values.check(checked.parts.loss, data, checked.plan.output)
    return data

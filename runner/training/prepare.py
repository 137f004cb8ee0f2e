"""Settings to a run that is ready to start: check everything, read the data, build the parts."""

import contextlib
import copy
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from runner.data import Data
from runner.settings import Settings, loaded, memory
from runner.settings.errors import ConfigError
from runner.settings.random_state import seed
from runner.training import carrying, debugging, measure, seen
from runner.training.augment import balanced
from runner.training.capture import choice
from runner.training.checking import checks, cost, fitting, target_values, targets
from runner.training.checking.known import Known
from runner.training.own import OwnStep
from runner.training.parts import averages, dropout, freezing, limited, losses, named, optimizers, scheduling
from runner.training.parts.length import length
from runner.training.parts.placement import placement
from runner.training.pictures import Pictures
from runner.training.run import Run
from runner.training.state import generators
from runner.training.state.best import Best
from runner.training.state.snapshots import Snapshots
from runner.training.unpictured import Unpictured


@dataclass(frozen=True)
class Material:
    """The data and the loss that the runs of a kind share; only code of the user's own could change them."""

    data: Data  # all of it, on the device
    loss: nn.Module
    threads: int  # for one operation, by trainer.threads


def prepare(
    settings: Settings,
    name: str,
    threads: int | None = None,
    noted: dict[str, Any] | None = None,
    known: Known | None = None,
) -> Run:
    """Check everything, read the data and build the parts.

    settings: of one run, composed from YAML or made in Python.
    name: of the run's experiment, for titles of plots.
    threads: of a recorded run that goes on; None: by trainer.threads.
    noted: the notes on the data of a recorded run, to whose scale new data is brought; None: there is no such run.
    known: what runs before this one have been found to need, see `checks.check`. Those that differ in numbers alone
        share their data, loss and plan, which nobody may change then.
    Raises ConfigError, or ConfigErrors with all problems, before anything is trained.

        settings = Settings(data={"name": "line"}, model=Model([{"Linear": 1}]), loss={"name": "MSELoss"}, ...)
        run = prepare(settings, "mine")
        try:
            drive(run)
        finally:
            run.close()

    The random generators of this process are seeded, torch's threads and determinism set, and `run.folder` is made.
    """
    with loaded.making(settings.tracking.uri, known is not None) as notes:
        run = _prepared(settings, name, threads, noted, known)
    run.loaded = notes.meanings
    return run


def _prepared(
    settings: Settings, name: str, threads: int | None, noted: dict[str, Any] | None, known: Known | None
) -> Run:
    checked = checks.check(settings, noted, threads, known)
    parts, trainer, kind = checked.parts, settings.trainer, checked.kind
    with _room(parts.device):
        if kind.material is None:
            kind.material = _material(settings, checked, noted)
        data, loss = kind.material.data, kind.material.loss
        threads = threads or kind.material.threads
        seed(settings, threads)
        model = placement(trainer, parts.device).ordered(checked.given.put(_model(checked)))
        frozen = freezing.Frozen(freezing.read(settings.model.freeze), model)
        loss_cost = losses.cost(loss, trainer, parts.device)
        state = optimizers.state(model, parts.optimizer, loss_cost, trainer, parts.device)
        state.loss_parts = named.parts_of(loss_cost)
        metrics = copy.deepcopy(kind.metrics) if kind.shared else kind.metrics
        metrics = {k: m.to(parts.device) for k, m in metrics.items()}
    extent = length(settings, data)
    measured = seen.seen(state, metrics, data, loss, trainer, parts.device)
    state.counters, state.still = list(loss.buffers()), frozen.still
    frozen.at(0)
    streams = dropout.streamed(state, trainer, settings.seed, parts.device)
    schedule = scheduling.build(parts.scheduler, state.optimizer, extent.epochs, extent.steps, kind.mode)
    step = choice.choose(state, parts.step, trainer, [loss, state.model], extent.steps, parts.device)
    folder = Path(tempfile.mkdtemp(prefix="runner-"))
    run = Run(
        name,
        settings,
        parts,
        data,
        checked.plan,
        state,
        carrying.chosen(step if parts.step is None else OwnStep(step), trainer, state.model, extent.per_epoch),
        loss,
        schedule,
        metrics,
        parts.device,
        folder,
        Best(kind.mode, trainer.min_delta),
        Snapshots(folder, settings.checkpoint.format),
        threads=threads,
        streams=streams,
        frozen=frozen,
        pictures=Pictures(parts.plots, parts.pictures) if parts.pictures else Unpictured(),
        debugging=debugging.chosen(trainer),
        average=averages.make(trainer.average, model, extent, frozen.still),
        start=checked.given,
        drawing=measure.drawing_of([*model.modules(), *loss.modules()], settings.seed, parts.device),
    )
    run.seen = measured
    run.ready = run.random_state()
    return run


def _material(settings: Settings, checked: checks.Checked, noted: dict[str, Any] | None) -> Material:
    parts, trainer = checked.parts, settings.trainer
    data = checked.data if checked.kind.complete else whole(settings, checked, noted)
    balanced.fill(parts.loss, data)
    loss = losses.counted(parts.loss, data)
    loss.to(parts.device, torch.float64 if trainer.precision == "fp64" else None)
    threads = cost.threads(settings, checked.plan, cost.batch_size(settings, data), parts.device)
    place = placement(trainer, parts.device)
    valid, test = (None if source is None else place.source(source) for source in (data.valid, data.test))
    return Material(replace(data, train=place.source(data.train), valid=valid, test=test), loss, threads)


@contextlib.contextmanager
def _room(device: torch.device) -> Iterator[None]:
    """Raise ConfigError for a device whose memory does not hold what the block puts there."""
    try:
        yield
    except RuntimeError as error:
        if not memory.is_short(error):
            raise
        raise ConfigError("device", f"{device} has no room left for model and data: {memory.reason(error)};"
            " end what else uses it, or use a smaller model, or device=cpu") from error  # fmt: skip


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
    data = limited.limited(targets.read(checked.parts.data, checked.parts.loss, noted=noted), settings)
    fitting.indices(data, checked.plan)
    if settings.trainer.trains:
        target_values.check(checked.parts.loss, data, checked.plan.output)
    return data

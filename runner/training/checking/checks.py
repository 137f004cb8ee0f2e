"""Everything that can be wrong with settings, found before work starts and told together."""

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Data, Source
from runner.model import naming, stack
from runner.settings import Settings
from runner.settings.errors import ConfigError, Problems, did_you_mean
from runner.settings.files import uris
from runner.settings.random_state import AUTO, seed
from runner.settings.values import lookup, ranges, tags
from runner.training import forward, pruners
from runner.training.checking import agreement, cost, fitting, rehearsal, targets
from runner.training.machine import time_limit
from runner.training.parts import build, losses, metrics, scheduling
from runner.training.parts._startup import spare_dynamo

#: Checkpoints that a tag can tell of.
MOST_KEPT = 20


@dataclass
class Checked:
    """What the checks have found out, for whoever goes on."""

    device: torch.device
    loss: nn.Module
    data: Data
    complete: bool  # whether `data` is all of it
    plan: stack.Stack
    metrics: dict[str, Any]
    mode: str  # min | max: which values of the monitored metric are better


def check(settings: Settings, noted: dict[str, Any] | None = None) -> Checked:
    """Check everything. Raises ConfigError, or ConfigErrors with every problem there is.

    noted: what a recorded run has noted of its data, if they are to be read as its model knows them.
    What needs no data comes first. A data source that reads much, or that is a user's own, is not called if that has
    found something already.
    """
    problems = Problems()
    with problems.noted():
        without_data(settings)
    if problems.found and not _is_quick(settings):
        with problems.noted():
            naming.check(settings.model.layers)
        with problems.noted():
            metrics.check(settings.metrics)
        problems.tell()
    checked = _with_data(settings, problems, noted)
    problems.tell()
    assert checked is not None
    return checked


def without_data(settings: Settings) -> None:
    """What can be said without data: names, arguments, choices and ranges."""
    problems, trainer = Problems(), settings.trainer
    with problems.noted():
        _check_trainer(settings)
    for part in (
        _check_seed,
        _check_optimizer,
        _check_loss,
        _check_checkpoint,
        _check_source,
        _check_plot_names,
        pruners.check,
    ):
        with problems.noted():
            part(settings)
    with problems.noted():
        build.device(settings.device)
    with problems.noted():
        uris.check(settings.tracking.uri)
    with problems.noted():
        tags.check(settings.tracking.tags)
    if trainer.epochs and not settings.model.layers:
        problems.add("model.layers", "there are none; give at least one, such as model.layers=[{Linear: 1}]")
    problems.tell()


def _check_trainer(settings: Settings) -> None:
    problems, t = Problems(), settings.trainer
    with problems.noted():
        ranges.check(type(t), vars(t), ranges.TRAINER, "trainer")
    for key, value, choices in (
        ("mode", t.mode, (None, "min", "max")),
        ("test_checkpoint", t.test_checkpoint, ("best", "last")),
        ("precision", t.precision, tuple(losses.DTYPES)),
    ):
        with problems.noted():
            _choice(f"trainer.{key}", value, choices)
    if not isinstance(t.compile, bool | str):
        problems.add("trainer.compile", f"{t.compile!r} is not true, false or the name of a backend")
    if isinstance(t.compile, str):
        with problems.noted():
            _choice("trainer.compile", t.compile, tuple(torch.compiler.list_backends(exclude_tags=())))
    if t.threads not in (None, AUTO) and type(t.threads) is not int:
        problems.add("trainer.threads", f"{t.threads!r} is not a whole number of at least 1, auto or null")
    problems.tell()


def _check_seed(settings: Settings) -> None:
    if not 0 <= settings.seed < 2**63:
        raise ConfigError("seed", f"{settings.seed} is out of range; expected a whole number from 0 to 2**63 - 1")


def _check_checkpoint(settings: Settings) -> None:
    problems = Problems()
    with problems.noted():
        _choice("checkpoint.format", settings.checkpoint.format, ("state_dict", "model", "both"))
    with problems.noted():
        build.every(settings.checkpoint.every)
    with problems.noted():
        if not 1 <= settings.checkpoint.keep <= MOST_KEPT:
            raise ConfigError("checkpoint.keep", f"{settings.checkpoint.keep} is not from 1 to {MOST_KEPT}")
    with problems.noted():
        if settings.trainer.time_limit is not None:
            time_limit.read(settings.trainer.time_limit)
    problems.tell()


def _check_optimizer(settings: Settings) -> None:
    """The optimizer and the schedule, made for a weight that is nobody's."""
    problems, t = Problems(), settings.trainer
    optimizer: Any = None
    with problems.noted():
        found, arguments = build.optimizer_class(settings.optimizer)
        if found is torch.optim.LBFGS and (t.accumulate > 1 or t.precision == "fp16" or t.clip_norm or t.clip_value):
            raise ConfigError(
                "optimizer.name", "LBFGS works without accumulation, clipping and fp16 only; leave them out"
            )
        if not t.compile:
            spare_dynamo(found)
        make = functools.partial(found, [nn.Parameter(torch.zeros(2, 2))])
        optimizer = lookup.made(make, arguments, "optimizer")
    if settings.scheduler is not None:
        with problems.noted():
            scheduling.read(settings.scheduler)
            if optimizer is not None and t.epochs > 0:
                scheduling.build(settings.scheduler, optimizer, t.epochs, t.epochs, "min")
    problems.tell()


def _check_loss(settings: Settings) -> None:
    if settings.trainer.epochs:
        losses.build(settings.loss)


def _check_source(settings: Settings) -> None:
    build.data_source(settings.data)


def _check_plot_names(settings: Settings) -> None:
    problems = Problems()
    for i, name in enumerate(settings.plots):
        with problems.noted():
            build.plot(name, f"plots[{i}]")
            if name in settings.plots[:i]:
                raise ConfigError(f"plots[{i}]", f"{name!r} stands there already; leave it out")
    problems.tell()


def _is_quick(settings: Settings) -> bool:
    """Whether shapes are had without reading much: not for a source of the user's own, which may do anything."""
    try:
        source, _ = build.data_source(settings.data)
    except ConfigError:
        return False
    return str(source.__module__).startswith("runner.")


def _with_data(settings: Settings, problems: Problems, noted: dict[str, Any] | None) -> Checked | None:
    """What the data can tell; None where something must be known that is wrong already."""
    loss = data = plan = None
    usable = not {problem.key for problem in problems.found} & {"seed", "trainer.threads"}
    trains = settings.trainer.epochs > 0
    if usable:
        seed(settings)  # a loss of the user's may draw numbers as it is made
    with problems.noted():
        loss = losses.build(settings.loss) if trains else forward.Unmeasured()
    with problems.noted():
        if usable:
            seed(settings)  # a data source of the user's may draw numbers
        data = targets.read(settings.data, loss, brief=True, noted=noted)
    if data is None:
        with problems.noted():
            naming.check(settings.model.layers)
        with problems.noted():
            metrics.check(settings.metrics)
        return None
    x, y = _examples(data.train, settings.trainer.batch_size, settings.trainer.precision != "fp32")
    with problems.noted():
        plan = stack.plan(settings.model.layers, x)
    made = _with_loss(settings, problems, data, loss, plan, y)
    if plan is not None and settings.trainer.epochs == 0:
        with problems.noted():
            forward.check(plan.output)
    if plan is not None:
        _with_plan(settings, problems, data, plan)
    with problems.noted():
        fitting.batches(settings, data)
    if plan is not None and loss is not None and not problems.found:
        with problems.noted():
            rehearsal.check(settings, data, loss, plan)
    if problems.found or loss is None or plan is None:
        return None
    source, _ = build.data_source(settings.data)
    mode = _mode(settings, made)
    complete = noted is not None or build.brief_source(source) is None
    return Checked(build.device(settings.device), loss, data, complete, plan, made, mode)


def _with_loss(
    settings: Settings, problems: Problems, data: Data, loss: nn.Module | None, plan: stack.Stack | None, y: Tensor
) -> dict[str, Any]:
    """Targets, loss, metrics and what is monitored."""
    made: dict[str, Any] = {}
    if settings.trainer.epochs <= 0 or loss is None:
        return made
    before = len(problems.found)
    with problems.noted():
        fitting.targets(y)
        if plan is not None:
            targets.check(data, loss, plan.output)
            targets.check_ignored(settings.data, data, loss)
            agreement.check_loss(losses.build(settings.loss), plan.output, y, len(data.classes), plan)
            agreement.check_targets(loss, data, plan.output)
    fits, before = plan is not None and len(problems.found) == before, len(problems.found)
    names: list[str] = []
    with problems.noted():
        if fits and plan is not None:
            made = metrics.build(settings.metrics, data, loss, plan.output, settings.trainer.batch_size)
        names = list(made) if fits else metrics.check(settings.metrics)
    if len(problems.found) == before:
        with problems.noted():
            fitting.monitor(settings, data, names)
    return made


def _with_plan(settings: Settings, problems: Problems, data: Data, plan: stack.Stack) -> None:
    """What the model and the data must be to each other."""
    trainer = settings.trainer
    with problems.noted():
        total = len(data.train)  # type: ignore[arg-type]
        cost.check(settings, plan, min(trainer.batch_size or total, total), build.device(settings.device))
    for i, name in enumerate(settings.plots):
        with problems.noted():
            if not any(e.key == f"plots[{i}]" for e in problems.found):
                build.check_plot(name, f"plots[{i}]", data, plan)
    if trainer.epochs and plan.layers and not any(layer.parameters for layer in plan.layers):
        problems.add("model.layers", "no layer has parameters to train; trainer.epochs=0 only runs them forward")
    with problems.noted():
        fitting.indices(data, plan)
    with problems.noted():
        fitting.sparse(settings, plan)


def _choice(key: str, value: Any, choices: tuple[str | None, ...]) -> None:
    known = [c for c in choices if c]
    if value not in choices:
        raise ConfigError(key, f"{value!r} is not one of {', '.join(known)}{did_you_mean(value, known)}")


def _examples(source: Source, size: int | None, moved: bool) -> tuple[Tensor, Tensor]:
    """A batch without values; of one example only if there are no more: that would hide what depends on the batch.

    moved: the run brings numbers into the type that a layer wants, as autocast does; a plan has float32.
    """
    (x, y), total = source[0], len(source)  # type: ignore[arg-type]
    size = min(max(size or total, 2), total)

    def one(t: Tensor) -> Tensor:
        dtype = torch.float32 if moved and t.is_floating_point() else t.dtype
        return torch.empty((size, *t.shape), dtype=dtype, device="meta")

    return one(torch.as_tensor(x)), one(torch.as_tensor(y))


def _mode(settings: Settings, made: dict[str, Any]) -> str:
    """What is better of the monitored metric, which torchmetrics knows."""
    metric = made.get(str(settings.trainer.monitor).partition("/")[2])
    return settings.trainer.mode or ("max" if getattr(metric, "higher_is_better", None) else "min")

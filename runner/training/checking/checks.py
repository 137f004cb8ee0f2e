"""All checks of settings, before any work starts; their problems are raised together."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch, Data, Source, nests
from runner.data._rows import remembered, rows
from runner.model import looking, stack, whole
from runner.settings import Settings, loaded
from runner.settings.errors import ConfigError, Problems
from runner.settings.files import uris
from runner.settings.random_state import seed
from runner.settings.values import tags
from runner.training import forward, seen
from runner.training.augment import balanced, treatment
from runner.training.checking import (
    choices,
    each_output,
    first_weights,
    fitting,
    other_size,
    planned,
    rehearsal,
    targets,
)
from runner.training.checking.known import Kind, Known
from runner.training.parts import (
    components,
    limited,
    metrics,
    own_losses,
    scheduling,
    source,
    start,
)
from runner.training.parts.components import Components
from runner.training.parts.named import ByOutput
from runner.training.parts.start import Start

#: Keys without which no data is read: it could not be read, or what follows would be said of a value that is wrong.
NEEDED = {"seed", "trainer.threads", "trainer.matmul_precision", "trainer.eval_batch_size"}

#: Steps of a training whose data is not read yet, for what only a schedule's class checks.
STEPS = 10_000


@dataclass
class Checked:
    """Results of the checks that building a run needs."""

    parts: Components
    plan: stack.Stack
    kind: Kind  # data, metrics and what else jobs that differ in numbers alone have in common
    start: first_weights.Start  # the model's first weights, where a step was rehearsed with them
    given: Start = field(default_factory=Start)  # the weights of before, see `model.start`

    @property
    def data(self) -> Data:
        """The data, or the part of it that the checks need; see `Kind.complete`."""
        return self.kind.data


def check(
    settings: Settings,
    noted: dict[str, Any] | None = None,
    threads: int | None = None,
    known: Known | None = None,
) -> Checked:
    """Check everything. Raises ConfigError, or ConfigErrors with all problems.

    noted: the notes on the data of a recorded run, see `source.read`.
    threads: of a recorded run.
    known: what was found for earlier jobs of a sweep, which need not be found again; this one's findings are added.
    Checks without data come first. If they find a problem, a data source of the user's own, which may take long or draw
    random numbers, is not called.
    """
    with loaded.making(settings.tracking.uri, known is not None):
        return _checked(settings, noted, threads, Known() if known is None or noted is not None else known)


def _checked(settings: Settings, noted: dict[str, Any] | None, threads: int | None, known: Known) -> Checked:
    problems = Problems()
    parts = without_data(settings, problems, known)
    if problems.errors and not (parts.data and source.is_ours(parts.data)):
        with problems.collect():
            whole.check(settings.model)
        problems.raise_all()
    checked = _with_data(settings, parts, problems, noted, threads, known)
    problems.raise_all()
    assert checked is not None
    if (spec := start.read(settings.model.start)) is not None:
        checked.given = start.find(spec, settings.tracking.uri, checked.plan.planned())
    return checked


def without_data(settings: Settings, problems: Problems, known: Known) -> Components:
    """Look up every name, and check what needs no data: arguments, choices and ranges. Problems go into `problems`."""
    trainer = settings.trainer
    for check in (choices.trainer, _check_seed, _check_start):
        with problems.collect():
            check(settings)
    usable = _can_start(problems)
    equal = known.components(settings)
    parts = components.resolve(settings, problems, lambda: seed(settings) if usable else None, equal)
    if parts.optimizer:
        with problems.collect():
            _check_optimizer(settings, parts)
        with problems.collect():
            seen.check(trainer, parts.optimizer.target, settings.metrics)
    with problems.collect():
        choices.checkpoint(settings)
    with problems.collect():
        known.store(settings.tracking.uri, uris.check)
    with problems.collect():
        tags.check(settings.tracking.tags)
    if trainer.trains and not (settings.model.layers or settings.model.inputs or settings.model.outputs):
        problems.add("model.layers", "is empty; give at least one layer, such as model.layers=[{Linear: 1}]")
    if equal is None and not problems.errors:
        known.keep_components(settings, parts)
    return parts


def _can_start(problems: Problems) -> bool:
    """Return whether the settings are valid with which data is read and a step is rehearsed."""
    return not {problem.key for problem in problems.errors} & NEEDED


def _check_seed(settings: Settings) -> None:
    if not 0 <= settings.seed < 2**63:
        raise ConfigError("seed", f"{settings.seed} is out of range; expected a whole number from 0 to 2**63 - 1")


def _check_start(settings: Settings) -> None:
    start.read(settings.model.start)


def _check_optimizer(settings: Settings, parts: Components) -> None:
    """Make the optimizer and the schedule for a weight of no model, for what only their classes check."""
    t = settings.trainer
    if parts.optimizer.target is torch.optim.LBFGS and (
        t.accumulate > 1 or t.precision == "fp16" or t.clip_norm or t.clip_value
    ):
        raise ConfigError("optimizer.name", "LBFGS works without accumulation, clipping and fp16 only; leave them out")
    if parts.optimizer.target is torch.optim.LBFGS and t.channels_last:
        raise ConfigError("trainer.channels_last", "true, and LBFGS takes weights in their usual order; leave it out")
    optimizer = parts.optimizer.make([nn.Parameter(torch.zeros(2, 2))])
    if parts.scheduler and t.trains:
        epochs = t.epochs or t.steps or 0  # how many steps these are the data will say
        scheduling.build(parts.scheduler, optimizer, epochs, t.steps or STEPS, "min")


def _with_data(
    settings: Settings,
    parts: Components,
    problems: Problems,
    noted: dict[str, Any] | None,
    threads: int | None,
    known: Known,
) -> Checked | None:
    """Run the checks that need data; None if a problem keeps a run from being built."""
    data, plan, layers = None, None, ""
    data_key = known.data_key(settings, parts) if not problems.errors else ""

    def read() -> Data:
        seed(settings)  # a data source of the user's own may draw numbers
        return limited.limited(targets.read(parts.data, parts.loss, brief=True, noted=noted), settings)

    with problems.collect():
        if parts.data and _can_start(problems):
            data = known.data(data_key, read)
    if data is None:
        with problems.collect():
            whole.check(settings.model)
        return None
    x, y = _examples(data.train, settings.trainer.batch_size, settings.trainer.precision != "fp32")
    x = remembered(x, rows(data) if noted is None else noted.get("rows", []))
    with problems.collect():
        by_loss = parts.loss is not None and own_losses.of_model(parts.loss)
        plan, layers = known.plan(data_key, settings.model, x, by_loss)
    if plan is not None and layers and (kind := known.kind(data_key, layers, settings, parts)) is not None:
        return Checked(parts, plan, kind, first_weights.Start())
    built = _with_loss(settings, parts, problems, data, plan, y)
    if plan is not None and not settings.trainer.trains:
        with problems.collect():
            forward.check(plan.output)
    if plan is not None:
        planned.check(settings, parts, problems, data, plan)
    with problems.collect():
        fitting.batches(settings, data)
    made = None
    with problems.collect():
        made = treatment.check(parts.treatment, data, settings.trainer.shuffle)
    if plan is None or problems.errors:
        return None
    if made is not None:
        with problems.collect():
            batch = _examples(made, settings.trainer.batch_size, settings.trainer.precision != "fp32")
            other_size.check(settings, parts, data, plan, made, batch)
        if problems.errors:
            return None
    first = first_weights.Start()
    with problems.collect():
        first = rehearsal.check(settings, parts, data, plan, threads, made)
    if parts.loss is not None and own_losses.of_model(parts.loss):
        with problems.collect():
            fitting.monitor(settings, data, [*built, *own_losses.found(parts.loss).names])
    complete = noted is not None or not source.reads_less(parts.data)
    kind = Kind(data, complete, built, _mode(settings, built))
    if not problems.errors:
        known.keep(data_key, layers, settings, parts, kind)
    return Checked(parts, plan, kind, first)


def _with_loss(
    settings: Settings, parts: Components, problems: Problems, data: Data, plan: stack.Stack | None, y: nests.Nest
) -> dict[str, Any]:
    """Check targets, loss, metrics and the monitored one; return the metrics by name, as far as they can be made."""
    built: dict[str, Any] = {}
    loss = parts.loss
    if not settings.trainer.trains or loss is None:
        return built
    before = len(problems.errors)
    with problems.collect():
        fitting.targets(y)
        balanced.fill(loss, data, complete=not source.reads_less(parts.data))
        if plan is not None:
            each_output.check(settings, parts, data, plan, y)
            treatment.check_loss(parts.treatment, data, loss)
    if parts.metrics is None:
        return built
    fits, before = plan is not None and len(problems.errors) == before, len(problems.errors)
    with problems.collect():
        if fits and plan is not None:
            built = metrics.build(parts.metrics, data, loss, plan.output, settings.trainer)
            if settings.trainer.train_metrics:
                metrics.check_train(built, data, loss, plan.output, settings.trainer)
    if len(problems.errors) == before:
        with problems.collect():
            names = list(built) if fits else [metric.name for metric in parts.metrics]
            unknown = own_losses.of_model(loss) or (isinstance(loss, ByOutput) and not fits)
            if not unknown:  # the names of its parts, known when a step was rehearsed, or when there is an output
                fitting.monitor(settings, data, [*names, *own_losses.found(loss).names])
    return built


def _examples(source: Source, size: int | None, moved: bool) -> Batch:
    """Return a batch x, y on the meta device, of at least two examples if there are: one alone hides much.

    moved: the run converts numbers to another type, as autocast does; the plan is of float32 then.
    """
    (x, y), total = source[0], len(source)  # type: ignore[arg-type]
    size = min(max(size or total, 2), total)

    def one(value: Any) -> Tensor:
        t = torch.as_tensor(value)
        dtype = torch.float32 if moved and t.is_floating_point() else t.dtype
        return looking.with_numbers(torch.empty((size, *t.shape), dtype=dtype, device="meta"), t)

    return nests.mapped(one, x), nests.mapped(one, y)


def _mode(settings: Settings, metrics: dict[str, Any]) -> str:
    """Return min or max: trainer.mode, or which values torchmetrics calls better for the monitored metric."""
    metric = metrics.get(str(settings.trainer.monitor).partition("/")[2])
    return settings.trainer.mode or ("max" if getattr(metric, "higher_is_better", None) else "min")

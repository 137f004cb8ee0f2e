"""All checks of settings, before any work starts; their problems are raised together."""

import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch, Data, Source, nests
from runner.model import looking, stack, whole
from runner.settings import EARLIER, Settings
from runner.settings.errors import ConfigError, Problems, did_you_mean
from runner.settings.files import uris
from runner.settings.random_state import AUTO, seed
from runner.settings.values import ranges, tags
from runner.training import carrying, forward, seen
from runner.training.augment import balanced, treatment
from runner.training.checking import cost, each_output, first_weights, fitting, rehearsal, targets
from runner.training.checking.known import Kind, Known
from runner.training.machine import time_limit
from runner.training.parts import (
    averages,
    components,
    freezing,
    groups,
    limited,
    losses,
    metrics,
    own_losses,
    placement,
    scheduling,
    several,
    source,
    start,
)
from runner.training.parts.components import Components
from runner.training.parts.length import length
from runner.training.parts.start import Start
from runner.training.state import due

#: Checkpoints that fit into the tag of a run's record.
MOST_KEPT = 20

#: Keys without which no data is read: it could not be read, or what follows would be said of a value that is wrong.
NEEDED = {"seed", "trainer.threads", "trainer.matmul_precision", "trainer.eval_batch_size"}


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
    problems, known = Problems(), Known() if known is None or noted is not None else known
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
    for check in (_check_trainer, _check_seed, _check_start):
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
        _check_checkpoint(settings)
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


def _check_trainer(settings: Settings) -> None:
    problems, t = Problems(), settings.trainer
    with problems.collect():
        ranges.check(type(t), vars(t), ranges.TRAINER, "trainer")
    for key, value, choices in (
        ("mode", t.mode, (None, "min", "max")),
        ("test_checkpoint", t.test_checkpoint, ("best", "last", "averaged")),
        ("precision", t.precision, tuple(losses.DTYPES)),
        ("matmul_precision", t.matmul_precision, (None, "highest", "high", "medium")),
    ):
        with problems.collect():
            _choice(f"trainer.{key}", value, choices)
    with problems.collect():
        averages.check(t.average)
    if t.test_checkpoint == "averaged" and not t.average:
        problems.add("trainer.test_checkpoint", "averaged, and nothing is averaged; set trainer.average, or use best")
    with problems.collect():
        due.read(t.validate_every, "trainer.validate_every", due.COUNTED)
    with problems.collect():
        limited.check(t.limit_batches)
    if t.validate_every is None:
        problems.add("trainer.validate_every", "null is not understood; expected 1, '2 epochs' or '100 steps'")
    if t.steps is not None and t.epochs is not None:
        problems.add(
            "trainer.steps", f"{t.steps!r} beside trainer.epochs={t.epochs!r}, and both are the length; leave one out"
        )
    if not isinstance(t.compile, bool | str):
        problems.add("trainer.compile", f"{t.compile!r} is not true, false or the name of a backend")
    if t.graph not in (True, False, None, AUTO) or type(t.graph) is int:
        problems.add(
            "trainer.graph", f"{t.graph!r} is not one of auto, true, false{did_you_mean(str(t.graph), [AUTO])}"
        )
    if isinstance(t.compile, str):
        with problems.collect():
            _choice("trainer.compile", t.compile, tuple(torch.compiler.list_backends(exclude_tags=())))
    if t.eval_batch_size not in (None, EARLIER) and type(t.eval_batch_size) is not int:
        problems.add("trainer.eval_batch_size", f"{t.eval_batch_size!r} is not a whole number of at least 1, or null")
    if t.threads not in (None, AUTO) and type(t.threads) is not int:
        problems.add("trainer.threads", f"{t.threads!r} is not a whole number of at least 1, auto or null")
    problems.raise_all()


def _check_seed(settings: Settings) -> None:
    if not 0 <= settings.seed < 2**63:
        raise ConfigError("seed", f"{settings.seed} is out of range; expected a whole number from 0 to 2**63 - 1")


def _check_start(settings: Settings) -> None:
    start.read(settings.model.start)


def _check_checkpoint(settings: Settings) -> None:
    problems = Problems()
    with problems.collect():
        _choice("checkpoint.format", settings.checkpoint.format, ("state_dict", "model", "both"))
    with problems.collect():
        if not 1 <= settings.checkpoint.keep <= MOST_KEPT:
            raise ConfigError("checkpoint.keep", f"{settings.checkpoint.keep} is not from 1 to {MOST_KEPT}")
    with problems.collect():
        if settings.trainer.time_limit is not None:
            time_limit.read(settings.trainer.time_limit)
    problems.raise_all()


def _check_optimizer(settings: Settings, parts: Components) -> None:
    """Make the optimizer and the schedule for a weight of no model, for what only their classes check."""
    t = settings.trainer
    if isinstance(parts.optimizer, several.Several) and t.step is None and t.trains:
        names = ", ".join(parts.optimizer.each)
        why = "and nothing says which loss each of them lowers; set trainer.step, see docs/steps.md, or use one"
        raise ConfigError("optimizer", f"names several ({names}), {why}")
    if parts.optimizer.target is torch.optim.LBFGS and (
        t.accumulate > 1 or t.precision == "fp16" or t.clip_norm or t.clip_value
    ):
        raise ConfigError("optimizer.name", "LBFGS works without accumulation, clipping and fp16 only; leave them out")
    if parts.optimizer.target is torch.optim.LBFGS and t.channels_last:
        raise ConfigError("trainer.channels_last", "true, and LBFGS takes weights in their usual order; leave it out")
    optimizer = parts.optimizer.make([nn.Parameter(torch.zeros(2, 2))])
    if parts.scheduler and t.trains:
        some = t.steps or t.epochs or 0
        scheduling.build(parts.scheduler, optimizer, some, some, "min")


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
        _with_plan(settings, parts, problems, data, plan)
    with problems.collect():
        fitting.batches(settings, data)
    with problems.collect():
        treatment.check(parts.treatment, data, settings.trainer.shuffle)
    if plan is None or problems.errors:
        return None
    first = first_weights.Start()
    with problems.collect():
        first = rehearsal.check(settings, parts, data, plan, threads)
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
                seen.check_output(plan.output)
                metrics.check_train(built, data, loss, plan.output, settings.trainer)
    if len(problems.errors) == before:
        with problems.collect():
            names = list(built) if fits else [metric.name for metric in parts.metrics]
            if not own_losses.of_model(loss):  # of such a loss the parts are known when a step was rehearsed
                fitting.monitor(settings, data, [*names, *own_losses.found(loss).names])
    return built


def _with_plan(settings: Settings, parts: Components, problems: Problems, data: Data, plan: stack.Stack) -> None:
    """Check memory, plots, parameters, indices and sparse gradients, which need the plan of the model."""
    trainer = settings.trainer
    if settings.tracking.log_model and not isinstance(plan.output, Tensor):
        problems.add("tracking.log_model", "MLflow serves models of one output; leave it out, and use runner export")
    if settings.tracking.log_model and not isinstance(data.train[0][0], Tensor):
        problems.add("tracking.log_model", "MLflow serves models of one input; leave it out, and use runner export")
    with problems.collect():
        if parts.optimizer and parts.device:
            cost.check(settings, parts.optimizer, plan, cost.batch_size(settings, data), parts.device)
    wrong = any(error.key == "model.layers" for error in problems.errors)  # which a plot of its outputs only repeats
    treated = parts.treatment and (parts.treatment.augment or parts.treatment.mixes)
    if "augmented" in (parts.plots or {}) and trainer.trains and not treated:
        place = f"plots[{list(parts.plots).index('augmented')}]"
        problems.add(place, "'augmented' cannot be drawn: it needs data.augment, data.mixup or data.cutmix")
    for name, draw in (parts.plots or {}).items():
        if wrong and hasattr(sys.modules[draw.__module__], "OUTPUTS"):
            continue
        with problems.collect():
            _check_plot(name, draw, f"plots[{list(parts.plots).index(name)}]", data, plan)
    if trainer.trains and plan.layers and not any(layer.parameters for layer in plan.layers):
        problems.add("model.layers", "no layer has parameters to train; trainer.epochs=0 only runs them forward")
    with problems.collect():
        averages.check_length(trainer.average, length(settings, data))
    with problems.collect():
        freezing.check(freezing.read(settings.model.freeze), plan.planned())
    with problems.collect():
        frozen = freezing.described(freezing.read(settings.model.freeze), plan.planned())
        several.check(parts.optimizer, plan.planned(), frozen)
    with problems.collect():
        if parts.optimizer and parts.optimizer.groups:
            groups.check(parts.optimizer.groups, plan.planned())
    with problems.collect():
        placement.check(trainer, plan)
    with problems.collect():
        carrying.check(trainer, data, plan.planned(), parts.treatment)
    with problems.collect():
        fitting.indices(data, plan)
    with problems.collect():
        for bound in several.bounds(parts.optimizer) if parts.optimizer else ():
            fitting.sparse(bound, plan)


def _check_plot(name: str, draw: Any, key: str, data: Data, plan: stack.Stack) -> None:
    """Raise ConfigError for a plot that cannot be drawn of this data or this model."""
    problem = getattr(sys.modules[draw.__module__], "problem", None)
    several = next((one for one in (*data.train[0], plan.output) if not isinstance(one, Tensor)), None)
    if (
        several is not None
        and draw.__module__.startswith("runner.")
        and getattr(sys.modules[draw.__module__], "SHOWS", True)
    ):
        raise ConfigError(key, f"{name!r} cannot be drawn: it shows one tensor, found {nests.described(several)}")
    reason = problem(data, plan.planned()) if problem else None
    if reason:
        raise ConfigError(key, f"{name!r} cannot be drawn: {reason}")


def _choice(key: str, value: Any, choices: tuple[str | None, ...]) -> None:
    names = [c for c in choices if c]
    if value not in choices:
        raise ConfigError(key, f"{value!r} is not one of {', '.join(names)}{did_you_mean(value, names)}")


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

"""Checks that need the plan of the model: memory, plots, parameters, groups, indices and sparse gradients."""

import sys
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from runner.data import Data, nests
from runner.model import patterns, stack
from runner.settings import Settings
from runner.settings.errors import ConfigError, Problems
from runner.training import carrying
from runner.training.checking import cost, fitting
from runner.training.parts import averages, freezing, groups, placement, several
from runner.training.parts.components import Components
from runner.training.parts.length import length

#: Parts of an example, of which a plot's SHOWS names those that it shows, each one tensor.
EXAMPLE = ("input", "target", "output")


def check(settings: Settings, parts: Components, problems: Problems, data: Data, plan: stack.Stack) -> None:
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
    unread = any(error.key.startswith(("data.augment", "data.mixup", "data.cutmix")) for error in problems.errors)
    if "augmented" in (parts.plots or {}) and trainer.trains and not treated and not unread:
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
        if trainer.average and not any(error.key.startswith("trainer.") for error in problems.errors):
            averages.check_length(trainer.average, length(settings, data))
    for key, spec in ((freezing.KEY, settings.model.freeze), ("optimizer.groups", settings.optimizer.get("groups"))):
        with problems.collect():  # of all patterns, also beside a value that is not understood
            if isinstance(spec, Mapping):
                patterns.check(spec, plan.planned(), key)
    with problems.collect():
        freeze = freezing.read(settings.model.freeze)
        freezing.check(freeze, plan.planned())
        several.check(parts.optimizer, plan.planned(), freezing.never_trained(freeze, plan.planned()))
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
    parts = dict(zip(EXAMPLE, (*data.train[0], plan.output), strict=True))
    ours = draw.__module__.startswith("runner.")
    shown = getattr(sys.modules[draw.__module__], "SHOWS", EXAMPLE) if ours else ()
    several = next((parts[part] for part in shown if not isinstance(parts[part], Tensor)), None)
    if several is not None:
        raise ConfigError(key, f"{name!r} cannot be drawn: it shows one tensor, found {nests.described(several)}")
    reason = problem(data, plan.planned()) if problem else None
    if reason:
        raise ConfigError(key, f"{name!r} cannot be drawn: {reason}")

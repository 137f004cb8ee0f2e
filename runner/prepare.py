"""Everything checked, the data read, the parts built: a run that is ready to start."""

import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from runner import build, forward, losses, metrics, scheduling, stack
from runner.best import Best
from runner.data import Data, Source, Tensors
from runner.lookup import ConfigError, did_you_mean
from runner.run import Run, steps_per_epoch
from runner.settings import Settings

#: What torch starts with; a run that asks for another number leaves it to the next run of a sweep.
THREADS = torch.get_num_threads()


def prepare(settings: Settings, name: str) -> Run:
    """Check everything, read the data and build the parts. Raises ConfigError before any work is done."""
    build.check(settings)
    seed(settings)  # a data source of the user's may draw numbers
    trains = settings.trainer.epochs > 0
    device, loss = build.device(settings.device), losses.build(settings.loss) if trains else forward.Unmeasured()
    data = losses.fit_targets(build.data(settings.data), loss)
    example, target = _examples(data.train, settings.trainer.batch_size)
    plan = stack.plan(settings.model.layers, example)
    if trains:
        _check_targets(target)
        _check_probabilities(data, loss)
        losses.check_loss(losses.build(settings.loss), plan.output, target, len(data.classes))
    else:
        forward.check(plan.output)
    for i, plot in enumerate(settings.plots):
        build.check_plot(plot, f"plots[{i}]", data, plan)
    made = metrics.build(settings.metrics, data, loss) if trains else {}
    _check_monitor(settings, data, list(made))
    _check_batches(settings, data, plan)
    if settings.trainer.epochs and not any(layer.parameters for layer in plan.layers):
        raise ConfigError("model.layers", "no layer has parameters to train; trainer.epochs=0 only runs them forward")
    seed(settings)
    state = build.state(plan.make(), settings.optimizer, settings.trainer, device)
    trainer, mode = settings.trainer, _mode(settings, made)
    steps = trainer.epochs * steps_per_epoch(settings, data)
    schedule = scheduling.build(settings.scheduler, state.optimizer, trainer.epochs, steps, mode)
    return Run(
        name,
        settings,
        _moved(data, device, trainer.precision),
        plan,
        state,
        losses.cost(loss.to(device, torch.float64 if trainer.precision == "fp64" else None), trainer, device),
        loss,
        schedule,
        {k: m.to(device) for k, m in made.items()},
        device,
        Path(tempfile.mkdtemp(prefix="runner-")),
        Best(mode, trainer.min_delta),
    )


def seed(settings: Settings) -> None:
    """Start every random generator from the run's seed, and fix what else decides the last bits."""
    random.seed(settings.seed)
    np.random.seed(settings.seed % 2**32)
    torch.manual_seed(settings.seed)
    if torch.are_deterministic_algorithms_enabled() != settings.trainer.deterministic:  # saying it again costs 2.5 s
        torch.use_deterministic_algorithms(settings.trainer.deterministic)
    if settings.trainer.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS refuses to be deterministic without it
    torch.set_num_threads(settings.trainer.threads or THREADS)


def _examples(source: Source, size: int | None) -> tuple[Tensor, Tensor]:
    """A batch without values; of one example only if there are no more: that would hide what depends on the batch."""
    (x, y), total = source[0], len(source)  # type: ignore[arg-type]
    size = min(max(size or total, 2), total)
    return tuple(torch.empty((size, *t.shape), dtype=t.dtype, device="meta") for t in map(torch.as_tensor, (x, y)))  # type: ignore[return-value]


def _moved(data: Data, device: torch.device, precision: str) -> Data:
    """What is in memory goes to the device as a whole."""

    def move(source: Source) -> Source:
        dtype = torch.float64 if precision == "fp64" else None
        return source.to(device, dtype) if isinstance(source, Tensors) else source

    valid, test = (None if source is None else move(source) for source in (data.valid, data.test))
    return replace(data, train=move(data.train), valid=valid, test=test)


def _check_probabilities(data: Data, loss: nn.Module) -> None:
    """Binary cross-entropy of targets beyond 0 and 1 falls without bound."""
    if isinstance(loss, nn.BCELoss | nn.BCEWithLogitsLoss) and isinstance(data.train, Tensors):
        low, high = data.train.y.min().item(), data.train.y.max().item()
        if low < 0 or high > 1:
            raise ConfigError(
                "loss.name",
                f"{type(loss).__name__} needs targets from 0 to 1, and these go from {low:.4g} to {high:.4g};"
                " try loss=mse, or loss=cross_entropy for more than two classes",
            )


def _mode(settings: Settings, made: dict[str, Any]) -> str:
    """What is better of the monitored metric, which torchmetrics knows."""
    metric = made.get(str(settings.trainer.monitor).partition("/")[2])
    return settings.trainer.mode or ("max" if getattr(metric, "higher_is_better", None) else "min")


def _check_batches(settings: Settings, data: Data, plan: stack.Stack) -> None:
    """BatchNorm cannot train on a single example, which a last batch may happen to be."""
    trainer, total = settings.trainer, len(data.train)  # type: ignore[arg-type]
    size = min(trainer.batch_size or total, total)
    norms = [c.__name__ for c in stack.classes(plan) if issubclass(c, nn.modules.batchnorm._BatchNorm)]
    if trainer.epochs and norms and (size == 1 or (total % size == 1 and not trainer.drop_last)):
        raise ConfigError(
            "trainer.batch_size",
            f"{total} training examples in batches of {size} leave a batch of one, on which {norms[0]} cannot train;"
            " use another size, or trainer.drop_last=true",
        )


def _check_targets(target: Tensor) -> None:
    if not target.numel():
        raise ConfigError("data.y", "training needs targets, and there are none; give them, or use trainer.epochs=0")


def _check_monitor(settings: Settings, data: Data, names: list[str]) -> None:
    monitor = settings.trainer.monitor
    known = ["train/loss"] + (["valid/loss", *(f"valid/{n}" for n in names)] if data.valid is not None else [])
    if monitor is not None and monitor not in known:
        raise ConfigError(
            "trainer.monitor", f"{monitor!r} is not one of {', '.join(known)}{did_you_mean(monitor, known)}"
        )

"""Checks of the values of `trainer` and `checkpoint`, each for itself: ranges, choices and types."""

from typing import Any

import torch

from runner.settings import EARLIER, Settings
from runner.settings.errors import ConfigError, Problems, did_you_mean
from runner.settings.random_state import AUTO
from runner.settings.values import ranges
from runner.training import debugging
from runner.training.machine import time_limit
from runner.training.parts import averages, limited, losses
from runner.training.state import due

#: Checkpoints that fit into the tag of a run's record.
MOST_KEPT = 20


def trainer(settings: Settings) -> None:
    """Raise ConfigError, or ConfigErrors, for values of `trainer` that mean nothing."""
    problems, t = Problems(), settings.trainer
    with problems.collect():
        ranges.check(type(t), vars(t), ranges.TRAINER, "trainer")
    for key, value, choices in (
        ("mode", t.mode, (None, "min", "max")),
        ("test_checkpoint", t.test_checkpoint, ("best", "last", "averaged")),
        ("precision", t.precision, tuple(losses.DTYPES)),
        ("debug", t.debug, (None, *debugging.KINDS)),
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
    if t.debug == "overfit" and t.limit_batches is None:
        why = "'overfit' needs trainer.limit_batches=1; debug=overfit sets that, and what else belongs to it"
        problems.add("trainer.debug", why)
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


def checkpoint(settings: Settings) -> None:
    """Raise ConfigError, or ConfigErrors, for values of `checkpoint`, and a time limit, that mean nothing."""
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


def _choice(key: str, value: Any, choices: tuple[str | None, ...]) -> None:
    names = [c for c in choices if c]
    if value not in choices:
        raise ConfigError(key, f"{value!r} is not one of {', '.join(names)}{did_you_mean(value, names)}")

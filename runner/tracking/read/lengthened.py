"""The parts of a training that was made longer by `resume`, each with the length that it was trained with."""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.settings import Settings
from runner.tracking.read import drift as changed
from runner.training.parts import averages

if TYPE_CHECKING:
    from runner.training.run import Run

#: Keys of the length of a training.
KEYS = ("trainer.epochs", "trainer.steps")
#: A change as `resume` records it; several are separated by semicolons.
CHANGE = re.compile(r"(\d+) -> (\d+) after step (\d+)")


@dataclass(frozen=True)
class Part:
    """The settings of a part of a training, and the step after which they were changed."""

    settings: Settings
    changes: dict[str, tuple[int, int]]  # the change after it, see `drift.changes`
    step: int


def parts(settings: Settings, drift: dict[str, str]) -> list[Part]:
    """Return the parts before the last one, which has the recorded settings. drift: the changes by their keys."""
    found: list[Part] = []
    for key in KEYS:
        for old, new, step in CHANGE.findall(drift.get(key, "")):
            length = {key.partition(".")[2]: int(old)}
            trainer = dataclasses.replace(settings.trainer, **length)  # type: ignore[arg-type]
            changes = {key: (int(old), int(new))}
            found.append(Part(dataclasses.replace(settings, trainer=trainer), changes, int(step)))
    return found


class Ended(Exception):
    """Raised after the last step of a part."""


def end(run: "Run", part: Part, stop: Callable[[], BaseException | None]) -> Callable[[], BaseException | None]:
    """Return a function that ends the training where the part ended, or as `stop` does."""
    return lambda: stop() or (Ended() if run.state.step >= part.step else None)


def go_on(run: "Run", part: Part, settings: Settings) -> None:
    """Let a run that has trained a part go on with the settings of the next one, as `resume` does."""
    old_steps = run.steps
    length = settings.trainer.epochs, settings.trainer.steps
    trainer = dataclasses.replace(run.settings.trainer, epochs=length[0], steps=length[1])
    run.settings = dataclasses.replace(run.settings, trainer=trainer)
    for name in ("length", "readers"):
        vars(run).pop(name, None)
    run.stopped = ""
    averaged = run.average.state_dict()
    run.average = averages.make(trainer.average, run.model, run.length, run.frozen.still)
    run.average.load_state_dict(averaged)
    changed.apply(run, dict(part.changes), old_steps)

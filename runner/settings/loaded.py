"""The recorded runs that code of the user's own loads while a run is made, such as the teacher in a loss.

A word such as `last` means another run later. The record of a run has what each word meant, and commands that go on
with the run, measure or repeat it load the same.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from runner.settings.errors import ConfigError

#: Tags of a run's record begin so: `loaded.last.best`, of the word and the checkpoint.
TAG = "loaded."


@dataclass
class Loaded:
    """The runs that were loaded for a run.

    uri: of the store in which words mean runs. sweep: True for a job, beside which others begin.
    meanings: word and checkpoint, with a dot between -> run id and the SHA-256 of its weights, with a space between.
    """

    uri: str
    sweep: bool = False
    meanings: dict[str, str] = field(default_factory=dict)

    def meant(self, run: str, checkpoint: str) -> str:
        """Return the id of the run that a word meant before, or else the word.

        Raises ConfigError for `last` in a sweep.
        """
        if known := self.meanings.get(f"{run}.{checkpoint}"):
            return known.partition(" ")[0]
        if self.sweep and run == "last":
            raise ConfigError("", "last is another run once the sweep has begun; name one by its id")
        return run

    def note(self, run: str, checkpoint: str, run_id: str, sha256: str) -> None:
        """Keep what a word means. Raises ConfigError where it meant other weights before."""
        was = self.meanings.setdefault(f"{run}.{checkpoint}", f"{run_id} {sha256}").partition(" ")[2]
        if was != sha256:
            raise ConfigError(
                "",
                f"the weights of run {run_id} (checkpoint={checkpoint}), which code of the experiment loads, are others"
                f" than those of the record: their SHA-256 is {sha256[:12]}..., expected {was[:12]}...",
            )


#: Parameters of the models that were loaded, by their ids.
_parameters: WeakValueDictionary[int, Any] = WeakValueDictionary()


def keep(parameters: Iterable[Any]) -> None:
    """Remember parameters as those of a recorded run."""
    _parameters.update({id(one): one for one in parameters})


def is_of_a_run(parameter: Any) -> bool:
    """Return whether a parameter is that of a recorded run."""
    return _parameters.get(id(parameter)) is parameter


_now: ContextVar[Loaded | None] = ContextVar("loaded", default=None)
_recorded: ContextVar[Mapping[str, str] | None] = ContextVar("recorded", default=None)


def now() -> Loaded | None:
    """Return the notes of the run that is being made; None where none is."""
    return _now.get()


@contextlib.contextmanager
def making(uri: str, sweep: bool) -> Iterator[Loaded]:
    """Note all that is loaded in the block; a block within one is a part of it.

    uri: of the run's store. sweep: True for a job.
    """
    if (outer := _now.get()) is not None:
        yield outer
        return
    mark = _now.set(Loaded(uri, sweep, dict(_recorded.get() or {})))
    try:
        yield _now.get()  # type: ignore[misc]
    finally:
        _now.reset(mark)


@contextlib.contextmanager
def as_recorded(tags: Mapping[str, str]) -> Iterator[None]:
    """Let words mean in the block what they meant for the recorded run that has these tags."""
    mark = _recorded.set({name.removeprefix(TAG): value for name, value in tags.items() if name.startswith(TAG)})
    try:
        yield
    finally:
        _recorded.reset(mark)

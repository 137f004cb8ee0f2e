"""A step of the user's own as the step of a run."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from runner.training.loop import Parts, State
from runner.training.step import STATE, TrainStep


class OwnStep:
    """A step of the user's own whose losses are copies: they are read later, and it may go on to write into its own.

    own: see `step.resolve`. Where it has a state that checkpoints hold, so has this one.
    """

    def __init__(self, own: TrainStep) -> None:
        self.own = own
        for name in STATE:
            if hasattr(own, name):
                setattr(self, name, getattr(own, name))

    def __call__(self, state: State, parts: Parts) -> Tensor | Mapping[str, Any]:
        """Take one step and return its loss, or several by name; `events.taken` checks what it returns."""
        loss = self.own(state, parts)
        if isinstance(loss, Mapping):
            return {name: _copy(value) for name, value in loss.items()}
        return _copy(loss)  # type: ignore[no-any-return]


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value

"""A step of the user's own as the step of a run."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from runner.training.loop import Parts, State
from runner.training.step import TrainStep


class OwnStep:
    """A step of the user's own whose losses are copies: they are read later, and it may go on to write into its own.

    own: see `step.resolve`. All of its attributes are this one's, among them the state that checkpoints hold.
    """

    own: TrainStep

    def __init__(self, own: TrainStep) -> None:
        vars(self)["own"] = own

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the user's step."""
        if name == "own":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self.own, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the user's step."""
        setattr(self.own, name, value)

    def __call__(self, state: State, parts: Parts) -> Tensor | Mapping[str, Any]:
        """Take one step and return its loss, or several by name; `events.taken` checks what it returns."""
        loss = self.own(state, parts)
        if isinstance(loss, Mapping):
            return {name: _copy(value) for name, value in loss.items()}
        return _copy(loss)  # type: ignore[no-any-return]


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value

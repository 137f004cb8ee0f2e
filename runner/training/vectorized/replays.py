"""The steps of a program: captured once for each size of batch, then replayed without Python."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from runner.model import host
from runner.settings.trust import terminal
from runner.training.capture import Uncapturable, capture, graph

#: The tensors that a step changes, and the generators that it draws from.
Changed = tuple[Sequence[Tensor], Sequence[torch.Generator]]


class Replays:
    """Takes steps with batches of a given size.

    step: takes one as it is, without reading anything from the device. captures: it may be captured.
    changed: returns what a step changes on the processor.
    """

    def __init__(
        self, step: Callable[[int], Tensor], device: torch.device, captures: bool, changed: Callable[[], Changed]
    ) -> None:
        self._step, self._device, self._changed = step, device, changed
        self._replays: dict[int, Callable[[], None]] = {}
        self._seen: set[int] = set()
        self._captures = captures and (device.type == "cpu" or graph.there_are(device))

    def __call__(self, size: int) -> None:
        """Take a step: as it is the first time, which makes all that it needs, and captured from then on."""
        replay = self._replays.get(size)
        if replay is not None:
            replay()
        elif self._captures and size in self._seen:
            (self._record if self._device.type == "cpu" else self._capture)(size)
        else:
            self._seen.add(size)
            self._step(size)

    def _capture(self, size: int) -> None:
        try:
            self._replays[size] = capture(partial(self._step, size), self._device).replay
            self._replays[size]()
        except Uncapturable as error:
            self._captures = False
            _say(str(error))
            self._step(size)

    def _record(self, size: int) -> None:
        """Take a step while it is recorded, and again by its replay, which is kept if every bit is the same."""
        tensors, generators = self._changed()
        before, states = [tensor.clone() for tensor in tensors], [one.get_state() for one in generators]

        def go_back() -> None:
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)

        try:
            replay = capture(partial(self._step, size), self._device).replay
            after = [tensor.clone() for tensor in tensors]
            go_back()
            replay()
            if not all(map(host.same, tensors, after)):
                raise Uncapturable("its numbers differ from those of the step as it is")
            self._replays[size] = replay
        except Uncapturable:  # it is large, and arithmetic is all that takes time
            self._captures = False
            go_back()
            self._step(size)

    def forget(self) -> None:
        """Capture anew: a step does something else now, or there are no more."""
        self._replays.clear()
        self._seen.clear()


@lru_cache(32)
def _say(reason: str) -> None:
    terminal.say(f"the steps of many models as one program are not captured: {reason}")

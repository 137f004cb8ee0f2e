"""The steps of a program on an accelerator: captured once for each size of batch, then replayed without Python."""

from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor

from runner.settings.trust import terminal
from runner.training.capture import Uncapturable, capture, graph


class Replays:
    """Takes steps with batches of a given size.

    step: takes one as it is, without reading anything from the device. captures: it may be captured.
    """

    def __init__(self, step: Callable[[int], Tensor], device: torch.device, captures: bool) -> None:
        self._step, self._device = step, device
        self._replays: dict[int, Callable[[], None]] = {}
        self._seen: set[int] = set()
        # On the processor the arithmetic of many models is all that takes time.
        self._captures = device.type != "cpu" and captures and graph.there_are(device)

    def __call__(self, size: int) -> None:
        """Take a step: as it is the first time, which makes all that it needs, and captured from then on."""
        replay = self._replays.get(size)
        if replay is not None:
            replay()
        elif self._captures and size in self._seen:
            self._capture(size)
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

    def forget(self) -> None:
        """Capture anew: a step does something else now, or there are no more."""
        self._replays.clear()
        self._seen.clear()


@lru_cache(32)
def _say(reason: str) -> None:
    terminal.say(f"the steps of many models as one program are not captured: {reason}")

"""Work on tensors that is recorded once and repeated on the same memory, without Python between its operations.

On an accelerator it is a graph of the device's, see `graph`; on the processor a list of operations, see `recording`.
Either way an operation, its order and its numbers are those of the work itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

#: Tensors that work returns, each with the tensor in which it is to be after each replay.
Places = Sequence[tuple[Tensor, Tensor]]


class Uncapturable(Exception):
    """Work cannot be captured; the message is a reason that stands after a colon."""


@dataclass(frozen=True)
class Captured:
    """Captured work.

    result: what the work returned. Its tensors are written by every `replay`, always the same ones.
    replay: does the work again, with what the tensors that it reads hold now. Random draws go on from the state of the
        generators.
    """

    result: Any
    replay: Callable[[], None]


def capture(
    work: Callable[[], Any], device: torch.device, places: Callable[[Any], Places] = lambda result: ()
) -> Captured:
    """Capture `work`, which reads and writes tensors of `device` that stay where they are.

    work: takes no arguments; its result may be tensors in tuples, lists or dicts. Its Python runs once, now: a number
        that it computes from anything but tensors stays what it is now. On the processor its operations are done once
        while they are recorded, on an accelerator they are not.
    places: returns where results are to be, of the same shape and type; on the processor alone. They are made there, if
        they can be, and else copied there.
    Raises Uncapturable for work that reads a number from a tensor, whose shapes follow from values, or that the device
    refuses.

        x, total = torch.zeros(3), torch.zeros(3)
        captured = capture(lambda: total.add_(x), x.device)
        x.fill_(1.0)
        captured.replay()   # total grows by 1
    """
    if device.type == "cpu":
        from runner.training.capture.recording import record

        return record(work, places)
    from runner.training.capture.graph import graph

    return graph(work, device)

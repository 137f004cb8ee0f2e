"""The loss and output of a batch that is not trained on, captured once for each shape of batches and replayed."""

from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch
from runner.model import host
from runner.training.capture import Captured, Uncapturable, capture, proof
from runner.training.loop import Cost

#: Batches of each shape that are evaluated as they are, which takes as long as to capture one; and shapes that are
#: captured.
WARM, SHAPES = 16, 4


class CapturedCost:
    """A cost, see runner.training.loop, of one model in evaluation mode without gradients, captured where it can be.

    cost: as it is. exact: its numbers are the same bits each time; False for a device that adds up in any order.
    """

    def __init__(self, cost: Cost, device: torch.device, exact: bool) -> None:
        self.cost, self.device, self.exact = cost, device, exact
        self.reason = ""
        self._seen: dict[Any, int] = {}
        self._replays: dict[Any, tuple[Batch, Captured]] = {}

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch, of shape (), and the model's output, tensors of their own."""
        if self.reason or model.training or torch.is_grad_enabled():
            return self.cost(model, batch)
        x, y = batch
        key = (id(model), x.shape, x.dtype, x.stride(), y.shape, y.dtype)
        if key in self._replays:
            return self._again(key, batch)
        self._seen[key] = self._seen.get(key, 0) + 1
        plain = self.cost(model, batch)
        if self._seen[key] > WARM and len(self._replays) < SHAPES:
            self._capture(key, model, batch, plain)
        return plain

    def _again(self, key: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        (x, y), captured = self._replays[key]
        x.copy_(batch[0], non_blocking=True)
        y.copy_(batch[1], non_blocking=True)
        captured.replay()
        loss, output = captured.result
        return loss.clone(), output.clone()

    def _capture(self, key: Any, model: nn.Module, batch: Batch, plain: tuple[Tensor, Tensor]) -> None:
        """Capture the cost of batches like this one, if it comes to `plain` again."""
        held = (batch[0].clone(), batch[1].clone())
        try:
            if not isinstance(plain[1], Tensor):
                raise Uncapturable("the output is no tensor")
            self._replays[key] = held, capture(lambda: self.cost(model, held), self.device)
            if not all(map(self._same, self._again(key, batch), plain)):
                raise Uncapturable("its numbers differ from those of the evaluation as it is")
        except Uncapturable as error:
            self.reason, self._replays = str(error), {}

    def _same(self, one: Tensor, other: Tensor) -> bool:
        return host.same(one, other) if self.exact else proof.close(one, other)

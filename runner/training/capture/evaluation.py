"""The loss and output of a batch that is not trained on, captured once for each shape of batches and replayed."""

from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch
from runner.model import host
from runner.settings import torch_private
from runner.settings.errors import first_line
from runner.training.capture import Captured, Uncapturable, capture, proof
from runner.training.capture.given import Given
from runner.training.capture.step import CapturedStep
from runner.training.loop import Cost
from runner.training.state import generators

#: Batches of each shape that are evaluated as they are, which takes as long as to capture one; and shapes that are
#: captured.
WARM, SHAPES = 16, 4


class CapturedCost:
    """A cost, see runner.training.loop, of one model in evaluation mode without gradients, captured where it can be.

    cost: as it is. step: of the run, which knows its device and the modules that compute in a cost.
    """

    def __init__(self, cost: Cost, step: CapturedStep) -> None:
        self.cost, self.step = cost, step
        self.reason = ""
        self._given: dict[Any, Given] = {}  # by model
        self._seen: dict[Any, int] = {}
        self._replays: dict[Any, tuple[Batch, Captured]] = {}

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch, of shape (), and the model's output, tensors of their own."""
        if self.reason or model.training or torch.is_grad_enabled():
            return self.cost(model, batch)
        x, y = batch
        key = (id(model), x.shape, x.dtype, x.stride(), y.shape, y.dtype)
        if key in self._replays:
            if not self.step.watched or self._given[id(model)].holds():
                return self._again(key, batch)
            self._seen, self._replays, self._given = {}, {}, {}
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
            if any(torch_private.layer_hooks(part) for one in (model, *self.step.modules) for part in one.modules()):
                raise Uncapturable("a layer has a hook")
            with generators.undrawn(self.step.device):
                before = generators.random_state(self.step.device)["torch"]
                self._replays[key] = held, capture(lambda: self.cost(model, held), self.step.device)
                again = self._again(key, batch)
                if not torch.equal(before, torch.get_rng_state()):
                    raise Uncapturable("it draws random numbers in an evaluation")
            if not all(map(self._same, again, plain)):
                raise Uncapturable("its numbers differ from those of the evaluation as it is")
            self._given.setdefault(id(model), Given([model, *self.step.modules]))
        except Exception as error:  # a layer of anyone's may do anything where it is not expected
            self.reason = str(error) if isinstance(error, Uncapturable) else first_line(error)
            self._replays = {}

    def _same(self, one: Tensor, other: Tensor) -> bool:
        return host.same(one, other) if self.step.exact else proof.close(one, other)

"""The loss and output of a batch that is not trained on, captured once for each shape of batches and replayed."""

from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch, nests
from runner.model import host
from runner.settings import torch_private
from runner.settings.errors import first_line
from runner.training.capture import Captured, Uncapturable, capture, proof
from runner.training.capture.given import Given
from runner.training.capture.step import CapturedStep, fill, static
from runner.training.loop import Cost
from runner.training.state import generators

#: Batches of each shape that are evaluated as they are, which takes as long as to capture one; and shapes that are
#: captured.
WARM, SHAPES = 16, 4
#: The batch of each shape that is evaluated both ways once more where code of one's own computes: another one than that
#: which was captured.
AGAIN = WARM + 2


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
        strides = [tensor.stride() for tensor in nests.leaves(x)]
        key = (id(model), nests.key(x), *strides, nests.key(y), self.step.hidden.place())
        self._seen[key] = seen = self._seen.get(key, 0) + 1
        if key in self._replays and self.step.watched and not self._given[id(model)].holds():
            self._seen, self._replays, self._given = {}, {}, {}
            return self.cost(model, batch)
        if key in self._replays and not (self.step.hidden.parts and seen == AGAIN):
            return self._again(key, batch)
        if key in self._replays or (seen > WARM and len(self._replays) < SHAPES):
            return self._both(key, model, batch)
        return self.cost(model, batch)

    def _again(self, key: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        held, captured = self._replays[key]
        fill(held, batch)
        captured.replay()
        loss, output = captured.result
        return loss.clone(), output.clone()

    def _both(self, key: Any, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Evaluate as it is and captured, and keep to the captured evaluation if its numbers are the same."""
        device, modules = self.step.device, [model, *self.step.modules]
        given, before = static(batch), generators.random_state(device)
        plain = self.cost(model, batch)
        after = generators.random_state(device)  # fractional max pooling draws, in evaluation mode too
        generators.set_random_state(before, device)
        try:
            if not isinstance(plain[1], Tensor):
                raise Uncapturable("the output is no tensor")
            if any(torch_private.layer_hooks(part) for one in modules for part in one.modules()):
                raise Uncapturable("a layer has a hook")
            if key not in self._replays:
                held = static(given)
                with self.step.hidden.guarded():
                    self._replays[key] = held, capture(lambda: self.cost(model, held), device)
                generators.set_random_state(before, device)
            if not all(map(self._same, self._again(key, given), plain)):
                raise Uncapturable("its numbers differ from those of the evaluation as it is")
            self._given.setdefault(id(model), Given(modules))
        except Exception as error:  # code of anyone's may do anything where it is not expected
            self.reason = str(error) if isinstance(error, Uncapturable) else first_line(error)
            self._replays = {}
        generators.set_random_state(after, device)
        return plain

    def _same(self, one: Tensor, other: Tensor) -> bool:
        return host.same(one, other) if self.step.exact else proof.close(one, other)

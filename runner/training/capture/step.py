"""The optimizer step, captured once for each shape of its batches and replayed.

It is a step as any other, see runner.training.step: the first ones are taken as they are; then one is taken both ways
from the same state, and only if both come to the same numbers it is replayed from there on.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Batch, nests
from runner.settings.errors import ConfigError, first_line
from runner.training.capture import Captured, Places, Uncapturable, capture, proof, updates
from runner.training.capture.given import Given, hooked
from runner.training.capture.hidden import Hidden, changed
from runner.training.capture.rates import Rates
from runner.training.capture.updates import Update
from runner.training.loop import Parts, State
from runner.training.step import descend

#: Steps of each shape that are taken as they are, in which libraries find their ways and optimizers make their state.
WARM = 3
#: Shapes of batches that are captured; a run with more takes the others as they are.
SHAPES = 8
#: Steps of each shape that are taken both ways once more where code of one's own is in it, which may do anything: the
#: first one is on another batch than the one that was captured.
AGAIN, LATER = WARM + 2, frozenset(2**n for n in range(4, 63))
#: Steps of a shape from which capturing it pays for itself, as the last batches of epochs may not.
WORTH = 50

#: A step that was captured turns out to be another one after some were replayed.
LATE = (
    "true, and code of your own does not do the same at every step: {}. Steps before this one may have been others than"
    " they should be; run it again with trainer.graph=false"
)
#: Clips the gradients of the parameters that it was made for; None: nothing is clipped.
Clip = Callable[[], None] | None


class CapturedStep:
    """A step that is captured where it can be.

    eager: the step as it is.
    device: of the run.
    rates: the learning rates as tensors of the device; None on the processor.
    clip: clips gradients on the processor, as the optimizer's own step would do.
    exact: both ways must come to the same bits; False for a device that adds up in any order.
    modules: all that compute in a step beside the model.
    steps: of the whole training, by which it is decided whether a shape is captured; None: each is.
    hidden: of the model, the optimizer and `modules`.
    """

    def __init__(
        self,
        eager: Callable[[State, Parts], Any],
        device: torch.device,
        rates: Rates | None = None,
        clip: Clip = None,
        exact: bool = True,
        modules: Iterable[nn.Module] = (),
        steps: int | None = None,
        hidden: Hidden | None = None,
    ) -> None:
        self.eager, self.device, self.rates, self.clip, self.exact = eager, device, rates, clip, exact
        self.modules, self.steps, self.hidden = list(modules), steps, hidden or Hidden()
        self.reason = ""  # why it is not captured
        self.watched = True  # code that is not ours may change anything between two steps
        self._seen: dict[Any, int] = {}  # steps of each shape
        self._first = 0  # the step before which nothing was seen
        self._replays: dict[Any, _Replay] = {}
        self._given: Given | None = None  # since something is captured
        self._of: Any = None  # the optimizer's state, whose tensors a replay writes
        self._update: Update | None = None  # of all shapes: it moves the optimizer's state
        self._of_update: list[int] = []  # the parameters that the newest step trained
        self._several = False  # True: they are not those of every step

    @property
    def taken(self) -> bool:
        """True once it has taken a step."""
        return bool(self._seen)

    @property
    def captured(self) -> int:
        """The number of shapes of batches that are captured."""
        return len(self._replays)

    def __call__(self, state: State, parts: Parts) -> Tensor:
        """Take one step and return its loss, of shape ()."""
        if self.reason:
            return self.eager(state, parts)  # type: ignore[no-any-return]
        # After a checkpoint was loaded, the optimizer's tensors are others.
        if self._of is not state.optimizer.state or (self.watched and self._given and not self._given.holds()):
            self._begin_anew(state)
        if self.rates is not None and self.rates.captures and self.rates.changes():
            self.rates.captures, self._replays = False, {}  # a graph would go on with the numbers of before
        key = tuple(map(_key, parts))
        self._seen[key] = seen = self._seen.get(key, 0) + 1
        if (replay := self._replays.get(key)) is not None:
            if self.hidden.parts and (seen == AGAIN or seen in LATER):
                return self._both(key, state, parts)
            return replay(parts)
        if seen <= WARM or len(self._replays) >= SHAPES or not self._pays(key, state.step):
            loss: Tensor = self.eager(state, parts)
            self._trains_others(state)
            return loss
        return self._both(key, state, parts)

    def update(self, state: State) -> Update | None:
        """Return the optimizer's step in few operations; None where it takes its own."""
        if self.device.type != "cpu" or state.scaler.is_enabled() or self._trains_others(state):
            return None
        if self._update is None:
            self._update = updates.update(state.optimizer, _trained(state))
        return self._update

    def _begin_anew(self, state: State) -> None:
        self._of, self._first, self._seen, self._replays = state.optimizer.state, state.step, {}, {}
        self._given, self._update, self._of_update, self._several = None, None, [], False

    def _trains_others(self, state: State) -> bool:
        """Return whether steps train different parameters, of which one update of all together cannot keep count."""
        trained = [*map(id, _trained(state))]
        if not self._several and (self._of_update or trained) != trained:
            self._several, self._update, self._replays = True, None, {}
        self._of_update = trained
        return self._several

    def _pays(self, key: Any, step: int) -> bool:
        """Return whether a shape comes often enough in the whole training to make up for its capture.

        A run that is resumed near its end goes on as it was.
        """
        return self.steps is None or self._seen[key] / (step + 1 - self._first) * self.steps >= WORTH

    def _both(self, key: Any, state: State, parts: Parts) -> Tensor:
        """Take the step as it is and captured, and keep to the captured one if its numbers are the same."""
        self.reason = hooked([state.model, *self.modules], state.optimizer)
        if self.reason:
            return self.eager(state, parts)  # type: ignore[no-any-return]
        given = [(_static(share), static(batch)) for share, batch in parts]  # a layer may write into them
        before, attributes, memory = proof.copies(state, self.device), self.hidden.state(), self.hidden.memory()
        loss: Tensor = self.eager(state, parts)
        after = proof.copies(state, self.device)
        if len(after.tensors) > len(before.tensors):  # the optimizer has made its state only now
            return loss
        replay = known = self._replays.get(key)
        try:
            if name := changed(attributes, self.hidden.state()):
                raise Uncapturable(f"it changes {name}, which is no buffer")
            if not self.hidden.lies_in(memory):
                raise Uncapturable("it gives a parameter or a buffer other memory")
            if before.drew_past_torch(after):
                raise Uncapturable("it draws random numbers of Python or NumPy")
            proof.restore(before, state, self.device)
            if replay is None:
                replay = _Replay(state, given, self)
                proof.restore(before, state, self.device)
            own = replay(given)
            now = proof.copies(state, self.device)
            if not (now.same_as(after) if self.exact else now.near(after, before) and proof.close(own, loss)):
                raise Uncapturable("its numbers differ from those of the step as it is")
        except Exception as error:  # code of anyone's may do anything where it is not expected
            reason = str(error) if isinstance(error, Uncapturable) else first_line(error)
            if known is not None and self._seen[key] > AGAIN:
                raise ConfigError("trainer.graph", LATE.format(reason)) from error
            self.reason, self._replays = reason, {}
            proof.restore(after, state, self.device)
            return loss
        self._replays[key] = replay
        self._given = self._given or Given([state.model, *self.modules], state.optimizer)
        return loss


class _Replay:
    """The step for batches of one shape.

    The gradients are always captured; so is the optimizer's own step on an accelerator, if its class can be.
    """

    def __init__(self, state: State, parts: Parts, step: CapturedStep) -> None:
        self.state = state
        self.parts = [(_static(share), static(batch)) for share, batch in parts]
        self.parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
        self.rates = step.rates
        self.captures = step.rates is not None and step.rates.captures  # the optimizer's own step too
        self.update = step.update(state)
        self.clip = step.clip if self.update is not None else None
        with step.hidden.guarded():
            self.captured: Captured = capture(self._work, step.device, self._places)
        self.loss, gradients = self.captured.result
        if self.update is not None:  # which reads them in one piece of memory
            own = dict(zip(map(id, self.update.parameters), self.update.gradients, strict=True))
            gradients = [own.get(id(p)) for p in self.parameters]
        self.gradients = list(zip(self.parameters, gradients, strict=True))

    def __call__(self, parts: Parts) -> Tensor:
        for (share, held), (new_share, batch) in zip(self.parts, parts, strict=True):
            fill(held, batch)
            if isinstance(share, Tensor) and isinstance(new_share, Tensor):
                share.copy_(new_share)
        if self.rates is not None:
            self.rates.write()
        self.captured.replay()
        loss: Tensor = self.loss.clone()
        for parameter, gradient in self.gradients:  # a step of another shape has put its own there, or here alone
            parameter.grad = gradient
        if self.update is not None:
            self.update.take()
        elif self.rates is None:
            descend(self.state)
        elif not self.captures:
            self.rates.step()
        return loss

    def _places(self, result: tuple[Tensor, list[Tensor | None]]) -> Places:
        """Return the gradients of a recording, each with the place in which the update reads it."""
        if self.update is None:
            return ()
        gradients = {id(p): g for p, g in zip(self.parameters, result[1], strict=True) if g is not None}
        if gradients.keys() != set(map(id, self.update.parameters)):
            raise Uncapturable("other parameters have gradients than in the step before")
        return [(gradients[id(p)], g) for p, g in zip(self.update.parameters, self.update.gradients, strict=True)]

    def _work(self) -> tuple[Tensor, list[Tensor | None]]:
        """Compute loss and gradients of all parts as `step.gradients` does, and take what can be captured with it."""
        total, gradients = self._part(*self.parts[0])
        for share, batch in self.parts[1:]:
            loss, others = self._part(share, batch)
            total = total + loss
            gradients = [_sum(a, b) for a, b in zip(gradients, others, strict=True)]
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        if self.clip is not None:
            self.clip()
        if self.rates is not None and self.captures:
            self.rates.step(captured=True)
        return total, gradients

    def _part(self, share: float | Tensor, batch: Batch) -> tuple[Tensor, list[Tensor | None]]:
        state = self.state
        loss, _ = state.cost(state.model, batch)
        loss = loss if len(self.parts) == 1 else (loss * share).to(loss.dtype)
        trained = [p for p in self.parameters if p.requires_grad]
        gradients = iter(torch.autograd.grad(state.scaler.scale(loss), trained, allow_unused=True))
        return loss.detach(), [_ordered(next(gradients), p) if p.requires_grad else None for p in self.parameters]


def _trained(state: State) -> list[Tensor]:
    return [p for group in state.optimizer.param_groups for p in group["params"] if p.grad is not None]


def _key(part: tuple[float | Tensor, Batch]) -> Any:
    share, (x, y) = part
    return nests.key(x), nests.key(y), "tensor" if isinstance(share, Tensor) else share


def static(batch: Batch) -> Batch:
    """Return a copy of a batch, in memory that a replay can read."""
    x, y = (nests.mapped(Tensor.clone, part) for part in batch)
    return x, y


def fill(held: Batch, batch: Batch) -> None:
    """Write a batch into the memory that a replay reads."""
    for part, new in zip(held, batch, strict=True):
        if isinstance(part, Tensor):
            part.copy_(new, non_blocking=True)
        else:
            nests.mapped(lambda to, of: to.copy_(of, non_blocking=True), part, new)


def _static(share: float | Tensor) -> float | Tensor:
    return share.clone() if isinstance(share, Tensor) else share


def _ordered(gradient: Tensor | None, parameter: Tensor) -> Tensor | None:
    """Return the gradient in the parameter's order in memory, as `backward` leaves it."""
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


@torch.no_grad()
def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one.add_(other)

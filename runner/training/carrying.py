"""The state of recurrent layers, carried over from one window of a sequence to the next: `trainer.carry`."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Data, Tensors
from runner.model import recurrent
from runner.settings import Trainer
from runner.settings.errors import ConfigError
from runner.training.augment.treatment import Treatment
from runner.training.capture.choice import AsItIs
from runner.training.loop import Parts, State

#: Why a step that carries states over is not captured.
REASON = "trainer.carry keeps the state of layers from one step to the next"


class Memory:
    """Lets the recurrent layers of a model begin with the state in which they ended, where `active` is true.

    model: whose RNN, LSTM and GRU layers take their state from here, unless they are given one. Of a batch that is
    smaller than the one before, the first examples go on. Gradients end where the state is taken over.
    """

    def __init__(self, model: nn.Module) -> None:
        self.active = False
        self.states: dict[str, tuple[Tensor, ...]] = {}
        for name, module in model.named_modules():
            if isinstance(module, nn.RNNBase):
                module.register_forward_pre_hook(lambda *given, name=name: self._begin(name, *given), with_kwargs=True)
                module.register_forward_hook(lambda *given, name=name: self._end(name, *given))

    def _begin(self, name: str, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else kwargs["input"]
        given = args[1] if len(args) > 1 else kwargs.get("hx")
        if not self.active or given is not None:
            return None
        if not isinstance(x, Tensor):
            why = f"true, and {name} is given a {type(x).__name__}, whose examples end; leave it out"
            raise ConfigError("trainer.carry", why)
        if name not in self.states:
            return None
        size = x.shape[0 if module.batch_first else 1]
        state = tuple(part[:, :size].contiguous() for part in self.states[name])
        return (x, state if len(state) > 1 else state[0]), {}

    def _end(self, name: str, module: Any, args: tuple[Any, ...], output: Any) -> None:
        if self.active:
            state = output[1] if isinstance(output[1], tuple) else (output[1],)
            self.states[name] = tuple(part.detach() for part in state)


class Carrying(AsItIs):
    """A step whose batch goes on where the one before ended; at the beginning of an epoch the states are zero.

    taken: the step itself. per_epoch: steps of an epoch.
    """

    def __init__(self, taken: Any, model: nn.Module, per_epoch: int) -> None:
        super().__init__(getattr(taken, "eager", taken), REASON)
        self.memory, self.per_epoch = Memory(model), per_epoch
        self.device = next(model.parameters()).device

    def __call__(self, state: State, parts: Parts) -> Any:
        """Take one step and return its loss."""
        if state.step % self.per_epoch == 0:
            self.memory.states.clear()
        self.memory.active = True
        try:
            return super().__call__(state, parts)
        finally:
            self.memory.active = False

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the layers by their names, and that of a step of the user's own."""
        own = self.eager.state_dict() if hasattr(self.eager, "state_dict") else None
        return {"states": {name: list(state) for name, state in self.memory.states.items()}, "own": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with states that `state_dict` returned."""
        states = {name: tuple(part.to(self.device) for part in parts) for name, parts in state["states"].items()}
        self.memory.states = states
        if hasattr(self.eager, "load_state_dict"):
            self.eager.load_state_dict(state["own"])


def chosen(taken: Any, trainer: Trainer, model: nn.Module, per_epoch: int) -> Any:
    """Return the step of a run: the one that is given, or that with the states of layers carried over."""
    return Carrying(taken, model, per_epoch) if trainer.carry else taken


def check(trainer: Trainer, data: Data, model: nn.Module, treatment: Treatment) -> None:
    """Raise ConfigError where no state can be carried over. model: may be on the meta device."""
    if not trainer.carry:
        return
    if treatment:
        key = next(name for name in ("augment", "mixup", "cutmix", "sample") if getattr(treatment, name))
        raise ConfigError("trainer.carry", f"true reads examples in their own order and as they are, and data.{key}"
            " changes that; leave one out")  # fmt: skip
    if not any(isinstance(module, nn.RNNBase) for module in model.modules()):
        raise ConfigError("trainer.carry", "true, and no layer is an RNN, LSTM or GRU, whose state it is; leave it out")
    if any(isinstance(module, recurrent.RNN | recurrent.GRU | recurrent.LSTM) for module in model.modules()):
        raise ConfigError("trainer.carry", "true, and a layer with lengths, whose examples end; leave one of them out")
    if trainer.compile:
        raise ConfigError("trainer.carry", "does not go together with trainer.compile; leave one out")
    total = len(data.train)  # type: ignore[arg-type]
    if trainer.batch_size is None or trainer.batch_size >= total:
        raise ConfigError(
            "trainer.carry",
            f"true, and all {total:,} windows are in one batch, so that none goes on from another; use a smaller"
            " trainer.batch_size",
        )
    source = data.train
    x, y = (source.x, source.y) if isinstance(source, Tensors) else (None, None)
    if isinstance(x, Tensor) and isinstance(y, Tensor) and x.shape == y.shape and not x.is_floating_point():
        x, y = x.flatten(1), y.flatten(1)
        if not x.is_meta and not torch.equal(x[1:, 0], y[:-1, -1]):
            raise ConfigError(
                "trainer.carry",
                "true, and the windows of the training data do not go on where those before them end; let them follow"
                " one another without overlap, as data.step=null does of a text",
            )

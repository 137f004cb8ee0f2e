"""Warnings while training: gradients that vanish or explode, and layers that are dead, each once and by name.

The gradients of steps 1, 2, 4, 8, ... and of every 1,024th are looked at, as they lie there after the step: no step,
captured or not, does more for it.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from runner.model import host
from runner.training.events import Event, Step

#: Tag of a run's record with its warnings.
TAG = "warnings"
#: Samples in which a gradient has to be small or 0 before it is said; the fifth is that of step 16.
SAMPLES = 5
#: The most steps from one sample to the next.
FAR = 1024
#: A layer's gradient vanishes, or explodes on its way back, if it is this share of the largest one.
SMALL = 1e-6
#: The gradient explodes if its norm is so many times that of the first step, and the loss is higher too.
GROWN = 1e3
#: The share of the units of a layer, always 0, from which on the layer is called dead.
DEAD = 0.5
RELU = (nn.ReLU, nn.ReLU6)
#: What may lie between a layer and its ReLU without changing which units are 0.
BETWEEN = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.Identity)
UNITS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Health:
    """An observer of one run, which it is to be given first.

    found: the warnings so far: {kind, layer, step, value, text}; kind is vanishing, exploding, zero or dead.
    say: is called with the text of each.
    """

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.say: Callable[[str], object] = lambda line: None
        self._run: Any = None
        self._next, self._at, self._samples = 1, 0, 0
        self._first: tuple[float, float] | None = None  # norm of the gradient and loss
        self._norms: dict[str, float] = {}  # of parameters: the largest gradient in all samples
        self._shares: dict[str, float] = {}  # of weights: the largest share of the largest gradient
        self._alive: dict[str, Tensor] = {}  # of weights before a ReLU: the units that have had a gradient

    def follow(self, run: Any) -> "Health":
        """Begin with the step that a run is at, and return this observer."""
        self._run, self._next = run, run.state.step + 1
        return self

    def record(self, event: Event) -> None:
        """Look at the gradients if they are due."""
        if type(event) is Step and event.step >= self._next:
            self._next = min(2 * event.step, event.step + FAR)
            if self._run.state.step != self._at:  # of several steps that are read together there is one gradient
                self._at = self._run.state.step
                self._sample(event)

    def _sample(self, event: Step) -> None:
        named = [(name, one.grad) for name, one in self._run.model.named_parameters() if _has_gradient(one)]
        if not named:
            return
        values = host.numbers(torch.stack([gradient.norm().float() for _, gradient in named]))
        norms = dict(zip([name for name, _ in named], values, strict=True))
        self._samples += 1
        self._grown(event, math.hypot(*norms.values()))
        for name, norm in norms.items():
            self._norms[name] = max(self._norms.get(name, 0.0), norm)
        sizes = {name: norms[name] / math.sqrt(gradient.numel()) for name, gradient in named if gradient.dim() > 1}
        largest = max(sizes.values(), default=0.0)
        for name, size in sizes.items() if 0 < largest < math.inf else ():
            self._shares[name] = max(self._shares.get(name, 0.0), size / largest)
        before = _before_relu(self._run.model) if self._samples <= 1 else self._alive
        for name, gradient in named:
            if name in before:
                alive = (gradient.flatten(1) != 0).any(1)
                self._alive[name] = alive | self._alive[name] if name in self._alive else alive
        if self._samples >= SAMPLES:
            self._judge(event.step, sizes)

    def _grown(self, event: Step, norm: float) -> None:
        loss = event.read()
        self._first = self._first or (norm, loss)
        if self._run.state.scaler.is_enabled():  # whose first steps overflow by intent
            return
        first, began = self._first
        if not norm <= GROWN * max(first, 1e-30) and not loss <= began:
            text = f"the norm of the gradient has grown from {first:.3g} to {norm:.3g}"
            text += f", and the loss from {began:.4g} to {loss:.4g}"
            self._warn("exploding", None, event.step, norm, f"{text}; a smaller optimizer.lr, or trainer.clip_norm=1")

    def _judge(self, step: int, sizes: dict[str, float]) -> None:
        """Warn of what has held in all samples."""
        dead = {name: 1 - host.number(alive.double().mean()) for name, alive in self._alive.items()}
        for name, share in dead.items():
            if share >= DEAD:
                layer = name.rpartition(".")[0]
                units = f"{round(share * len(self._alive[name])):,} of {len(self._alive[name]):,} units of {layer!r}"
                text = f"{units} have had no gradient at all: the ReLU behind them gives 0 for every example"
                self._warn("dead", layer, step, share, f"{text}; a smaller optimizer.lr, another init, or LeakyReLU")
        zero = [name for name, norm in self._norms.items() if norm == 0 and dead.get(name, 0.0) < DEAD]
        if zero and not any(one["kind"] in ("dead", "zero") for one in self.found):
            some = ", ".join(zero[:3]) + (f" and {len(zero) - 3} more" if len(zero) > 3 else "")
            text = f"the gradient of {some} was exactly 0 in all of {self._samples} steps that were looked at"
            self._warn("zero", zero[0].rpartition(".")[0], step, 0.0, f"{text}; no step changes it by the loss")
        small = [name for name, share in self._shares.items() if 0 < share < SMALL and name in sizes]
        if small:
            name, largest = min(small, key=lambda one: self._shares[one]), max(sizes, key=lambda one: sizes[one])
            order, share = [*sizes], self._shares[name]
            layer, other = name.rpartition(".")[0], largest.rpartition(".")[0]
            vanishes = order.index(name) < order.index(largest)
            kind, how = (
                (
                    "vanishing",
                    "vanishes",
                )
                if vanishes
                else ("exploding", "explodes")
            )
            text = (
                f"the gradient {how} on its way back {'to' if vanishes else 'from'} {layer!r}, where it is {share:.2g}"
            )
            text += f" of that of {other!r}; so it is in {len(small):,} layers, with less than {SMALL:g}"
            self._warn(kind, layer, step, share, f"{text}; normalization, residual connections, ReLU, or model.init")

    def _warn(self, kind: str, layer: str | None, step: int, value: float, text: str) -> None:
        if any((one["kind"], one["layer"]) == (kind, layer) or one["kind"] == kind != "dead" for one in self.found):
            return
        text = f"step {step:,}: {text}"
        self.found.append({"kind": kind, "layer": layer, "step": step, "value": value, "text": text})
        self._run.tags[TAG] = "\n".join(one["text"] for one in self.found)
        self.say(f"warning: {text}")


def _has_gradient(parameter: nn.Parameter) -> bool:
    gradient = parameter.grad
    return parameter.requires_grad and gradient is not None and not gradient.is_sparse and gradient.numel() > 0


def _before_relu(model: nn.Module) -> set[str]:
    """Return the names of weights whose units go into a ReLU, by the order in which modules are registered."""
    modules = [(name, one) for name, one in model.named_modules() if not isinstance(one, BETWEEN)]
    leaves = [(name, one) for name, one in modules if not [*one.children()]]
    return {
        f"{name}.weight"
        for (name, one), (_, after) in itertools.pairwise(leaves)
        if isinstance(one, UNITS) and isinstance(after, RELU)
    }

"""Dropout on accelerators: masks from a stream by counter, which a model draws alone as among others.

Torch's own numbers on an accelerator depend on how many are drawn at once, so that a stack of models could not draw
those of each. Here an element's number is a hash of the run's seed, the layer, how often the layer was called, and the
element's place in the batch. On the processor dropout is torch's own.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from runner.model import host
from runner.model.stack import Layer, Stack
from runner.settings import Trainer
from runner.training.loop import Cost, State

#: Layers that draw from a stream. Dropout inside of recurrent layers and of attention is torch's own.
LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
#: All layers with a probability `p` of dropout.
ALL = (*LAYERS, nn.AlphaDropout, nn.FeatureAlphaDropout)

#: Odd numbers of 64 bits, as those of SplitMix64 (Steele, Lea, Flood 2014, https://doi.org/10.1145/2660193.2660195).
STEP, FIRST, SECOND, OTHER = (
    value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93)
)
PROCESSOR = torch.device("cpu")
#: A draw is 32 bits, from -2**31.
HALF = 2**31


class Streams:
    """The streams of `models` that have the same layers, of one or of a stack; on the processor there are none.

    calls: (layers, models), how often each dropout layer was called in training, on the models' device.
    """

    def __init__(
        self, models: Sequence[nn.Module] = (), seeds: Sequence[int] = (), device: torch.device = PROCESSOR
    ) -> None:
        modules = [m for model in models[:1] for m in model.modules()] if device.type != "cpu" else []
        self.layers = [m for m in modules if isinstance(m, LAYERS)]
        self._numbers = {id(layer): number for number, layer in enumerate(self.layers)}
        shape = (len(self.layers), len(models))
        self.calls = torch.zeros(shape, dtype=torch.int64, device=device)
        self._constants: dict[Any, tuple[Tensor, Tensor]] = {}
        self._keys = keys(seeds, len(self.layers)).to(device)

    def mask(self, layer: nn.Module, shape: Sequence[int], drop: Sequence[float], dtype: torch.dtype) -> Tensor:
        """Return the factors of dropout, of shape (models, *shape): 0 with probability p, else 1 / (1 - p).

        layer: of the first model. shape: of one model's mask. drop: p of each model.
        """
        number = self._numbers[id(layer)]
        count = prod(shape)
        self.calls[number].add_(1)
        drawn = draws(self._keys[number] + self.calls[number] * STEP, -(-count // 2))[:, :count]
        limits, factors = self._of(tuple(drop), dtype)
        return (drawn < limits).to(dtype).mul_(factors).view(-1, *shape)

    def _of(self, drop: tuple[float, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the limits below which a draw lets its element through, and the factors then, (models, 1)."""
        # On the device once: a recorded step cannot bring them from the host.
        if (drop, dtype) not in self._constants:
            limits = [round((1 - p) * 2 * HALF) - HALF for p in drop]
            factors = [1 / (1 - p) if p < 1 else 1.0 for p in drop]
            device = self.calls.device
            columns = torch.tensor(limits, device=device), torch.tensor(factors, dtype=dtype, device=device)
            self._constants[drop, dtype] = columns[0].unsqueeze(1), columns[1].unsqueeze(1)
        return self._constants[drop, dtype]

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Let the layers of the only model draw from its stream in a block; outside they are torch's own."""
        for layer in self.layers:
            layer.forward = functools.partial(self._forward, layer)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for layer in self.layers:
                del layer.forward

    def _forward(self, layer: Any, x: Tensor) -> Tensor:
        if not layer.training:
            return x
        return x * self.mask(layer, mask_shape(layer, x.shape), [float(layer.p)], x.dtype)[0]

    def drawn(self, cost: Cost) -> Cost:
        """Return `cost` with dropout from the stream."""

        def drawn(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
            with self.active():
                return cost(model, batch)

        return drawn

    def state_dict(self, i: int = 0) -> dict[str, Any]:
        """Return how often the layers of model i were called; nothing if it has none."""
        return {"dropout": host.copied(self.calls[:, i])} if self.layers else {}

    def load_state_dict(self, state: dict[str, Any], step: int, i: int = 0) -> None:
        """Go on from a random state. step: that of a record from before there were streams."""
        if self.layers:
            calls = state.get("dropout")
            self.calls[:, i] = torch.full((len(self.layers),), step) if calls is None else calls


def streamed(state: State, trainer: Trainer, seed: int, where: torch.device) -> Streams:
    """Return the streams of a run, from which the layers of `state.model` draw from now on.

    There are none where the numbers are torch's own: on the processor, where the compiler draws them, and in records
    from before there were streams.
    """
    streams = Streams() if trainer.compile or trainer.graph is None else Streams([state.model], [seed], where)
    if streams.layers:
        state.cost = streams.drawn(state.cost)
        state.counters.append(streams.calls)
    return streams


def without_p(plan: Stack, layers: Sequence[type], entry: Callable[[Layer, dict[str, Any]], Any]) -> list[Any]:
    """Return `entry` of each layer of a plan with its arguments, without the probabilities of dropout of `layers`.

    Stacks among the arguments are returned likewise. For plans to be compared.
    """

    def value(of: Any) -> Any:
        if isinstance(of, Stack):
            return without_p(of, layers, entry)
        return [value(one) for one in of] if isinstance(of, list) else of

    def arguments(layer: Layer) -> dict[str, Any]:
        drops = layer.target in layers
        return {name: value(of) for name, of in layer.arguments.items() if not (drops and name == "p")}

    return [entry(layer, arguments(layer)) for layer in plan.layers]


def mask_shape(layer: nn.Module, shape: Sequence[int]) -> Sequence[int]:
    """Return the shape of a layer's mask for one model's inputs of `shape`: channels are dropped as a whole."""
    if type(layer) is nn.Dropout:
        return shape
    return (*shape[: 2 if len(shape) > 2 else 1], *(1 for _ in shape[2 if len(shape) > 2 else 1 :]))


def keys(seeds: Sequence[int], layers: int) -> Tensor:
    """Return a key for each layer of a model with each seed, of shape (layers, seeds)."""
    seeded = _mixed(torch.tensor([seed % 2**63 for seed in seeds], dtype=torch.int64) * STEP)
    return _mixed(seeded + torch.arange(1, layers + 1).unsqueeze(1) * OTHER)


def draws(keys: Tensor, count: int) -> Tensor:
    """Return random numbers of 32 bits, of shape (len(keys), 2 * count): SplitMix64's hash with a second key inside."""
    second = _mixed(keys + OTHER).unsqueeze(1)
    z = torch.arange(1, count + 1, device=keys.device).mul_(STEP) + keys.unsqueeze(1)
    z ^= _shifted(z, 30)
    z.mul_(FIRST)
    z ^= second
    z ^= _shifted(z, 27)
    z.mul_(SECOND)
    z ^= _shifted(z, 31)
    return z.view(torch.int32)


def _mixed(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)) * FIRST
    z = (z ^ _shifted(z, 27)) * SECOND
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Return z shifted right, with zeros from the left."""
    return (z >> bits) & z.new_full((), 2 ** (64 - bits) - 1)

"""Layers that are not trained, or not in the first epochs: `model.freeze`."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from runner.model import patterns
from runner.settings.errors import ConfigError, Problems

KEY = "model.freeze"
EXPECTED = "expected patterns, as in [conv1, 'norm*'], or patterns with epochs, as in {conv1: 5}"

#: Pattern -> the epochs for which it is frozen: infinity for all of the training, 0 for none.
Freeze = dict[str, float]


def read(spec: Any) -> Freeze:
    """Read `model.freeze`: a pattern, a list of them, or a mapping to true, false or a number of epochs.

    Raises ConfigError, or ConfigErrors with all that is not understood.
    """
    if spec is None:
        return {}
    if isinstance(spec, bool) or not isinstance(spec, str | int | list | tuple | Mapping):
        raise ConfigError(KEY, f"{spec!r} is not understood; {EXPECTED}")
    if isinstance(spec, str | int):
        return {str(spec): math.inf}
    problems, freeze = Problems(), Freeze()
    if isinstance(spec, Mapping):
        for pattern, value in spec.items():
            with problems.collect():
                freeze[str(pattern)] = _epochs(value, f"{KEY}.{pattern}")
        problems.raise_all()
        return freeze
    if not all(isinstance(one, str | int | Mapping) and not isinstance(one, bool) for one in spec):
        raise ConfigError(KEY, f"{spec!r} is not understood; {EXPECTED}")
    for one in spec:
        with problems.collect():
            freeze |= read(one)
    problems.raise_all()
    return freeze


def _epochs(value: Any, key: str) -> float:
    if isinstance(value, bool):
        return math.inf if value else 0.0
    number = value.partition(" epoch")[0] if isinstance(value, str) else value
    if isinstance(number, str) and number.isdecimal():
        number = int(number)
    if not isinstance(number, int) or number < 0:
        raise ConfigError(key, f"{value!r} is not true, false or a whole number of epochs, as in 5")
    return float(number)


def check(freeze: Freeze, model: nn.Module) -> None:
    """Raise ConfigError for patterns that mean nothing in the model, and where nothing is left to be trained.

    model: may be on the meta device.
    """
    patterns.check(freeze, model, KEY)
    held = _parameters(freeze, model)
    if held and all(held.get(name, 0.0) for name, _ in model.named_parameters()):
        raise ConfigError(KEY, "holds all parameters in the first epoch, so that nothing is trained; leave some out")


def _parameters(freeze: Freeze, model: nn.Module) -> dict[str, float]:
    """Return the epochs for which each parameter is frozen, by its name: of several patterns the last one counts."""
    return {
        name: epochs
        for pattern, epochs in freeze.items()
        for name in patterns.select(pattern, model, f"{KEY}.{pattern}").parameters
    }


def _norms(freeze: Freeze, model: nn.Module, held: dict[str, float]) -> Iterator[tuple[nn.Module, float]]:
    """Yield the normalization layers with statistics and their epochs: those for which all of a layer is frozen."""
    chosen = {
        name: epochs
        for pattern, epochs in freeze.items()
        for name in patterns.select(pattern, model, f"{KEY}.{pattern}").modules
    }
    names = {id(p): name for name, p in model.named_parameters()}
    for name, module in model.named_modules():
        if isinstance(module, _NormBase):
            own = [held.get(names[id(p)], 0.0) for p in module.parameters()]
            yield module, min(own, default=chosen.get(name, 0.0))


def never_trained(freeze: Freeze, model: nn.Module) -> set[str]:
    """Return the names of the parameters that are frozen for all of the training."""
    return {name for name, epochs in _parameters(freeze, model).items() if epochs == math.inf}


def described(freeze: Freeze, model: nn.Module) -> dict[str, str]:
    """Return for each frozen parameter's name whether it is trained: `no`, or `from epoch 6`."""
    held = _parameters(freeze, model)
    return {n: "no" if epochs == math.inf else f"from epoch {epochs + 1:.0f}" for n, epochs in held.items() if epochs}


class Frozen:
    """The frozen parts of a model.

    still: its normalization layers that are in evaluation mode while the rest is trained, at present.
    """

    def __init__(self, freeze: Freeze, model: nn.Module) -> None:
        held, named = _parameters(freeze, model), dict(model.named_parameters())
        self._parameters = [(named[name], epochs) for name, epochs in held.items()]
        self._norms = list(_norms(freeze, model, held)) if freeze else []
        self.still: list[nn.Module] = []
        self.moves = any(0 < epochs < math.inf for _, epochs in [*self._parameters, *self._norms])
        for parameter, epochs in self._parameters:
            if epochs == math.inf:
                parameter.requires_grad_(False)

    def at(self, epochs: int) -> None:
        """Freeze what is frozen after so many epochs, and let go of the rest. The optimizer has been made before.

        Those that come later are the optimizer's from the beginning, without gradients, and so without a state.
        """
        for parameter, until in self._parameters:
            parameter.requires_grad_(epochs >= until)
        for module, until in self._norms:
            if epochs < until and module not in self.still:
                self.still.append(module)
                module.eval()
            elif epochs >= until and module in self.still:
                self.still.remove(module)
                module.train()

"""Averages of weights beside those that are trained: `trainer.average`, by torch.optim.swa_utils."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from runner.data import nests
from runner.model import modes
from runner.settings.errors import ConfigError, did_you_mean
from runner.training import measure
from runner.training.measure import Measured
from runner.training.parts.length import Length

KEY = "trainer.average"
EXPECTED = "expected {decay: 0.999}, an average of all steps, or {from: 0.75}, one of the last quarter's epochs"


class Unaveraged:
    """No average: what is trained is what is measured."""

    checkpoints: tuple[str, ...] = ()  # names of those that are written beside `last` and `best`

    def after_step(self) -> None:
        """Do nothing."""

    def after_epoch(self, epoch: int) -> None:
        """Do nothing."""

    def lengthened(self, epoch: int) -> None:
        """Do nothing."""

    def shown(self, run: Measured) -> contextlib.AbstractContextManager[None]:
        """Leave the model as it is."""
        return contextlib.nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing."""


class Average(Unaveraged):
    """A moving average of all steps, of `AveragedModel` with `get_ema_multi_avg_fn(decay)`; buffers are the model's.

    The first step's weights are the first average; after each later step it is decay * average + (1 - decay) * weights.
    """

    checkpoints = ("averaged",)

    def __init__(self, model: nn.Module, update: Any) -> None:
        #: The model's own parameters; of a module with nothing else, as a layer of anybody's may not be copied.
        self._own = nn.ParameterList(model.parameters())
        self._average = AveragedModel(self._own, multi_avg_fn=update)

    def after_step(self) -> None:
        """Take the weights after a step into the average."""
        self._average.update_parameters(self._own)

    @contextlib.contextmanager
    def shown(self, run: Measured) -> Iterator[None]:
        """Put the average into the model for a block, and the weights that are trained back after it."""
        if not int(self._average.n_averaged):
            yield
            return
        own = [p.detach().clone() for p in self._own]
        buffers = [b.detach().clone() for b in run.model.buffers()]
        try:
            _copy(self._own, self._average.parameters())
            self._estimate(run)
            yield
        finally:
            _copy(self._own, own)
            _copy(run.model.buffers(), buffers)

    def _estimate(self, run: Measured) -> None:
        """Do nothing: statistics of normalization are the model's own."""

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the number of weights in it."""
        return {"average": self._average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` returned."""
        self._average.load_state_dict(state["average"])


class Mean(Average):
    """A mean of the weights after each epoch from some share of the training on, as of `AveragedModel` alone (SWA).

    Before it is measured, the statistics of BatchNorm are estimated anew by a pass over the training data, as
    `torch.optim.swa_utils.update_bn` does; all other layers are in evaluation mode meanwhile, so that nothing is drawn.
    """

    def __init__(self, model: nn.Module, share: float, epochs: float, still: list[nn.Module]) -> None:
        super().__init__(model, None)
        self._share, self._epochs, self._still = share, epochs, still
        self._first = share * epochs
        self._estimated: tuple[int, list[Tensor]] = 0, []  # averaged weights, and the buffers with them

    def after_step(self) -> None:
        """Do nothing."""

    def after_epoch(self, epoch: int) -> None:
        """Take the weights after an epoch into the mean, if it is one of the last."""
        if epoch > self._first:
            self._average.update_parameters(self._own)

    def lengthened(self, epoch: int) -> None:
        """Begin anew where no epoch so far belongs to the mean of a training that has another length now.

        epoch: the last one that was trained. Raises ConfigError where the mean has not the epochs that belong to it.
        """
        count, first = int(self._average.n_averaged), math.floor(self._first) + 1
        belong = max(epoch - first + 1, 0)
        if belong == count:
            return
        if belong:
            has = f"has those of epochs {epoch - count + 1} to {epoch}" if count else f"has none after epoch {epoch}"
            raise ConfigError(
                f"{KEY}.from",
                f"{self._share!r} of {self._epochs:g} epochs is the mean of the weights from epoch {first} on, and so"
                f" far it {has}; with at least {math.ceil(epoch / self._share)} epochs it begins anew, else start"
                " another run",
            )
        self._average.n_averaged.zero_()
        self._estimated = 0, []

    @torch.no_grad()
    def _estimate(self, run: Measured) -> None:
        norms = [m for m in run.model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        norms = [module for module in norms if module not in self._still]
        count = int(self._average.n_averaged)
        if not norms:
            return
        if self._estimated[0] == count:
            _copy(run.model.buffers(), self._estimated[1])
            return
        momenta = [module.momentum for module in norms]
        with modes.evaluating(run.model):
            for module in norms:
                module.reset_running_stats()
                module.momentum = None  # a mean of all batches
                module.train()
            for batch in measure.reading(run, run.data.train):
                if nests.length(batch[0]) > 1:  # one example has no variance
                    run.state.cost(run.model, batch)
            for module, momentum in zip(norms, momenta, strict=True):
                module.momentum = momentum
                module.eval()
        self._estimated = count, [b.detach().clone() for b in run.model.buffers()]

    def state_dict(self) -> dict[str, Any]:
        """Return the mean, the number of weights in it, and the buffers that were estimated."""
        return super().state_dict() | {"estimated": list(self._estimated)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` returned."""
        super().load_state_dict(state)
        count, buffers = state["estimated"]
        self._estimated = count, [value.to(self._own[0].device) for value in buffers]


@torch.no_grad()
def _copy(places: Any, values: Any) -> None:
    for place, value in zip(places, values, strict=True):
        place.copy_(value)


def check(spec: Any) -> None:
    """Raise ConfigError for what is no average."""
    if spec is None:
        return
    if not isinstance(spec, Mapping) or not spec:
        raise ConfigError(KEY, f"{spec!r} is not understood; {EXPECTED}")
    for name in spec:
        if name not in ("decay", "from"):
            raise ConfigError(f"{KEY}.{name}", f"there is no such key{did_you_mean(str(name), ('decay', 'from'))}")
    given = {name: value for name, value in spec.items() if value is not None}
    if len(given) != 1:
        raise ConfigError(KEY, f"has {'both decay and from' if given else 'neither decay nor from'}; {EXPECTED}")
    [(name, value)] = given.items()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        share = "a share of the epochs" if name == "from" else "a number"
        raise ConfigError(f"{KEY}.{name}", f"{value!r} is out of range; expected {share} of at least 0 and below 1")


def check_length(spec: Any, extent: Length) -> None:
    """Raise ConfigError for a mean to whose share of the training no end of an epoch belongs."""
    share, each = spec.get("from") if isinstance(spec, Mapping) else None, max(extent.per_epoch, 1)
    if isinstance(share, int | float) and extent.steps and extent.steps // each <= share * extent.steps / each:
        raise ConfigError(
            f"{KEY}.from",
            f"{share!r} leaves no end of an epoch, of {extent.per_epoch} steps each, in {extent.steps} steps; use"
            " a smaller share, or {decay: 0.999}",
        )


def make(spec: Any, model: nn.Module, extent: Length, still: list[nn.Module]) -> Unaveraged:
    """Return the average of a run.

    spec: `trainer.average`, checked. model: on its device. extent: of the training. still: layers that stay.
    """
    if not spec or not extent.steps:
        return Unaveraged()
    if spec.get("decay") is not None:
        return Average(model, get_ema_multi_avg_fn(spec["decay"]))  # type: ignore[no-untyped-call]
    return Mean(model, spec["from"], extent.steps / extent.per_epoch, still)

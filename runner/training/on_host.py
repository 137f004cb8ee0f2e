"""A run as plots are shown it: its data and its model on the host, whatever its device."""

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from runner.data import Data, Source, Tensors
from runner.model import host

if TYPE_CHECKING:
    from runner.training.run import Predicted, Run


def subject(run: "Run") -> Any:
    """The `plots.Subject` of a run: the run itself, or what it is on the host if its device is another."""
    return run if run.device.type == "cpu" else OnHost(run)


class OnHost:
    """A run on another device, whose data and whose model, a copy, are on the host. The rest is the run's own."""

    def __init__(self, run: "Run") -> None:
        self._run = run

    @cached_property
    def data(self) -> Data:
        parts: dict[str, Any] = {part: _source(of) for part, of in _parts(self._run.data).items()}
        return replace(self._run.data, **parts)

    @cached_property
    def model(self) -> nn.Module:
        return host.module(self._run.model)

    @cached_property
    def loss(self) -> nn.Module:
        return host.module(self._run.loss)

    def predict(self, source: Source) -> "Predicted":
        """As `Run.predict`, on the run's device."""
        return self._run.predict(self._there(source))

    def outputs(self, source: Source) -> tuple[Tensor, Tensor]:
        """As `Run.outputs`, on the run's device."""
        return self._run.outputs(self._there(source))

    def _there(self, source: Source) -> Source:
        same = [part for part, of in _parts(self.data).items() if of is source]
        there: Source = getattr(self._run.data, same[0]) if same else source
        return there

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)


def _parts(data: Data) -> dict[str, Source]:
    found = {part: getattr(data, part) for part in ("train", "valid", "test")}
    return {part: of for part, of in found.items() if of is not None}


def _source(of: Source) -> Source:
    """The examples on the host; what is read from a disk is there already."""
    return Tensors(host.tensor(of.x), host.tensor(of.y)) if isinstance(of, Tensors) else of

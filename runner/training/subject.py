"""A run as it is given to plots: its data and its model on the host, whatever its device."""

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from runner.data import Data, Nest, Source, Tensors, nests
from runner.model import host
from runner.plots import Seen
from runner.training import measure
from runner.training.augment import moving
from runner.training.augment.readers import TreatedReaders

if TYPE_CHECKING:
    from runner.training.run import Run

#: Inputs, targets and outputs.
Predicted = tuple[Nest, Nest, Nest]


class Subject:
    """A `plots.Subject`: a run whose data and model are on the host, copies where its device is another.

    Outputs for a part of the data are computed once for all plots. Every other attribute is the run's own.
    """

    def __init__(self, run: "Run") -> None:
        self.run = run
        self._outputs: list[tuple[Source, tuple[Nest, Nest]]] = []
        if run.together is not None and run.together.outputs is not None:
            self._outputs.append((run.together.source, run.together.outputs))

    @cached_property
    def data(self) -> Data:
        """The data on the host, where a source that reads files is already."""
        if self.run.device.type == "cpu":
            return self.run.data
        parts: dict[str, Any] = {part: _on_host(source) for part, source in _parts(self.run.data).items()}
        return replace(self.run.data, **parts)

    @property
    def model(self) -> nn.Module:
        """The model on the host."""
        return self.run.model if self.run.device.type == "cpu" else self._model

    @cached_property
    def _model(self) -> nn.Module:
        return host.module(self.run.model)

    @cached_property
    def loss(self) -> nn.Module:
        """The loss on the host."""
        return self.run.loss if self.run.device.type == "cpu" else host.module(self.run.loss)

    def predict(self, source: Source) -> Predicted:
        """Return inputs, targets and outputs for every example of `source`, in order, on the CPU: copies of them."""
        y, output = self.outputs(source)
        own = self._own(source)
        whole = iter([(own.x, own.y)]) if isinstance(own, Tensors) else None
        inputs = measure.reading(self.run, own) if whole is None else self.run.moved(whole)
        return nests.concatenated([nests.mapped(host.tensor, x) for x, _ in inputs]), y, output

    def treated(self, number: int, epochs: int) -> tuple[list[Seen], list[list[Seen | None]]]:
        """Return the first `number` training inputs, and what training has made of them in each of the first epochs."""
        run, source = self.run, self.data.train
        numbers = range(min(number, len(source)))  # type: ignore[arg-type]
        moves = run.parts.treatment.moves(self.data)
        plain = [nests.mapped(torch.as_tensor, source[one]) for one in numbers]
        readers, seen = run.readers, []
        for epoch in range(epochs):
            steps = run.state.step - epoch * run.steps_per_epoch
            if steps > 0:
                assert isinstance(readers, TreatedReaders)
                made = readers.seen(source, numbers, epoch, steps * run.settings.trainer.accumulate)
                seen.append([None if one is None else Seen(one[0], moving.boxes_of(moves, one[1])) for one in made])
        return [Seen(x, moving.boxes_of(moves, y)) for x, y in plain], seen

    def outputs(self, source: Source) -> tuple[Nest, Nest]:
        """Return targets and outputs for every example of `source`, in order, on the CPU."""
        own = self._own(source)
        for earlier, outputs in self._outputs:
            if earlier is own:
                return outputs
        outputs = measure.outputs(self.run, own)
        if any(own is part for part in _parts(self.run.data).values()):
            self._outputs.append((own, outputs))
        return outputs

    def _own(self, source: Source) -> Source:
        """Return the part of the run's data of which `source` is the copy on the host; else `source` itself."""
        same = [part for part, on_host in _parts(self.data).items() if on_host is source]
        return getattr(self.run.data, same[0]) if same else source

    def __getattr__(self, name: str) -> Any:
        if name == "run":  # of a copy that has no attributes yet
            raise AttributeError(name)
        return getattr(self.run, name)


def _parts(data: Data) -> dict[str, Source]:
    parts = {part: getattr(data, part) for part in ("train", "valid", "test")}
    return {part: source for part, source in parts.items() if source is not None}


def _on_host(source: Source) -> Source:
    if not isinstance(source, Tensors):
        return source
    return Tensors(*(nests.mapped(host.tensor, part) for part in (source.x, source.y)))

"""The part of a trained run that the built-in plots read, small enough to be sent to another process."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from runner import plots
from runner.data import Data, Nest, Source, Tensors, nests
from runner.model import host

if TYPE_CHECKING:
    from runner.training.subject import Predicted, Subject

#: Bytes of examples, outputs and model, above which sending them costs more than it saves.
MOST = 2**23


@dataclass
class Portrait:
    """A `plots.Subject` on the CPU. Splits that no plot pushes through the model hold their first example only."""

    name: str
    title: str
    history: Mapping[str, Sequence[tuple[int, float]]]
    data: Data
    model: nn.Module
    loss: nn.Module
    predicted: "dict[str, Predicted]"  # by split
    metrics: Collection[str] = ()

    def predict(self, source: Source) -> "Predicted":
        """Return (x, y, output) as `Subject.predict` does. Raises KeyError for a split of which one example is here."""
        for part in ("train", "valid", "test"):
            if getattr(self.data, part) is source:
                return self.predicted[part]
        assert isinstance(source, Tensors)
        with torch.no_grad():
            return (
                source.x,
                source.y,
                self.model.eval()(nests.mapped(Tensor.clone, source.x)),
            )  # the first layer may write into it

    def treated(self, number: int, epochs: int) -> tuple[list[plots.Seen], list[list[plots.Seen | None]]]:
        """Fail: what is done to training examples is known to their run alone."""
        raise NotImplementedError

    def outputs(self, source: Source) -> tuple[Nest, Nest]:
        """Return (y, output) as `Subject.outputs` does."""
        return self.predict(source)[1:]


def portrait(run: "Subject", names: Sequence[str]) -> Portrait | None:
    """Make the portrait of a run for these plots; None where it is too large, or would not show what the run shows."""
    if run.settings.trainer.precision not in ("fp32", "fp64") or "augmented" in names:
        return None
    sources = {part: source for part in ("train", "valid", "test") if (source := getattr(run.data, part)) is not None}
    needed = {part for name in names for part in plots.parts_of(name, list(sources))}
    if sum(map(_size, (sources[part] for part in needed))) + _size(run.model) > MOST:
        return None
    predicted = {part: run.predict(sources[part]) for part in sorted(needed)}
    if sum(map(nests.nbytes, predicted.values())) > MOST:
        return None
    data: dict[str, Any] = {
        part: Tensors(*predicted[part][:2]) if part in needed else _first(source) for part, source in sources.items()
    }
    view = replace(run.data, **data)
    return Portrait(run.name, run.title, run.history, view, run.model, run.loss, predicted, tuple(run.metrics))


def _size(of: Source | nn.Module) -> float:
    """Return bytes; infinity for data that are not in memory."""
    if isinstance(of, nn.Module):
        return sum(tensor.nbytes for tensor in (*of.parameters(), *of.buffers()))
    return nests.nbytes((of.x, of.y)) if isinstance(of, Tensors) else float("inf")


def _first(source: Source) -> Tensors:
    x, y = source[0]
    return Tensors(
        *(nests.mapped(lambda one: host.copied(one.unsqueeze(0)), part) for part in (x, y))
    )  # a view would be pickled with the whole tensor

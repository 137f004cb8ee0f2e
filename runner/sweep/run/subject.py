"""What our own plots look at in a run that is trained, small enough to be handed to another process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from runner import plots
from runner.data import Data, Source, Tensors
from runner.model import host

if TYPE_CHECKING:
    from runner.training.run import Predicted, Run

#: Bytes of examples, outputs and model beyond which handing them over costs more than it spares.
MOST = 2**23


@dataclass
class Portrait:
    """A `plots.Subject`, on the CPU. Of parts of the data that no plot sends through the model: the first example."""

    name: str
    title: str
    history: Mapping[str, Sequence[tuple[int, float]]]
    data: Data
    model: nn.Module
    loss: nn.Module
    predicted: "dict[str, Predicted]"  # by part of the data

    def predict(self, source: Source) -> "Predicted":
        """As `Run.predict`. Raises LookupError for a part of which only the first example is here."""
        for part in ("train", "valid", "test"):
            if getattr(self.data, part) is source:
                return self.predicted[part]
        assert isinstance(source, Tensors)
        with torch.no_grad():
            return source.x, source.y, self.model.eval()(source.x.clone())  # its first layer may work in place

    def outputs(self, source: Source) -> tuple[Tensor, Tensor]:
        """As `Run.outputs`."""
        return self.predict(source)[1:]


def portrait(run: "Run", names: Sequence[str]) -> Portrait | None:
    """Of a run, for these plots of ours; None where it would be too large, or is not what the run itself would show."""
    if run.settings.trainer.precision not in ("fp32", "fp64"):
        return None
    sources = {part: source for part in ("train", "valid", "test") if (source := getattr(run.data, part)) is not None}
    wanted = {part for name in names for part in plots.parts_of(name, list(sources))}
    if sum(map(_size, (sources[part] for part in wanted))) + _size(run.model) > MOST:
        return None
    predicted = {part: run.predict(sources[part]) for part in sorted(wanted)}
    if sum(part.nbytes for found in predicted.values() for part in found) > MOST:
        return None
    data: dict[str, Any] = {
        part: Tensors(*predicted[part][:2]) if part in wanted else _first(source) for part, source in sources.items()
    }
    model, loss = (m if run.device.type == "cpu" else host.module(m) for m in (run.model, run.loss))
    return Portrait(run.name, run.title, run.history, replace(run.data, **data), model, loss, predicted)


def _size(of: Source | nn.Module) -> float:
    """Bytes; infinite for what is not in memory."""
    if isinstance(of, nn.Module):
        return sum(tensor.nbytes for tensor in (*of.parameters(), *of.buffers()))
    return of.x.nbytes + of.y.nbytes if isinstance(of, Tensors) else float("inf")


def _first(source: Source) -> Tensors:
    x, y = source[0]
    return Tensors(*(host.copied(part.unsqueeze(0)) for part in (x, y)))  # a view would bring all of it along

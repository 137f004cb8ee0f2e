"""A run that trains nothing: every layer's output for every input, and the arithmetic worked for the first."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from numpy.lib.format import open_memmap
from torch import Tensor, nn

from runner import plots
from runner.model import host
from runner.model.explain import Choice, Explained, explain
from runner.settings.errors import ConfigError
from runner.settings.files import durable, filenames

#: Worked elements of every layer's output: the first, one in the middle, the last.
ELEMENTS = Choice(3)


def check(output: object) -> None:
    """Raises ConfigError for a stack whose output cannot be kept: one tensor, one part for each example."""
    if not isinstance(output, Tensor):
        found = f"the last layer gives a {type(output).__name__}"
        raise ConfigError("model.layers", f"{found}, expected a tensor; `Select: 0` after it takes the first item")
    if not output.dim():
        raise ConfigError("model.layers", "the last layer gives a single number, expected one part for each example")


class Unmeasured(nn.Module):
    """Stands where a loss would: there is nothing to compare with."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return torch.tensor(torch.nan)


def keep(model: nn.Module, inputs: Iterable[Tensor], count: int, folder: Path) -> None:
    """Push `count` inputs through the model's layers, batch by batch, and write inputs.npy and outputs/<layer>.npy.

    Of a layer whose outputs do not belong to one example each, only those of a single batch are kept.
    """
    (folder / "outputs").mkdir(parents=True)
    files: dict[str, Any] = {}
    for start, x in _counted(inputs):
        for name, output in _through(model, x):
            whole, output = len(x) == count, _tensor(output)
            if isinstance(output, Tensor) and output.dim() and (whole or len(output) == len(x)):
                rows = host.array(output)
                if name not in files:
                    shape = rows.shape if whole else (count, *rows.shape[1:])
                    files[name] = open_memmap(folder / f"{name}.npy", "w+", rows.dtype, shape)
                    durable.fill(folder / f"{name}.npy")
                files[name][start : start + len(rows)] = rows


def work(model: nn.Module, x: Tensor, folder: Path) -> None:
    """Write explain/<layer>.md and plots/explain_<layer>.png for one input, its batch dimension kept.

    Raises Disagreement when torch's numbers are not those worked by hand.
    """
    here = host.module(model)  # a GPU may round products to fewer digits than the arithmetic allows
    write(explain(here.named_children(), host.tensor(x), ELEMENTS), folder)


def write(found: Iterable[Explained], folder: Path) -> None:
    """Write explain/<layer>.md and plots/explain_<layer>.png for each layer."""
    for name in ("explain", "plots"):
        (folder / name).mkdir(parents=True)
    for explained in found:
        if type(explained.layer) is not nn.Sequential:  # which says nothing that its layers do not say
            _draw(explained, folder)


def _counted(inputs: Iterable[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Each batch with the number of examples before it."""
    start = 0
    for x in inputs:
        size = len(x)
        yield start, x
        start += size


@torch.no_grad()
def _through(model: nn.Module, x: Any) -> Iterator[tuple[str, Any]]:
    """What goes in, and what comes out of every layer, in evaluation mode; look at each before asking for the next."""
    was_training = model.training
    model.eval()
    yield "inputs", x
    for name, layer in model.named_children():
        x = layer(x)
        yield f"outputs/{_file(name)}", x
    model.train(was_training)


def _draw(explained: Explained, folder: Path) -> None:
    from runner.model.explain.shown.markdown import layer_markdown
    from runner.model.explain.shown.picture import layer_picture
    from runner.model.explain.shown.words import has_drawing

    name, picture = _file(explained.name), None
    if has_drawing(explained):
        picture = f"plots/explain_{name}.png"
        plots.save(layer_picture(explained), folder / picture)
    text = layer_markdown(explained, f"../{picture}" if picture else None)
    (folder / "explain" / f"{name}.md").write_text(text)


def _tensor(output: Any) -> Any:
    """Of a tuple (an LSTM's) the first item."""
    while isinstance(output, tuple | list) and output:
        output = output[0]
    return output


def _file(layer: str) -> str:
    """A layer's name may hold what a file's may not."""
    return filenames.bounded(layer.replace("/", "_"))

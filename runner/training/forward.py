"""Files of a run that trains nothing: outputs of every layer for all inputs, and the arithmetic of the first input."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor, nn

from runner import plots
from runner.data import nests
from runner.model import graph, host, modes
from runner.model.explain import Choice, Explained, explain
from runner.settings.errors import ConfigError
from runner.settings.files import durable, filenames

#: Worked elements of every layer's output: the first, one in the middle, the last.
ELEMENTS = Choice(3)


def check(output: object) -> None:
    """Raise ConfigError for an output that cannot be written: anything but one tensor with a row for each example."""
    if not isinstance(output, Tensor):
        raise ConfigError(
            "model.layers",
            f"the last layer gives a {type(output).__name__}, expected a tensor; `Select: 0` after it takes the first"
            " item",
        )
    if not output.dim():
        raise ConfigError("model.layers", "the last layer gives a single number, expected one part for each example")


class Unmeasured(nn.Module):
    """The loss of a run without targets."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return NaN."""
        return torch.tensor(torch.nan)


def write_outputs(model: nn.Module, inputs: Iterable[Tensor], count: int, folder: Path) -> None:
    """Push inputs through the model's layers, batch by batch, and write inputs.npy and outputs/<layer>.npy.

    count: inputs in all. A layer whose output has no row for each example is written only if there is a single batch.
    """
    (folder / "outputs").mkdir(parents=True)
    files: dict[str, Any] = {}
    start = 0

    def write(name: str, output: Any) -> None:
        whole, output = size == count, _tensor(output)
        if isinstance(output, Tensor) and output.dim() and (whole or len(output) == size):
            rows = host.array(output)
            if name not in files:
                shape = rows.shape if whole else (count, *rows.shape[1:])
                files[name] = open_memmap(folder / f"{name}.npy", "w+", rows.dtype, shape)
                durable.fill(folder / f"{name}.npy")
            files[name][start : start + len(rows)] = rows

    for x in inputs:
        size = len(x)
        _through(model, x, write)
        start += size


def write_prediction(file: Any, output: nests.Nest) -> str:
    """Write outputs into an open file, and return its name: .npy for a single tensor, .npz for several by name."""
    if isinstance(output, Tensor):
        np.save(file, host.array(output), allow_pickle=False)
        return "predictions.npy"
    np.savez(file, allow_pickle=False, **{name: host.array(tensor) for name, tensor in nests.named(output)})
    return "predictions.npz"


def work(model: nn.Module, x: Tensor, folder: Path) -> None:
    """Write explain/<layer>.md and plots/explain_<layer>.png for one input, its batch dimension kept.

    Raises Disagreement when torch's numbers are not those worked by hand.
    """
    on_host = host.module(model)  # a GPU may round products to fewer digits than the arithmetic allows
    write(explain(on_host, host.tensor(x), ELEMENTS), folder)


def write(layers: Iterable[Explained], folder: Path) -> None:
    """Write explain/<layer>.md and plots/explain_<layer>.png for each layer."""
    for name in ("explain", "plots"):
        (folder / name).mkdir(parents=True)
    for explained in layers:
        if type(explained.layer) is not nn.Sequential:  # its layers are explained one by one
            _draw(explained, folder)


@torch.no_grad()
def _through(model: nn.Module, x: Any, write: Callable[[str, Any], None]) -> None:
    """Call `write(name of the file, value)` with the inputs and with every layer's output, in evaluation mode.

    Each is written before the next layer is called, which may write into its input.
    """

    def call(name: str, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        output = module(*inputs, **named)
        write(f"outputs/{_file(name)}", output)
        return output

    with modes.evaluating(model):
        write("inputs", x)
        graph.through(model, x, call)


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
    """Return the output, or the first item of a tuple such as an LSTM's."""
    while isinstance(output, tuple | list) and output:
        output = output[0]
    return output


def _file(layer: str) -> str:
    """Return a file name for a layer, whose own name may hold characters that a file name may not."""
    return filenames.bounded(layer.replace("/", "_"))

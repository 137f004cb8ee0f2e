"""One example on its way through the network: the input, and the output of every convolution and pooling."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from runner.data import Data, labels_of
from runner.model.modes import evaluating
from runner.plots import Subject, _style
from runner.plots._data import first_of
from runner.plots._images import as_image, limit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POOLING = tuple(
    getattr(nn, f"{kind}Pool{n}d") for n in (1, 2) for kind in ("Max", "Avg", "AdaptiveMax", "AdaptiveAvg", "LP")
)
LAYERS = (nn.Conv1d, nn.Conv2d, *POOLING)
ACROSS, DOWN = 8, 24  # channels in a row, layers
TILE, ROW = 0.85, 1.25  # inches


def problem(data: Data, model: nn.Module) -> str | None:
    """Return why the plot cannot be drawn: it needs a convolution or a pooling over one or two dimensions."""
    if any(isinstance(module, LAYERS) for module in model.modules()):
        return None
    return "it needs a convolution or a pooling (of one or two dimensions) in the model"


def draw(run: Subject) -> "Figure":
    """Draw the first example of the validation data, or of the training data where there is none."""
    words, source = first_of(run.data, "valid", "train")
    x, y = source[0]
    rows = maps(run.model, x)
    note = f"the first {DOWN} of {len(rows)} layers" if len(rows) > DOWN else ""
    height = 0.85 + ROW * (1 + min(len(rows), DOWN)) + 0.3
    figure = _style.page(f"Feature maps: first example of the {words} data", run.title, height, note)
    sheet = _style.sheet(figure)
    _draw_input(sheet, x, _target(run.data, y))
    for place, (name, output) in enumerate(rows[:DOWN], start=1):
        _draw_row(sheet, 0.85 + ROW * place, name, output)
    sheet.text(0.2, height - 0.15, _scales([output for _, output in rows]), fontsize=8, color=_style.GREY)
    return figure


def maps(model: nn.Module, x: Tensor) -> list[tuple[str, Tensor]]:
    """Return the name and the output of every convolution and pooling, in the order in which they work on x.

    x: one example, without the batch, as are the outputs. The model computes in evaluation mode.
    """
    seen: list[tuple[str, Tensor]] = []

    def listen(name: str, layer: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            # A copy: the next layer may work in place.
            seen.append((f"{name}: {type(layer).__name__}".removeprefix(": "), output[0].float().clone()))

        return layer.register_forward_hook(hook)

    hooks = [listen(name, module) for name, module in model.named_modules() if isinstance(module, LAYERS)]
    try:
        with evaluating(model), torch.no_grad():
            # Not model(x): a compiled model would not call the hooks.
            model.forward(_as_model(model, x.unsqueeze(0).clone()))  # its first layer may work in place
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _as_model(model: nn.Module, x: Tensor) -> Tensor:
    return x.to(next(model.parameters(), x).dtype) if x.is_floating_point() else x


def _scales(outputs: list[Tensor]) -> str:
    pictures = any(output.dim() == 3 for output in outputs)
    zero = "Blue is below 0, white 0, red above" if pictures else "The grey line is 0"
    return f"{zero}; each layer has its own scale, whose ends are in its title."


def _target(data: Data, y: Tensor) -> str:
    if y.numel() != 1:
        return ""
    if data.task == "regression":
        return f", target {_style.number(float(y))}"
    k = int(labels_of(y.reshape(1), data.task))
    if k == data.ignored:
        return ", no class"
    return f", class {data.classes[k] if data.classes else k}"


def _draw_input(sheet: "Axes", x: Tensor, target: str) -> None:
    image = as_image(x)
    if image is None:
        _draw_row(sheet, 0.85, "input", x.float(), target)
        return
    _head(sheet, 0.85, "input", x, target)
    _style.place(sheet, image, 0.2, 0.95, TILE)


def _draw_row(sheet: "Axes", top: float, name: str, output: Tensor, more: str = "") -> None:
    """Draw channels as pictures where they have two dimensions, else as curves."""
    output = output if output.dim() == 3 else output.reshape(-1, output.shape[-1] if output.dim() else 1)
    shown = output[:ACROSS]
    part = f", first {ACROSS} channels" if len(output) > ACROSS else ""
    finite = shown[shown.isfinite()]
    ends = (
        f", {_style.number(float(finite.min()))} to {_style.number(float(finite.max()))}"
        if len(finite)
        else ", not finite"
    )
    _head(sheet, top, name, output, part + ends + more)
    limit = limit_of(shown)
    for place, channel in enumerate(shown):
        left = 0.2 + place * (TILE + 0.1)
        if channel.dim() == 2:
            _style.place(sheet, channel.numpy(), left, top + 0.1, TILE, limit)
        else:
            _draw_curve(sheet, channel, left, top + 0.1, limit)


def _head(sheet: "Axes", top: float, name: str, output: Tensor, more: str) -> None:
    words = f"{name}, {_style.size(output.shape)}{more}"
    sheet.text(0.2, top, _style.fitted(words, _style.WIDTH - 0.4, 9), fontsize=9)


def _draw_curve(sheet: "Axes", channel: Tensor, left: float, top: float, limit: float) -> None:
    middle = top + TILE / 2
    _style.frame(sheet, left, top, TILE, TILE)
    sheet.plot([left, left + TILE], [middle, middle], color=_style.PALE, linewidth=0.8)
    across = left + (np.arange(len(channel)) + 0.5) / len(channel) * TILE
    down = middle - channel.clamp(-limit, limit).numpy() / limit * 0.46 * TILE
    sheet.plot(across, down, color=_style.BLUE, linewidth=1, marker="." if len(channel) < 20 else "", markersize=3)

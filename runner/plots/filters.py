"""The kernels of the first convolution, as they are: signed numbers around 0."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from runner.data import Data
from runner.plots import Subject, _style
from runner.plots._images import limit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAYERS = (nn.Conv1d, nn.Conv2d)
MOST = 64  # kernels
CHANNELS = 8  # of the input, shown of each kernel
WIDE, HIGH = 6.2, 5.0  # inches for all kernels
LEFT, TOP, BELOW = 0.2, 0.75, 0.45
#: Parts of an example that it shows: none, so that any data will do.
SHOWS = ()


def problem(data: Data, model: nn.Module) -> str | None:
    """Return why the plot cannot be drawn: it needs a convolution over one or two dimensions."""
    return None if _first(model) else "it needs a convolution (Conv1d or Conv2d) in the model"


def draw(run: Subject) -> "Figure":
    """Draw up to 64 kernels, each in its own frame.

    Several input channels are drawn separately: as the red, green and blue of one picture, signed weights would have to
    be shifted, and a grey patch could mean 0 or anything else.
    """
    first = _first(run.model)
    assert first is not None
    weight = first[1].weight.detach().float()
    tiles = torch.stack([_tile(kernel[:CHANNELS]) for kernel in weight[:MOST]])
    columns, scale = _layout(tiles)
    height, width = -(-len(tiles) // columns) * tiles.shape[1] * scale, columns * tiles.shape[2] * scale
    tall = max(height, 1.2)  # the colour bar needs room for its numbers
    note = _style.not_finite(int((~weight.isfinite()).sum()), "weight")
    figure = _style.page(_title(weight, *first), run.title, TOP + tall + BELOW, note)
    _draw_tiles(figure, tiles, columns, width, height)
    _draw_bar(figure, LEFT + width + 0.25, tall)
    _style.write(figure, LEFT, TOP + tall + 0.28, _caption(weight), size=9, color=_style.GREY)
    return figure


def _first(model: nn.Module) -> tuple[str, nn.Conv1d | nn.Conv2d] | None:
    return next(((n, m) for n, m in model.named_modules() if isinstance(m, LAYERS)), None)


def _tile(kernel: Tensor) -> Tensor:
    """Return a kernel of shape (channels, length) or (channels, height, width) enlarged, with a margin of NaN."""
    zoom = max(2, round(16 / kernel.shape[-1]))
    enlarged = kernel.repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)
    margin = 2 if kernel.dim() == 3 and len(kernel) > 1 else 1
    if enlarged.dim() == 3:  # channels side by side, a thinner line between them
        enlarged = torch.cat(list(nn.functional.pad(enlarged, (0, 1), value=torch.nan)), -1)[:, :-1]
    return nn.functional.pad(enlarged, (margin,) * 4, value=torch.nan)


def _layout(tiles: Tensor) -> tuple[int, float]:
    """Return the kernels in a row, and the inches of a pixel: large ones, of at most 0.8 inches."""
    count, rows, columns = tiles.shape

    def scale(across: int) -> float:
        down = -(-count // across)
        return min(WIDE / (across * columns), HIGH / (down * rows), 0.8 / min(rows, columns))

    # Of equally large ones the layout whose last row is fullest, and then the one with the fewest rows.
    best = max(range(1, count + 1), key=lambda across: (scale(across), -(-count % across), across))
    return best, scale(best)


def _draw_tiles(figure: "Figure", tiles: Tensor, columns: int, width: float, height: float) -> None:
    rows, (_, high, wide) = -(-len(tiles) // columns), tiles.shape
    empty = tiles.new_full((rows * columns - len(tiles), high, wide), torch.nan)
    grid = torch.cat([tiles, empty]).reshape(rows, columns, high, wide).transpose(1, 2).reshape(rows * high, -1)
    axes = _axes(figure, LEFT, width, height)
    axes.set_facecolor("0.7")  # seen where the grid is NaN: around the kernels, so that white ones do not vanish
    limit = limit_of(tiles)
    axes.imshow(grid.numpy(), cmap=_style.SIGNED, vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto")
    if len(empty):
        left, top = (columns - len(empty)) * wide, (rows - 1) * high
        axes.fill([left, columns * wide, columns * wide, left], [top, top, rows * high, rows * high], color="white")
    axes.set(xlim=(-0.5, columns * wide - 0.5), ylim=(rows * high - 0.5, -0.5))


def _axes(figure: "Figure", left: float, width: float, height: float) -> "Axes":
    full = figure.get_figheight()
    axes = figure.add_axes((left / _style.WIDTH, 1 - (TOP + height) / full, width / _style.WIDTH, height / full))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def _draw_bar(figure: "Figure", left: float, height: float) -> None:
    image = figure.axes[0].images[0]
    bar = figure.colorbar(image, cax=_axes(figure, left, 0.15, height))
    bar.set_label("weight", fontsize=9)
    bar.ax.tick_params(labelsize=8)


def _title(weight: Tensor, name: str, layer: nn.Module) -> str:
    total, size = len(weight), _style.size(weight.shape[2:])
    number = (
        f"{MOST} of {total:,} kernels" if total > MOST else f"all {total} kernels" if total > 1 else "the one kernel"
    )
    return f"Filters: {number} of layer {name} ({type(layer).__name__}, size {size})"


def _caption(weight: Tensor) -> str:
    total = weight.shape[1]
    if total == 1:
        return "One input channel."
    channels = f"the first {CHANNELS} of its {total}" if total > CHANNELS else f"its {total}"
    way = "from left to right" if weight.dim() == 4 else "from top to bottom"
    return f"In each frame: {channels} input channels {way}."

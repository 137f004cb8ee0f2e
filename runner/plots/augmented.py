"""Training examples as they are, and beside each what training has seen of it in the first epochs."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from runner.data import Data
from runner.model import host
from runner.plots import Seen, Subject, _style
from runner.plots._images import as_image, is_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: It shows pictures, and boxes on them, whatever else there is.
SHOWS = ()
ROWS, EPOCHS = 6, 5
SIZE, GAP, LEFT, TOP = 0.94, 0.12, 0.2, 1.05  # inches


def problem(data: Data, model: nn.Module) -> str | None:
    """Return why the plot cannot be drawn: it needs pictures."""
    x = data.train[0][0]
    shown = not isinstance(x, tuple | list | dict) and is_image(torch.as_tensor(x))
    return None if shown else "it needs pictures, of shape (1, H, W) or (3, H, W)"


def draw(run: Subject) -> "Figure":
    """Draw six examples, a row for each: the example itself, and what training has seen of it in each of five epochs.

    Of a shorter training, in as many as it has; an example that an epoch leaves out has an empty frame there. Targets
    that are boxes are drawn on the pictures.
    """
    plain, epochs = run.treated(ROWS, EPOCHS)
    rows = len(plain)
    words = {0: ", not trained", 1: " in the first epoch"}.get(len(epochs), f" in the first {len(epochs)} epochs")
    title = f"Augmented: {_style.counted(rows, 'training example')}{words}"
    figure = _style.page(title, run.title, TOP + rows * (SIZE + GAP) + 0.1)
    sheet = _style.sheet(figure)
    columns: list[list[Seen | None]] = [[*plain], *epochs]
    heads = ["as it is", *(f"epoch {epoch}" for epoch in range(1, len(epochs) + 1))]
    for column, (head, pictures) in enumerate(zip(heads, columns, strict=True)):
        left = LEFT + column * (SIZE + GAP) + (GAP if column else 0)
        sheet.text(left, TOP - 0.1, head, fontsize=8, color=_style.GREY)
        for row, (seen, original) in enumerate(zip(pictures, plain, strict=True)):
            top = TOP + row * (SIZE + GAP)
            if seen is None:
                _style.frame(sheet, left, top, SIZE, SIZE)
                sheet.text(left + SIZE / 2, top + SIZE / 2, "not seen", fontsize=8, color=_style.GREY, ha="center")
            else:
                image = _style.place(sheet, _on_scale(seen.picture, original.picture), left, top, SIZE)
                _outline(sheet, seen, image.get_extent())
    return figure


def _outline(sheet: "Axes", seen: Seen, extent: tuple[float, float, float, float]) -> None:
    """Draw the boxes of a picture that lies there on the sheet."""
    if seen.boxes is None:
        return
    left, right, bottom, top = extent
    height, width = seen.picture.shape[-2:]
    for start, upper, end, lower in host.array(seen.boxes).tolist():
        across = [left + (right - left) * min(max(x / width, 0), 1) for x in (start, end, end, start, start)]
        down = [top + (bottom - top) * min(max(y / height, 0), 1) for y in (upper, upper, lower, lower, upper)]
        sheet.plot(across, down, color=_style.ORANGE, linewidth=1.2)


def _on_scale(picture: Tensor, original: Tensor) -> Any:
    """Return a picture as `imshow` takes it, in the colours of its original: a brighter one is shown brighter."""
    low, high = float(original.min()), float(original.max())
    plain = low >= 0 and high <= 1
    scaled = picture.float() if plain else (picture.float() - low) / max(high - low, 1e-12)
    image = as_image(scaled.clamp(0, 1))
    assert image is not None
    return image

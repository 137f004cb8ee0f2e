"""Plots of a run: one file for each, with `draw(run) -> Figure` and `problem(data, model) -> str | None`.

`problem` returns why the plot cannot be drawn of such data and such a model; None where it can. A plot of your own is a
function `draw` in experiments/, which `plots: [experiments.mine.draw]` names.
"""

import importlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from runner.settings.files import filenames
from runner.settings.values import lookup

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from runner.data import Data, Source


# matplotlib warns where it cannot write into the home folder; it takes another one then.
for _name in ("matplotlib", "matplotlib.font_manager"):
    logging.getLogger(_name).setLevel(logging.ERROR)


class Seen(NamedTuple):
    """A training picture, as it is or as training has seen it."""

    picture: "Tensor"
    boxes: "Tensor | None" = None  # (boxes, 4), in pixels: left, top, right, bottom


class Subject(Protocol):
    """The side of a run that a plot sees."""

    name: str  # of the run
    title: str  # the name, and the checkpoint of the weights
    data: "Data"
    model: "nn.Module"
    loss: "nn.Module"

    @property
    def metrics(self) -> Collection[str]:
        """The names of the run's metrics; those of one of several outputs are <output>/<metric>."""

    @property
    def history(self) -> Mapping[str, Sequence[tuple[int, float]]]:
        """The values of each metric: its name, e.g. "train/loss" -> (optimizer steps so far, value)."""

    def predict(self, source: "Source") -> "tuple[Tensor, Tensor, Tensor]":
        """Return inputs, targets and the model's outputs for every example of `source`, in order, on the CPU."""

    def treated(self, number: int, epochs: int) -> "tuple[list[Seen], list[list[Seen | None]]]":
        """Return the first `number` training inputs, and what training has made of them in each of the first epochs.

        There are no more epochs than training has begun; an input that it has not seen in one of them is None there.
        """

    def outputs(self, source: "Source") -> "tuple[Tensor, Tensor]":
        """Return targets and outputs without the inputs, which may be many times as large; one is `source[i][0]`."""


def find(name: str) -> Callable[[Subject], "Figure"] | None:
    """Return the function `draw` of `runner/plots/<name>.py`; None where there is no such plot."""
    return importlib.import_module(f"{__name__}.{name}").draw if name in names() else None


def save(figure: "Figure", path: str | Path) -> None:
    """Write `figure` as a PNG, into a folder that exists. Raises TypeError for what is no matplotlib figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not isinstance(figure, Figure):
        what = f"a plot returned {type(figure).__name__}, expected a matplotlib figure; end draw() with `return figure`"
        raise TypeError(f"{Path(path).stem}: {what}")

    # zlib's fastest level: two thirds of the default's time, for a fifth more bytes.
    FigureCanvasAgg(figure).print_png(str(path), pil_kwargs={"compress_level": 1})  # type: ignore[no-untyped-call]


def file(name: str, folder: Path) -> Path:
    """Return the path of a plot's PNG in `folder`. name: of a plot of the package, or the dotted one of a person's."""
    return folder / f"{filenames.bounded(name.rpartition('.')[2])}.png"


def each(names: Iterable[str], draw: Callable[[str], None]) -> None:
    """Call `draw` with each name. Raises the first error of a plot that cannot be drawn, when the others are done."""
    failed: Exception | None = None
    for name in names:
        try:
            draw(name)
        except Exception as error:
            failed = failed or error
    if failed is not None:
        raise failed


def parts_of(name: str, parts: list[str]) -> list[str]:
    """Return those of the `parts` of the data that the plot `runner/plots/<name>.py` sends through the model.

    Its PARTS lists alternatives: of each tuple, the first part that the data has. Without PARTS there is none.
    """
    alternatives = getattr(importlib.import_module(f"{__name__}.{name}"), "PARTS", ())
    firsts = (next((part for part in some if part in parts), None) for some in alternatives)
    return [part for part in firsts if part is not None]


def names() -> list[str]:
    """Return the names of the plots that come with the package."""
    return lookup.modules(__path__)

"""Pictures of a run: one file per plot, each with `draw(run) -> Figure` and `problem(data, model)`."""

import importlib
import logging
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from runner.settings.files import filenames

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from runner.data import Data, Source


#: Of a home that cannot be written: it takes another folder then, and tells how it would be faster.
for _name in ("matplotlib", "matplotlib.font_manager"):
    logging.getLogger(_name).setLevel(logging.ERROR)


class Subject(Protocol):
    """What a plot may look at."""

    name: str  # of the run
    title: str  # the same, and of which checkpoint the weights are
    data: "Data"
    model: "nn.Module"
    loss: "nn.Module"

    @property
    def history(self) -> Mapping[str, Sequence[tuple[int, float]]]:
        """Metric -> (optimizer steps so far, value), e.g. "train/loss"."""

    def predict(self, source: "Source") -> "tuple[Tensor, Tensor, Tensor]":
        """Inputs, targets and the model's outputs for every example of `source`, in order, on the CPU."""

    def outputs(self, source: "Source") -> "tuple[Tensor, Tensor]":
        """Return targets and outputs without the inputs, which may be many times as large; one is `source[i][0]`."""


def find(name: str) -> Callable[[Subject], "Figure"] | None:
    """The plot `runner/plots/<name>.py`."""
    return importlib.import_module(f"{__name__}.{name}").draw if name in names() else None


def save(figure: "Figure", path: str | Path) -> None:
    """Write `figure` as a PNG. Its folder must exist."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not isinstance(figure, Figure):
        what = f"a plot returned {type(figure).__name__}, expected a matplotlib figure; end draw() with `return figure`"
        raise TypeError(f"{Path(path).stem}: {what}")

    # zlib's fastest level: two thirds of the default's time, for a fifth more bytes.
    FigureCanvasAgg(figure).print_png(str(path), pil_kwargs={"compress_level": 1})  # type: ignore[no-untyped-call]


def file(name: str, folder: Path) -> Path:
    """Where the picture of a plot goes, ours or the user's."""
    return folder / f"{filenames.bounded(name.rpartition('.')[2])}.png"


def each(names: Iterable[str], draw: Callable[[str], None]) -> None:
    """Draw all of them. Raises what the first one raised that cannot be drawn, when the others are done."""
    failed: Exception | None = None
    for name in names:
        try:
            draw(name)
        except Exception as error:
            failed = failed or error
    if failed is not None:
        raise failed


def looks_at(name: str, parts: list[str]) -> list[str]:
    """Which of these parts of the data the plot `runner/plots/<name>.py` sends through the model, by its LOOKS_AT.

    LOOKS_AT: tuples of parts, of each of which the first that there is.
    """
    told = getattr(importlib.import_module(f"{__name__}.{name}"), "LOOKS_AT", ())
    return [next(part for part in some if part in parts) for some in told if any(part in parts for part in some)]


def names() -> list[str]:
    """The plots that come with the package."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))

"""One style for all plots: size, colours, titles, and words that fit. The only place that loads matplotlib.

Margins are fixed lengths in inches: matplotlib's layout engines draw everything several times to find them.
"""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

WIDTH, DPI = 8.0, 120  # 960 pixels
HEADER = 0.95  # of the title, the run's name and the legend
# Okabe & Ito (2008): colours that are different to the colour-blind too.
BLACK, ORANGE, SKY, GREEN, BLUE, RED = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00"
#: For up to six things alike.
COLOURS = (BLUE, ORANGE, GREEN, RED, SKY, BLACK)
GREY, PALE = "#595959", "#D9D9D9"
SHARES = "cividis"  # from 0 up: uniform in lightness, the same for the colour-blind
SIGNED = "RdBu_r"  # around 0: blue below, white at 0, red above
MINUS = "\N{MINUS SIGN}"


def page(title: str, name: str, height: float = 5.0, note: str = "") -> "Figure":
    """Return an empty figure with a title, the run's name below it, and a note to the right of the name.

    height: in inches; the width is the same for all plots.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    room = WIDTH - 0.4 - (measure(note, 9) + 0.2 if note else 0)
    write(figure, 0.2, 0.32, fitted(title, WIDTH - 0.4, 13, "bold"), size=13, weight="bold")
    write(figure, 0.2, 0.55, fitted(name, room, 10), size=10, color=GREY)
    if note:
        write(figure, WIDTH - 0.2, 0.55, literal(note), size=9, color=RED, ha="right")
    return figure


def write(figure: "Figure", left: float, top: float, text: str, **style: Any) -> None:
    """Write text whose baseline starts at (left, top), in inches from the figure's upper left corner."""
    height = figure.get_figheight()
    figure.text(left / figure.get_figwidth(), 1 - top / height, text, **style)


def axes(figure: "Figure", left: float = 0.9, right: float = 0.25, bottom: float = 0.65, top: float = HEADER) -> "Axes":
    """Return axes with these margins in inches, open to the right and above, with a pale grid."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    axes = figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    return axes


def sheet(figure: "Figure") -> "Axes":
    """Return invisible axes over the whole figure, in inches from its upper left corner: for images and words."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, figure.get_figwidth())
    axes.set_ylim(figure.get_figheight(), 0)
    return axes


def place(on: "Axes", picture: Any, left: float, top: float, size: float, limit: float | None = None) -> "AxesImage":
    """Draw `picture` in its own proportions inside of a square of a `sheet`.

    limit: of signed numbers, the size at which the colours end; None: grey values or colours from 0 to 1.
    """
    rows, columns = picture.shape[:2]
    width, height = size * columns / max(rows, columns), size * rows / max(rows, columns)
    style = {"cmap": "gray", "vmin": 0, "vmax": 1} if limit is None else {"cmap": SIGNED, "vmin": -limit, "vmax": limit}
    frame(on, left, top, width, height)
    extent = (left, left + width, top + height, top)
    return on.imshow(picture, extent=extent, aspect="auto", interpolation="nearest", **style)  # type: ignore[arg-type]


def frame(on: "Axes", left: float, top: float, width: float, height: float) -> None:
    """Draw a thin frame, so that white images do not vanish on the white page."""
    right, bottom = left + width, top + height
    on.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=GREY, linewidth=0.8)


def legend(axes: "Axes", handles: list[Any] | None = None) -> None:
    """Draw the legend between the header and the axes, where it cannot hide data.

    handles: what it names; None: what has a label in these axes.
    """
    box = axes.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1.01, 1.0), ncols=6, frameon=False, fontsize=9,
        borderaxespad=0.2, columnspacing=1.3, handletextpad=0.5, handlelength=1.6,
    )  # fmt: skip
    for line in box.get_lines():
        line.set_linewidth(max(line.get_linewidth(), 1.4))  # a hairline's colour cannot be seen


def legend_beside(axes: "Axes", inches: float) -> None:
    """Draw the legend into a margin of so many inches to the right of the axes: lines of names, which may be long."""
    handles, labels = axes.get_legend_handles_labels()
    labels = ["\n".join(fitted(line, inches - 0.6, 9) for line in label.split("\n")) for label in labels]
    axes.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9, borderaxespad=0.2,
        labelspacing=0.8, handletextpad=0.5, handlelength=1.6,
    )  # fmt: skip


def write_centred(axes: "Axes", text: str) -> None:
    """Write words in the middle of empty axes."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=11, color=GREY)


def fitted(text: str, inches: float, size: float, weight: str = "normal") -> str:
    """Return `text` on one line, with as much left out of its middle as is needed to fit."""
    text = " ".join(text.split())
    if measure(text, size, weight) <= inches:
        return literal(text)
    few, many = 0, len(text)  # `few` letters fit, `many` do not
    while many - few > 1:
        keep = (few + many) // 2
        fits = measure(_without_middle(text, keep), size, weight) <= inches
        few, many = (keep, many) if fits else (few, keep)
    return literal(_without_middle(text, few))


def measure(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of `text` in inches."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(size=size, weight=weight)
    width, _, _ = _ruler().get_text_width_height_descent(text, font, ismath=False)  # type: ignore[no-untyped-call]
    return float(width) / DPI


def literal(text: str) -> str:
    """Return `text` for matplotlib, which would read the part between two dollar signs as a formula."""
    return text.replace("$", r"\$")


def counted(count: int, noun: str) -> str:
    """Return `1 example`, `1,200 examples`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def not_finite(count: int, noun: str) -> str:
    """Return a note with their number; "" for none."""
    return f"{counted(count, noun)} {'is' if count == 1 else 'are'} not finite" if count else ""


def number(value: float, digits: int = 4) -> str:
    """Return `value` with so many significant digits."""
    return f"{value:.{digits}g}".replace("-", MINUS)


def size(shape: Iterable[int]) -> str:
    """Return `16 × 8 × 8`."""
    return " \N{MULTIPLICATION SIGN} ".join(map(str, shape))


def _without_middle(text: str, keep: int) -> str:
    tail = keep // 2
    return text[: keep - tail] + "…" + text[len(text) - tail :]


@cache
def _ruler() -> "RendererAgg":
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(1, 1, DPI)  # type: ignore[no-untyped-call]

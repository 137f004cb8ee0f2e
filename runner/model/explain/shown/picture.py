"""A worked layer as a picture: input, kernel and output as grids with their numbers, the first window outlined.

Everything stands on a grid of characters of a fixed-width font, so nothing can overlap.
"""

from typing import TYPE_CHECKING, Any

from runner.model.explain.parts import Element, Explained
from runner.model.explain.shown import words
from runner.model.explain.shown.drawing import kept_together, wrap
from runner.model.explain.shown.layout import GAP, Block, Cell, Layout, Panel, layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 100  # characters
CHARACTER, LINE, CELL, MARGIN = 0.076, 0.19, 0.25, 0.2  # inches: width and height of text, height of a cell
BETWEEN = 0.05  # inches between two channels
DPI = 120
SIZE = 9  # points; a character of the font is 0.602 of it wide
BLACK, GREY, PALE = "#000000", "#595959", "#BFBFBF"
MARK, FILL, PADDING, KERNEL = "#D55E00", "#FBE3CC", "#EEEEEE", "#E3EEF7"
LONGEST = 8  # lines of arithmetic


def layer_picture(explained: Explained, element: int = 0) -> "Figure":
    """Return a figure of input, kernel and output of one element of a layer, 8 inches wide; large tensors are cut."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    worked = explained.elements[element] if explained.elements else None
    drawn = layout(explained, worked, COLUMNS)
    (title, facts), footer = _header(explained), _footer(explained, worked)
    above = MARGIN + LINE * (len(title) + len(facts) + 1)
    height = above + _height(drawn) + LINE * (len(footer) + 1) + MARGIN
    figure = Figure(figsize=(2 * MARGIN + COLUMNS * CHARACTER, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    on = _sheet(figure)
    _lines(on, facts, MARGIN, _lines(on, title, MARGIN, MARGIN, weight="bold"))
    _blocks(on, drawn, above)
    _lines(on, footer, MARGIN, height - MARGIN - LINE * len(footer))
    return figure


def _header(explained: Explained) -> tuple[list[str], list[str]]:
    title = wrap(f"{explained.name}: {words.kind(explained)}", COLUMNS)
    facts = wrap(f"{words.shapes(explained)}, {words.parameters(explained)}", COLUMNS)
    return title[:3], facts[:3]


def _footer(explained: Explained, element: Element | None) -> list[str]:
    if element is None:
        return wrap(explained.note, COLUMNS)
    lines = [part for line in element.lines for part in wrap(line, COLUMNS)]
    if len(lines) > LONGEST:
        lines = [*lines[: LONGEST - 2], "...", lines[-1]]
    return [*wrap(words.source(explained, element), COLUMNS), *lines]


def _height(drawn: Layout) -> float:
    heights = [_block_height(block, _titled(drawn)) for block in drawn.blocks]
    return max(heights, default=0) if drawn.beside else sum(heights) + LINE * (len(heights) - 1)


def _titled(drawn: Layout) -> bool:
    """Return whether panels have titles: then all beside each other leave room for one, and the rows are level."""
    return drawn.beside and any(panel.title for block in drawn.blocks for panel in block.panels)


def _block_height(block: Block, titled: bool) -> float:
    titles = sum(bool(p.title) or titled for p in block.panels)
    text = len(_title(block)) + titles + len(kept_together(block.note, block.width))
    return text * LINE + sum(len(p.rows) for p in block.panels) * CELL + BETWEEN * len(block.panels)


def _title(block: Block) -> list[str]:
    return kept_together(block.title, block.width)


def _sheet(figure: "Figure") -> "Axes":
    """Return axes in inches from the upper left corner."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, figure.get_figwidth())
    axes.set_ylim(figure.get_figheight(), 0)
    return axes


def _blocks(on: "Axes", drawn: Layout, top: float) -> None:
    left, titled = MARGIN, _titled(drawn)
    for number, block in enumerate(drawn.blocks):
        _block(on, block, left, top, titled, KERNEL if len(drawn.blocks) == 3 and number == 1 else "white")
        if not drawn.beside:
            top += _block_height(block, titled) + LINE
            continue
        left += block.width * CHARACTER
        if number < len(drawn.blocks) - 1:
            sign = "*" if len(drawn.blocks) == 3 and number == 0 else "→"
            middle = top + LINE * (len(_title(block)) + titled) + CELL
            _text(on, left + GAP * CHARACTER / 2, middle, sign, size=12, ha="center", va="center")
        left += GAP * CHARACTER


def _block(on: "Axes", block: Block, left: float, top: float, titled: bool, fill: str) -> None:
    top = _lines(on, _title(block), left, top, weight="bold")
    for panel in block.panels:
        if panel.title or titled:
            top = _lines(on, [panel.title], left, top, color=GREY)
        top = _panel(on, panel, left, top, _cell_width(block), fill) + BETWEEN
    _lines(on, kept_together(block.note, block.width), left, top, color=GREY)


def _cell_width(block: Block) -> float:
    """Return the width of a cell in inches; few small numbers spread out under the title."""
    return CHARACTER * max(block.cell + 2, min(5, block.width / block.columns))


def _panel(on: "Axes", panel: Panel, left: float, top: float, width: float, fill: str) -> float:
    for r, row in enumerate(panel.rows):
        for c, cell in enumerate(row):
            _cell(on, cell, left + c * width, top + r * CELL, width, fill)
    for r, row in enumerate(panel.rows):
        for c, cell in enumerate(row):
            if cell.marked:
                _outline(on, panel.rows, r, c, (left + c * width, top + r * CELL, width))
    return top + len(panel.rows) * CELL


def _cell(on: "Axes", cell: Cell, left: float, top: float, width: float, fill: str) -> None:
    from matplotlib.patches import Rectangle

    colour = FILL if cell.marked else PADDING if cell.padding else fill
    on.add_artist(Rectangle((left, top), width, CELL, facecolor=colour, edgecolor=PALE, linewidth=0.6))
    style: dict[str, Any] = {"color": GREY, "style": "italic"} if cell.padding else {"color": BLACK}
    _text(on, left + width / 2, top + CELL / 2, cell.text, ha="center", va="center_baseline", **style)


def _outline(on: "Axes", rows: list[list[Cell]], r: int, c: int, at: tuple[float, float, float]) -> None:
    """Draw the sides of a marked cell that have no marked neighbour."""
    left, top, width = at
    right, bottom = left + width, top + CELL
    sides = {
        (r - 1, c): ((left, right), (top, top)),
        (r + 1, c): ((left, right), (bottom, bottom)),
        (r, c - 1): ((left, left), (top, bottom)),
        (r, c + 1): ((right, right), (top, bottom)),
    }
    for (row, column), (xs, ys) in sides.items():
        inside = 0 <= row < len(rows) and 0 <= column < len(rows[0])
        if not (inside and rows[row][column].marked):
            on.plot(xs, ys, color=MARK, linewidth=2, solid_capstyle="projecting")


def _lines(on: "Axes", lines: list[str], left: float, top: float, **style: Any) -> float:
    for number, line in enumerate(lines):
        _text(on, left, top + (number + 0.5) * LINE, line, va="center_baseline", **style)
    return top + len(lines) * LINE


def _text(on: "Axes", left: float, top: float, text: str, size: float = SIZE, **style: Any) -> None:
    """Write text in which a dollar sign is no formula."""
    on.text(left, top, text, fontsize=size, family="DejaVu Sans Mono", parse_math=False, **style)

"""Input, kernel and output as blocks of cells, cut to what can be read at a glance and arranged in a given width."""

from dataclasses import dataclass
from itertools import islice, product
from math import prod

from runner.model.explain.parts import Element, Explained, Index, Window
from runner.model.explain.places import along
from runner.model.explain.shown.sheet import Sheet, sheets

ROWS = 8  # of one panel
ROWS_STACKED = 5  # when several panels stand below each other
PANELS = 3  # of a window with many channels
OTHERS = 2  # panels, when there are too many and few are in the window
NARROW = 22  # characters that a title needs
GAP = 3  # characters between two blocks


@dataclass(frozen=True)
class Cell:
    """One number as it is drawn."""

    text: str
    marked: bool  # True for a part of the window
    padding: bool


@dataclass(frozen=True)
class Panel:
    """One channel."""

    title: str
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Block:
    """Input, kernel or output."""

    title: str
    panels: list[Panel]
    note: str  # the parts that are left out
    cell: int  # characters of the widest number
    columns: int

    @property
    def width(self) -> int:
        """The characters of a row, or of a narrow block's title."""
        return max(self.columns * (self.cell + 2), NARROW)


@dataclass(frozen=True)
class Layout:
    """The blocks of one element, beside each other or one below the other."""

    blocks: list[Block]
    beside: bool


def layout(explained: Explained, element: Element | None, width: int = 100) -> Layout:
    """Return input, kernel (if there is one) and output, in so many characters of width."""
    drawn = sheets(explained, element)
    columns = [s.columns for s in drawn]
    room = width - GAP * (len(drawn) - 1)
    beside = _width(drawn, columns) <= room or len(drawn[0].values.shape) > 2
    if not beside:
        columns = [min(n, width // (s.cell + 2)) for s, n in zip(drawn, columns, strict=True)]
    while beside and _width(drawn, columns) > room:
        widths = [n * (s.cell + 2) for s, n in zip(drawn, columns, strict=True)]
        if max(widths) <= NARROW:
            break
        columns[widths.index(max(widths))] -= 1
    return Layout([_block(s, n) for s, n in zip(drawn, columns, strict=True)], beside)


def _width(drawn: list[Sheet], columns: list[int]) -> int:
    return sum(max(n * (s.cell + 2), NARROW) for s, n in zip(drawn, columns, strict=True))


def _block(sheet: Sheet, columns: int) -> Block:
    """Return so many columns of the sheet, around its window."""
    dims = len(sheet.values.shape)
    bounds = [sheet.values.bounds(d) for d in range(dims)]
    window = sheet.window or tuple(range(0) for _ in bounds)
    leads = _leads(bounds[:-2], window[:-2])
    rows = ROWS_STACKED if len(leads) > 1 else ROWS
    across = _crop(bounds[-1], window[-1], columns) if dims else range(1)
    down = _crop(bounds[-2], window[-2], rows) if dims > 1 else None
    panels = [Panel(_panel_title(sheet, lead), _rows(sheet, lead, down, across)) for lead in leads]
    return Block(sheet.title, panels, _note(sheet, leads, down, across), sheet.cell, len(across))


def _leads(bounds: list[range], window: Window) -> list[Index]:
    """Return the channels to show: first those in the window, then, as there is room, others."""
    marked = list(islice(product(*window), PANELS))
    if not bounds:
        return [()]
    inside = (lead for lead in product(*bounds) if lead not in marked and min(lead) >= 0)
    room = PANELS if prod(map(len, bounds)) <= PANELS else OTHERS
    return sorted([*marked, *islice(inside, max(room - len(marked), 0))])


def _crop(bounds: range, window: range, limit: int) -> range:
    """Return the positions to show: as much as possible of the window, and the position before it."""
    if len(bounds) <= limit:
        return bounds
    first = min(window) if len(window) else bounds.start
    before = 1 if len(window) and max(window) - first + 1 < limit else 0
    start = max(bounds.start, min(first - before, bounds.stop - limit))
    return range(start, start + limit)


def _rows(sheet: Sheet, lead: Index, down: range | None, across: range) -> list[list[Cell]]:
    if not sheet.values.shape:
        return [[_cell(sheet, ())]]
    if down is None:
        return [[_cell(sheet, (c,)) for c in across]]
    return [[_cell(sheet, (*lead, r, c)) for c in across] for r in down]


def _cell(sheet: Sheet, at: Index) -> Cell:
    padding = sheet.values.is_padding(at)
    inside = bool(sheet.window) and all(i in r for i, r in zip(at, sheet.window, strict=True))
    value = sheet.values[at]
    text = "" if padding and value == float("-inf") else sheet.form.text(value)
    return Cell(f"p{text}" if padding else text, inside and sheet.marks, padding)


def _panel_title(sheet: Sheet, lead: Index) -> str:
    several = any(n > 1 for n in sheet.values.shape[: len(lead)])
    return ", ".join(f"{axis} {i}" for axis, i in zip(sheet.axes, lead, strict=False)) if several else ""


def _note(sheet: Sheet, leads: list[Index], down: range | None, across: range) -> str:
    """Return `rows 0-7 of 28, columns 0-7 of 28, 3 of 16 channels`."""
    dims = len(sheet.values.shape)
    parts = [sheet.note] if sheet.note else []
    for dim, shown in ((dims - 2, down), (dims - 1, across)):
        if shown is not None and dim >= 0 and len(shown) < len(sheet.values.bounds(dim)):
            parts.append(f"{along(shown, sheet.axes[dim])} of {sheet.values.shape[dim]}")
    total = prod(len(sheet.values.bounds(dim)) for dim in range(dims - 2))
    if len(leads) < total:
        parts.append(f"{len(leads)} of {total} {sheet.axes[max(dims - 3, 0)]}s")
    if any(sheet.values.before):
        parts.append("p: padding")
    return ", ".join(parts)

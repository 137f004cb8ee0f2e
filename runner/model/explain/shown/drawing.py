"""Input, kernel and output as lines of text, the window marked by brackets or by colour."""

import textwrap
from itertools import zip_longest

from rich.text import Text

from runner.model.explain.shown.layout import GAP, Block, Cell, Layout

MARKED, PADDING, QUIET = "bold black on yellow", "italic dim", "dim"
NO_BREAK = "\N{NO-BREAK SPACE}"


def draw(layout: Layout, colour: bool) -> list[Text]:
    """Return lines without line breaks. colour: mark the window by its background instead of by [ ]."""
    if not layout.beside:
        stacked = [[*_head([b], b), *_body(b, colour, False), Text()] for b in layout.blocks]
        return [_bare(line) for lines in stacked for line in lines][:-1]
    titled = any(panel.title for block in layout.blocks for panel in block.panels)
    blocks = [[*_head(layout.blocks, b), *_body(b, colour, titled)] for b in layout.blocks]
    widths = [max(line.cell_len for line in lines) for lines in blocks]
    return [_joined(row, widths) for row in zip_longest(*blocks)]


def wrap(text: str, width: int) -> list[str]:
    """Return the text in lines, broken at spaces only."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _joined(row: tuple[Text | None, ...], widths: list[int]) -> Text:
    joined = Text()
    for line, width in zip(row, widths, strict=True):
        part = line if line is not None else Text()
        joined.append_text(part).append(" " * (width - part.cell_len + GAP))
    return _bare(joined)


def _bare(line: Text) -> Text:
    line.rstrip()
    return line


def _head(blocks: list[Block], block: Block) -> list[Text]:
    """Return the title, in as many lines as the longest of its neighbours' has."""
    lines = kept_together(block.title, block.width)
    height = max(len(kept_together(b.title, b.width)) for b in blocks)
    return [Text(line, "bold") for line in [*lines, *[""] * (height - len(lines))]]


def _body(block: Block, colour: bool, titled: bool) -> list[Text]:
    lines = []
    for panel in block.panels:
        if panel.title or titled:
            lines.append(Text(panel.title, QUIET))
        lines += [Text.assemble(*(_cell(cell, block.cell, colour) for cell in row)) for row in panel.rows]
    return [*lines, *(Text(line, QUIET) for line in kept_together(block.note, block.width))]


def kept_together(text: str, width: int) -> list[str]:
    """Return the text in lines; a shape, and words such as `rows 0-7 of 28`, stay in one piece."""
    breaks = " " if "(" in text else ", "  # input (1, 1, 4, 4); rows 0-7 of 28, columns 0-3 of 28
    pieces = [piece.replace(" ", NO_BREAK) for piece in _pieces(text, breaks)]
    return [line.replace(NO_BREAK, " ") for line in wrap(breaks.join(pieces), width)]


def _pieces(text: str, breaks: str) -> list[str]:
    before, bracket, shape = text.partition("(")
    return [*before.split(), bracket + shape] if bracket else text.split(breaks)


def _cell(cell: Cell, width: int, colour: bool) -> Text:
    """Return a cell with one character on either side, where the brackets stand."""
    if cell.marked and not colour:
        return Text(f"[{cell.text:>{width}}]")
    return Text(f" {cell.text:>{width}} ", MARKED if cell.marked else PADDING if cell.padding else "")

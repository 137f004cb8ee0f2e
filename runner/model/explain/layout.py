"""Input, kernel and output, next to each other or one below the other, in a given width."""

from dataclasses import dataclass

from runner.model.explain.block import NARROW, Block, block
from runner.model.explain.parts import Element, Explained
from runner.model.explain.sheet import Sheet, sheets

GAP = 3  # characters between two blocks


@dataclass(frozen=True)
class Layout:
    """The blocks of one element, next to each other or one below the other."""

    blocks: list[Block]
    beside: bool


def layout(explained: Explained, element: Element | None, width: int = 100) -> Layout:
    """Input, kernel (if there is one) and output, in so many characters of width."""
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
    return Layout([block(s, n) for s, n in zip(drawn, columns, strict=True)], beside)


def _width(drawn: list[Sheet], columns: list[int]) -> int:
    return sum(max(n * (s.cell + 2), NARROW) for s, n in zip(drawn, columns, strict=True))

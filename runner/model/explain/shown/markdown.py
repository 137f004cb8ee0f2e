"""Worked layers as Markdown, for the artifact explain/<layer>.md."""

from runner.model.explain.parts import Element, Explained
from runner.model.explain.shown import words
from runner.model.explain.shown.drawing import draw, wrap
from runner.model.explain.shown.layout import layout

WIDTH = 100


def layer_markdown(explained: Explained, picture: str | None = None) -> str:
    """Return one layer as Markdown. picture: the link to its drawing, relative to the file of the text."""
    parts = [f"# {explained.name}: {type(explained.layer).__name__}", f"`{words.kind(explained)}`"]
    parts.append(f"Shape `{words.shapes(explained)}`, `{words.parameters(explained)}`.")
    if explained.predicted is not None:
        parts.append(_fenced(explained.predicted.lines))
    if explained.note:
        parts.append(f"{explained.note}.")
    if picture:
        parts.append(f"![input, kernel and output of {explained.name}]({picture})")
    if words.has_drawing(explained):
        first = explained.elements[0] if explained.elements else None
        drawn = layout(explained, first, WIDTH)
        parts.append(_fenced([line.plain for line in draw(drawn, colour=False)]))
    parts += [_element(explained, element) for element in explained.elements]
    return "\n\n".join(parts) + "\n"


def _element(explained: Explained, element: Element) -> str:
    lines = [*element.notes, *element.lines, words.compared(element.value, element.torch, element.scale)]
    return f"{words.source(explained, element)}:\n\n{_fenced(lines)}"


def _fenced(lines: tuple[str, ...] | list[str]) -> str:
    """Return lines as they are, where Markdown would take 2*3*4 for emphasis; long ones broken at spaces."""
    broken = [part for line in lines for part in (wrap(line, WIDTH) if len(line) > WIDTH else [line])]
    return "\n".join(["```text", *broken, "```"])

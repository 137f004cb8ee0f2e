"""Worked layers on a terminal."""

from rich.text import Text

from runner.model.explain.parts import Element, Explained
from runner.model.explain.shown import words
from runner.model.explain.shown.drawing import QUIET, draw, wrap
from runner.model.explain.shown.layout import layout
from runner.model.explain.step import Stage, TrainingStep

TITLE, SUM = "bold", "green"
INDENT = 4  # of a layer inside of a layer


def layer_text(explained: Explained, width: int = 100, colour: bool = True) -> Text:
    """Return one layer. colour: mark the window by its background, else by brackets."""
    width -= INDENT * explained.depth
    lines = [*_title(explained, width), *_facts(explained, width)]
    if words.has_drawing(explained):
        first = explained.elements[0] if explained.elements else None
        lines += [Text(), *draw(layout(explained, first, width), colour)]
    for element in explained.elements:
        lines += [Text(), *_element(explained, element, width)]
    return _joined(lines, INDENT * explained.depth)


def step_text(step: TrainingStep, width: int = 100) -> Text:
    """Return one training step."""
    lines = [_rule("one training step", width), *_wrapped(step.formulas, width, QUIET)]
    for stage in step.stages:
        lines += [Text(), *_stage(stage, width)]
    return _joined(lines, 0)


def _joined(lines: list[Text], indent: int) -> Text:
    text = Text("\n", no_wrap=True).join([Text(" " * indent if line else "").append_text(line) for line in lines])
    return text.append("\n")


def _title(explained: Explained, width: int) -> list[Text]:
    title = f"{explained.name}  {words.kind(explained)}"
    if len(title) < width - 2:
        return [_rule(title, width)]
    return [
        _rule(f"{explained.name}  {type(explained.layer).__name__}", width),
        *_wrapped([words.kind(explained)], width, "", 0),
    ]


def _rule(title: str, width: int) -> Text:
    return Text.assemble((title, TITLE), " ", ("─" * (width - len(title) - 1), QUIET))


def _facts(explained: Explained, width: int) -> list[Text]:
    lines = _wrapped([f"{words.shapes(explained)}, {words.parameters(explained)}"], width, "", 0)
    if explained.predicted is not None:
        lines += _wrapped(explained.predicted.lines, width, QUIET)
    return [*lines, *_wrapped([explained.note], width, "yellow", 0)]


def _element(explained: Explained, element: Element, width: int) -> list[Text]:
    return [
        *_wrapped([words.source(explained, element)], width, TITLE, 0),
        *_wrapped(element.notes, width, QUIET, 0),
        *_wrapped(element.lines, width, SUM),
        *_wrapped([words.compared(element.value, element.torch, element.scale)], width, QUIET),
    ]


def _stage(stage: Stage, width: int) -> list[Text]:
    compared = words.compared(stage.value, stage.torch, stage.scale, stage.by)
    return [Text(stage.title, TITLE), *_wrapped([stage.line], width, SUM), *_wrapped([compared], width, QUIET)]


def _wrapped(lines: list[str] | tuple[str, ...], width: int, style: str, indent: int = 2) -> list[Text]:
    return [Text(" " * indent).append(part, style) for line in lines for part in wrap(line, width - indent)]

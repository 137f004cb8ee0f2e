"""The model's mistakes, the worst first: as pictures where the data are images, else as a table."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from runner.data import Data, Source
from runner.model.conventions import on_scale
from runner.plots import Subject, _style
from runner.plots._data import class_names, classify, first_of, lacks_classes, lacks_numbers
from runner.plots._images import as_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = (("test", "valid", "train"),)
MOST, COLUMNS = 16, 4
WIDTHS = (0.8, 1.35, 1.35, 1.05, 0.76, 0.76, 0.76, 0.76)  # inches of a table's columns


@dataclass(frozen=True)
class Example:
    """An example and the words beside it."""

    index: int  # in its part of the data
    x: Tensor
    truth: str
    predicted: str
    measure: str  # the confidence or the error


@dataclass(frozen=True)
class Chosen:
    """The examples to show."""

    title: str
    measure: str  # of the examples: confidence | error
    examples: list[Example]
    not_finite: int  # examples left out because the model's output is not finite


def problem(data: Data, model: nn.Module) -> str | None:
    """Return why the plot cannot be drawn: it needs numbers to predict, or one class per example."""
    return lacks_numbers(data) if data.task == "regression" else lacks_classes(data)


def draw(run: Subject) -> "Figure":
    """Draw up to 16 examples of the test data, else of the validation, else of the training data."""
    words, source = first_of(run.data, *PARTS[0])
    chosen = (choose_numbers if run.data.task == "regression" else choose_classes)(run, words, source)
    note = _style.not_finite(chosen.not_finite, "output")
    if not chosen.examples:
        return _draw_nothing(run, note)
    images = as_image(chosen.examples[0].x) is not None
    return (_draw_images if images else _draw_table)(run, chosen, note)


def choose_classes(run: Subject, words: str, source: Source) -> Chosen:
    """Return the mistakes, the surest first; where there is none, the least certain examples."""
    classified = classify(run, source)
    confidence = classified.confidence
    [wrong] = torch.where(classified.predicted != classified.truth)
    if len(wrong):
        order = wrong[confidence[wrong].argsort(descending=True, stable=True)]
        title = f"Mistakes: {_first(order)}"
    else:
        order = confidence.argsort(stable=True)
        title = f"No mistakes: the {min(len(order), MOST)} least certain"
    names = class_names(run.data, classified.classes)
    total = _style.counted(len(classified.index), f"{words} example")
    return Chosen(f"{title} ({total})", "confidence", [
        Example(n, source[n][0], names[classified.truth[i]], names[classified.predicted[i]], _percent(confidence[i]))
        for i in order[:MOST].tolist() for n in [int(classified.index[i])]
    ], classified.not_finite)  # fmt: skip


def choose_numbers(run: Subject, words: str, source: Source) -> Chosen:
    """Return the largest errors: per example the root of the mean square over its numbers."""
    y, outputs = run.outputs(source)
    outputs = on_scale(run.loss, outputs.float())
    truth, predicted = y.float().reshape(len(y), -1), outputs.reshape(len(y), -1)
    errors = (predicted - truth).square().mean(1).sqrt()
    [finite] = torch.where(predicted.isfinite().all(1))
    order = finite[errors[finite].argsort(descending=True, stable=True)][:MOST].tolist()
    title = f"Largest errors: {len(order)} of {_style.counted(len(y), f'{words} example')}"
    examples = [
        Example(i, source[i][0], _numbers(truth[i]), _numbers(predicted[i]), _style.number(float(errors[i])))
        for i in order
    ]
    return Chosen(title, "error", examples, len(y) - len(finite))


def _first(order: Tensor) -> str:
    return f"the surest {MOST} of {len(order):,}" if len(order) > MOST else f"all {len(order)}, the surest first"


def _percent(share: Tensor) -> str:
    return f"{100 * float(share):.1f} %"


def _numbers(values: Tensor) -> str:
    words = [_style.number(float(v)) for v in values[:3]]
    return ", ".join(words) + ("…" if len(values) > 3 else "")


def _draw_nothing(run: Subject, note: str) -> "Figure":
    figure = _style.page("Examples", run.title, 2.0, note)
    _style.write(figure, 0.2, 1.2, "The model's output is finite for none of them.", size=11, color=_style.GREY)
    return figure


def _draw_images(run: Subject, chosen: Chosen, note: str) -> "Figure":
    """Draw four in a row, the words to the right of each picture."""
    cell, size = 1.9, 0.92
    rows = -(-len(chosen.examples) // COLUMNS)
    figure = _style.page(chosen.title, run.title, 0.85 + rows * (size + 0.2), note)
    sheet = _style.sheet(figure)
    for place, example in enumerate(chosen.examples):
        left, top = 0.2 + cell * (place % COLUMNS), 0.78 + (place // COLUMNS) * (size + 0.2)
        image = as_image(example.x)
        assert image is not None
        _style.place(sheet, image, left, top, size)
        _describe(sheet, example, chosen.measure, left + size + 0.07, top, cell - size - 0.14)
    return figure


def _describe(sheet: "Axes", example: Example, measure: str, left: float, top: float, room: float) -> None:
    last = f"error {example.measure}" if measure == "error" else f"{example.measure} sure"
    for down, text in ((0.12, "true"), (0.48, "predicted"), (0.87, last)):
        sheet.text(left, top + down, _style.fitted(text, room, 7), fontsize=7, color=_style.GREY)
    for down, text, colour in ((0.29, example.truth, _style.BLUE), (0.65, example.predicted, _style.RED)):
        size = next((size for size in (9.5, 8.0) if _style.measure(text, size, "bold") <= room), 7.0)
        words = _style.fitted(text, room, size, "bold")
        sheet.text(left, top + down, words, fontsize=size, fontweight="bold", color=colour)


def _draw_table(run: Subject, chosen: Chosen, note: str) -> "Figure":
    """Draw a line per example, with its first numbers."""
    figure = _style.page(chosen.title, run.title, 1.25 + 0.25 * len(chosen.examples), note)
    sheet = _style.sheet(figure)
    left = 0.2
    for (head, *cells), width in zip(_columns(run.data, chosen), WIDTHS, strict=False):
        sheet.text(left, 0.9, _style.fitted(head, width - 0.08, 9, "bold"), fontsize=9, fontweight="bold")
        for row, cell in enumerate(cells):
            sheet.text(left, 1.2 + 0.25 * row, _style.fitted(cell, width - 0.08, 9), fontsize=9)
        left += width
    sheet.plot([0.2, _style.WIDTH - 0.2], [0.98, 0.98], color=_style.GREY, linewidth=0.8)
    return figure


def _columns(data: Data, chosen: Chosen) -> list[list[str]]:
    shown = chosen.examples
    columns = [
        ["example", *(str(e.index) for e in shown)],
        ["true", *(e.truth for e in shown)],
        ["predicted", *(e.predicted for e in shown)],
        [chosen.measure, *(e.measure for e in shown)],
    ]
    inputs = zip(*(e.x.flatten()[:4].tolist() for e in shown), strict=True)
    names = data.notes.get("features", [f"x[{i}]" for i in range(4)])
    return columns + [
        [str(name), *(_style.number(v, 3) for v in values)] for name, values in zip(names, inputs, strict=False)
    ]

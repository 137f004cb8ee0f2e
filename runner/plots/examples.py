"""What the model got wrong, the worst first: as pictures where the data are images, else as a table."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from runner.data import Data, Source
from runner.plots import Subject, _style
from runner.plots._classified import class_names, classify
from runner.plots._images import picture
from runner.plots._parts import first_of, lacks_classes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST, COLUMNS = 16, 4


@dataclass(frozen=True)
class Example:
    """An example and what to say of it."""

    index: int  # in its part of the data
    x: Tensor
    truth: str
    said: str
    how: str  # the confidence or the error


@dataclass(frozen=True)
class Chosen:
    """The examples to show."""

    title: str
    how: str  # what Example.how is
    examples: list[Example]
    lost: int  # examples left out because the model's output is not finite


def problem(data: Data, model: nn.Module) -> str | None:
    """It takes numbers to predict, or one class per example."""
    return None if data.task == "regression" else lacks_classes(data)


def draw(run: Subject) -> "Figure":
    """Up to 16 examples of the test data, else of the validation, else of the training data."""
    words, source = first_of(run.data, "test", "valid", "train")
    chosen = (choose_numbers if run.data.task == "regression" else choose_classes)(run, words, source)
    note = f"{chosen.lost:,} outputs are not finite" if chosen.lost else ""
    images = chosen.examples and picture(chosen.examples[0].x) is not None
    return (_draw_images if images else _draw_table)(run, chosen, note)


def choose_classes(run: Subject, words: str, source: Source) -> Chosen:
    """The mistakes, the surest first; where there is none, the least certain examples."""
    found = classify(run, source)
    [wrong] = torch.where(found.said != found.truth)
    if len(wrong):
        order = wrong[found.sure[wrong].argsort(descending=True, stable=True)]
        title = f"Mistakes: {_some(order)} of {len(found.index):,} examples of the {words}, the surest first"
    else:
        order = found.sure.argsort(stable=True)
        title = f"No mistakes among {len(found.index):,} examples of the {words}: the least certain"
    names = class_names(run.data, found.classes)
    return Chosen(title, "confidence", [
        Example(int(found.index[i]), found.x[i], names[found.truth[i]], names[found.said[i]], _percent(found.sure[i]))
        for i in order[:MOST].tolist()
    ], found.lost)  # fmt: skip


def choose_numbers(run: Subject, words: str, source: Source) -> Chosen:
    """The largest errors: per example the root of the mean square over its numbers."""
    x, y, outputs = run.predict(source)
    truth, said = y.float().reshape(len(y), -1), outputs.float().reshape(len(y), -1)
    errors = (said - truth).square().mean(1).sqrt()
    [kept] = torch.where(said.isfinite().all(1))
    order = kept[errors[kept].argsort(descending=True, stable=True)][:MOST].tolist()
    title = f"Largest errors: {len(order)} of {len(y):,} examples of the {words}"
    examples = [Example(i, x[i], _numbers(truth[i]), _numbers(said[i]), _style.number(float(errors[i]))) for i in order]
    return Chosen(title, "error", examples, len(y) - len(kept))


def _some(order: Tensor) -> str:
    return f"{min(len(order), MOST)} of {len(order):,}" if len(order) > MOST else str(len(order))


def _percent(share: Tensor) -> str:
    return f"{100 * float(share):.1f} %"


def _numbers(values: Tensor) -> str:
    words = [_style.number(float(v)) for v in values[:3]]
    return ", ".join(words) + ("…" if len(values) > 3 else "")


def _draw_images(run: Subject, chosen: Chosen, note: str) -> "Figure":
    """Four in a row, the words to the right of each picture."""
    cell, size = 1.9, 0.92
    rows = -(-len(chosen.examples) // COLUMNS)
    figure = _style.page(chosen.title, run.name, 0.85 + rows * (size + 0.2), note)
    sheet = _style.sheet(figure)
    for place, example in enumerate(chosen.examples):
        left, top = 0.2 + cell * (place % COLUMNS), 0.78 + (place // COLUMNS) * (size + 0.2)
        image = picture(example.x)
        assert image is not None
        _style.place(sheet, image, left, top, size)
        lines = ["true", example.truth, "predicted", example.said, f"{chosen.how} {example.how}"]
        for line, text in enumerate(lines):
            strong = line in (1, 3)
            fitted = _style.fitted(text, cell - size - 0.14, 9.5 if strong else 7, "bold" if strong else "normal")
            sheet.text(
                left + size + 0.07, top + (0.12, 0.29, 0.48, 0.65, 0.87)[line], fitted,
                fontsize=9.5 if strong else 7, fontweight="bold" if strong else "normal",
                color=(_style.GREY, _style.BLUE, _style.GREY, _style.RED, _style.GREY)[line],
            )  # fmt: skip
    return figure


def _draw_table(run: Subject, chosen: Chosen, note: str) -> "Figure":
    """A line per example, with its first numbers."""
    figure = _style.page(chosen.title, run.name, 1.25 + 0.25 * len(chosen.examples), note)
    sheet = _style.sheet(figure)
    left = 0.2
    for (head, *cells), width in zip(_columns(run.data, chosen), (0.8, 1.5, 1.5, 1.0, *[0.8] * 4), strict=False):
        words = [_style.fitted(cell, width - 0.1, 9) for cell in cells]
        sheet.text(left, 0.9, _style.fitted(head, width - 0.1, 9, "bold"), fontsize=9, fontweight="bold")
        for row, word in enumerate(words):
            sheet.text(left, 1.2 + 0.25 * row, word, fontsize=9)
        left += width
    sheet.plot([0.2, _style.WIDTH - 0.2], [0.98, 0.98], color=_style.GREY, linewidth=0.8)
    return figure


def _columns(data: Data, chosen: Chosen) -> list[list[str]]:
    shown = chosen.examples
    columns = [
        ["example", *(str(e.index) for e in shown)],
        ["true", *(e.truth for e in shown)],
        ["predicted", *(e.said for e in shown)],
        [chosen.how, *(e.how for e in shown)],
    ]
    inputs = [e.x.flatten()[:4].tolist() for e in shown]
    names = data.notes.get("features", [f"x[{i}]" for i in range(4)])
    return columns + [[str(name), *map(_style.number, values)] for name, values in zip(names, zip(*inputs), strict=False)]

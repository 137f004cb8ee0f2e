"""Every layer's arithmetic, worked for one example."""

import dataclasses
import sys
from typing import TYPE_CHECKING

from runner import words
from runner.context import Context
from runner.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from runner.run import Run

#: Columns where there is no terminal to ask.
WIDTH = 100


def with_settings(settings: Settings, context: Context) -> int:
    """Explain the configured model with the weights that training would begin with."""
    run = _prepared(settings, context.name)
    return _show(run, f"weights as they are at the start (seed {settings.seed})", 1)


def with_run(uri: str, run: str, *, elements: str = "1") -> int:
    """Explain the model that a run has trained. elements: how many of each layer's output."""
    from runner import recall

    count, run_id = words.whole("elements", elements), recall.find_run(uri, run)
    recalled = _prepared(recall.settings(uri, run_id), run_id)
    recalled.model.load_state_dict(recall.weights(uri, run_id))
    return _show(recalled, f"weights of run {run_id}", count)


def _prepared(settings: Settings, name: str) -> "Run":
    from runner.prepare import prepare

    # A GPU may round products to fewer digits than the arithmetic allows.
    return prepare(dataclasses.replace(settings, device="cpu", plots=[]), name)


def _show(run: "Run", weights: str, elements: int) -> int:
    from runner import screen
    from runner.worked import Disagreement

    console = screen.console()
    try:
        total = len(run.data.train)  # type: ignore[arg-type]
        console.print(f"the first of {total:,} training example{'' if total == 1 else 's'}, {weights}\n")
        _layers(run, elements, console)
        _step(run, console)
    except Disagreement as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        run.close()
    return 0


def _layers(run: "Run", elements: int, console: "Console") -> None:
    from runner.worked import explain
    from runner.worked.text import layer_text

    colour = console.color_system is not None
    for explained in explain(run.model.named_children(), run.batch_of(1), elements):
        console.print(layer_text(explained, _width(console), colour), soft_wrap=True)


def _step(run: "Run", console: "Console") -> None:
    """The next step, where it is a plain one of a linear regression."""
    from runner.worked import training_step
    from runner.worked.text import step_text

    parts = next(run.batches(), [])
    if len(parts) == 1:
        step = training_step(run.model, run.loss, run.state.optimizer, *parts[0][1])
        if step is not None:
            console.print(step_text(step, _width(console)), soft_wrap=True)


def _width(console: "Console") -> int:
    return console.width if console.is_terminal else WIDTH

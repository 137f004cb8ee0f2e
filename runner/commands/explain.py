"""The command `explain`: the arithmetic of each layer, worked for one example."""

import dataclasses
import re
from typing import TYPE_CHECKING

from runner.commands import _words
from runner.commands._result import Result, nothing
from runner.settings import Settings
from runner.settings.context import Context
from runner.settings.errors import ConfigError, full_message
from runner.settings.trust import terminal

if TYPE_CHECKING:
    from rich.console import Console

    from runner.model.explain import Choice, Explained
    from runner.training.run import Run

#: Columns of the output where it is no terminal.
WIDTH = 100


def with_settings(settings: Settings, context: Context, *, elements: str = "1", layer: str = "") -> Result | int:
    """Explain the configured model with its initial weights.

    elements: how many elements of each layer's output, or the index of one, as in elements=[0,3,2,2] layer=NAME.
    layer: the name of one layer; without it, all are explained.
    """
    choice = _choice(elements, layer)
    run = _prepared(settings, context.name)
    try:
        return _result(*_print(run, f"weights as they are at the start (seed {settings.seed})", choice))
    finally:
        run.close()


def with_run(
    uri: str,
    run: str,
    *,
    elements: str = "1",
    layer: str = "",
    checkpoint: str = "best",
    keep: str = "false",
    code: str = "current",
) -> Result | int:
    """Explain the trained model of a run.

    keep: true adds explain/<layer>.md and plots/explain_<layer>.png to the run's artifacts.
    code: current or recorded, for the user's own layers and data.
    """
    choice, keeps = _choice(elements, layer), _words.truth("keep", keep)
    from runner.model import stack
    from runner.tracking import recorded_code
    from runner.tracking.read import checkpoints, load, recall
    from runner.training import forward
    from runner.training.state.checkpoint import CheckpointError, fill

    load.check(checkpoint)
    run_id = recall.find_run(uri, run)
    recorded_code.report(uri, run_id, code)
    prepared = _prepared(recall.settings(uri, run_id), run_id)
    try:
        fill(prepared.model, checkpoints.weights(uri, run_id, checkpoint, stack.classes(prepared.stack)))
        status, explained = _print(prepared, f"{checkpoint} weights of run {run_id}", choice)
        if keeps and not status:
            forward.write(explained, prepared.folder / "explained")
            recall.add(uri, run_id, prepared.folder / "explained")
            terminal.put(f"kept with run {run_id}: explain/<layer>.md and plots/explain_<layer>.png")
        return _result(status, explained)
    except CheckpointError as error:
        terminal.say(full_message(error))
        return 1
    finally:
        prepared.close()


def _result(status: int, explained: "list[Explained]") -> Result:
    """Return the arithmetic of each layer as text, which is printed already."""
    from runner.model.explain.shown.text import layer_text

    return Result({"layers": [{"text": layer_text(layer, WIDTH, False).plain} for layer in explained]}, nothing, status)


def _choice(elements: str, layer: str) -> "Choice":
    from runner.model.explain import Choice

    if re.fullmatch(r"\[\s*\d+\s*(,\s*\d+\s*)*\]", elements):
        if not layer:
            raise ConfigError("elements", f"{elements} is an index into one layer's output; add layer=NAME")
        return Choice(index=tuple(map(int, elements.strip("[] ").split(","))), layer=layer)
    if not elements.isdecimal() or int(elements) < 1:
        expected = "a whole number of at least 1, or an index such as [0,3,2,2]"
        raise ConfigError("elements", f"{elements!r} is not {expected}")
    return Choice(int(elements), layer=layer)


def _prepared(settings: Settings, name: str) -> "Run":
    from runner.training.prepare import prepare

    # A GPU may round products to fewer digits than the arithmetic allows.
    return prepare(dataclasses.replace(settings, device="cpu", plots=[]), name)


def _print(run: "Run", weights: str, choice: "Choice") -> "tuple[int, list[Explained]]":
    """Print the arithmetic of all layers and of the step; return the exit code and the explained layers."""
    from runner.model.explain import Disagreement
    from runner.model.explain.shown.text import layer_text
    from runner.tracking import screen

    console = screen.console()
    try:
        explained = _explained(run, choice)
        total = len(run.data.train)  # type: ignore[arg-type]
        console.print(f"the first of {total:,} training example{'' if total == 1 else 's'}, {weights}")
        console.print("numbers are worked with all their digits, and written with five of them\n")
        colour = console.color_system is not None
        for layer in explained:
            console.print(layer_text(layer, _width(console), colour), soft_wrap=True)
        if not choice.layer:
            _print_step(run, console)
    except Disagreement as error:
        terminal.say(full_message(error))
        return 1, []
    return 0, explained


def _explained(run: "Run", choice: "Choice") -> "list[Explained]":
    from runner.model.explain import NoSuchElement, NoSuchLayer, explain

    try:
        return explain(run.model, run.batch_of(1), choice)
    except NoSuchLayer as error:
        raise ConfigError("layer", str(error)) from error
    except NoSuchElement as error:
        raise ConfigError("elements", str(error)) from error


def _print_step(run: "Run", console: "Console") -> None:
    """Print the arithmetic of the next training step of a linear regression; for other models, why there is none."""
    from runner.model.explain import reason_not_worked, training_step
    from runner.model.explain.shown.text import step_text

    parts = next(run.batches(), [])
    if not parts or not run.settings.trainer.trains:
        return
    reason = reason_not_worked(run.model, run.loss, run.state.optimizer, len(parts))
    if run.parts.step is not None:
        reason = "no step of training is worked: trainer.step is a step of one's own"
    if reason:
        console.print(reason, soft_wrap=True)
        return
    step = training_step(run.model, run.loss, run.state.optimizer, *parts[0][1])
    if step is not None:
        console.print(step_text(step, _width(console)), soft_wrap=True)


def _width(console: "Console") -> int:
    return console.width if console.is_terminal else WIDTH

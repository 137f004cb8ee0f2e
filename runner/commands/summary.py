"""The command `summary`: the layers with their shapes and parameters."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runner.commands._result import Result, nothing
from runner.settings import Settings
from runner.settings.context import Context

if TYPE_CHECKING:
    from runner.model.stack import Stack
    from runner.training.run import Run


def with_settings(settings: Settings, context: Context) -> Result:
    """Print the layer table of the configured model for the configured data, and train nothing."""
    from runner.training.prepare import prepare

    return _print(prepare(settings, context.name))


def with_run(uri: str, run: str, change: Callable[[Settings], Settings], *, code: str = "current") -> Result:
    """Print the layer table of a recorded run's model, which is made anew of its configuration, and train nothing.

    code: current or recorded, for the user's own layers and data.
    """
    from runner.settings import loaded
    from runner.tracking import recorded_code
    from runner.tracking.read import drift, recall, restoring
    from runner.training.prepare import prepare

    run_id = recall.find_run(uri, run)
    recorded_code.report(uri, run_id, code)
    settings, tags = change(recall.settings(uri, run_id)), recall.facts(uri, run_id)[1]
    settings = dataclasses.replace(settings, model=restoring.started(settings.model, tags), plots=[])
    with drift.data_in_place(settings), loaded.as_recorded(tags):
        prepared = prepare(settings, run_id, noted=recall.data(uri, run_id))
    return _print(prepared)


def _print(run: "Run") -> Result:
    from runner.settings.trust import terminal
    from runner.tracking import screen, training_screen, weights_table
    from runner.training.augment import treatment

    try:
        notes = treatment.lines(run.parts.treatment, run.loss, run.data)
        terminal.put(*notes)
        console = screen.console()
        console.print(training_screen.layer_table(run.stack, run.data.train[0][0]))
        if weights_table.differs(run):
            console.print("")
            console.print(weights_table.table(run))
        return Result({"layers": layers(run.stack), "parameters": _parameters(run.stack), "notes": notes}, nothing)
    finally:
        run.close()


def layers(stack: "Stack") -> list[dict[str, Any]]:
    """Return name, kind, output shape in words and parameters of each layer, and its inner layers."""
    from runner.model.stack import shapes, stacks
    from runner.tracking import training_screen

    return [
        {
            "name": layer.name,
            "layer": training_screen.described(layer),
            "output": shapes(layer),
            "parameters": layer.parameters,
            "layers": [inner for one in stacks(layer) for inner in layers(one)],
        }
        for layer in stack.layers
    ]


def _parameters(stack: "Stack") -> int:
    return sum(layer.parameters for layer in stack.layers)

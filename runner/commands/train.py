"""Train one experiment and keep everything about it in MLflow."""

import dataclasses
import json
from typing import Any

from runner.context import Context
from runner.settings import Settings


def with_settings(settings: Settings, context: Context) -> int:
    """Check, build, train, record. Returns the exit code."""
    from rich.console import Console

    from runner import environment, screen, tracking
    from runner.run import drive, prepare

    console = Console(highlight=False)
    run = prepare(settings, context.name)
    try:
        x, _ = run.data.train[0]
        console.print(screen.layer_table(run.stack, tuple(x.shape)))
        told = settings.tracking
        with tracking.recording(
            told.uri,
            told.experiment or context.name,
            told.run_name,
            {**environment.tags(context.overrides, run.device), **told.tags},
            params(dataclasses.asdict(settings)),
            {"config.yaml": context.yaml, "environment.txt": environment.text(context.overrides, run.device)},
        ) as tracker:
            console.print(where(run, told.uri, told.experiment or context.name, tracker.run_id), soft_wrap=True)
            watch = screen.watching(console, settings.trainer.epochs, settings.trainer.epochs * run.steps_per_epoch)
            try:
                drive(run, tracker, watch)
            finally:
                watch.close()
            if told.log_model:
                tracking.log_model(tracker, run)
        console.print("see it: runner ui" + ("" if told.uri.startswith("sqlite:///mlflow.db") else f" tracking.uri={told.uri}"))
        print(screen.result(tracker.run_id, "FINISHED", run.last_values()), flush=True)
    finally:
        run.close()
    return 0


def where(run: Any, uri: str, experiment: str, run_id: str) -> str:
    """Device, data and the place of the record, in one line each."""
    data = run.data
    sizes = ", ".join(f"{len(s)} {n}" for n, s in (("train", data.train), ("valid", data.valid), ("test", data.test)) if s)
    return f"device {run.device}; examples: {sizes}\nrun {run_id} in experiment {experiment!r} of {uri}"


def params(value: Any, key: str = "") -> dict[str, str]:
    """Every leaf of the configuration by its dotted key; a list of plain values is one leaf."""
    if isinstance(value, dict) and value:
        return {k: v for name, inner in value.items() for k, v in params(inner, f"{key}.{name}" if key else str(name)).items()}
    if isinstance(value, list) and any(isinstance(v, dict | list) for v in value) and not _is_numbers(value):
        return {k: v for i, inner in enumerate(value) for k, v in params(inner, f"{key}.{i}").items()}
    return {key: value if isinstance(value, str) else json.dumps(value)}


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_numbers(v) for v in value)
    return isinstance(value, int | float)

"""Train one experiment and keep everything about it in MLflow."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from runner import filenames, secrets, terminal
from runner.context import LONGEST, Context
from runner.settings import Settings, Tracking
from runner.signals import Interrupted, Signals
from runner.spool import Undelivered

if TYPE_CHECKING:
    from rich.console import Console

    from runner.data import Data
    from runner.events import Observer
    from runner.run import Run


def with_settings(settings: Settings, context: Context) -> int:
    """Check, build, train, record. Returns the exit code."""
    from runner import kept, screen
    from runner.prepare import prepare

    console = screen.console()
    with Signals() as signals:
        run = prepare(settings, context.name)
        kept.clear()
        try:
            signals.check()
            record(run, context, console, signals)
        finally:
            run.close()
    return 0


def record(
    run: "Run",
    context: Context,
    console: "Console",
    signals: Signals,
    run_id: str = "",
    drift: dict[str, str] | None = None,
    begun: Callable[[str], None] = lambda run_id: None,
    observers: Iterable["Observer"] = (),
) -> None:
    """Train from where `run` stands to its end, into a new MLflow run, or into `run_id`, which is continued.

    drift: tags that tell what has changed in a run that is continued.
    begun: is told the run's id as soon as there is one.
    observers: are told of the training beside the record and the screen.
    """
    from runner import exact, garbage, logged_model, screen, tracking
    from runner.limit import TimeLimit
    from runner.run import drive
    from runner.typed_words import pasted

    settings, told = run.settings, run.settings.tracking
    experiment, limit = told.experiment or context.name, TimeLimit(settings.trainer.time_limit)
    console.print(screen.layer_table(run.stack, tuple(run.data.train[0][0].shape)))
    goal = (told.uri, experiment, named(context, told), *identity(run, context, run_id, drift))
    status, values = "FAILED", dict[str, float | str]()
    try:
        with tracking.recording(*goal, run_id or None, settings.checkpoint.keep) as tracker:
            run_id = tracker.run_id
            tracker.stop_when(signals.stop)
            begun(run_id)
            console.print(where(run, told.uri, experiment, run_id), soft_wrap=True)
            watch = screen.watching(console, settings.trainer.epochs, run.steps, run.state.step)
            garbage.usual()
            exact.set_random_state(run.ready, run.device)  # whatever opening the record has drawn
            with contextlib.closing(watch):
                drive(run, tracker, watch, *observers, stop=lambda: signals.stop() or limit.stop())
            if told.log_model:
                logged_model.log(tracker, run)
            tracker.drain()
            signals.check()
        status = "FINISHED"
        store = "" if _is_default(told.uri) else pasted("tracking.uri", secrets.masked(told.uri))
        console.print(f"to see it: runner ui {store}".strip(), soft_wrap=True)
    except BaseException as error:
        status = "KILLED" if isinstance(error, Interrupted | KeyboardInterrupt) else "FAILED"
        if run_id and run.written.get("last") and not isinstance(error, Undelivered):
            console.print(f"to continue it: runner resume {run_id[:8]}")
        status = error.status if isinstance(error, Undelivered) else status
        raise
    finally:
        if run_id and not console.quiet:
            with contextlib.suppress(RuntimeError):  # a device that failed gives no figures either
                values = run.last_values()
                if "test/loss" in values:
                    step = run.history["test/loss"][-1][0]
                    values |= {"test.checkpoint": settings.trainer.test_checkpoint, "test.step": str(step)}
            terminal.put(screen.result(run_id, status, values))


def named(context: Context, told: Tracking) -> str:
    """The run's name, as long as a store takes. Jobs of one sweep must not have the same."""
    both = told.run_name and context.job
    name = f"{told.run_name}: {context.title}" if both else told.run_name or context.title
    return filenames.bounded(name, LONGEST)


def identity(
    run: "Run", context: Context, run_id: str = "", drift: dict[str, str] | None = None
) -> tuple[dict[str, str], dict[str, str], dict[str, str | bytes]]:
    """Tags, params and files that say what this run is; of one that goes on, what it is continued with."""
    return _identity(run, context) if not run_id or not run.state.step else _again(run, context, drift or {})


def _identity(run: "Run", context: Context) -> tuple[dict[str, str], dict[str, str], dict[str, str | bytes]]:
    """Tags, params and files that say what this run is."""
    from runner import environment, own_code

    code, kept = own_code.record()
    tags = {**environment.tags(context.overrides, run.device), **secrets.without(run.settings.tracking.tags)}
    tags |= context.tags | code
    files: dict[str, str | bytes] = {
        **kept,
        "config.yaml": context.yaml,
        "environment.txt": environment.text(context.overrides, run.device),
        "data.json": json.dumps(noted(run.data), indent=2, default=str) + "\n",
    }
    return tags, params(secrets.without(dataclasses.asdict(run.settings))), files


def _again(
    run: "Run", context: Context, drift: dict[str, str]
) -> tuple[dict[str, str], dict[str, str], dict[str, str | bytes]]:
    """The same of a run that is continued: what it was made with stays, what it is continued with is added."""
    from runner import environment, own_code

    step = run.state.step
    code, kept = own_code.drifted(step)
    tags = {**drift, **code, "runner.resumed": f"after step {step}"}
    files: dict[str, str | bytes] = {**kept, f"environment-{step}.txt": environment.text(context.overrides, run.device)}
    return tags, {}, {**files, "config.yaml": context.yaml} if drift else files


def noted(data: "Data") -> dict[str, Any]:
    """What a later user of the model must know of the data that it was trained on."""
    from runner.fingerprint import fingerprint

    x = data.train[0][0]
    example = {"shape": list(x.shape), "dtype": "float32" if x.is_floating_point() else str(x.dtype).split(".")[1]}
    told = {"task": data.task, "classes": list(data.classes), "notes": data.notes, "example": example}
    told |= {"report": list(data.report)} if data.report else {}
    return {**told, "sha256": fingerprint(data)}


def _is_default(uri: str) -> bool:
    return uri == "sqlite:///mlflow.db"


def where(run: Any, uri: str, experiment: str, run_id: str) -> str:
    """Device, data and the place of the record, in one line each."""
    data = run.data
    sizes = ", ".join(
        f"{len(s)} {n}" for n, s in (("train", data.train), ("valid", data.valid), ("test", data.test)) if s
    )
    understood = f"{terminal.line(data.report[0])}\n" if data.report else ""
    place = f"run {run_id} in experiment {secrets.masked(experiment)!r} of {secrets.masked(uri)}"
    return f"{understood}device {run.device}; examples: {sizes}\n{place}"


def params(value: Any, key: str = "") -> dict[str, str]:
    """Every leaf of the configuration by its dotted key; a list of plain values is one leaf."""
    if isinstance(value, dict) and value:
        return {
            k: v
            for name, inner in value.items()
            for k, v in params(inner, f"{key}.{name}" if key else str(name)).items()
        }
    if isinstance(value, list) and any(isinstance(v, dict | list) for v in value) and not _is_numbers(value):
        return {k: v for i, inner in enumerate(value) for k, v in params(inner, f"{key}.{i}").items()}
    return {key: value if isinstance(value, str) else json.dumps(value)}


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_numbers(v) for v in value)
    return isinstance(value, int | float)

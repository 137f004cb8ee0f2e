"""A training to its end, with a screen and a record in MLflow."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from runner.settings import random_state
from runner.settings.context import Context
from runner.settings.trust import secrets, terminal
from runner.tracking import identity
from runner.tracking.write.spool import Undelivered
from runner.training.machine.signals import Interrupted, Signals

if TYPE_CHECKING:
    from rich.console import Console

    from runner.tracking.opening import Opening
    from runner.tracking.write.group import Group
    from runner.tracking.write.tracker import Tracker
    from runner.training.events import Observer
    from runner.training.run import Run


def record(
    run: "Run",
    context: Context,
    console: "Console",
    signals: Signals,
    run_id: str = "",
    drift: dict[str, str] | None = None,
    begun: Callable[[str], None] = lambda run_id: None,
    observers: Iterable["Observer"] = (),
) -> dict[str, Any]:
    """Train from the step that `run` is at to its end, recorded in a new MLflow run, or in `run_id`, which continues.

    Returns the run's id, experiment, store, status, steps and last values.

    context: how the run was configured: its name, its tags, its YAML.
    console: shows the layers, the progress and the results; a quiet one shows nothing.
    signals: those that end the training with a checkpoint.
    drift: tags with what has changed in a run that is continued.
    begun: called with the run's id as soon as there is one.
    observers: receive the run's events, as the record and the screen do.
    Raises ConfigError if no run can be recorded, Undelivered if the store does not have all of the record at the end,
    Interrupted after a signal, and whatever the training raises.
    """
    from runner.tracking import pages, screen, training_screen
    from runner.tracking.read import logged_model
    from runner.training.capture import choice
    from runner.training.drive import drive
    from runner.training.machine import garbage
    from runner.training.machine.time_limit import TimeLimit
    from runner.training.state import generators

    settings, tracking = run.settings, run.settings.tracking
    experiment, limit = tracking.experiment or context.name, TimeLimit(settings.trainer.time_limit)
    console.print(training_screen.layer_table(run.stack, run.data.train[0][0]))
    opening, status, home = opened(run, context, run_id, drift), "FAILED", ""
    try:
        with opening as tracker:
            run_id, home = tracker.run_id, tracker.experiment_id
            tracker.stop_when(signals.stop)
            begun(run_id)
            terminal.event("run", run=run_id, experiment=experiment, uri=secrets.masked_uri(tracking.uri))
            console.print(_where(run, tracking.uri, experiment, run_id), soft_wrap=True)
            watch = training_screen.watching(console, run.length, run.state.step, run_id)
            run.health.say = terminal.say if not console.quiet else run.health.say
            garbage.usual()
            generators.set_random_state(run.ready, run.device)  # opening the record may have drawn numbers
            with contextlib.closing(watch):
                drive(run, tracker, watch, *observers, stop=lambda: signals.stop() or limit.stop())
            if line := choice.note(run.step, settings.trainer, run.device):
                console.print(line, soft_wrap=True)
            for line in run.debugging.lines():
                console.print(line, soft_wrap=True)
            if tracking.log_model:
                logged_model.log(tracker, run)
            tracker.drain()
            signals.check()
        status = "FINISHED"
    except BaseException as error:
        status = "KILLED" if isinstance(error, Interrupted | KeyboardInterrupt) else "FAILED"
        if run_id and run.written.steps.get("last") and not isinstance(error, Undelivered):
            console.print(f"to continue it: runner resume {run_id[:8]}")
        status = error.status if isinstance(error, Undelivered) else status
        raise
    finally:
        if run_id and not console.quiet:
            terminal.put(f"to see it: {pages.seen(tracking.uri, run_id, home)}")
            terminal.put(screen.result(run_id, status, _results(run)))
    return {
        "run": run_id,
        "experiment": secrets.masked(experiment),
        "uri": tracking.uri,
        "status": status,
        "step": run.state.step,
        "steps": run.steps,
        "metrics": _results(run),
    }


def opened(
    run: "Run",
    context: Context,
    run_id: str = "",
    drift: dict[str, str] | None = None,
    group: "Group | None" = None,
) -> contextlib.AbstractContextManager["Tracker"]:
    """Return the record of a run, to be entered for its training: a new MLflow run, or `run_id`, which continues.

    context, drift: see `record`. group: whose thread delivers it with the records of other runs.
    """
    from runner.tracking import recording

    tracking = run.settings.tracking
    tags, params, files = identity.of_run(run, context, run_id, drift)
    return recording.recording(
        uri=tracking.uri,
        experiment=tracking.experiment or context.name,
        run_name=identity.name(context, tracking),
        tags=tags,
        params=params,
        files=files,
        run_id=run_id or None,
        keep=run.settings.checkpoint.keep,
        group=group,
    )


def all_opened(
    runs: "Sequence[tuple[Run, Context]]", group: "Group"
) -> "Iterator[tuple[int, contextlib.AbstractContextManager[Tracker]]]":
    """Yield the records of new runs with their numbers, each to be entered at once and left after its training.

    Those of a local store are opened together.
    runs: with their contexts, see `record`. group: whose thread delivers them.
    Raises what `recording` raises.
    """
    from runner.tracking import opening, recording

    places: dict[tuple[str, str], list[int]] = {}
    for number, (run, context) in enumerate(runs):
        tracking = run.settings.tracking
        places.setdefault((tracking.uri, tracking.experiment or context.name), []).append(number)
    for (uri, experiment), numbers in places.items():
        for start in range(0, len(numbers), opening.MOST):
            part = numbers[start : start + opening.MOST]
            with secrets.steady():
                known: dict[Any, Any] = {}
                openings = [_opening(*runs[number], known) for number in part]
                trackers = opening.opened(uri, experiment, openings, group)
            for i, number in enumerate(part):
                yield number, opened(*runs[number], group=group) if trackers is None else recording.ending(trackers[i])


def _opening(run: "Run", context: Context, known: dict[Any, Any]) -> "Opening":
    from runner.tracking.opening import Opening

    random_state.restrain(run.settings.trainer, run.threads)  # the record has the number of threads
    name = identity.name(context, run.settings.tracking)
    return Opening(name, *identity.of_run(run, context, known=known), run.settings.checkpoint.keep)


def _where(run: Any, uri: str, experiment: str, run_id: str) -> str:
    """Return lines about the data that a source has read, the device and the sizes, and the place of the record."""
    from runner.training.augment import treatment
    from runner.training.checking import untrained

    data = run.data
    sizes = ", ".join(
        f"{len(s)} {n}" for n, s in (("train", data.train), ("valid", data.valid), ("test", data.test)) if s
    )
    report = f"{terminal.line(data.report[0])}\n" if data.report else ""
    place = f"run {run_id} in experiment {secrets.masked(experiment)!r} of {secrets.masked(uri)}"
    notes = treatment.lines(run.parts.treatment, run.loss, data) + untrained.lines(run.parts, run.loss, run.stack)
    treated = "".join(f"{terminal.line(line)}\n" for line in notes)
    return f"{report}{treated}device {run.device}; examples: {sizes}\n{place}"


def _results(run: "Run") -> dict[str, float | str]:
    """Return the last values of a run, with the checkpoint that was tested; {} if its device has failed."""
    values: dict[str, float | str] = {}
    with contextlib.suppress(RuntimeError):
        values |= run.last_values()
        if "test/loss" in values:
            step = run.history["test/loss"][-1][0]
            values |= {"test.checkpoint": run.settings.trainer.test_checkpoint, "test.step": str(step)}
    return values

"""The command `resume`: continue an interrupted run in its record, exactly as if it had not stopped."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runner.commands._result import Result, nothing
from runner.settings import Settings
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.settings.trust import secrets, terminal
from runner.settings.values.tags import letters
from runner.training.machine.signals import Signals

if TYPE_CHECKING:
    from runner.tracking.read.checkpoints import CheckpointRef
    from runner.training.run import Run


def with_run(uri: str, run: str, change: Callable[[Settings], Settings], *, code: str = "") -> Result | int:
    """Train `run` to its end, or to epoch N with `trainer.epochs=N`.

    code: recorded or current, if the user's own code has changed since; without it, a change is an error.
    """
    from runner.settings import loaded, random_state
    from runner.settings.errors import full_message
    from runner.settings.trust import recorded_settings
    from runner.tracking import recorded_code, recording, screen
    from runner.tracking.read import drift, recall, restoring
    from runner.tracking.session import record
    from runner.training.parts import data_cache
    from runner.training.prepare import prepare
    from runner.training.state.checkpoint import CheckpointError

    run_id = recall.find_run(uri, run)
    recording.deliver(uri, run_id)
    status, experiment = recall.status(uri, run_id)
    if status == "RUNNING":
        raise ConfigError("", f"run {run_id} is RUNNING: its process is still at work, or was on another machine")
    recorded_code.take_up(uri, [run_id], code, f"run {run_id}")
    recorded = recall.settings(uri, run_id)
    settings = change(recorded)
    changes = drift.changes(recorded, settings)
    settings = dataclasses.replace(settings, tracking=dataclasses.replace(settings.tracking, uri=uri))
    with Signals() as signals:
        tags = recall.facts(uri, run_id)[1]
        threads = random_state.recorded(recorded.trainer, tags)
        with drift.data_in_place(settings), loaded.as_recorded(tags):
            prepared = prepare(
                restoring.without_start(settings), experiment, None if "trainer.threads" in changes else threads
            )
        data_cache.clear()
        try:
            restoring.check_data(prepared, recall.data(uri, run_id))
            entry, old_steps = restoring.to_newest(prepared, uri, run_id)
            _check_record(recall.last_step(uri, run_id), entry, drift.steers(changes))
            drift.apply(prepared, changes, old_steps)
            if status == "FINISHED" and prepared.state.step >= prepared.steps:
                terminal.put(
                    f"run {run_id} is FINISHED after {prepared.epoch} epochs; trainer.epochs=N continues it up to N"
                )
                return Result({"run": run_id, "uri": uri, "status": status}, nothing)
            _check_length(prepared)
            signals.check()
            terminal.put(f"run {run_id} continues after step {entry.step} of {prepared.steps}")
            text = recorded_settings.write(secrets.without(dataclasses.asdict(settings)))
            context = Context(experiment, text, [secrets.word(f"{key}={new}") for key, (_, new) in changes.items()])
            drifted = _drifted(changes, entry.step, recall.facts(uri, run_id)[1])
            if "trainer.threads" in changes:
                drifted["threads"] = str(prepared.threads)
            return Result(record(prepared, context, screen.console(), signals, run_id, drifted), nothing)
        except CheckpointError as error:
            terminal.say(full_message(error))
            return 1
        finally:
            prepared.close()


def _check_length(run: "Run") -> None:
    """Raise ConfigError for a training that would be shorter than what is trained already."""
    if run.state.step > run.steps:
        key = "epochs" if run.settings.trainer.steps is None else "steps"
        least = run.state.step if key == "steps" else -(-run.state.step // run.steps_per_epoch)
        raise ConfigError(
            f"trainer.{key}",
            f"{getattr(run.settings.trainer, key)} are {run.steps} steps, and the run has taken {run.state.step};"
            f" expected at least {least}",
        )


def _check_record(last: int, entry: "CheckpointRef", steers: bool) -> None:
    """Raise ConfigError for changes that steer training, if recorded steps lie behind the checkpoint.

    These steps are trained again, and must give the recorded values.
    """
    if steers and last > entry.step:
        raise ConfigError(
            "",
            f"the record ends at step {last}, and the checkpoint is of step {entry.step}: recorded steps cannot be"
            " trained with other settings; continue without changes, or start another run",
        )


def _drifted(changes: dict[str, tuple[Any, Any]], step: int, tags: dict[str, str]) -> dict[str, str]:
    """Return tags of the changes, behind earlier ones of a length.

    They clear the digest too, by which sweeps reuse runs of the first configuration.
    """
    from runner.tracking.read import lengthened

    digest = {"runner.digest": ""} if changes else {}
    shown = {key: [secrets.without(value, key) for value in values] for key, values in changes.items()}
    drifted = {letters(f"drift.{key}"): f"{old!r} -> {new!r} after step {step}" for key, (old, new) in shown.items()}
    for key in (f"drift.{key}" for key in lengthened.KEYS):
        if key in drifted and tags.get(key):
            drifted[key] = f"{tags[key]}; {drifted[key]}"
    return digest | drifted

"""Continue an interrupted run in its own record, exactly as if it had never stopped."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runner.settings import Settings
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.settings.trust import secrets, terminal
from runner.training.machine.signals import Signals

if TYPE_CHECKING:
    from runner.tracking.read.checkpoints import CheckpointRef


def with_run(uri: str, run: str, change: Callable[[Settings], Settings], *, code: str = "") -> int:
    """Train `run` to its end; `trainer.epochs=N` makes it longer. Returns the exit code.

    code: recorded or current where files of one's own have changed; "" refuses to go on then.
    """
    from runner.settings import random_state
    from runner.settings.errors import told
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
    found = drift.changes(recorded, settings)
    settings = dataclasses.replace(settings, tracking=dataclasses.replace(settings.tracking, uri=uri))
    with Signals() as signals:
        threads = random_state.recorded(recorded.trainer, recall.facts(uri, run_id)[1])
        with drift.data_in_place(settings):
            made = prepare(settings, experiment, None if "trainer.threads" in found else threads)
        data_cache.clear()
        try:
            restoring.check_data(made, recall.data(uri, run_id))
            entry, old_steps = restoring.to_newest(made, uri, run_id)
            _check_record(recall.last_step(uri, run_id), entry, drift.steers(found))
            drift.apply(made, found, old_steps)
            if status == "FINISHED" and made.state.step >= made.steps:
                done = f"run {run_id} is FINISHED after {made.epoch} epochs"
                terminal.put(f"{done}; trainer.epochs=N continues it up to N")
                return 0
            signals.check()
            terminal.put(f"run {run_id} continues after step {entry.step} of {made.steps}")
            text = recorded_settings.write(secrets.without(dataclasses.asdict(settings)))
            context = Context(experiment, text, [secrets.word(f"{key}={new}") for key, (_, new) in found.items()])
            drifted = _drifted(found, entry.step)
            if "trainer.threads" in found:
                drifted["threads"] = str(made.threads)
            record(made, context, screen.console(), signals, run_id, drifted)
        except CheckpointError as error:
            terminal.say(told(error))
            return 1
        finally:
            made.close()
    return 0


def _check_record(last: int, entry: "CheckpointRef", steers: bool) -> None:
    """Steps that were recorded, and lost with the process, are repeated with the same bits; not with other settings."""
    if steers and last > entry.step:
        raise ConfigError(
            "",
            f"the record goes on to step {last}, and the checkpoint is of step {entry.step}: what was recorded cannot"
            " be trained otherwise; continue without changes, or start a run of its own",
        )


def _drifted(found: dict[str, tuple[Any, Any]], step: int) -> dict[str, str]:
    """Tags. What a sweep may take for a run of the first configuration, it is no more."""
    untrue = {"runner.digest": ""} if found else {}
    shown = {key: [secrets.without(value, key) for value in values] for key, values in found.items()}
    return untrue | {f"drift.{key}": f"{old!r} -> {new!r} after step {step}" for key, (old, new) in shown.items()}

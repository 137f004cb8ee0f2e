"""The command `again`: a new run with the recorded configuration and code of an earlier one."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from runner.commands._result import Result, nothing
from runner.settings import Settings, Sweep
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.settings.trust import record_reading, secrets, terminal
from runner.training.machine.signals import Signals

if TYPE_CHECKING:
    from runner.training.run import Run


def with_run(uri: str, run: str, change: Callable[[Settings], Settings], *, code: str = "") -> Result:
    """Train a recorded run anew, as a new run, from its recorded configuration with the overrides on top.

    Without overrides it ends with the same weights, bit by bit, where versions, machine and data are the same. Of a
    sweep all jobs are run anew, under a new sweep.
    code: recorded or current, if the user's own code has changed since; without it, a change is an error.
    """
    from runner.settings import loaded, random_state
    from runner.settings.trust import recorded_settings
    from runner.tracking import recorded_code, screen
    from runner.tracking.read import recall, restoring, whole
    from runner.tracking.session import record
    from runner.training.parts import data_cache
    from runner.training.prepare import prepare

    run_id = recall.find(uri, run)
    recall.say_last(run, recall.run(uri, run_id))
    _, tags, _ = recall.facts(uri, run_id)
    recorded, experiment = recall.settings(uri, run_id), recall.status(uri, run_id)[1]
    recorded_code.take(uri, run_id, code, f"run {run_id}")
    settings = change(recorded)
    settings = dataclasses.replace(
        settings, sweep=Sweep(), tracking=dataclasses.replace(settings.tracking, uri=uri)
    )  # of a sweep's job, which is no sweep
    if settings.model.start == recorded.model.start:
        settings = dataclasses.replace(settings, model=restoring.started(settings.model, tags))
    threads = None
    if settings.trainer.threads == recorded.trainer.threads:
        threads = random_state.tagged(tags) or random_state.recorded(recorded.trainer, tags)
    with Signals() as signals:
        with loaded.as_recorded(tags):
            prepared = prepare(settings, experiment, threads)
        data_cache.clear()
        try:
            _say_differences(prepared, uri, run_id, tags, settings.data == recorded.data)
            signals.check()
            text = recorded_settings.write(secrets.without(dataclasses.asdict(settings)))
            words = _words(tags, recorded, settings)
            context = Context(experiment, text, words, {whole.AGAIN: run_id})
            ended = record(prepared, context, screen.console(), signals)
        finally:
            prepared.close()
    return Result({**ended, "again": run_id}, nothing)


def _words(tags: dict[str, str], recorded: Settings, settings: Settings) -> list[str]:
    """Return the words that a run was started with, and one for each value that is another now."""
    from runner.tracking.identity import params
    from runner.tracking.read import whole

    was, now = (params(secrets.without(dataclasses.asdict(one))) for one in (recorded, settings))
    left_out = ("tracking.uri", "sweep.", "model.start.")  # the store, and what is no wish of a person
    changed = {k: v for k, v in now.items() if was.get(k) != v and not k.startswith(left_out)}
    others = [word for word in whole.typed_with(tags) if word.partition("=")[0].lstrip("+") not in changed]
    return [*others, *(f"{key}={value}" for key, value in changed.items())]


def _say_differences(run: "Run", uri: str, run_id: str, tags: dict[str, str], same_data: bool) -> None:
    """Report on standard error why the new run cannot be the same as the recorded one."""
    from runner.tracking.identity import TOGETHER
    from runner.tracking.read import recall, restoring

    if same_data:
        try:
            restoring.check_data(run, recall.data(uri, run_id))
        except ConfigError as error:
            terminal.say(str(error).removesuffix("; bring them back"))
    if changes := [key.removeprefix("drift.") for key in tags if key.startswith("drift.")]:
        names = ", ".join(sorted(changes))
        terminal.say(f"run {run_id} was continued with other values of {names}; the new run has the last ones")
    if many := record_reading.line(tags.get(TOGETHER))[:20]:
        terminal.say(f"it was one of {many} that were trained as one program; trained alone, its last bits will differ")

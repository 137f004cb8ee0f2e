"""Restoring a recorded run into one that has just been prepared."""

import dataclasses
from typing import TYPE_CHECKING, Any

from runner.settings import Model, Settings
from runner.settings.errors import ConfigError
from runner.settings.trust import terminal

if TYPE_CHECKING:
    from runner.tracking.read.checkpoints import CheckpointRef
    from runner.training.run import Run


def without_start(settings: Settings) -> Settings:
    """Return the settings without the weights of before, for a run that gets those of its own checkpoint."""
    return dataclasses.replace(settings, model=dataclasses.replace(settings.model, start=None))


def started(model: Model, tags: dict[str, str]) -> Model:
    """Return the settings of a recorded run's model, starting from the very weights that its tags name."""
    if not model.start or "start.sha256" not in tags:
        return model
    pinned = {name: tags[f"start.{name}"] for name in ("run", "checkpoint", "sha256") if f"start.{name}" in tags}
    return dataclasses.replace(model, start={**model.start, **pinned})


def going_on(settings: Settings, uri: str, run_id: str) -> Settings:
    """Return the settings with which a recorded run goes on: from its own checkpoint, where it has one."""
    from runner.tracking.read import checkpoints

    return without_start(settings) if checkpoints.recorded(uri, run_id, "last") else settings


def restore(run: "Run", uri: str, run_id: str) -> None:
    """Give a run that has just been prepared the state of a recorded one; none if that has no checkpoint.

    Raises ConfigError if the data have changed, CheckpointError if no checkpoint can be loaded.
    """
    from runner.tracking.read import checkpoints, recall

    if checkpoints.recorded(uri, run_id, "last"):
        check_data(run, recall.data(uri, run_id))
        to_newest(run, uri, run_id)


def to_newest(run: "Run", uri: str, run_id: str) -> tuple["CheckpointRef", int]:
    """Give a prepared run the state in the newest checkpoint that can be loaded.

    Returns that checkpoint, and how many steps the whole training had when it was written. Checkpoints that cannot be
    loaded are reported on standard error.
    Raises CheckpointError if none can be, ConfigError if there is none.
    """
    from runner.model import stack
    from runner.tracking.read import checkpoints

    checkpoint, weights, training, problems = checkpoints.state(uri, run_id, stack.classes(run.stack))
    for problem in problems:
        terminal.say(f"{problem}; falling back to the checkpoint of step {checkpoint.step}")
    run.load_state_dict(weights, training)
    run.written.steps = {"last": checkpoint.step}
    for name in ("best", *run.average.checkpoints):
        for other in checkpoints.recorded(uri, run_id, name):
            run.written.steps[name] = other.step
    return checkpoint, int(training["steps"])


def check_data(run: "Run", recorded: dict[str, Any]) -> None:
    """Raise ConfigError if the run's data have other digests than those in `recorded`, a run's data.json."""
    from runner.training.state.fingerprint import fingerprint

    was, now = recorded.get("sha256"), fingerprint(run.data)
    if was is not None and was != now:
        parts = ", ".join(name for name in {**was, **now} if was.get(name) != now.get(name))
        raise ConfigError("data", f"the {parts} data are not those that the run was trained on; bring them back")
    if other := other_files(run, recorded):
        raise ConfigError("data", f"{other}; bring them back")


def other_files(run: "Run", recorded: dict[str, Any]) -> str:
    """Return words for files of a dataset that are not those in `recorded`, a run's data.json; "" where they are."""
    was, now = recorded["notes"].get("files"), run.data.notes.get("files")
    if was is None or now is None or was == now:
        return ""
    counts = " and ".join(f"{one.get('count')} of {one.get('bytes')} bytes" for one in (was, now))
    return f"the dataset's files are not those that the run was trained on ({counts}, other contents)"

"""A run that has just been prepared is put where a recorded one stood."""

from typing import TYPE_CHECKING, Any

from runner.settings.errors import ConfigError
from runner.settings.trust import terminal

if TYPE_CHECKING:
    from runner.tracking.read.recall import Kept
    from runner.training.run import Run


def restore(made: "Run", uri: str, run_id: str) -> None:
    """Put a run that has just been prepared where the recorded one stood; at its beginning if it kept no checkpoint.

    Raises ConfigError if the data have changed, CheckpointError if no checkpoint can be loaded.
    """
    from runner.tracking.read import recall

    if recall.kept(uri, run_id, "last"):
        check_data(made, recall.data(uri, run_id))
        to_newest(made, uri, run_id)


def to_newest(made: "Run", uri: str, run_id: str) -> tuple["Kept", int]:
    """Put the run where its newest good checkpoint is. Gives that checkpoint, and the length of training it knew."""
    from runner.model import stack
    from runner.tracking.read import recall

    entry, weights, training, wrong = recall.state(uri, run_id, stack.classes(made.stack))
    for problem in wrong:
        terminal.say(f"{problem}; falling back to the checkpoint of step {entry.step}")
    made.load_state_dict(weights, training)
    made.written.steps = {"last": entry.step}
    for kept in recall.kept(uri, run_id, "best"):
        made.written.steps["best"] = kept.step
    return entry, int(training["steps"])


def check_data(made: "Run", told: dict[str, Any]) -> None:
    """Raise ConfigError if the run's data are not those of which the record `told` has the digests."""
    from runner.training.state.fingerprint import fingerprint

    was, now = told.get("sha256"), fingerprint(made.data)
    if was is not None and was != now:
        parts = ", ".join(name for name in {**was, **now} if was.get(name) != now.get(name))
        raise ConfigError("data", f"the {parts} data are not those that the run was trained on; bring them back")

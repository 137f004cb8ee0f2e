"""The command `note`: describe a recorded run."""

from runner.commands._result import Result
from runner.commands.tag import LONGEST
from runner.settings.errors import ConfigError
from runner.settings.trust import secrets, terminal

_SHOWN = "\0"  # no text that can be typed


def with_run(uri: str, run: str, text: str = _SHOWN) -> Result:
    """Describe a run or a sweep in words, as MLflow's UI shows them; "" removes them. Without a TEXT, print them."""
    from runner.tracking.read import plain, recall

    if len(text) > LONGEST:
        raise ConfigError("text", f"the note has {len(text):,} characters; at most {LONGEST:,}")
    run_id, client = recall.find(uri, run), recall.existing(uri)
    record = client.get_run(run_id)
    recall.say_last(run, record)
    before = record.data.tags.get(plain.NOTE, "")
    if text == _SHOWN:
        return Result({"id": run_id, "note": before}, lambda: terminal.put(before or f"run {run_id} has no note"))
    if text:
        client.set_tag(run_id, plain.NOTE, secrets.masked(text))
    elif before:
        client.delete_tag(run_id, plain.NOTE)
    return Result({"id": run_id, "note": text}, lambda: terminal.put(f"run {run_id}: {text or 'no note'}"))

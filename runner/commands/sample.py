"""The command `sample`: text that a recorded language model writes."""

from runner.commands import _words
from runner.commands._result import Result
from runner.settings.errors import ConfigError, full_message
from runner.settings.trust import terminal


def with_run(
    uri: str,
    run: str,
    *,
    prompt: str = "",
    length: str = "200",
    temperature: str = "1.0",
    top_k: str = "",
    seed: str = "0",
    checkpoint: str = "best",
    code: str = "current",
) -> Result | int:
    """Print `prompt` and the tokens that the model draws behind it, one after the other.

    prompt: the beginning; "" begins with a token drawn from all alike. length: tokens to draw.
    temperature: below 1 the likely ones are drawn more often, 0 takes the likeliest. top_k: only among the k likeliest.
    seed: of the draws; the same seed writes the same text.
    code: current or recorded, for the user's own layers.
    """
    many, start = _words.whole("length", length), _words.whole("seed", seed, least=0)
    few, warmth = _words.whole("top_k", top_k) if top_k else None, _number("temperature", temperature)
    from runner.tracking.read import load, recall
    from runner.tracking.read.generation import Draw, Language
    from runner.training.state.checkpoint import CheckpointError

    run_id = recall.find_run(uri, run)
    data = recall.data(uri, run_id)
    if "vocabulary" not in data["notes"]:
        raise ConfigError("", f"run {run_id} has no vocabulary, so that it writes no text; give one of data=text")
    try:
        model = load.load(run_id, uri, checkpoint, code=code)
    except CheckpointError as error:
        terminal.say(full_message(error))
        return 1
    notes = {"tokens": "characters", "lower": False, **data["notes"]}
    carries = recall.settings(uri, run_id).trainer.carry
    language = Language(model, notes, int(data["example"]["shape"][0]), carries)
    text = language.generate(prompt, many, Draw(warmth, few), start)
    return Result({"run": run_id, "checkpoint": checkpoint, "text": text}, lambda: terminal.put(*text.split("\n")))


def _number(key: str, word: str) -> float:
    """Return the number of at least 0 typed for `key`."""
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ConfigError(key, f"{word!r} is not a number of at least 0")
    return value

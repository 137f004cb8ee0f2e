"""All problems of a configuration that cannot be composed: each is left out, and the rest is composed again."""

from collections.abc import Callable

from omegaconf import DictConfig

from runner.cli.compose import configuration
from runner.cli.guard import composition, files
from runner.settings.errors import ConfigError
from runner.settings.files.origins import plain

#: Most problems that are looked for; each takes a tenth of a second.
TRIES = 20

Compose = Callable[[list[str]], DictConfig]


def report(error: Exception, words: list[str], compose: Compose | None = None) -> str:
    """Return the message of `error` and those of everything else that is wrong, one below the other.

    words: the overrides.
    compose: makes a configuration of them, for a job of a sweep. It may keep what it has read of files, so that nothing
        is left out of those; None composes as Hydra does.
    """
    reads_files, compose = compose is None, compose or composition.compose_ours
    messages: list[str] = []
    rest = list(words)
    with files.leaving_out() as left_out:
        for _ in range(TRIES):
            message = _message(error, rest)
            if not message or message in messages:
                break
            messages.append(message)
            key = plain(message.partition(": ")[0])
            if key.partition(".")[0].partition("[")[0] in ("defaults", "hydra"):
                break  # without what a file chooses, it is another configuration
            others = [word for word in rest if plain(word.partition("=")[0].lstrip("+~")) != key and word != key]
            typed = len(others) < len(rest)
            if isinstance(error, ConfigError) or (not typed and (key in left_out or not reads_files)):
                break
            if not typed:
                left_out.add(key)
            rest = others
            next_error = _problem(rest, compose)
            if next_error is None:
                break
            error = next_error
    return "\n".join(messages)


def _message(error: Exception, words: list[str]) -> str:
    if isinstance(error, ConfigError):
        return configuration.placed(error, words)
    return configuration.explained(error, words)


def _problem(words: list[str], compose: Compose) -> Exception | None:
    """Return what is wrong with the configuration of these words; None if nothing is."""
    from runner.training.checking import checks

    try:
        config = compose(words)
    except (*configuration.ERRORS, ValueError, TypeError) as error:  # Hydra raises plain ones too, for the wrong preset
        return error
    try:
        checks.check(configuration.settings(config, words))
    except configuration.ERRORS as error:
        return error
    return None

"""All problems of a configuration that cannot even be composed: what is wrong is left out, and it is composed again."""

from collections.abc import Callable
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, flag_override

from runner.cli import guard
from runner.cli.compose import configuration
from runner.settings.errors import ConfigError
from runner.settings.files.origins import plain

#: Times that it is tried again; each takes a tenth of a second.
TRIES = 20

Compose = Callable[[list[str]], DictConfig]


def told(error: Exception, words: list[str], compose: Compose | None = None) -> str:
    """The message of `error`, and those of everything else that is wrong, one below the other.

    words: the overrides; compose: makes a configuration of them, for the job of a sweep. It may keep what it has read
        of files, so that nothing is left out of those.
    """
    files, compose = compose is None, compose or _composed
    messages: list[str] = []
    left = list(words)
    with guard.leaving_out() as left_out:
        for _ in range(TRIES):
            message = _message(error, left)
            if not message or message in messages:
                break
            messages.append(message)
            key = plain(message.partition(": ")[0])
            if key.partition(".")[0].partition("[")[0] in ("defaults", "hydra"):
                break  # without what a file chooses, it is another configuration
            kept = [word for word in left if plain(word.partition("=")[0].lstrip("+~")) != key and word != key]
            if isinstance(error, ConfigError) or (len(kept) == len(left) and (key in left_out or not files)):
                break
            if len(kept) == len(left):
                left_out.add(key)
            left = kept
            found = _problem(left, compose)
            if found is None:
                break
            error = found
    return "\n".join(messages)


def _message(error: Exception, words: list[str]) -> str:
    return (
        configuration.placed(error, words) if isinstance(error, ConfigError) else configuration.explained(error, words)
    )


def _problem(words: list[str], compose: Compose) -> Exception | None:
    """What is wrong with the rest; None if nothing is."""
    from runner.training.checking import checks

    try:
        checks.check(configuration.settings(compose(words), words))
    except configuration.ERRORS as error:
        return error
    return None


def _composed(words: list[str]) -> DictConfig:
    found: Any = guard.compose(words, RunMode.RUN)
    HydraConfig.instance().set_config(found)
    with flag_override(found, ["struct", "readonly"], [False, False]):
        del found["hydra"]
    return found  # type: ignore[no-any-return]

"""What is wrong with a configuration: one problem, or all of them together."""

import contextlib
import difflib
import itertools
import re
from collections.abc import Iterable, Iterator

from runner.settings.files import durable
from runner.settings.trust import terminal


class ConfigError(ValueError):
    """Something a user wrote is wrong. `key` is the key as one would type it."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(terminal.shown(f"{key}: {problem}" if key else problem))
        self.key = key


class ConfigErrors(ConfigError):
    """Several problems of one configuration, in the order in which they were found."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = [single for error in errors for single in each(error)]
        super().__init__("", f"{len(self.errors)} problems")
        self.key = self.errors[0].key

    def __str__(self) -> str:
        return "\n".join(map(told, self.errors))


class Failure(RuntimeError):
    """The work failed of something that one sentence tells: exit code 1, and no traceback."""

    def __str__(self) -> str:
        return terminal.shown(super().__str__())


class Unreachable(Failure):
    """A tracking store did not hand over what it has."""


class OutOfMemory(Failure):
    """The memory of the device was not enough for a step."""


class Problems:
    """Collects errors, so that one does not hide the others."""

    def __init__(self) -> None:
        self.found: list[ConfigError] = []

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """A ConfigError that ends the block is kept, and what follows the block goes on."""
        try:
            yield
        except ConfigError as error:
            self.found += [e for e in each(error) if str(e) not in map(str, self.found)]

    def add(self, key: str, problem: str) -> None:
        with self.noted():
            raise ConfigError(key, problem)

    def tell(self) -> None:
        """Raise what was found, if anything was."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise ConfigErrors(self.found)


def each(error: ConfigError) -> list[ConfigError]:
    """The problems that an error consists of."""
    return list(error.errors) if isinstance(error, ConfigErrors) else [error]


def sentence(error: BaseException) -> str | None:
    """Return the message for a failure that needs no traceback; None for any other error."""
    if isinstance(error, Failure):
        return told(error)
    why = durable.reason(error) if isinstance(error, OSError) else None
    if type(error).__module__ == "mlflow.exceptions":  # by its name: MLflow takes a second to load
        why = durable.reason(error) or f"the tracking store does not answer as expected: {first_line(error)}"
    return None if why is None else "\n".join([why, *getattr(error, "__notes__", [])])


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, "" if it has none; of a server's failure, which server and why."""
    first = str(error).strip().split("\n")[0]
    server = re.match(r"API request to (\w+://[^/\s]+)\S* failed with exception ", first)
    if server is None:
        return first
    if answer := re.search(r"too many (\d+) error responses", first):
        return f"{server[1]} answers with error {answer[1]}"
    why = re.search(r"\[Errno -?\d+\] ([\w ]+)|(timed out)|([Cc]ertificate[\w ]+)", first)
    return f"{server[1]} does not answer" + (f": {why[0].rpartition('] ')[2]}" if why else "")


def brief(error: BaseException) -> str:
    """Return the first line of the message; of an error without words, the name of its class."""
    return first_line(error) or type(error).__name__


def labelled(error: BaseException) -> str:
    """Return `ValueError: its first line`; of an error without words, the name of its class alone."""
    return f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")


def told(error: BaseException) -> str:
    """The message and the notes below it."""
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


#: Characters of a wrong name, and right names, beyond which looking for the nearest takes seconds.
LONG, MANY = 200, 10_000


def did_you_mean(wrong: str, right: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing when no right name is near."""
    if len(str(wrong)) > LONG:
        return ""
    names = {str(n).lower(): str(n) for n in itertools.islice(right, MANY)}
    near = difflib.get_close_matches(str(wrong).lower(), names, n=1, cutoff=0.5)
    return f"; did you mean {names[near[0]]!r}?" if near else ""

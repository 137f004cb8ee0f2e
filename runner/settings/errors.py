"""Errors that a person reads: problems of a configuration, one or all of them, and failures without a traceback."""

import contextlib
import difflib
import itertools
import re
from collections.abc import Iterable, Iterator

from runner.settings.files import durable
from runner.settings.trust import terminal


class ConfigError(ValueError):
    """Something a user wrote is wrong.

    key: as one would type it; "" if the problem is about none.
    problem: what was found, what is expected, and the remedy.
    pasted: the problem ends with words to paste into a shell, so that nothing is added to its last line.
    """

    def __init__(self, key: str, problem: str, *, pasted: bool = False) -> None:
        super().__init__(terminal.shown(f"{key}: {problem}" if key else problem))
        self.key, self.pasted = key, pasted

    def at(self, place: str) -> str:
        """Return the message with the file and line that it is about; "" for a value that no file sets."""
        if not place:
            return str(self)
        return f"{self}\n({place})" if self.pasted else f"{self} ({place})"


class ConfigErrors(ConfigError):
    """Several problems of one configuration, in the order in which the checks met them."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = [single for error in errors for single in each(error)]
        super().__init__("", f"{len(self.errors)} problems")
        self.key = self.errors[0].key

    def __str__(self) -> str:
        return "\n".join(map(full_message, self.errors))


class Refused(ConfigError):
    """All problems of a command as a person reads them, one a line, with their places and what was meant."""

    def __init__(self, message: str) -> None:
        super().__init__("", terminal.clean(message))


class Failure(RuntimeError):
    """A failure that one sentence explains: exit code 1, and no traceback."""

    def __str__(self) -> str:
        return terminal.shown(super().__str__())


class Unreachable(Failure):
    """A tracking store that does not answer, or not completely."""


class OutOfMemory(Failure):
    """Too little memory on the device for a step."""


class Problems:
    """Collects errors, so that one does not hide the others: `collect` around each check, `raise_all` at the end."""

    def __init__(self) -> None:
        self.errors: list[ConfigError] = []

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        """Collect a ConfigError that ends the block, and go on after it."""
        try:
            yield
        except ConfigError as error:
            self.errors += [e for e in each(error) if str(e) not in map(str, self.errors)]

    def add(self, key: str, problem: str) -> None:
        """Collect a problem of a key."""
        with self.collect():
            raise ConfigError(key, problem)

    def raise_all(self) -> None:
        """Raise the collected error, or ConfigErrors for several; nothing if there is none."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise ConfigErrors(self.errors)


def each(error: ConfigError) -> list[ConfigError]:
    """Return the single problems of an error."""
    return list(error.errors) if isinstance(error, ConfigErrors) else [error]


def sentence(error: BaseException) -> str | None:
    """Return the message for a failure that needs no traceback; None for any other error."""
    if isinstance(error, Failure):
        return full_message(error)
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


def full_message(error: BaseException) -> str:
    """Return an error's message with its notes in lines below it."""
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


#: Characters of a wrong name and number of right ones beyond which the search for the nearest takes seconds.
LONG, MANY = 200, 10_000


def did_you_mean(wrong: str, right: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or "" where no right name is near."""
    if len(str(wrong)) > LONG:
        return ""
    names = {str(n).lower(): str(n) for n in itertools.islice(right, MANY)}
    near = difflib.get_close_matches(str(wrong).lower(), names, n=1, cutoff=0.5)
    return f"; did you mean {names[near[0]]!r}?" if near else ""


def batch_shape(sizes: Iterable[int]) -> str:
    """Return the shape of a batch of examples of these sizes in words: (N, 3, 8, 8); (N,) for single numbers."""
    shape = ", ".join(["N", *map(str, sizes)])
    return f"({shape})" if "," in shape else f"({shape},)"

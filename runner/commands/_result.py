"""The result of a command: plain values for programs, and how a person reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """The outcome of a command.

    plain: text, numbers, truth values and None, in lists and dicts, at full precision; `--json` prints it in one line.
    text: prints the same for a person, by `terminal.put` or `screen.console().print`.
    code: the exit code; 0 for a command that did what it was asked.

        return Result({"runs": rows}, lambda: terminal.put(*lines(rows)))
    """

    plain: dict[str, Any]
    text: Callable[[], object]
    code: int = 0


def nothing() -> None:
    """Print nothing: the command has printed while it was at work."""


def finished(result: Result | int) -> Result:
    """Return the result of a command that returns its exit code alone, with nothing else in it."""
    return result if isinstance(result, Result) else Result({}, nothing, int(result))

"""Text for a person: without secrets, and without what would steer a terminal or forge a line.

All that is printed goes through here or through `screen`, for any message may quote a stranger: a file's name, a key, a
run in a store, an exception. Text of any language stays as it is; other characters are written as Python writes them.
"""

import contextlib
import json
import logging
import math
import sys
import threading
import traceback
import unicodedata
import warnings
from collections.abc import Iterator
from typing import Any

from runner.settings.trust import secrets

#: Characters without a text of their own that languages and emoji need: they join their neighbours.
_JOINERS = "\u200c\u200d"


def shown(text: str) -> str:
    r"""Return `text` with control codes and marks of direction as `\x1b` and `\u202e`; lines and tabs stay."""
    return text if text.isprintable() else "".join(c if _is_text(c) or c in "\n\t" else ascii(c)[1:-1] for c in text)


def line(text: str) -> str:
    """Return `text` in one line, with a space for whatever is no text."""
    if text.isprintable() and "  " not in text:  # most texts
        return text.strip(" ")
    words = "".join(c if _is_text(c) else " " for c in text).split(" ")
    return " ".join(word for word in words if word)


def clean(text: str) -> str:
    """Return `text` as it may be printed: `shown`, and without secrets."""
    return shown(secrets.masked(text))


#: The form of results on standard output: "text" for a person, "json" for a program, "none" for a caller in Python.
_form = "text"


@contextlib.contextmanager
def form(name: str) -> Iterator[None]:
    """Show results in a form within the block: text, json or none."""
    global _form
    before, _form = _form, name
    try:
        yield
    finally:
        _form = before


def shows_text() -> bool:
    """Return whether results are shown to a person."""
    return _form == "text"


def event(kind: str, /, **values: Any) -> None:
    """Print a line of JSON about what has just happened, if a program reads along: `{"event": kind, ...}`."""
    if _form == "json":
        print(encoded({"event": kind, **values}), flush=True)


def encoded(value: Any) -> str:
    """Return plain values as JSON in one line, without secrets; numbers that JSON has not are "nan", "inf", "-inf"."""
    return json.dumps(_finite(secrets.without(value)), ensure_ascii=True, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def say(message: str) -> None:
    """Print a message on standard error. One that nobody can read any more ends nothing."""
    if sys.stderr is not None:  # closed by `2>&-`, and print would take standard output for it
        with contextlib.suppress(OSError):
            print(clean(message.rstrip("\n")), file=sys.stderr, flush=True)


def put(*lines: str) -> None:
    """Print results for a person on standard output: each in a line of its own, as scripts read them by lines."""
    if lines and _form == "text":
        print(clean("\n".join(text.replace("\n", "\\n") for text in lines)), flush=True)


def say_error(error: BaseException) -> None:
    """Print an error with its traceback on standard error."""
    say("".join(traceback.format_exception(error)))


def guard() -> None:
    """Have what Python and libraries print pass through here too: tracebacks, warnings and logs."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a text that the terminal's encoding lacks is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    sys.excepthook = lambda kind, error, trace: say_error(error)
    threading.excepthook = lambda failed: _say_failed(failed, f"in thread {failed.thread and failed.thread.name}")
    sys.unraisablehook = lambda failed: _say_failed(failed, f"ignored in {failed.object!r}")
    _guard_warnings()
    _guard_logs()


def _say_failed(failed: Any, where: str) -> None:
    """Print an error that ends nothing but a thread, or not even that."""
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        say(f"Exception {where}:\n{''.join(traceback.format_exception(failed.exc_value))}")


def _guard_warnings() -> None:
    usual = warnings.formatwarning

    def formatted(*given: Any, **named: Any) -> str:
        return clean(usual(*given, **named))

    warnings.formatwarning = formatted


def _guard_logs() -> None:
    make = logging.getLogRecordFactory()

    def record(*given: Any, **named: Any) -> logging.LogRecord:
        entry = make(*given, **named)
        try:
            text = entry.getMessage()
        except Exception:  # arguments that do not fit the message, which logging would print as they are
            text = f"{entry.msg} {entry.args}"
        entry.msg, entry.args = clean(text), ()
        if entry.exc_info and entry.exc_info[1] is not None:
            entry.exc_text = clean("".join(traceback.format_exception(entry.exc_info[1])).rstrip("\n"))
        return entry

    logging.setLogRecordFactory(record)


def _is_text(c: str) -> bool:
    return c.isprintable() or c in _JOINERS or unicodedata.category(c) == "Zs"

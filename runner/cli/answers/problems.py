"""Messages about what is wrong, taken apart for programs."""

import re
from typing import Any

#: The beginning of a line that is about a key, or about a word of the command line.
_KEY = re.compile(r"(?P<key>[~+]*[A-Za-z_][\w.\[\]/@-]*(?:=[^:\s]*)?): (?P<rest>.+)", re.DOTALL)
#: The file and line that set the value, at the end of a line.
_PLACE = re.compile(r"[ \n]\((?:in )?(?P<file>[^()\s]+\.(?:yaml|py))(?::(?P<line>\d+)|, line (?P<row>\d+))?\)$")
#: A job of a sweep, before the message.
_JOB = re.compile(r"job (?P<job>\d+) \([^)]*\): ")


def each(message: str) -> list[dict[str, Any]]:
    """Return each problem of a message as `plain` does; a line `try: ...` belongs to the one before it."""
    found: list[dict[str, Any]] = []
    for line in message.split("\n"):
        if found and line.startswith("try: "):
            found[-1]["remedy"] = "; ".join(part for part in (found[-1]["remedy"], line) if part)
            found[-1]["message"] += f"\n{line}"
        elif found and (line.startswith((" ", "(")) or not line):
            found[-1] |= {**plain(f"{found[-1]['message']}\n{line}")}
        else:
            found.append(plain(line))
    return found


def plain(message: str) -> dict[str, Any]:
    """Return one problem as key, found, expected, remedy, file, line and the whole message; None for what it lacks.

    Of `optimizer.lr: -1 is out of range; expected a number above 0 (experiments/x.yaml:2)` the key is `optimizer.lr`,
    found `-1 is out of range`, expected `a number above 0`, file `experiments/x.yaml` and line 2.
    """
    rest = _JOB.sub("", message, count=1)
    place = _PLACE.search(rest)
    rest = rest[: place.start()] if place else rest
    keyed = _KEY.fullmatch(rest)
    found, *others = (keyed["rest"] if keyed else rest).split("; ")
    expected = [part.removeprefix("expected ") for part in others if part.startswith("expected ")]
    remedies = [part for part in others if not part.startswith("expected ")]
    line = place and (place["line"] or place["row"])
    return {
        "key": keyed["key"] if keyed else None,
        "found": found,
        "expected": "; ".join(expected) or None,
        "remedy": "; ".join(remedies) or None,
        "file": place["file"] if place else None,
        "line": int(line) if line else None,
        "message": message,
    }

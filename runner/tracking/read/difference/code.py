"""Differences of the runs' own code: which file, which lines, and whether they are more than comments."""

import ast
import difflib
import re
from typing import Any

from runner.settings.trust import record_reading
from runner.tracking import own_code
from runner.tracking.read import recall
from runner.tracking.read.difference.causes import NOTHING, PERHAPS, Cause
from runner.tracking.read.difference.record import Recorded, attempt

#: Lines of a file's difference that are kept.
MOST = 400


def differences(uri: str, a: Recorded, b: Recorded, unknown: list[str]) -> list[Cause]:
    """Return a cause for each file that is another one, or in one record alone; and for the commit."""
    if a.files is None or b.files is None:
        return _commits(a, b)
    found = []
    for place in sorted({**a.files, **b.files}):
        one, other = a.files.get(place), b.files.get(place)
        digests = [file and file["sha256"] for file in (one, other)]
        if one is None or other is None:
            side = "A" if other is None else "B"
            found.append(Cause("code", place, digests[0], digests[1], f"is used by {side} alone", PERHAPS))
        elif one["sha256"] != other["sha256"]:
            texts = [_text(uri, side, place, file, unknown) for side, file in ((a, one), (b, other))]
            found.append(_changed(place, digests, texts, _since(a, b)))
    return [*found, *_commits(a, b)]


def _text(uri: str, run: Recorded, place: str, file: dict[str, Any], unknown: list[str]) -> str | None:
    if not file["kept"]:
        return None
    name = f"{own_code.FOLDER}/{place}"
    content = attempt(place, lambda: recall.content(uri, run.run_id, name, own_code.MOST), unknown, run.run_id[:8])
    return None if content is None else content.decode("utf-8", "replace")


def _changed(place: str, digests: list[Any], texts: list[str | None], since: str) -> Cause:
    if None in texts:
        return Cause(
            "code", place, digests[0], digests[1], f"is another file, of which no more than digests are recorded{since}"
        )
    one, other = (str(text) for text in texts)
    lines = [*difflib.unified_diff(one.splitlines(), other.splitlines(), "A", "B", n=0, lineterm="")][2:]
    lines = [record_reading.cut(line, 300) for line in lines]
    first = next((match[1] for line in lines if (match := re.match(r"@@ -\d+(?:,\d+)? \+(\d+)", line))), "?")
    removed, added = (sum(line.startswith(sign) for line in lines) for sign in "-+")
    is_same = _tree(one) == _tree(other) is not None
    words = f"from line {first} of B: {removed} lines of A are {added} of B"
    if is_same:
        words = "other comments, texts of documentation or spaces; the program is the same"
    return Cause(
        "code",
        place,
        digests[0],
        digests[1],
        f"{words}{since}",
        NOTHING if is_same else "numbers",
        diff=tuple(lines[:MOST]),
    )


def _tree(text: str) -> str | None:
    """Return the program in a text without its documentation; None if it is none."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return ast.dump(tree)


def _since(a: Recorded, b: Recorded) -> str:
    """Return words for a run that was continued with other code."""
    runs = [(side, run.tags["drift.code"]) for side, run in (("A", a), ("B", b)) if "drift.code" in run.tags]
    sides = [f"{side} was continued so: {text}" for side, text in runs]
    return f" ({'; '.join(sides)})" if sides else ""


def _commits(a: Recorded, b: Recorded) -> list[Cause]:
    """Return a cause for another commit, or uncommitted changes: of files that no record has, as of a checkout."""
    commits = [run.tags.get("mlflow.source.git.commit") for run in (a, b)]
    states = [run.tags.get("git.state") for run in (a, b)]
    found = []
    if commits[0] != commits[1]:
        one, other = (commit[:12] if commit else "none" for commit in commits)
        words = f"{one} -> {other}; what the runs imported is compared file by file"
        found.append(Cause("code", "git commit", commits[0], commits[1], words, PERHAPS))
    if states[0] != states[1] and commits[0] and commits[1]:
        words = " -> ".join("uncommitted changes" if state == "changed" else "clean" for state in states)
        found.append(Cause("code", "git.state", states[0], states[1], words, PERHAPS))
    return found

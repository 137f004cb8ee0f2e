"""The command `experiments`: the studies that can be trained here, each with what it is about."""

from pathlib import Path
from typing import Any

from runner.commands._result import Result
from runner.settings.trust import terminal

#: Columns of a line.
WIDTH = 160


def with_words(filter: str = "") -> Result:
    """List the studies of `experiments/` here and of the package; `runner experiments=NAME` trains one.

    filter: a part of the names or of the descriptions, as in `runner experiments digits`.
    """
    from runner.settings.files import places

    found: dict[str, dict[str, Any]] = {}
    for folder in places.experiments():
        for path in sorted(folder.glob("*.yaml")):
            comment = _comment(path)
            about = terminal.line(" ".join(comment[: _question(comment)]))
            if path.stem not in found and filter.lower() in f"{path.stem} {about}".lower():
                is_own = folder.parent == Path.cwd()
                found[path.stem] = {
                    "name": path.stem,
                    "about": about,
                    "comment": "\n".join(comment),
                    "own": is_own,
                    "file": str(path),
                }
    studies = [found[name] for name in sorted(found)]
    return Result({"experiments": studies}, lambda: terminal.put(*_lines(studies, filter)))


def _question(comment: list[str]) -> int:
    """Return how many lines of a comment stand before the first command, or what is expected."""
    ends = ("runner ", "Expected")
    return next((number for number, line in enumerate(comment) if line.startswith(ends)), len(comment))


def _comment(path: Path) -> list[str]:
    """Return the lines of the comment at the beginning of a file."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.startswith("#"):
            if lines or line.strip():
                break
            continue
        text = line.lstrip("# ").strip()
        if not text.startswith(("yaml-language-server", "@package")):
            lines.append(text)
    return lines


def _lines(studies: list[dict[str, Any]], filter: str) -> list[str]:
    if not studies:
        return [f"no experiment has {filter!r} in its name or description"]
    width = max(len(study["name"]) for study in studies)
    room = WIDTH - width - 2
    return [f"{study['name']:<{width}}  {_short(study['about'], room)}" for study in studies]


def _short(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"

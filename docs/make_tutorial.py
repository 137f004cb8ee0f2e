"""Runs every command of docs/tutorial.md, compares what is printed with what the text quotes, and makes its pictures.

    python docs/make_tutorial.py            also copies the pictures to docs/pictures/tutorial/
    python docs/make_tutorial.py --check    only compares; exit code 1 and the differences when something has changed

A further word is another file to read.

In the text, a ```console block holds commands after `$ ` and what they print, a ```python block is run and the
```text block after it is what it prints. A quoted line `...` stands for any lines. Numbers may differ in their last
digits; ```console within=0.03 lets them differ by that much. A comment `<!-- plots/x.png -->` before a picture
names the artifact that it is, of the last training, or of the best of a sweep, and
`<!-- plots/x.png within=0.05 -->` lets a twentieth of its pixels differ, as another processor's rounding asks for.
"""

import multiprocessing
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
TUTORIAL = DOCS / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)(?: within=([\d.]+))?$")
PICTURE = re.compile(r"^<!-- (\S+\.png)(?: within=([\d.]+))? -->\n!\[.*\]\((\S+)\)$", re.MULTILINE)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
RUN_ID = re.compile(r"\b[0-9a-f]{32}\b")
FINISHED = re.compile(r"^(?:run |sweep [0-9a-f]{32} FINISHED best=)([0-9a-f]{32})\b", re.MULTILINE)
SECONDS = re.compile(r"\b[\d.]+ s\b")
#: Numbers are the same when they differ by less than this share, or by less than LEAST.
SHARE, LEAST = 2e-3, 2e-6
#: Pictures are the same when no more than this share of their pixels differ visibly: less than a digit has.
PIXELS = 1e-4

PRELOAD = [
    *("runner.cli.command", "torch", "torch._dynamo", "mlflow", "runner.training.run", "torchmetrics"),
    "matplotlib.figure",
]
_context = multiprocessing.get_context("forkserver")  # commands share one import of torch and MLflow


@dataclass
class Told:
    """Something to run, and what the text says that it prints."""

    line: int
    language: str  # console or python
    code: str
    quoted: list[str] = field(default_factory=list)
    within: float = 0.0


@dataclass
class Picture:
    """A picture of the text, and the artifact that it is a copy of."""

    line: int
    artifact: str
    place: Path
    within: float = PIXELS


def main() -> int:
    words = sys.argv[1:]
    check = "--check" in words
    text = Path(next((word for word in words if word != "--check"), TUTORIAL)).read_text()
    _context.set_forkserver_preload(PRELOAD)
    with tempfile.TemporaryDirectory(prefix="tutorial-") as work:
        problems = list(follow(text, Path(work), check))
    print("\n".join(problems) or "the tutorial is true")
    return 1 if problems else 0


def follow(text: str, work: Path, check: bool) -> Iterator[str]:
    """Do what the text says, in `work`, and yield what turned out otherwise."""
    runs: list[str] = []
    for part in sorted([*told(text), *pictures(text)], key=lambda part: part.line):
        if isinstance(part, Picture):
            yield from look(part, runs, work, check)
            continue
        code, printed = run(part, work)
        runs = FINISHED.findall(printed) or runs
        if code:
            yield f"line {part.line}: exit code {code} of {part.code}\n{printed}"
        elif not matches(part.quoted, printed.splitlines(), part.within):
            yield f"line {part.line}: {part.code}\n--- quoted\n{_joined(part.quoted)}\n--- printed\n{printed}"


def told(text: str) -> list[Told]:
    """The commands and programs of the text, in order."""
    found: list[Told] = []
    language = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := BLOCK.match(line):
            language, within = match[1], float(match[2] or 0)
            if language == "python":
                found.append(Told(number, language, "", [], within))
        elif line == "```":
            language = ""
        elif language == "console" and line.startswith("$ "):
            found.append(Told(number, language, line.removeprefix("$ "), [], within))
        elif language == "python":
            found[-1].code += f"{line}\n"
        elif language in ("console", "text"):
            found[-1].quoted.append(line)
    return found


def pictures(text: str) -> list[Picture]:
    return [
        Picture(text.count("\n", 0, m.start()) + 1, m[1], DOCS / m[3], float(m[2] or PIXELS))
        for m in PICTURE.finditer(text)
    ]


def run(part: Told, work: Path) -> tuple[int, str]:
    """Run it in a process of its own: the exit code, and what was printed."""
    place = work / ".printed"
    process = _context.Process(target=_child, args=(part.language, part.code, str(work), str(place)))
    process.start()
    process.join(1500)  # a command that hangs
    return (124 if process.exitcode is None else process.exitcode), place.read_text()


def matches(quoted: list[str], printed: list[str], within: float = 0.0) -> bool:
    """Whether the quoted lines are the printed ones, but for what `...` leaves out."""
    want, have = _stripped(quoted), _stripped(printed)
    groups: list[list[str]] = [[]]
    for line in want:
        if line.strip() == "...":
            groups.append([])
        else:
            groups[-1].append(line)
    first, last = groups[0], groups[-1]
    if len(groups) == 1:
        return len(want) == len(have) and _same(want, have, within)
    if sum(map(len, groups)) > len(have) or not _same(first, have[: len(first)], within):
        return False
    rest = have[len(first) : len(have) - len(last)]
    if not _same(last, have[len(have) - len(last) :], within):
        return False
    for group in groups[1:-1]:
        starts = [i for i in range(len(rest) - len(group) + 1) if _same(group, rest[i : i + len(group)], within)]
        if not starts:
            return False
        rest = rest[starts[0] + len(group) :]
    return True


def look(picture: Picture, runs: list[str], work: Path, check: bool) -> Iterator[str]:
    """Compare the picture with the artifact, or replace it when they differ."""
    run_id = runs[-1]
    [artifact] = work.glob(f"mlruns/*/{run_id}/artifacts/{picture.artifact}")
    if alike(artifact, picture.place, picture.within):
        return
    if check:
        yield f"line {picture.line}: {picture.place.name} is not what {picture.artifact} looks like now"
    else:
        picture.place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(artifact, picture.place)
        print(f"new picture {picture.place.relative_to(DOCS)}")


def alike(one: Path, other: Path, within: float) -> bool:
    """Whether two pictures show the same, pixel by pixel."""
    import numpy as np
    from matplotlib.image import imread

    if not other.exists():
        return False
    a, b = imread(one), imread(other)
    return a.shape == b.shape and bool((np.abs(a - b).max(axis=2) > 0.1).mean() <= within)


def _same(want: list[str], have: list[str], within: float) -> bool:
    return all(_same_line(w, h, within) for w, h in zip(want, have, strict=True))


def _same_line(want: str, have: str, within: float) -> bool:
    """The same words, run ids and seconds aside, and numbers that are nearly the same."""
    want, have = (SECONDS.sub("TIME", RUN_ID.sub("ID", line)) for line in (want, have))
    numbers = list(zip(NUMBER.findall(want), NUMBER.findall(have), strict=False))
    near = all(abs(float(a) - float(b)) <= max(LEAST, within, SHARE * abs(float(a))) for a, b in numbers)
    return NUMBER.sub("0", want).split() == NUMBER.sub("0", have).split() and near


def _stripped(lines: list[str]) -> list[str]:
    return _joined(lines).strip("\n").splitlines()


def _joined(lines: list[str]) -> str:
    return "\n".join(line.rstrip() for line in lines)


def _child(language: str, code: str, work: str, place: str) -> None:
    os.chdir(work)
    os.environ["COLUMNS"] = "100"
    for number in (1, 2):
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if number == 1 else os.O_APPEND)), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    words = shlex.split(code) if language == "console" else []
    try:
        if words[:1] == ["runner"]:
            _call_runner(words)
        elif words:
            raise ValueError(f"{words[0]} is not a command of the tutorial's")
        else:
            names: dict[str, Any] = {"__name__": "__main__"}
            exec(compile(code, "tutorial.md", "exec"), names)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _call_runner(words: list[str]) -> None:
    from runner.cli import main as command

    sys.argv = words
    command()


if __name__ == "__main__":
    # Small layers gain nothing from several threads, and lose when the machine is busy.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())

"""The check of docs/tutorial.md: all commands are run, and output and plots are compared with those in the text.

    python docs/make_tutorial.py            also copies the plots to docs/pictures/tutorial/
    python docs/make_tutorial.py --check    only compares; prints the differences, and exits with 1 if there are any

A further word names another file to check.

In the text, a ```console block contains commands after `$ ` and their output; a ```python block is run, and the
```text block after it is its output. A quoted line `...` stands for any lines. Numbers may differ in their last
digits; ```console within=0.03 allows a difference of 0.03. A comment `<!-- plots/x.png -->` before a picture
names its artifact in the last training, or in the best job of a sweep;
`<!-- plots/x.png within=0.05 -->` allows a twentieth of the pixels to differ, since other processors round differently.
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
RUN_ID = re.compile(r"\b[0-9a-f]{32}\b|(?<=runner ui )[0-9a-f]{8}\b")
FINISHED = re.compile(r"^(?:run |sweep [0-9a-f]{32} FINISHED best=)([0-9a-f]{32})\b", re.MULTILINE)
SECONDS = re.compile(r"\b[\d.]+ s\b")
#: Numbers are the same if they differ by less than this share, or by less than LEAST.
SHARE, LEAST = 2e-3, 2e-6
#: Pictures are the same if at most this share of their pixels differ visibly: fewer than a digit has.
PIXELS = 1e-4

PRELOAD = [
    *("runner.cli.command", "torch", "torch._dynamo", "mlflow", "runner.training.run", "torchmetrics"),
    "matplotlib.figure",
]
_context = multiprocessing.get_context("forkserver")  # commands share one import of torch and MLflow


@dataclass
class Example:
    """A command or a program of the text, and its quoted output."""

    line: int
    language: str  # console or python
    code: str
    quoted: list[str] = field(default_factory=list)
    within: float = 0.0


@dataclass
class Picture:
    """A picture of the text, and the artifact that it shows."""

    line: int
    artifact: str
    place: Path
    within: float = PIXELS


def main() -> int:
    """Check or renew the tutorial; return the exit code."""
    words = sys.argv[1:]
    check = "--check" in words
    text = Path(next((word for word in words if word != "--check"), TUTORIAL)).read_text()
    _context.set_forkserver_preload(PRELOAD)
    with tempfile.TemporaryDirectory(prefix="tutorial-") as work:
        problems = list(follow(text, Path(work), check))
    print("\n".join(problems) or "the tutorial is true")
    return 1 if problems else 0


def follow(text: str, work: Path, check: bool) -> Iterator[str]:
    """Run the examples of the text in the folder `work`, and yield each difference."""
    runs: list[str] = []
    for part in sorted([*examples(text), *pictures(text)], key=lambda part: part.line):
        if isinstance(part, Picture):
            yield from compare(part, runs, work, check)
            continue
        code, printed = run(part, work)
        runs = FINISHED.findall(printed) or runs
        if code:
            yield f"line {part.line}: exit code {code} of {part.code}\n{printed}"
        elif not matches(part.quoted, printed.splitlines(), part.within):
            yield f"line {part.line}: {part.code}\n--- quoted\n{_joined(part.quoted)}\n--- printed\n{printed}"


def examples(text: str) -> list[Example]:
    """Return the commands and programs of the text, in order."""
    parts: list[Example] = []
    language = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := BLOCK.match(line):
            language, within = match[1], float(match[2] or 0)
            if language == "python":
                parts.append(Example(number, language, "", [], within))
        elif line == "```":
            language = ""
        elif language == "console" and line.startswith("$ "):
            parts.append(Example(number, language, line.removeprefix("$ "), [], within))
        elif language == "python":
            parts[-1].code += f"{line}\n"
        elif language in ("console", "text"):
            parts[-1].quoted.append(line)
    return parts


def pictures(text: str) -> list[Picture]:
    """Return the pictures of the text that show artifacts."""
    return [
        Picture(text.count("\n", 0, m.start()) + 1, m[1], DOCS / m[3], float(m[2] or PIXELS))
        for m in PICTURE.finditer(text)
    ]


def run(part: Example, work: Path) -> tuple[int, str]:
    """Run an example in another process; return its exit code and its output."""
    place = work / ".printed"
    process = _context.Process(target=_child, args=(part.language, part.code, str(work), str(place)))
    process.start()
    process.join(1500)  # a command that hangs
    return (124 if process.exitcode is None else process.exitcode), place.read_text()


def matches(quoted: list[str], printed: list[str], within: float = 0.0) -> bool:
    """Return whether the quoted lines are the printed ones; `...` stands for any lines."""
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


def compare(picture: Picture, runs: list[str], work: Path, check: bool) -> Iterator[str]:
    """Compare the picture with the artifact; yield a difference if `check`, otherwise replace the picture."""
    run_id = runs[-1]
    [artifact] = work.glob(f"mlruns/*/{run_id}/artifacts/{picture.artifact}")
    if alike(artifact, picture.place, picture.within):
        return
    if check:
        yield f"line {picture.line}: {picture.place.name} differs from {picture.artifact}"
    else:
        picture.place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(artifact, picture.place)
        print(f"new picture {picture.place.relative_to(DOCS)}")


def alike(one: Path, other: Path, within: float) -> bool:
    """Return whether at most the share `within` of the pixels differ."""
    import numpy as np
    from matplotlib.image import imread

    if not other.exists():
        return False
    a, b = imread(one), imread(other)
    return a.shape == b.shape and bool((np.abs(a - b).max(axis=2) > 0.1).mean() <= within)


def _same(want: list[str], have: list[str], within: float) -> bool:
    return all(_same_line(w, h, within) for w, h in zip(want, have, strict=True))


def _same_line(want: str, have: str, within: float) -> bool:
    """Return whether the words are the same, apart from run ids and seconds, and the numbers nearly so."""
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
            raise ValueError(f"{words[0]} is not a command of the tutorial")
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
    # Small layers gain nothing from several threads, and are slower with them on a busy machine.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())

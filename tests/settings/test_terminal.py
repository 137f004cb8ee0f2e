"""What a person sees: no stranger's text steers the terminal, is taken for markup, or forges a line."""

import ast
import errno
import io
import json
import logging
import os
import subprocess
import sys
import threading
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow import MlflowClient
from rich.console import Console
from rich.live import Live
from rich.text import Text

from runner.settings import errors
from runner.settings.trust import terminal
from runner.sweeps.report import screen as sweep_screen
from runner.sweeps.report import summary
from runner.sweeps.report.table import Row, Table
from runner.tracking import screen, training_screen
from runner.tracking.store import stores
from runner.training.events import Epoch, Step
from runner.training.parts.length import Length
from tests.support import command

ROOT = Path(__file__).parents[2]
#: Titles, a screen that is wiped, a line that is written over, markup, a link, an emoji's name, a mark of direction.
STEERS = "\x1b]0;x\x07|\x9b2J|\r|\x08|\u202e|\u2066|\u2028|\x00"
MARKUP = "[bold]x[/bold][/][link=http://evil/]y:smile:"
#: What is to stay as it is: letters, a space that is not broken, and an emoji of several that are joined.
LEGAL = "é漢字　a\u00a0b👩\u200d👩\u200d👧"
HOSTILE = f"{STEERS}{MARKUP}{LEGAL}"
SECRET = "hunter2-correct-horse"


def is_harmless(text: str) -> bool:
    """Whether no character steers a terminal or turns the direction of writing."""
    kinds = {unicodedata.category(c) for c in text if c not in "\n\t\u200c\u200d"}
    return kinds.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})


def control(console: Console) -> str:
    """What was printed, without what rich itself writes to place the cursor and to colour."""
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    return str(Text.from_ansi(printed.replace("\r\n", "\n"))) if "\x9b" not in printed else printed


# ------------------------------------------------------------------------------------------------------ one place


PRINTERS = ("terminal.py",)


def prints(path: Path) -> list[int]:
    """The lines of a file that print, or write to standard error, by themselves."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("print", "sys.stderr.write", "traceback.print_exc", "traceback.print_exception"):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize("folder", ["runner", "hydra_plugins"])
def test_all_that_is_printed_goes_through_one_place(folder: str) -> None:
    own = {path.name: prints(path) for path in (ROOT / folder).rglob("*.py") if path.name not in PRINTERS}
    assert own
    assert {name: lines for name, lines in own.items() if lines} == {}


def test_consoles_are_made_in_one_place() -> None:
    made = [
        path.name
        for path in (ROOT / "runner").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Console"
    ]
    assert made == ["screen.py"], "the one that prints nothing"


def test_a_print_elsewhere_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import sys\nprint('x', file=sys.stderr)\nsys.stderr.write('y')\n")
    assert prints(tmp_path / "bad.py") == [2, 3]


# ---------------------------------------------------------------------------------------------------------- texts


def test_languages_and_emoji_stay_as_they_are() -> None:
    for text in (LEGAL, "a\tb\nc: ü 🙂", "\u0645\u06cc\u200c\u062e", "1\u202f000 €", "e\u0301", "🏳️\u200d🌈"):
        assert terminal.shown(text) == text


@given(st.text())
@example(HOSTILE)
def test_nothing_that_is_shown_steers_a_terminal(text: str) -> None:
    found = terminal.shown(text)
    assert is_harmless(found)
    assert terminal.shown(found) == found
    assert "\n" not in terminal.line(text)
    found.encode()  # a surrogate, as of a file's name that is not UTF-8, would be an error where it is printed


def test_what_is_said_and_put_has_neither_codes_nor_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_PASSWORD", SECRET)
    terminal.say(f"{HOSTILE} {SECRET}\nnext")
    terminal.put(f"{HOSTILE} {SECRET}\nrun 1 FINISHED", "next")
    out, err = capsys.readouterr()
    assert is_harmless(err)
    assert is_harmless(out)
    assert SECRET not in out + err
    assert MARKUP + LEGAL in out
    assert MARKUP + LEGAL in err
    assert len(out.splitlines()) == 2, "a line that a stranger has begun is none"


def test_no_lines_are_no_empty_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.put()
    terminal.put("one", "other")
    assert capsys.readouterr().out == "one\nother\n"


def test_a_message_that_nobody_can_read_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sys.stderr", Full())
    terminal.say("x")
    with pytest.raises(OSError, match="No space"):
        print("x", file=sys.stderr)
    monkeypatch.setattr("sys.stderr", None)
    terminal.say("x")
    assert capsys.readouterr().out == "", "standard output is for results"


def test_errors_are_shown_so_wherever_they_are_caught() -> None:
    for error in (errors.ConfigError("a\x1b[2J", HOSTILE), errors.Failure(HOSTILE), errors.Unreachable(HOSTILE)):
        assert is_harmless(str(error))
        assert LEGAL in str(error)


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`terminal.guard` for one test."""
    made, formatted = logging.getLogRecordFactory(), warnings.formatwarning
    monkeypatch.setattr("sys.excepthook", None)
    monkeypatch.setattr("threading.excepthook", None)
    monkeypatch.setattr("sys.unraisablehook", None)
    terminal.guard()
    yield
    logging.setLogRecordFactory(made)
    warnings.formatwarning = formatted


@pytest.mark.parametrize("way", ["log", "logged error", "warning", "thread", "deleted"])
def test_what_libraries_print_passes_through_the_same_place(
    way: str, guarded: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_PASSWORD", SECRET)
    message = f"{HOSTILE} {SECRET}"

    def fail() -> None:
        raise ValueError(message)

    if way == "warning":
        text = warnings.formatwarning(message, UserWarning, "x.py", 1)
    elif way == "thread":
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        text = capsys.readouterr().err
    elif way == "deleted":

        class Deleted:
            def __del__(self) -> None:
                fail()

        Deleted()
        text = capsys.readouterr().err
    else:
        made = logging.getLogRecordFactory()
        try:
            fail()
        except ValueError as error:
            info: Any = (ValueError, error, error.__traceback__) if way == "logged error" else None
        said = "x" if way == "logged error" else message
        text = logging.Formatter("%(message)s").format(made("x", logging.ERROR, "x", 1, said, (), info))
    assert LEGAL in text
    assert SECRET not in text
    assert is_harmless(text)


def test_a_text_that_the_terminal_s_encoding_lacks_is_escaped(guarded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(printed, encoding="ascii"))
    with pytest.raises(UnicodeEncodeError):
        terminal.put("é 漢")
    terminal.guard()
    terminal.put("é 漢")
    assert printed.getvalue() == b"\\xe9 \\u6f22\n"


# --------------------------------------------------------------------------------------------------------- consoles


def console(is_terminal: bool = True) -> screen.Plain:
    return screen.Plain(file=io.StringIO(), force_terminal=is_terminal, width=400)


@pytest.mark.parametrize("plain", [True, False])
def test_a_console_shows_a_table_as_it_is(plain: bool) -> None:
    from rich.table import Table as Grid

    made = console() if plain else Console(file=io.StringIO(), force_terminal=True, width=400)
    named = "[bold]x[/bold]:smile:"
    grid = Grid(STEERS + named)
    grid.add_row(Text(STEERS))
    grid.add_row(named)
    made.print(grid)
    text = control(made)
    assert (text.count(named) == 2) == plain, "rich's own console takes it for markup"
    assert ("\x9b" not in text and "\x1b]0" not in text and "\u202e" not in text) == plain


def test_the_live_bar_and_its_lines_show_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_terminal in (True, False):
        made = console(is_terminal)
        watch = training_screen.watching(made, Length(2, 1, 1))
        watch.record(Step(1, torch.tensor(0.5)))
        watch.record(Epoch(1, 1, {f"valid/{HOSTILE}": 0.25}))
        if isinstance(watch, training_screen.Bar):
            watch.progress.refresh()
        watch.close()
        text = control(made)
        assert "\x9b" not in text
        assert "\x1b]0" not in text
        assert MARKUP in text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_sweeps_table_and_summary_show_names_as_they_are(is_terminal: bool) -> None:
    overrides = {f"data.{HOSTILE}": HOSTILE}
    rows = [
        Row(0, overrides, status="FINISHED", value=0.5, run_id="a", reason=""),
        Row(1, overrides, status="FAILED", run_id="b", reason=HOSTILE),
    ]
    table, made = Table(rows, f"valid/{HOSTILE}", "min"), console(is_terminal)
    watch = sweep_screen.watching(made, 2)
    watch.show(table)
    watch.close(table)
    summary.summary(made, table, f"runner {HOSTILE}")
    text = control(made)
    assert "\x9b" not in text
    assert "\x1b]0" not in text
    assert text.count(MARKUP) > 2


def test_without_its_guard_a_live_table_would_steer_the_terminal() -> None:
    made = Console(file=io.StringIO(), force_terminal=True, markup=False, width=400)
    with Live(Text(HOSTILE), console=made):
        pass
    assert "\x1b]0;x" in made.file.getvalue()  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------------- command lines

OWN = f"""
import logging, sys, threading, warnings
from torch import nn
TEXT = {HOSTILE!r} + {SECRET!r}

class Deleted:
    def __del__(self):
        fail()

def fail():
    raise RuntimeError(TEXT)

class Breaks(nn.MSELoss):
    steps = 0
    def forward(self, *given):
        Breaks.steps += 1
        if Breaks.steps == 30:
            warnings.warn(TEXT)
            logging.getLogger("mine").error(TEXT)
            thread = threading.Thread(target=fail)
            thread.start()
            thread.join()
            Deleted()
            raise RuntimeError(TEXT)
        return super().forward(*given)
"""


def outputs(words: list[str], place: Path, code: int) -> tuple[str, str]:
    """Standard output and error of a command as they are, byte by byte."""
    secret = {"STORE_PASSWORD": SECRET}
    if code == 1:  # an error that leaves the process has its traceback printed by another in one that is forked
        command_line = [sys.executable, "-P", "-m", "runner", *words]
        done = subprocess.run(command_line, cwd=place, env={**os.environ, **secret}, capture_output=True, timeout=1500)
        assert done.returncode == 1
        return done.stdout.decode(), done.stderr.decode()
    command.runner(*words, cwd=place, env=secret, code=code)
    return tuple((place / name).read_bytes().decode() for name in (".out", ".err"))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def place(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stranger's folder: a study, a table and a store whose names and texts steer a terminal."""
    made = tmp_path_factory.mktemp("strange")
    (made / "mlflow.db").write_bytes(empty_store.read_bytes())
    (made / "experiments").mkdir()
    (made / "experiments/own.py").write_text(OWN)
    text = yaml.safe_dump(HOSTILE, allow_unicode=True, width=1000).strip()
    (made / "experiments/keys.yaml").write_text(f"{text}: 1\ntrainer: {{{text}: 1, epochs: {text}}}\n")
    (made / "experiments/x.yaml").write_text(
        f"loss: {{name: experiments.own.Breaks}}\ntrainer: {{epochs: 100}}\ntracking: {{run_name: {text}}}\nplots: []\n"
    )
    column = '"' + HOSTILE.replace("\x00", "").replace("\u2028", "") + SECRET + '"'
    rows = "\n".join(f"{i},{column if i % 2 else 'b'},{i * 2}" for i in range(20))
    csv = f"t{MARKUP.replace('/', '')}\u202e\x1b]0;x\x07.csv"
    (made / csv).write_text(f"{column},kind,y\n{rows}\n", newline="\n")
    data = f"{{name: table, path: {json.dumps(csv)}, target: y}}"
    (made / "experiments/table.yaml").write_text(f"data: {data}\nmodel: {{layers: [{{Linear: 1}}]}}\n")
    client = stores.open_store(f"sqlite:///{made}/mlflow.db")
    group = stores.experiment(client, client.tracking_uri, "strange")
    client.rename_experiment(group.experiment_id, HOSTILE.replace("\x00", ""))
    name = HOSTILE.replace("\x00", "") + SECRET
    run = client.create_run(group.experiment_id, run_name=name, tags={"sweep.jobs": "3"})
    client.set_terminated(run.info.run_id)
    return made


def test_no_command_line_prints_what_steers_a_terminal(place: Path) -> None:
    newest = MlflowClient(f"sqlite:///{place}/mlflow.db").search_runs(["1"])[0].info.run_id
    cases = {
        "keys of a study": (["check", "experiments=keys"], 2, ""),
        "a run in a store": (["runs"], 0, "out"),
        "a sweep in a store": (["evaluate", newest[:8]], 2, ""),
        "a file and its columns": (["check", "experiments=table"], 0, "out"),
        "a configuration": (["--cfg", "job", "experiments=x"], 0, "out"),
        "an exception, a warning, a log, a thread, a deletion": (["experiments=x"], 1, "err"),
        "a run whose name is shown": (["evaluate", "last"], 2, "err"),
        "a plain table of it": (["runs"], 0, "out"),
    }
    wrong = {}
    for name, (words, code, whole) in cases.items():
        out, err = outputs(words, place, code)
        texts = {"out": out, "err": err}
        if not is_harmless(out + err) or SECRET in out + err or (whole and MARKUP[:14] not in texts[whole]):
            wrong[name] = f"{out!r}\n{err!r}"
        if name.startswith("an exception"):
            assert err.count(LEGAL) >= 5, err
    assert wrong == {}

"""A command from its words to its result: for the command line, and for callers in Python."""

import contextlib
import dataclasses
import importlib
import io
import os
from collections.abc import Callable, Iterator
from typing import Any

from runner import commands
from runner.cli.answers import first_page, help
from runner.cli.guard import command_line
from runner.commands import _words
from runner.commands._result import Result, finished
from runner.settings import Settings
from runner.settings.errors import ConfigError, Refused, did_you_mean, full_message, sentence
from runner.settings.files import places
from runner.settings.trust import permission, terminal
from runner.settings.values import keys
from runner.tracking.write.spool import Undelivered

#: Environment variable of a process whose words were typed by nobody: a program has made them, as an agent does.
UNTYPED = "RUNNER_UNTYPED"


def invoke(words: list[str]) -> Result:
    """Run the command of these words, those behind `runner` on a command line, and return its result.

    Raises ConfigError for whatever is wrong with the words or the configuration, with all problems; Interrupted after a
    signal, Undelivered if the store does not have all of the record, and whatever the command raises.
    """
    if os.environ.get(UNTYPED):
        command_line.refuse_trust(words)
        permission.begin([])
    else:
        words = command_line.take_trust(words)
        permission.begin(words)
    if not words:
        page = first_page.page()
        return dataclasses.replace(page, plain={"command": "help", **page.plain})
    if (text := _help(words)) is not None:
        return text
    words = _help_first(words)
    name, words = _command_of(words)
    if name in ("again", "resume"):
        sweep = _as_sweep(name, words)
        if isinstance(sweep, Result):
            return dataclasses.replace(sweep, plain={"command": name, **sweep.plain})
        name, words = ("train", sweep) if sweep else (name, words)
    result = _called(name, words)
    return dataclasses.replace(result, plain={"command": name, **result.plain})


def _called(name: str, words: list[str]) -> Result:
    """Call a command with its words, through Hydra where it takes a configuration."""
    command = _command(name)
    recorded = getattr(command, "with_run", None) or getattr(command, "with_words", None)
    if recorded and (_words.bare(words) or not hasattr(command, "with_settings")):
        return _recorded(name, recorded, words)
    return _composed(name, words)


def _help(words: list[str]) -> Result | None:
    """Return the version or the help of a command, if one of them is asked for."""
    bare = _words.bare(words)
    if "--version" in words:
        return Result({"command": "version", **help.versions()}, lambda: terminal.put(help.version()))
    asked = bare[:1] == ["help"]
    name = next(iter(bare[1:] if asked else bare), "")
    if name in commands.names() and (asked or {"-h", "--help"} & set(words)):
        text = help.command(name)
        return Result({"command": "help", "text": text}, lambda: terminal.put(*text.split("\n")))
    if words and set(words) <= {"-h", "--help", "help"}:  # with overrides Hydra shows the configuration too
        overview = help.overview()
        return Result({"command": "help", "text": overview}, lambda: terminal.put(*overview.split("\n")))
    return None


def _help_first(words: list[str]) -> list[str]:
    """Return `--help` for the word `help`."""
    if _words.bare(words)[:1] != ["help"]:
        return words
    words = list(words)
    words.remove("help")
    return ["--help", *words]


def _command_of(words: list[str]) -> tuple[str, list[str]]:
    """Return the command among the words, and the others; `train` if there is none."""
    bare = _words.bare(words)
    if not bare:
        return "train", list(words)
    name = bare[0]
    if name not in commands.names():
        from runner.cli.answers import advice

        others = [word for word in words if word not in commands.names()]
        meant = advice.line(next((word for word in bare if word in commands.names()), "train"), others)
        what = (
            f"{name!r} is neither a command nor key=value" if meant or "." in name else f"there is no command {name!r}"
        )
        rest = [word for word in others if word != name]
        if not meant and rest and not _words.bare(rest):  # `run experiments=mine`
            meant = advice.tried(rest)
        near = "" if meant else _near(name)
        known = f"{what}{near} (commands: {', '.join(commands.names())})"
        raise Refused("\n".join([known, *([meant] if meant else [])]))
    others = list(words)
    others.remove(name)
    return name, others


def _near(name: str) -> str:
    """Return a hint for a word that is neither a command nor an override."""
    if name in keys.declared():
        return f"; {name}=VALUE sets it"
    if f"--{name}" in _words.ALONE:
        return f"; did you mean --{name}?"
    return did_you_mean(name, commands.names())


def _as_sweep(name: str, typed: list[str]) -> list[str] | Result:
    """Return the words that continue or repeat a sweep, if the RUN in `typed` is one; that needs Hydra's launchers.

    A sweep that is complete has a result at once.
    """
    from runner.settings.trust.typed_words import written
    from runner.sweeps import recorded

    try:
        run, uri = _words.run_of(name, typed)
        further = [word for word in typed if word != run and not word.startswith("tracking.uri=")]
        if name == "again":
            words = recorded.anew(uri, run, further)
            return ["-m", *words, f"tracking.uri={written(uri)}"] if words else []
        words, ended = recorded.again(uri, run, further)
    except (ConfigError, Undelivered) as error:
        raise Refused(full_message(error)) from error
    further = [word for word in further if not words or not word.startswith("code=")]
    if ended and not any(word.startswith("hydra.sweeper.") for word in further):  # a search may be made longer
        return Result({"sweep": run, "message": ended}, lambda: terminal.put(ended))
    words = recorded.without(words, further)
    return ["-m", *words, *further, f"tracking.uri={written(uri)}"] if words else []


def _recorded(name: str, command: Callable[..., Any], words: list[str]) -> Result:
    """Run a command on a recorded run, or on a store, without Hydra."""
    try:
        return finished(_words.call(name, command, words, _changed))
    except Exception as error:
        from runner.cli.compose import configuration

        if isinstance(error, Refused) or not isinstance(error, configuration.ERRORS):
            raise
        raise Refused(configuration.explained(error, words)) from error


def _changed(overrides: list[str], recorded: Settings) -> Settings:
    """Return a recorded configuration with values of the command line, which are checked as for a new run."""
    from runner.cli.compose import overriding

    return overriding.changed(overrides, recorded)


def _composed(name: str, words: list[str]) -> Result:
    """Have Hydra compose and call the task, once or for every job of a sweep; return its result."""
    from runner.cli import hydra_private
    from runner.cli.answers import advice
    from runner.cli.compose import configuration, trials
    from runner.cli.guard import composition
    from runner.cli.task import Task

    words = list(words)
    own = _words.own(_command(name).with_settings, words)
    words = _words.flags_first([_words.indexed(word) for word in words])
    task = Task(name, own, words)
    trials.register()
    try:
        command_line.check(words)
        composition.install()
        with _printed(words) as lines:
            hydra_private.run(words, task, str(places.conf()), "config")
    except (Undelivered, Refused):
        raise
    except Exception as error:
        if (task.begun and not isinstance(error, configuration.ERRORS)) or sentence(error) is not None:
            raise
        raise Refused(advice.added(_all(error, words), name, words)) from error
    if task.failures:
        raise task.failures[0]
    if not task.results:  # nothing was run: what Hydra has printed is the answer
        return Result({"command": "print", "text": "\n".join(lines)}, lambda: terminal.put(*lines))
    return max(task.results, key=lambda result: result.code)


@contextlib.contextmanager
def _printed(words: list[str]) -> Iterator[list[str]]:
    """Yield a list that has, after the block, the lines that Hydra prints of the configuration: for --help and --cfg.

    Hydra ends the process after its help, which is no end here.
    """
    lines: list[str] = []
    if not any(word.startswith(("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i")) for word in words):
        yield lines
        return
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield lines
    except SystemExit as end:
        if end.code:
            raise
    finally:
        lines += printed.getvalue().splitlines()


def _all(error: Exception, words: list[str]) -> str:
    """Return all problems of a configuration that Hydra could not compose; of a sweep the first alone."""
    from runner.cli.answers import all_problems
    from runner.cli.compose import configuration

    overrides = _words.overrides(words)
    if overrides is None:
        return configuration.explained(error, words)
    return all_problems.report(error, overrides)


def _command(name: str) -> Any:
    """Return the module of a command."""
    return importlib.import_module(f"runner.commands.{name}")

"""The entry: Hydra composes a configuration, and a command gets plain settings."""

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from runner import commands
from runner.cli import pipes, ranks
from runner.cli.answers import help
from runner.cli.guard import command_line
from runner.commands import _words
from runner.commands._result import Result
from runner.settings import Settings
from runner.settings.errors import ConfigError, did_you_mean, full_message, sentence
from runner.settings.files import places
from runner.settings.trust import permission, terminal
from runner.settings.values import keys
from runner.settings.values.lookup import use_folder
from runner.tracking.store import transfer
from runner.tracking.write.spool import Undelivered
from runner.training.machine import cores, garbage, time_limit
from runner.training.machine.signals import Interrupted


def main() -> NoReturn:
    """Run the command in sys.argv and exit: 0 done, 1 failed, 2 wrong configuration, 130 and 143 interrupted."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting by itself
    os.environ[places.ACTIVE] = str(os.getpid())
    isolate()
    cores.let_waiting_threads_sleep()
    time_limit.begin()
    for folder in reversed(places.experiments()):
        use_folder(folder)
    pipes.outlive_readers()
    terminal.guard()
    try:
        ranks.refuse()
        sys.argv[1:] = command_line.take_trust(sys.argv[1:])
        permission.begin(sys.argv[1:])
    except ConfigError as error:
        _stop(str(error))
    _help()
    name = _take_command()
    try:
        with garbage.rare():
            if name in ("again", "resume") and (sweep := _as_sweep(name, sys.argv[1:])):
                name, sys.argv[1:] = "train", sweep
            command = _command(name)
            recorded = getattr(command, "with_run", None) or getattr(command, "with_words", None)
            if recorded and (_words.bare(sys.argv[1:]) or not hasattr(command, "with_settings")):
                transfer.leave(_ended(lambda: _recorded(name, recorded)))
            transfer.leave(_ended(lambda: _guarded(name)))
    except Exception as error:
        if (message := sentence(error)) is None:
            raise
        terminal.say(message)
        sys.exit(1)


def isolate() -> None:
    """Let every Python that is begun from here on, by a launcher or a library, load nothing of the working directory.

    It stands first where Python looks for modules: a stranger's secrets.py would be loaded in place of Python's own.
    """
    os.environ["PYTHONSAFEPATH"] = "1"


def _help() -> None:
    """Print the version, the commands or the help of one of them, if that is asked for, and exit."""
    typed = sys.argv[1:]
    bare = _words.bare(typed)
    if "--version" in typed:
        terminal.put(help.version())
        sys.exit(0)
    asked = bare[:1] == ["help"]
    if asked:
        typed.remove("help")
        bare, sys.argv[1:] = bare[1:], ["--help", *typed]
    if bare and bare[0] in commands.names() and (asked or {"-h", "--help"} & set(typed)):
        terminal.put(*help.command(bare[0]).split("\n"))
        sys.exit(0)
    if sys.argv[1:] and set(sys.argv[1:]) <= {"-h", "--help"}:  # with overrides Hydra shows the configuration too
        terminal.put(*help.overview().split("\n"))
        sys.exit(0)


def _take_command() -> str:
    """Remove the command from sys.argv and return it; `train` if there is none."""
    bare = _words.bare(sys.argv[1:])
    if not bare:
        return "train"
    name = bare[0]
    if name not in commands.names():
        from runner.cli.answers import advice

        others = [word for word in sys.argv[1:] if word not in commands.names()]
        meant = advice.line(next((word for word in bare if word in commands.names()), "train"), others)
        what = (
            f"{name!r} is neither a command nor key=value" if meant or "." in name else f"there is no command {name!r}"
        )
        rest = [word for word in others if word != name]
        if not meant and rest and not _words.bare(rest):  # `run experiments=mine`
            meant = advice.tried(rest)
        near = "" if meant else _near(name)
        _stop("\n".join([f"{what}{near} (commands: {', '.join(commands.names())})", *([meant] if meant else [])]))
    sys.argv.remove(name)
    return name


def _near(name: str) -> str:
    """Return a hint for a word that is neither a command nor an override."""
    if name in keys.declared():
        return f"; {name}=VALUE sets it"
    if f"--{name}" in _words.ALONE:
        return f"; did you mean --{name}?"
    return did_you_mean(name, commands.names())


def _as_sweep(name: str, typed: list[str]) -> list[str]:
    """Return the words that continue or repeat a sweep, if the RUN in `typed` is one; that needs Hydra's launchers."""
    from runner.settings.trust.typed_words import written
    from runner.sweep import recorded

    try:
        run, uri = _words.run_of(name, typed)
        further = [word for word in typed if word != run and not word.startswith("tracking.uri=")]
        if name == "again":
            words = recorded.anew(uri, run, further)
            return ["-m", *words, f"tracking.uri={written(uri)}"] if words else []
        words, ended = recorded.again(uri, run, further)
    except (ConfigError, Undelivered) as error:
        _stop(full_message(error))
    further = [word for word in further if not words or not word.startswith("code=")]
    if ended and not any(word.startswith("hydra.sweeper.") for word in further):  # a search may be made longer
        terminal.put(ended)
        sys.exit(0)
    words = recorded.without(words, further)
    return ["-m", *words, *further, f"tracking.uri={written(uri)}"] if words else []


def _ended(act: Callable[[], int]) -> int:
    """Return the exit code of a command, also of an interrupted one and of one with an undelivered record."""
    try:
        return act()
    except Interrupted as stop:
        terminal.say(full_message(stop))
        return stop.exit_code
    except Undelivered as error:
        terminal.say(full_message(error))
        return 1
    except KeyboardInterrupt:
        return 130


def _recorded(name: str, command: Callable[..., Any]) -> int:
    """Run a command on a recorded run, or on a store, without Hydra."""
    try:
        return _finished(_words.call(name, command, sys.argv[1:], _changed))
    except Exception as error:
        from runner.cli.compose import configuration

        if not isinstance(error, configuration.ERRORS):
            raise
        _stop(configuration.explained(error, sys.argv[1:]))


def _finished(result: Any) -> int:
    """Print the result of a command and return its exit code."""
    if not isinstance(result, Result):
        return int(result)
    result.text()
    return result.code


def _changed(overrides: list[str], recorded: Settings) -> Settings:
    """Return a recorded configuration with values of the command line, which are checked as for a new run."""
    from runner.cli.compose import overriding

    return overriding.changed(overrides, recorded)


def _guarded(name: str) -> int:
    """Have Hydra compose and call the task, once or for every job of a sweep; return the exit code."""
    import hydra

    from runner.cli.answers import advice
    from runner.cli.compose import configuration, trials
    from runner.cli.guard import composition
    from runner.cli.task import Task

    task = Task(name, _words.own(_command(name).with_settings, sys.argv))
    trials.register()
    sys.argv[1:] = _words.flags_first([_words.indexed(word) for word in sys.argv[1:]])
    try:
        command_line.check(sys.argv[1:])
        composition.install()
        with _printed(sys.argv[1:]):
            hydra.main(version_base="1.3", config_path=str(places.conf()), config_name="config")(task)()
    except Undelivered:
        raise
    except Exception as error:
        if (task.begun and not isinstance(error, configuration.ERRORS)) or sentence(error) is not None:
            raise
        _stop(advice.added(_all(error), name, sys.argv[1:]))
    if task.failures:
        raise task.failures[0]
    return max(task.codes, default=0)


@contextlib.contextmanager
def _printed(words: list[str]) -> Iterator[None]:
    """Print what Hydra prints of the configuration, for --help and --cfg, through `terminal`."""
    if not any(word.startswith(("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i")) for word in words):
        yield
        return
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        if lines := printed.getvalue().splitlines():
            terminal.put(*lines)


def _all(error: Exception) -> str:
    """Return all problems of a configuration that Hydra could not compose; of a sweep the first alone."""
    from runner.cli.answers import all_problems
    from runner.cli.compose import configuration

    overrides = _words.overrides(sys.argv[1:])
    if overrides is None:
        return configuration.explained(error, sys.argv[1:])
    return all_problems.report(error, overrides)


def _command(name: str) -> Any:
    """Return the module of a command."""
    return importlib.import_module(f"runner.commands.{name}")


def _stop(message: str) -> NoReturn:
    """Print a message and exit with code 2."""
    terminal.say(message)
    sys.exit(2)

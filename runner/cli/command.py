"""The entry: what is typed becomes a command, its result is printed, and the process ends with its exit code."""

import os
import sys
from typing import NoReturn

from runner.cli import invoke, pipes, ranks
from runner.cli.answers import problems
from runner.settings.errors import ConfigError, full_message, sentence
from runner.settings.files import places
from runner.settings.trust import terminal
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
    words = [word for word in sys.argv[1:] if word != "--json"]
    with terminal.form("json" if "--json" in sys.argv[1:] else "text"), garbage.rare():
        code = _printed(words)
    transfer.leave(code)


def isolate() -> None:
    """Let every Python that is begun from here on, by a launcher or a library, load nothing of the working directory.

    It stands first where Python looks for modules: a stranger's secrets.py would be loaded in place of Python's own.
    """
    os.environ["PYTHONSAFEPATH"] = "1"


def _printed(words: list[str]) -> int:
    """Run a command, print its result or what has ended it, and return the exit code."""
    try:
        ranks.refuse()
        result = invoke.invoke(words)
    except Interrupted as stop:
        return _failed(stop, full_message(stop), stop.exit_code)
    except Undelivered as error:
        return _failed(error, full_message(error), 1)
    except KeyboardInterrupt as stop:
        return _failed(stop, "", 130)
    except ConfigError as error:
        return _failed(error, full_message(error), 2)
    except Exception as error:
        if (message := sentence(error)) is None:
            terminal.event("error", code=1, errors=[problems.plain(f"{type(error).__name__}: {error}")])
            raise
        return _failed(error, message, 1)
    if terminal.shows_text():
        result.text()
    else:
        terminal.event("result", code=result.code, **result.plain)
    return result.code


def _failed(error: BaseException, message: str, code: int) -> int:
    """Print why a command has ended, for a person on standard error, and return the exit code."""
    if terminal.shows_text():
        if message:
            terminal.say(message)
    else:
        terminal.event("error", code=code, errors=problems.each(message or "interrupted by SIGINT"))
    return code

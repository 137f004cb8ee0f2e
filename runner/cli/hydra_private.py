"""Every name that Hydra does not promise to keep, and nothing else: a release that moves one is mended here.

`tests/cli/test_private_names.py` names the release that this was written for, and fails where a name has moved.
"""

import functools
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from hydra._internal.config_loader_impl import ConfigLoaderImpl as ConfigLoaderImpl
from hydra._internal.core_plugins.basic_launcher import BasicLauncher as BasicLauncher
from hydra._internal.core_plugins.file_config_source import FileConfigSource as FileConfigSource
from hydra._internal.hydra import Hydra as Hydra
from hydra._internal.sources_registry import SourcesRegistry as SourcesRegistry
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.singleton import Singleton as Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.version import setbase

Method = Callable[..., Any]


#: (class, method) that `runner` replaces.
REPLACED = ((ConfigLoaderImpl, "load_configuration"), (ConfigLoaderImpl, "load_sweep_config"), (Hydra, "get_mode"))


def read_files_with(source: type[FileConfigSource]) -> None:
    """Have Hydra read YAML files with `source`."""
    SourcesRegistry.instance().types["file"] = source


def wrap_loading(load: Callable[[Method], Method], load_job: Callable[[Method], Method]) -> None:
    """Wrap the methods that compose: `load` the one for a run or a sweep, `load_job` the one for a sweep's job.

    A second call changes nothing: the wrapped method has an attribute `checked`.
    """
    if not hasattr(ConfigLoaderImpl.load_configuration, "checked"):
        before = ConfigLoaderImpl.load_configuration
        wrapped: Any = functools.wraps(before)(load(before))
        wrapped.checked = True
        ConfigLoaderImpl.load_configuration = wrapped  # type: ignore[method-assign]
        ConfigLoaderImpl.load_sweep_config = load_job(ConfigLoaderImpl.load_sweep_config)  # type: ignore[method-assign]


def compose_once() -> None:
    """Spare Hydra the composing by which it learns `hydra.mode`, unless a word sets a key of Hydra's.

    It is half of the time that composing takes, 0.1 s of each command. No file may set the mode, see `guard/files.py`;
    where `get_mode` returns None, Hydra goes by its flags.
    """
    composes = getattr(Hydra, "get_mode", None)  # without it nothing is spared, and nothing goes unchecked
    if composes is None or hasattr(composes, "spares"):
        return

    @functools.wraps(composes)
    def get_mode(self: Any, config_name: Any, overrides: list[str]) -> Any:
        typed = any("hydra" in word.partition("=")[0] for word in overrides)
        return composes(self, config_name, overrides) if typed else None

    get_mode.spares = True  # type: ignore[attr-defined]
    Hydra.get_mode = get_mode  # type: ignore[method-assign]


def run(words: Sequence[str], task: Method, folder: str, name: str) -> None:
    """Do what `hydra.main` does, with these words in place of those of `sys.argv`.

    folder, name: of the configuration. task: is called with what Hydra has composed.
    """
    setbase("1.3")
    parser = get_args_parser()
    flags = parser.parse_args(list(words))
    _run_hydra(args=flags, args_parser=parser, task_function=task, config_path=folder, config_name=name)


def parse_flags(words: Sequence[str]) -> tuple[Namespace, list[str], str]:
    """Return the flags as Hydra reads them, the words that it does not know, and a message if it refuses one."""
    parser: Any = get_args_parser()
    parser.error = _refuse_flag
    try:
        flags, unknown = parser.parse_known_args(words)
    except FlagError as error:
        return Namespace(), [], str(error)
    return flags, unknown, ""


class FlagError(Exception):
    """A flag that Hydra's parser refuses: by itself it would print all flags and end the process."""


def _refuse_flag(message: str) -> NoReturn:
    raise FlagError(message)


def answer(result: Any) -> Any:
    """Return the value that a job returned or the exception that ended it; None without a result.

    `JobReturn.return_value` raises the exception, and prints all overrides first, secrets too.
    """
    return result._return_value if isinstance(result, JobReturn) else None


def failed(error: Exception) -> JobReturn:
    """Return the result of a job that `error` has ended."""
    result = JobReturn(status=JobStatus.FAILED)
    result.return_value = error
    return result


def completed(value: Any) -> JobReturn:
    """Return the result of a job that returned `value`."""
    result = JobReturn(status=JobStatus.COMPLETED)
    result.return_value = value
    return result

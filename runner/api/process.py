"""A process that is lent to a call: what training, Hydra and MLflow change in it is as before when the call ends."""

import contextlib
import gc
import importlib
import os
import random
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.settings.errors import ConfigError
from runner.settings.files import places
from runner.settings.trust import permission, secrets, terminal

#: Held by the one call that is at work: torch's random state and its settings belong to the whole process.
_lock = threading.Lock()
#: Attributes and singletons that are ours during a call, kept from one call to the next.
_ours: dict[str, Any] = {}


@contextlib.contextmanager
def lent(folder: Path | None = None) -> Iterator[None]:
    """Run a block as `runner` runs in a process of its own, and give the process back as it was.

    That is: environment variables, random states of Python, NumPy and torch, torch's threads and algorithms, Hydra's
    and OmegaConf's classes and singletons, signal handlers and the garbage collector. Modules of `experiments/` are
    read anew where a file has changed.
    Raises ConfigError if another call is at work in this process.
    """
    if not _lock.acquire(blocking=False):
        raise ConfigError(
            "",
            "another training is at work in this process, and both would draw from torch's one random state; wait for"
            " its end, sweep with runner.sweep(...), or train in another process",
        )
    try:
        with contextlib.ExitStack() as stack:
            for part in (_environment, _numbers, _collector, _modules, _hydra, secrets.forgetting):
                stack.enter_context(part())
            stack.enter_context(terminal.form("none"))
            _begin()
            yield
    finally:
        permission.end()
        _lock.release()


def command(typed: list[str]) -> dict[str, Any]:
    """Return the plain result of a command. Raises KeyboardInterrupt where a signal has ended it."""
    from runner.cli import invoke
    from runner.training.machine.signals import Interrupted

    try:
        return invoke.invoke(typed).plain
    except Interrupted as stop:
        raise KeyboardInterrupt(str(stop)) from None


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Read a store within the block: environment variables that MLflow is given are as before after it.

    Beside a training in another thread they stay until that gives them back: it may need them.
    """
    with contextlib.nullcontext() if _lock.locked() else _environment():
        yield


def store() -> str:
    """Return the store that commands without tracking.uri use here."""
    from runner.settings import Tracking

    return os.environ.get("MLFLOW_TRACKING_URI") or Tracking().uri


def _begin() -> None:
    """Do what the command line does before anything else, as far as it holds for a process of others."""
    from runner.cli import ranks
    from runner.sweeps import recorded
    from runner.tracking import environment
    from runner.training.machine import time_limit
    from runner.training.parts import data_cache

    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ[places.ACTIVE] = str(os.getpid())
    ranks.refuse()
    time_limit.begin()
    data_cache.clear()
    recorded.forget()
    environment.git.cache_clear()


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


@contextlib.contextmanager
def _numbers() -> Iterator[None]:
    """Give back the random states, and how torch computes."""
    import numpy as np
    import torch

    from runner.settings import random_state

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        random_state.multiply_as_before()
        if (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()) != (
            deterministic,
            warns,
        ):
            torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if devices:
            torch.cuda.set_rng_state_all(devices)


@contextlib.contextmanager
def _collector() -> Iterator[None]:
    """Let the garbage collector be: objects of others must not be kept for good."""
    from runner.training.machine import garbage

    before = gc.get_threshold()
    with garbage.left_alone():
        try:
            yield
        finally:
            gc.set_threshold(*before)


@contextlib.contextmanager
def _modules() -> Iterator[None]:
    """Find `experiments` where this process is now, and import its modules anew where a file is another one."""
    from runner.settings.values.lookup import use_folder

    package = sys.modules.get("experiments")
    before = list(getattr(package, "__path__", [])) if package is not None else None
    if package is not None and hasattr(package, "__path__"):
        package.__path__ = []
    for folder in reversed(places.experiments()):
        use_folder(folder)
    stamps = {name: _stamp(module) for name, module in list(sys.modules.items()) if name.startswith("experiments.")}
    known, here = _ours.get("modules", {}), list(map(str, places.experiments()))
    if any(stamps[name] != known.get(name, stamps[name]) for name in stamps) or here != _ours.get("folders", here):
        for name in stamps:
            del sys.modules[name]
        importlib.invalidate_caches()
    _ours["folders"] = here
    try:
        yield
    finally:
        modules = {name: module for name, module in list(sys.modules.items()) if name.startswith("experiments.")}
        _ours["modules"] = {name: stamps.get(name) or _stamp(module) for name, module in modules.items()}
        if before is not None and package is not None:
            package.__path__ = before


def _stamp(module: Any) -> tuple[Any, ...]:
    """Return what is another value for another content of a module's file."""
    try:
        stat = Path(module.__file__).stat()
    except (AttributeError, TypeError, OSError):
        return ()
    return (module.__file__, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@contextlib.contextmanager
def _hydra() -> Iterator[None]:
    """Give Hydra and OmegaConf back without what `runner` puts in the place of their methods."""
    from runner.cli import hydra_private
    from runner.settings.trust import omegaconf_private

    replaced = (*hydra_private.REPLACED, *omegaconf_private.REPLACED)
    before = [vars(owner).get(name, _MISSING) for owner, name in replaced]
    theirs, resolvers = hydra_private.Singleton.get_state(), omegaconf_private.resolvers()
    if "methods" in _ours:
        _set(replaced, _ours["methods"])
        hydra_private.Singleton.set_state(_ours["singletons"])
        omegaconf_private.set_resolvers(_ours["resolvers"])
    try:
        yield
    finally:
        _ours["methods"] = [vars(owner).get(name, _MISSING) for owner, name in replaced]
        _ours["singletons"], _ours["resolvers"] = hydra_private.Singleton.get_state(), omegaconf_private.resolvers()
        _set(replaced, before)
        hydra_private.Singleton.set_state(theirs)
        omegaconf_private.set_resolvers(resolvers)


_MISSING = object()


def _set(places_: Any, values: list[Any]) -> None:
    for (owner, name), value in zip(places_, values, strict=True):
        if value is not _MISSING:
            setattr(owner, name, value)
        elif name in vars(owner):
            delattr(owner, name)

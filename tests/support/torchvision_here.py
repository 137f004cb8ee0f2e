"""Lets torchvision be imported beside a torch of another build, whose loader refuses its compiled operators.

The wheel of torchvision on PyPI is built for CUDA. Beside torch for the processor it cannot register its operators, and
importing it, or torchmetrics, which imports it, ends with "operator torchvision::nms does not exist". Transforms need
none of them: they are declared here, without an implementation. Where torchvision fits, or is not installed, nothing is
done.

`install()` does that at the first import of torchvision in a process. Processes that a test of the marker `vision`
begins do it too: their PYTHONPATH has the folder `site`.
"""

import importlib
import importlib.machinery
import importlib.metadata
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

#: Why a test of the marker `vision` is skipped.
REASON = "needs torchvision: pip install -e '.[vision]'"
#: Its `sitecustomize` is run as Python begins.
SITE = Path(__file__).with_name("site")
_declared: list[Any] = []  # torch forgets a library that nobody holds


def load() -> ModuleType:
    """Import torchvision; declare each operator that it misses."""
    while True:
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            import torch

            _declared.append(torch.library.Library("torchvision", "FRAGMENT"))
            _declared[-1].define(f"{missing[1]}(Tensor x) -> Tensor")
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]


def install() -> None:
    """Let the first import of torchvision be `load`."""
    if "torchvision" in sys.modules or any(isinstance(one, _Finder) for one in sys.meta_path) or not _needed():
        return
    sys.meta_path.insert(0, _Finder())


def path() -> str:
    """Return PYTHONPATH for a process that is to do the same."""
    return os.pathsep.join([str(SITE), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])


def module(name: str) -> Any:
    """Return a module of torchvision, for a file of tests that all need it; where it is not installed, skip these."""
    install()
    return pytest.importorskip(name, reason=REASON)


def _needed() -> bool:
    """Return whether torchvision is there, and torch is built without CUDA."""
    try:
        importlib.metadata.version("torchvision")
    except importlib.metadata.PackageNotFoundError:
        return False
    return "+cpu" in importlib.metadata.version("torch")


class _Finder:
    """Finds torchvision once, by loading it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        if importlib.machinery.PathFinder.find_spec(name) is None:
            return None
        module = load()
        spec = importlib.machinery.ModuleSpec(name, _Loaded(), origin=module.__file__, is_package=True)
        spec.submodule_search_locations = list(module.__path__)
        return spec


class _Loaded:
    """Gives the module that is loaded already."""

    def create_module(self, spec: Any) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        pass

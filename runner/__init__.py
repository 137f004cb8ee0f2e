"""A configuration-driven experiment runner for PyTorch."""

import importlib
import importlib.abc
import importlib.machinery
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__version__ = "0.1.0"


def load(
    run: str, uri: str | None = None, checkpoint: str = "best", raw: bool = True, *, code: str = "current"
) -> "nn.Module":
    """The model of a recorded run, ready to use; see `runner.tracking.read.load`. Importing `runner` loads no torch."""
    from runner.tracking.read import load as ready

    return ready.load(run, uri, checkpoint, raw, code=code)


#: Names in users' files and in pickled models, and where these modules are.
NAMES = {"runner.layers": "runner.model.layers", "runner.schedules": "runner.training.parts.schedules"}


class _ByName(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module under both of its names, when it is asked for."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name in NAMES else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        module = importlib.import_module(NAMES[spec.name])
        self._own = module.__spec__
        return module

    def exec_module(self, module: Any) -> None:
        module.__spec__ = self._own  # which the import has just replaced


sys.meta_path.append(_ByName())

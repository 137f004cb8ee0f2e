"""A configuration-driven experiment runner for PyTorch."""

import importlib
import importlib.abc
import importlib.machinery
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from runner.api.calls import check as check
    from runner.api.calls import diff as diff
    from runner.api.calls import run as run
    from runner.api.calls import runs as runs
    from runner.api.calls import sweep as sweep
    from runner.api.calls import train as train
    from runner.settings.errors import ConfigError as ConfigError

    __version__: str


def load(
    run: str, uri: str | None = None, checkpoint: str = "best", raw: bool = True, *, code: str = "current"
) -> "nn.Module":
    """Return the model of a recorded run, ready to use, as a torch module.

    run: id, its beginning, name or last. uri: the tracking store; None: as on the command line.
    checkpoint: best or last. raw: True for a module that takes inputs as the data source gives them.
    code: current or recorded, the code of `experiments/` that the model's own classes are taken from.
    See `runner.tracking.read.load`. Importing `runner` loads no torch.
    """
    from runner.tracking.read import load as ready

    return ready.load(run, uri, checkpoint, raw, code=code)


def augment(transforms: Any) -> "Callable[[Tensor], Tensor]":
    """Return a function that makes another view of each example of a batch with every call.

    transforms: written as `data.augment` is. For code of your own, such as a contrastive loss:

        views = runner.augment(["RandomHorizontalFlip", {"RandomCrop": {"size": 32, "padding": 4}}])
        first, second = views(x), views(x)
    """
    from runner.training.augment.views import Views

    return Views(transforms)


def recorded_weights(run: str, uri: str, checkpoint: str = "best") -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Return the weights of a recorded run by their names, and what they are: run, checkpoint, step.

    See `runner.tracking.read.starting`. A training starts from them (`model.start`): it knows no records.
    """
    from runner.tracking.read import starting

    return starting.weights(run, uri, checkpoint)


def __getattr__(name: str) -> Any:
    """Return a call of `runner.api` or an error by its name, which loads torch when it is called, or `__version__`."""
    if name in CALLS:
        return getattr(importlib.import_module("runner.api.calls"), name)
    if name in ERRORS:
        return getattr(importlib.import_module("runner.settings.errors"), name)
    if name == "__version__":
        return globals().setdefault(name, _version())
    raise AttributeError(f"module 'runner' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted({*globals(), *CALLS, *ERRORS, "__version__"})


def _version() -> str:
    """Return the version that was installed; `0.0.0+unknown` of a copy that nobody has installed."""
    from importlib import metadata

    try:
        return metadata.version("runner-torch")
    except metadata.PackageNotFoundError:
        return "0.0.0+unknown"


#: What the command line does, from Python; see `runner.api.calls`.
CALLS = ("train", "sweep", "check", "run", "runs", "diff")
#: Errors that calls raise.
ERRORS = ("ConfigError",)

#: Names in users' files and in pickled models -> where these modules are.
NAMES = {"runner.layers": "runner.model.layers", "runner.schedules": "runner.training.parts.schedules"}


class _ByName(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module of `NAMES` under its old name too, as one module."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Return how to load a module of `NAMES`; None for any other."""
        return importlib.machinery.ModuleSpec(name, self) if name in NAMES else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        """Import the module under its own name."""
        module = importlib.import_module(NAMES[spec.name])
        self._own = module.__spec__
        return module

    def exec_module(self, module: Any) -> None:
        """Restore the module's own spec, which the import under the old name has replaced."""
        module.__spec__ = self._own


sys.meta_path.append(_ByName())

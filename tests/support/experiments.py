"""The experiments that come with the package, and those of them that need torchvision."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.settings import Trainer

#: Files of all of them.
FILES = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
#: What stands in a file that names transforms or models of torchvision.
VISION = "runner-torch[vision]"


def marks(path: Path) -> list[Any]:
    """Return the marks of a test that runs an experiment."""
    return [pytest.mark.vision] if VISION in path.read_text() else []


def cases() -> list[Any]:
    """Return the files as parameters of tests, with their marks."""
    return [pytest.param(path, marks=marks(path), id=path.stem) for path in FILES]


def here() -> list[Path]:
    """Return the files of those that can be run here."""
    installed = importlib.util.find_spec("torchvision") is not None
    return [path for path in FILES if installed or not marks(path)]


def brief(trainer: Trainer, length: int) -> Trainer:
    """Return the trainer for so many epochs, or so many steps if it counts these, at most."""
    if trainer.steps is not None:
        return replace(trainer, steps=min(trainer.steps, length))
    return replace(trainer, epochs=min(trainer.epochs or 0, length))

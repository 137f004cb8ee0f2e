"""The experiments that come with the package, and those of them that need torchvision."""

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.settings import Trainer

#: Files of all of them.
FILES = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
#: One of each kind: forward alone, tables, folds, several inputs and outputs, steps, averages, two optimizers, losses
#: of parts and of (model, batch), lengths, a graph. The usual suite sees laws over all experiments in these.
SOME = (
    "conv2d", "conv2d_options", "linear_regression", "save_and_load", "diabetes", "iris_folds", "digits_cnn",
    "digits_lenet", "digit_pairs", "digits_steps", "digits_average", "gan_digits", "digits_vae", "decay",
    "sonnet_words", "unet_digits",
)  # fmt: skip
#: Parameters of a fixture or a test of such a law: their names, and those of all.
KINDS = [pytest.param(SOME, id="some"), pytest.param(None, id="all", marks=pytest.mark.long)]
#: What stands in a file that names transforms or models of torchvision.
VISION = "runner-torch[vision]"


def marks(path: Path) -> list[Any]:
    """Return the marks of a test that runs an experiment."""
    return [pytest.mark.vision] if VISION in path.read_text() else []


def cases() -> list[Any]:
    """Return the files as parameters of tests, with their marks."""
    return [pytest.param(path, marks=marks(path), id=path.stem) for path in FILES]


def here(names: Sequence[str] | None = None) -> list[Path]:
    """Return the files of those that can be run here; names: of these alone. Raises AssertionError for another name."""
    installed = importlib.util.find_spec("torchvision") is not None
    assert set(names or ()) <= {path.stem for path in FILES}
    return [path for path in FILES if (installed or not marks(path)) and (names is None or path.stem in names)]


def brief(trainer: Trainer, length: int) -> Trainer:
    """Return the trainer for so many epochs, or so many steps if it counts these, at most."""
    if trainer.steps is not None:
        return replace(trainer, steps=min(trainer.steps, length))
    return replace(trainer, epochs=min(trainer.epochs or 0, length))

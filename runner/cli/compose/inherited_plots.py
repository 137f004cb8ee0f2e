"""Plots of an inherited study that draw layers, where the study over it has a model without such layers."""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, flag_override

from runner.cli.guard import composition, studies
from runner.settings import Settings
from runner.settings.errors import ConfigError
from runner.settings.files import origins

#: Names of plots that draw layers: the LAYERS of their modules are the classes that they need one of.
NAMES = ("filters", "feature_maps")


def leave_out(config: DictConfig, settings: Settings, overrides: list[str]) -> None:
    """Remove plots that only inherited studies have written and that no layer of this model fits.

    Layers of other packages, in which there may be a convolution, keep them.
    """
    study = next((word.partition("=")[2] for word in overrides if word.lstrip("+").startswith("experiments=")), "")
    bases = {origins.shown(path) for path in studies.files_of(f"experiments/{study}")[1:]}
    plots: Any = settings.plots  # of any type, until it is checked
    asked = [index for index, plot in enumerate(plots) if _name(plot) in NAMES] if isinstance(plots, list) else []
    unfit = [index for index in asked if _without(settings, _name(plots[index]))] if bases else []
    if not unfit:
        return
    places = composition.origins_of(overrides)  # composes once more
    files = {index: places.of(f"plots.{index}").rpartition(":")[0] for index in unfit}
    gone = [index for index in unfit if files[index] in bases]
    if not gone:
        return
    names = ", ".join(_name(settings.plots[index]) for index in gone)
    line = f"plots: {names} of {files[gone[0]]} left out; this model has no layer to draw there"
    if line not in studies.remarks:
        studies.remarks.append(line)
    settings.plots = [plot for index, plot in enumerate(settings.plots) if index not in gone]
    with flag_override(config, ["struct", "readonly"], [False, False]):
        config["plots"] = [plot for index, plot in enumerate(config["plots"]) if index not in gone]


def _name(plot: Any) -> str:
    return str(next(iter(plot))) if isinstance(plot, dict) and len(plot) == 1 else str(plot)


def _without(settings: Settings, plot: str) -> bool:
    """Return whether the model is made of torch's and this package's layers alone, and none is what the plot draws."""
    from runner.model import classes

    needed = importlib.import_module(f"runner.plots.{plot}").LAYERS
    model = settings.model
    for word in _words([model.layers, model.inputs, model.outputs]):
        if "." in word:
            return False
        with contextlib.suppress(ConfigError):
            if isinstance(found := classes.find(word, ""), type) and issubclass(found, needed):
                return False
    return True


def _words(value: Any) -> Iterator[str]:
    """Yield each key and each text of nested mappings and lists, names of layers and classes among them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)
    elif isinstance(value, str):
        yield value

"""A loss for each output of a model, written over a preset that has one loss for all."""

import re

from omegaconf import DictConfig, flag_override

from runner.cli.guard import composition
from runner.settings import Settings
from runner.settings.values import short


def leave_preset_out(config: DictConfig, settings: Settings, overrides: list[str]) -> None:
    """Remove the preset's loss where a study has written losses by the names of outputs: they take its place."""
    spec = settings.loss
    by_name = [key for key, value in spec.items() if key not in short.NAMES and short.is_loss(value)]
    named = any(name in spec for name in short.NAMES)
    if not by_name or not named or any(re.match(r"loss=\w", word) for word in overrides):
        return
    origins = composition.origins_of(overrides)
    of_preset = [key for key in spec if re.search(r"(^|/)conf/loss/[^/]+:\d+$", origins.of(f"loss.{key}"))]
    if any(name in spec and name not in of_preset for name in short.NAMES):
        return
    for key in of_preset:
        with flag_override(config["loss"], ["struct", "readonly"], [False, False]):
            del config["loss"][key]
        del spec[key]

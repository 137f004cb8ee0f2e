"""Overrides on top of a recorded configuration."""

import dataclasses
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from runner.cli.compose import configuration, short_values
from runner.commands import _words
from runner.settings import Settings
from runner.settings.errors import ConfigError
from runner.settings.trust import dotted, omegaconf_private, recorded_settings, resolvers, secrets


def changed(overrides: list[str], recorded: Settings) -> Settings:
    """Return a recorded configuration with values of the command line, which are checked as for a new run."""
    omegaconf_private.replace_where_kinds_differ()
    short_values.keep()
    config, parser = recorded_settings.changeable(recorded), OverridesParser.create()
    for word in overrides:
        override = parser.parse_override(_words.indexed(word))
        key, value = override.key_or_group, override.value()
        if override.is_sweep_override():
            raise ConfigError(key, f"a recorded run takes one value at a time, and {word!r} sweeps")
        if key in (*configuration.COMPONENTS, "model", "trainer", "checkpoint", "tracking") and isinstance(value, str):
            raise ConfigError(key, f"presets belong to new runs; give single values, such as {key}.name={value}")
        OmegaConf.update(config, dotted.written(config, key), value, merge=True)
    with resolvers.restricted():
        changed: Any = OmegaConf.to_object(config)
    secrets.learn(dataclasses.asdict(changed))
    return changed  # type: ignore[no-any-return]

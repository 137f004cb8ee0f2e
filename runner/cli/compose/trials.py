"""The configuration of a trial, from what was composed before the first: files may change during a search."""

import json
from collections.abc import Callable
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from runner.settings.errors import ConfigError
from runner.settings.trust import dotted
from runner.settings.trust.recorded_settings import schema as schema
from runner.sweeps.manifest import Job
from runner.sweeps.search.space import Space, product, typed

#: Combinations of presets that are composed beforehand.
MOST = 64


def bases(
    space: Space, fixed: list[str], compose: Callable[[int, list[str]], DictConfig], is_group: Callable[[str], bool]
) -> list[dict[str, Any]]:
    """Return a configuration for every combination of the presets to choose from, before the values of a trial.

    is_group: whether a key chooses a preset, as `optimizer=choice(adam, sgd)` does.
    Raises ConfigError if there are too many.
    """
    groups = [key for key in space if is_group(key.lstrip("+").partition("@")[0])]
    combinations = product(space, groups)
    if len(combinations) > MOST:
        raise ConfigError(groups[0], f"there are {len(combinations)} combinations of presets; search at most {MOST}")
    configs = []
    for chosen in combinations:
        presets = {key: typed(value) for key, value in chosen.items()}
        config = compose(0, [*fixed, *words(presets)])
        configs.append({"presets": presets, "config": OmegaConf.to_container(config, resolve=False)})
    return configs


def job(number: int, values: dict[str, Any], fixed: list[str], bases: list[dict[str, Any]]) -> Job:
    """Return the trial of this number."""
    texts = {key: typed(value) for key, value in values.items()}
    base = next(base for base in bases if base["presets"].items() <= texts.items())
    rest = {key: text for key, text in texts.items() if key not in base["presets"]}
    varied = {key.lstrip("+"): text for key, text in texts.items()}
    return Job(number, [*fixed, *words(texts)], varied, config(base["config"], rest))


def config(base: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
    """Return the resolved configuration with these values, set as Hydra sets those of the command line."""
    whole, parser = OmegaConf.merge(schema(), json.loads(json.dumps(base))), OverridesParser.create()
    for word in words(texts):
        override = parser.parse_override(word)
        adds = override.is_add() or override.is_force_add()
        key = dotted.written(whole, override.key_or_group)
        OmegaConf.update(whole, key, override.value(), merge=True, force_add=adds)
    return OmegaConf.to_container(whole, resolve=True)  # type: ignore[return-value]


def words(texts: dict[str, str]) -> list[str]:
    """Return the texts as words: key -> `key=text`."""
    return [f"{key}={text}" for key, text in texts.items()]


def register() -> None:
    """Let Hydra find the schema by its name, as conf/config.yaml does."""
    ConfigStore.instance().store("schema", schema())

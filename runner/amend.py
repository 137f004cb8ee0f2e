"""A recorded configuration with overrides: what a command that continues or looks at a run again works with."""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner.lookup import ConfigError, did_you_mean
from runner.settings import Settings

#: Parts that hold any argument, which is checked where it is used.
_OPEN = ("data", "model", "loss", "optimizer", "scheduler", "tracking.tags")


def amended(text: str, overrides: dict[str, str]) -> tuple[Settings, str]:
    """The settings in `text`, a recorded config.yaml, with `overrides` (key -> value as typed), and their YAML.

    Raises ConfigError for a key that does not exist or a value of the wrong type.
    """
    config = OmegaConf.structured(Settings)
    for part in _OPEN:
        node = OmegaConf.select(config, part)
        if node is not None:
            OmegaConf.set_struct(node, False)
    recorded = OmegaConf.create(text)
    assert isinstance(recorded, DictConfig)
    _merge(config, recorded)
    for key, value in overrides.items():
        _merge(config, OmegaConf.from_dotlist([f"{key}={value}"]))
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, Settings)
    return settings, OmegaConf.to_yaml(config, resolve=True)


def leaves(value: Any, key: str = "") -> dict[str, Any]:
    """Every value that is no mapping, by its dotted key."""
    if isinstance(value, dict) and value:
        return {k: v for name, inner in value.items() for k, v in leaves(inner, f"{key}.{name}".lstrip(".")).items()}
    return {key: value}


def _merge(config: DictConfig, more: DictConfig) -> None:
    try:
        config.merge_with(more)
    except OmegaConfBaseException as error:
        key = str(getattr(error, "full_key", None) or "")
        parent, _, last = key.rpartition(".")
        message = str(getattr(error, "msg", None) or error).split("\n")[0]
        if ("not in" in message and "struct" in message) or message.startswith("Key "):
            node = OmegaConf.select(config, parent) if parent else config
            known = list(map(str, node)) if isinstance(node, DictConfig) else []
            raise ConfigError(key, f"there is no such key{did_you_mean(last, known)}") from error
        raise ConfigError(key, message) from error

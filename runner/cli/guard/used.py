"""Values of a composed configuration as Hydra is going to use them, and whether a person has typed them."""

import contextlib
from collections.abc import Iterator
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, flag_override

from runner.settings.errors import ConfigError, first_line
from runner.settings.trust import permission, recorded_settings


def value(config: DictConfig, key: str) -> Any:
    """The plain value that Hydra is going to get. Raises ConfigError where it cannot be known beforehand."""
    try:
        found = OmegaConf.select(config, key)
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
    except Exception as error:
        part = permission.left(key)
        remedy = f"type it without {part}" if part else "write it out, or type it"
        raise ConfigError(
            key, f"its value is not known before it is used ({first_line(error)}), so no file may say it; {remedy}"
        ) from error


def settled(config: DictConfig, key: str, nothing: Any = None) -> Any:
    """The value, which stands there from now on: what was looked at is what is used, though it may name the time.

    nothing: what stands there where there is none.
    """
    found = value(config, key) or nothing
    if found is not None:
        pin(config, key, found)
    return found


def is_said(config: DictConfig, key: str) -> bool:
    """Whether a person has typed all of a value, as it is written or as it is filled in."""
    if permission.wholly(key, written(config, key)):
        return True
    with contextlib.suppress(ConfigError):
        return permission.wholly(key, value(config, key))
    return False


def written(config: DictConfig, key: str) -> str:
    """The text of a value, with its references."""
    parent, _, name = key.rpartition(".")
    beside: Any = OmegaConf.to_container(OmegaConf.select(config, parent), resolve=False)
    return str(beside.get(name) or "")


def known(config: DictConfig, key: str) -> str:
    """A folder that a person has typed, who may also say what nobody knows before it is used."""
    with contextlib.suppress(ConfigError):
        return str(value(config, key) or "")
    return "."


@contextlib.contextmanager
def as_when_used(config: DictConfig) -> Iterator[None]:
    """Within the block `${hydra:...}` gives what it is going to give."""
    instance = HydraConfig.instance()
    before, instance.cfg = instance.cfg, OmegaConf.masked_copy(config, "hydra")  # type: ignore[assignment]
    try:
        yield
    finally:
        instance.cfg = before


def pin(config: DictConfig, key: str, value: Any) -> None:
    """Put a value into a composed configuration, as it is: nothing in it is a reference any more."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent)
    with flag_override(node, ["struct", "readonly"], [False, False]):
        node[name] = recorded_settings.escaped(value)

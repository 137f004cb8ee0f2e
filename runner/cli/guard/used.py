"""Values of a composed configuration as Hydra is going to use them, and whether a person has typed them."""

import contextlib
from collections.abc import Iterator
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, flag_override

from runner.settings.errors import ConfigError, first_line
from runner.settings.trust import permission, recorded_settings


def value(config: DictConfig, key: str) -> Any:
    """Return the plain value that Hydra is going to get. Raises ConfigError if it cannot be known beforehand."""
    _check_there(config, key)
    try:
        node = OmegaConf.select(config, key)
        return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    except Exception as error:
        part = permission.left(key)
        remedy = f"type it without {part}" if part else "write it out, or type it"
        raise ConfigError(
            key,
            f"its value is not known before it is used ({first_line(error)}), so no file may set it; {remedy}",
        ) from error


def settled(config: DictConfig, key: str, nothing: Any = None) -> Any:
    """Return a value, and fix it: it is used as it was checked, though its text may hold the time.

    nothing: the value where there is none.
    """
    plain = value(config, key) or nothing
    if plain is not None:
        pin(config, key, plain)
    return plain


def is_said(config: DictConfig, key: str) -> bool:
    """Return whether a person has typed all of a value, as it is written or as it is filled in."""
    if permission.wholly(key, written(config, key)):
        return True
    with contextlib.suppress(ConfigError):  # of a value that cannot be known, nobody has typed all
        return permission.wholly(key, value(config, key))
    return False


def written(config: DictConfig, key: str) -> str:
    """Return the text of a value, with its references."""
    _check_there(config, key)
    parent, _, name = key.rpartition(".")
    beside: Any = OmegaConf.to_container(OmegaConf.select(config, parent), resolve=False)
    return str(beside[name] or "")


def known(config: DictConfig, key: str) -> str:
    """Return a folder that a person has typed; "." where it is not known before it is used, which a person may type."""
    with contextlib.suppress(ConfigError):
        return str(value(config, key) or "")
    return "."


@contextlib.contextmanager
def as_when_used(config: DictConfig) -> Iterator[None]:
    """Within the block, have `${hydra:...}` give what it is going to give."""
    instance = HydraConfig.instance()
    before, instance.cfg = instance.cfg, OmegaConf.masked_copy(config, "hydra")  # type: ignore[assignment]
    try:
        yield
    finally:
        instance.cfg = before


def pin(config: DictConfig, key: str, value: Any) -> None:
    """Put a plain value into a composed configuration; nothing in it is a reference any more."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent)
    with flag_override(node, ["struct", "readonly"], [False, False]):
        node[name] = recorded_settings.escaped(value)


def _check_there(config: DictConfig, key: str) -> None:
    """Raise ConfigError for a key that this release of Hydra does not have: a guard must not take it for empty."""
    parent, _, name = key.rpartition(".")
    holder = OmegaConf.select(config, parent)
    if not isinstance(holder, DictConfig) or name not in holder.keys():  # noqa: SIM118  # `in` is false for `???`
        raise ConfigError(key, "cannot be checked: the installed Hydra has no such key; install hydra-core 1.3")

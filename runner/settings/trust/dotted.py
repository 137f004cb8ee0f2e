"""Keys with dots of their own in a configuration: classes that are named by a dotted name, as in a stack of layers."""

from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf


def written(config: Any, key: str) -> str:
    """Return `model.layers.body[experiments.mine.Block].width` for that key with dots alone, where it stands there.

    OmegaConf reads the brackets; on a command line Hydra does not.
    """
    return "".join(f"[{name}]" if "." in name else f".{name}" for name in _names(config, key.split("."))).lstrip(".")


def mend(config: Any, key: str, value: Any) -> None:
    """Set a value at a key with dots of its own, which has been set as if the parts of its name were mappings."""
    names = _names(config, key.split("."))
    dotted = next((index for index, name in enumerate(names) if "." in name), None)
    if dotted is None:
        return
    holder: Any = config
    for name in names[:dotted]:
        holder = holder[int(name) if isinstance(holder, ListConfig) else name]
    holder.pop(names[dotted].partition(".")[0], None)
    OmegaConf.update(config, written(config, key), value, merge=True)


def _names(config: Any, parts: list[str]) -> list[str]:
    """Return the parts with those in one that are a single key of a mapping."""
    if not parts:
        return []
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if isinstance(config, DictConfig) and name in config and not OmegaConf.is_interpolation(config, name):
            return [name, *_names(config[name], parts[length:])]
    if isinstance(config, ListConfig) and parts[0].isdecimal() and int(parts[0]) < len(config):
        return [parts[0], *_names(config[int(parts[0])], parts[1:])]
    return parts

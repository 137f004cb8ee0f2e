"""How two values of one key become one: where a list and a mapping meet, the later one takes the place."""

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, ListConfig
from omegaconf.basecontainer import BaseContainer


def install() -> None:
    """Let OmegaConf replace a list by a mapping and a mapping by a list, where a key may hold either.

    That is `model.layers`, and arguments of layers and components. OmegaConf itself refuses to merge the two. Keys that
    are declared as one of them, and Hydra's own, stay as they are.
    """
    if not hasattr(BaseContainer._merge_with, "replaces"):
        BaseContainer._merge_with = _replacing(BaseContainer._merge_with)  # type: ignore[method-assign]


def _replacing(merge: Callable[..., None]) -> Callable[..., None]:
    def _merge_with(self: Any, *others: Any, **named: Any) -> None:
        if len(others) == 1 and _differ(self, others[0]) and _takes_either(self):
            self._get_parent()[self._key()] = others[0]
        else:
            merge(self, *others, **named)

    _merge_with.replaces = True  # type: ignore[attr-defined]
    return _merge_with


def _differ(old: Any, new: Any) -> bool:
    """Whether one is a list and the other a mapping, both with a value of their own."""
    kinds = (DictConfig, dict), (ListConfig, list)
    special = (isinstance(new, DictConfig | ListConfig) and new._is_none()) or old._is_none()
    return not special and any(isinstance(old, a) and isinstance(new, b) for a, b in (kinds, kinds[::-1]))


def _takes_either(node: Any) -> bool:
    key = str(node._get_full_key(None))
    return node._metadata.ref_type is Any and "." in key and not key.startswith("hydra.")

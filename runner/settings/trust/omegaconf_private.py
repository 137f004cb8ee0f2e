"""Every name that OmegaConf does not promise to keep, and nothing else: a release that moves one is mended here.

`tests/cli/test_private_names.py` names the release that this was written for, and fails where a name has moved.
"""

import functools
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, ListConfig
from omegaconf.base import Container
from omegaconf.basecontainer import BaseContainer

Method = Callable[..., Any]


def resolvers() -> dict[str, Any]:
    """Return all resolvers of this process by their name; a copy."""
    return dict(BaseContainer._resolvers)


def set_resolvers(resolvers: dict[str, Any]) -> None:
    """Make these, and no others, the resolvers of this process."""
    BaseContainer._resolvers.clear()
    BaseContainer._resolvers.update(resolvers)


def wrap_resolving(resolve: Callable[[Method], Method], content: Callable[[Method], Method]) -> Callable[[], None]:
    """Wrap the methods that resolve a reference and that build plain values. Returns what takes the wrapping back.

    A second call changes nothing: the wrapped method has an attribute `counted`.
    """
    resolve_parse_tree, to_content = Container.resolve_parse_tree, BaseContainer._to_content
    if hasattr(resolve_parse_tree, "counted"):
        return lambda: None
    wrapped: Any = resolve(resolve_parse_tree)
    wrapped.counted = True
    Container.resolve_parse_tree = wrapped  # type: ignore[method-assign]
    BaseContainer._to_content = staticmethod(content(to_content))  # type: ignore[method-assign]

    def restore() -> None:
        Container.resolve_parse_tree = resolve_parse_tree  # type: ignore[method-assign]
        BaseContainer._to_content = staticmethod(to_content)  # type: ignore[method-assign]

    return restore


def replace_where_kinds_differ() -> None:
    """Let a mapping replace a list, and a list a mapping, where a key may hold either; OmegaConf refuses to merge them.

    That is `model.layers`, and arguments of layers and components. Keys that are declared as one of the two, and
    Hydra's own, stay as they are.
    """
    merge = BaseContainer._merge_with
    if hasattr(merge, "replaces"):
        return

    @functools.wraps(merge)
    def _merge_with(self: Any, *others: Any, **named: Any) -> None:
        if len(others) == 1 and _differ(self, others[0]) and _takes_either(self):
            self._get_parent()[self._key()] = others[0]
        else:
            merge(self, *others, **named)

    _merge_with.replaces = True  # type: ignore[attr-defined]
    BaseContainer._merge_with = _merge_with  # type: ignore[method-assign]


def _differ(old: Any, new: Any) -> bool:
    """Return whether one is a list and the other a mapping, both with a value of their own."""
    kinds = (DictConfig, dict), (ListConfig, list)
    special = (isinstance(new, DictConfig | ListConfig) and new._is_none()) or old._is_none()
    return not special and any(isinstance(old, a) and isinstance(new, b) for a, b in (kinds, kinds[::-1]))


def _takes_either(node: Any) -> bool:
    key = str(node._get_full_key(None))
    return node._metadata.ref_type is Any and "." in key and not key.startswith("hydra.")

"""Every name that OmegaConf does not promise to keep, and nothing else: a release that moves one is mended here.

`tests/cli/test_private_names.py` names the release that this was written for, and fails where a name has moved.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, flag_override
from omegaconf._utils import split_key
from omegaconf.base import Container
from omegaconf.basecontainer import BaseContainer

from runner.settings import Settings
from runner.settings.values import short
from runner.settings.values.keys import COMPONENTS, KINDS, OPEN

Method = Callable[..., Any]
#: Keys in which layers stand.
LAYERS = ("model.layers", "model.inputs", "model.outputs")


#: (class, method) that `runner` replaces.
REPLACED = (
    *((BaseContainer, name) for name in ("_merge_with", "_to_content")),
    *((Container, "resolve_parse_tree"), (OmegaConf, "update")),
)


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
    """Let a value replace another one where the two have nothing in common, which OmegaConf would merge or refuse.

    A mapping replaces a list, and a list a mapping, where a key may hold either: `model.layers`, and arguments. A
    component replaces one of another class, whose arguments are not its own, and so does a layer; a layer that is typed
    replaces whatever is there, and null in the place of one removes it. Keys that are declared as one of the two, and
    Hydra's own, stay as they are.
    """
    merge = BaseContainer._merge_with
    if hasattr(merge, "replaces"):
        return

    @functools.wraps(merge)
    def _merge_with(self: Any, *others: Any, **named: Any) -> None:
        if len(others) == 1 and _differ(self, others[0]) and _takes_either(self):
            self._get_parent()[self._key()] = others[0]
            return
        if len(others) == 1 and _names_another(self, others[0]):
            with flag_override(self, ["struct", "readonly"], [False, False]):
                for key in list(self.keys()):
                    del self[key]
        elif len(others) == 1 and (removed := _removed_layers(self, others[0])):
            with flag_override(self, ["struct", "readonly"], [False, False]):
                for key in removed:
                    del self[key]
            others = (_without(others[0], removed),)
        merge(self, *others, **named)
        _open(self)

    _merge_with.replaces = True  # type: ignore[attr-defined]
    BaseContainer._merge_with = _merge_with  # type: ignore[method-assign]


def keep_short_values(spelled: Callable[[str, Any], dict[str, Any] | None]) -> None:
    """Let `{Linear: 10}` keep its 10 where a mapping is merged into it, or `Linear.bias` is set beside it.

    Likewise a component that is its class's name alone keeps that. A component that is typed as layers are written,
    `optimizer={Adam: {lr: 0.1}}`, replaces the one that is there.
    spelled: returns the arguments by name of a layer's class and its short value; None where there is no name.
    """
    merge, update = BaseContainer._merge_with, OmegaConf.update
    if hasattr(merge, "keeps"):
        return

    @functools.wraps(merge)
    def _merge_with(self: Any, *others: Any, **named: Any) -> None:
        new = others[0] if len(others) == 1 else None
        if isinstance(self, DictConfig) and isinstance(new, DictConfig | dict) and _holds(self) and _holds(new):
            for name in new if str(self._get_full_key(None)).startswith((*LAYERS, *short.HOLDERS)) else ():
                value = new[name] if isinstance(new, dict) else new._get_node(name)
                if isinstance(value, DictConfig | dict) and _holds(value):
                    _spell(self, name, spelled, value)
        merge(self, *others, **named)

    @functools.wraps(update)
    def _update(cfg: Any, key: str, value: Any = None, **options: Any) -> None:
        if key in COMPONENTS and isinstance(value, dict) and (component := short.named(value)):
            with flag_override(cfg, ["struct", "readonly"], [False, False]):
                cfg[key] = component
            return
        if key == "model" and isinstance(value, dict):
            value = short.model(value) or value
        node, names = cfg, split_key(key) if key.startswith((*LAYERS, *short.HOLDERS)) else []
        mapping = [value] if isinstance(value, DictConfig | dict) else []
        for name, new in zip(names, [*([one] for one in names[1:]), *mapping], strict=False):
            if isinstance(node, ListConfig) and name.isdecimal() and int(name) < len(node):
                _spell(node, int(name), spelled, new)
                node = node._get_node(int(name))
            elif isinstance(node, DictConfig) and _holds(node):
                _spell(node, name, spelled, new)
                node = node._get_node(name)
        update(cfg, key, value, **options)

    _merge_with.keeps = True  # type: ignore[attr-defined]
    BaseContainer._merge_with = _merge_with  # type: ignore[method-assign]
    OmegaConf.update = staticmethod(_update)  # type: ignore[method-assign]


def is_short(key: str, name: Any, value: Any) -> bool:
    """Return whether a value is one of a layer's arguments without its name, as 10 in `{Linear: 10}`.

    key: of the mapping in which the value stands, by `name`.
    """
    is_layer = key in LAYERS and isinstance(value, str)  # with a name that a person has given it
    return (
        key.startswith(LAYERS) and _is_class(str(name)) and not (is_layer or value is None or isinstance(value, dict))
    )


def _spell(holder: Any, name: Any, spelled: Callable[[str, Any], dict[str, Any] | None], new: Iterable[Any]) -> None:
    """Write out what stands in short, so that values of the keys `new` can be set beside it."""
    node: Any = holder._get_node(name)
    if node is None or node._is_none() or (isinstance(node, DictConfig) and not _holds(node)):
        return
    value = OmegaConf.to_container(node, resolve=False) if isinstance(node, Container) else node._value()
    key = str(holder._get_full_key(None)).replace("[", ".").replace("]", "")
    if (arguments := short.extended(key, name, value, new)) is None and is_short(key, name, value):
        arguments = spelled(str(name), value)
    if arguments:
        with flag_override(holder, ["struct", "readonly"], [False, False]):
            holder[name] = arguments


def are_other_layers(old: Any, new: Any) -> bool:
    """Return whether two mappings are layers of different classes."""
    classes = _layer_class(old), _layer_class(new)
    return None not in classes and classes[0] != classes[1]


def are_several(spec: Any) -> bool:
    """Return whether a mapping holds components by names, `{head: {name: Adam}}`, and nothing else."""
    parts = list(spec.values()) if isinstance(spec, dict) else [spec._get_node(key) for key in spec]
    return bool(parts) and all(isinstance(one, dict | DictConfig) and _holds(one) and _named(one) for one in parts)


def _differ(old: Any, new: Any) -> bool:
    """Return whether one is a list and the other a mapping, both with a value of their own."""
    kinds = (DictConfig, dict), (ListConfig, list)
    special = (isinstance(new, DictConfig | ListConfig) and new._is_none()) or old._is_none()
    return not special and any(isinstance(old, a) and isinstance(new, b) for a, b in (kinds, kinds[::-1]))


def _takes_either(node: Any) -> bool:
    key = str(node._get_full_key(None))
    return node._metadata.ref_type is Any and ("." in key or key == "metrics") and not key.startswith("hydra.")


def _names_another(old: Any, new: Any) -> bool:
    """Return whether a component or a layer names another class than the one that is there.

    new: a plain mapping is a value that is typed, which comes without those around it.
    """
    if not isinstance(old, DictConfig) or not isinstance(new, DictConfig | dict) or not _holds(old) or not _holds(new):
        return False
    if old._key() in COMPONENTS and old._get_full_key(None) == old._key():
        classes = _named(old), _named(new)
        if None in classes:  # several by their names, or one of them
            is_loss = old._key() == "loss"
            several = [are_several(one) or (is_loss and _are_losses(one)) for one in (old, new)]
            return bool(classes[1] and several[0]) or bool(classes[0] and several[1])
        return classes[0] != classes[1]
    key = str(old._get_full_key(None))
    if key in KINDS:
        kinds = [{name for name in KINDS[key] if _value(spec, name) is not None} for spec in (old, new)]
        return all(kinds) and kinds[0] != kinds[1]
    if key.startswith(tuple(f"{holder}." for holder in short.HOLDERS)):
        return are_other_layers(old, new)
    if not key.startswith("model.layers"):
        return False
    typed = isinstance(new, dict) and None not in (_layer_class(old), _layer_class(new))
    return typed or are_other_layers(old, new)


def _are_losses(spec: Any) -> bool:
    """Return whether the settings' loss is one for each of some names of outputs."""
    plain: Any = spec if isinstance(spec, dict) else OmegaConf.to_container(spec, resolve=False)
    return short.are_losses(plain)


def _removed_layers(old: Any, new: Any) -> list[Any]:
    """Return the names of layers in the place of which null stands now."""
    if not isinstance(old, DictConfig) or not isinstance(new, DictConfig | dict) or not _holds(old) or not _holds(new):
        return []
    if old._key() != "layers" or old._get_full_key(None) != "model.layers":
        return []
    return [name for name in new if _is_null(new, name) and name in old and not _is_null(old, name)]


def _is_null(mapping: Any, name: Any) -> bool:
    if isinstance(mapping, dict):
        return mapping[name] is None
    node: Any = mapping._get_node(name)
    return bool(node._is_none())


def _without(mapping: Any, names: list[Any]) -> Any:
    """Return a copy without these names."""
    rest = mapping.copy()
    if isinstance(rest, DictConfig):
        rest._set_flag(["struct", "readonly"], [False, False])
    for name in names:
        del rest[name]
    return rest


def _open(config: Any) -> None:
    """Let the mappings of `OPEN` in the whole configuration take names without a +: what may stand there they check."""
    if (
        not isinstance(config, DictConfig)
        or config._get_parent() is not None
        or config._metadata.object_type != Settings
    ):
        return
    for key in OPEN:
        node: Any = config
        for name in key.split("."):
            node = node._get_node(name) if isinstance(node, DictConfig) and _holds(node) else None
        if isinstance(node, DictConfig) and _holds(node):
            node._set_flag("struct", False)


def _holds(mapping: Any) -> bool:
    """Return whether a mapping has values, and is neither null nor a reference."""
    return (
        bool(mapping)
        if isinstance(mapping, dict)
        else mapping._is_none() is mapping._is_missing() is False and not (mapping._is_interpolation())
    )


def _layer_class(layer: Any) -> str | None:
    """Return the class of a layer: `{Linear: 10}` or `{name: Linear, ...}`; None for another mapping."""
    if name := _named(layer):
        return name
    names = [str(name) for name in layer]
    [name] = names if len(names) == 1 else [""]
    return name if _is_class(name) else None


def _is_class(name: str) -> bool:
    """Return whether a key is the name of a class, and not one that a person has given a layer."""
    return name[:1].isupper() or "." in name


def _named(spec: Any) -> str | None:
    """Return the name of a component's class; None where there is none, or a reference."""
    for key in ("name", "_target_"):
        value = _value(spec, key)
        if isinstance(value, str) and "${" not in value and value != "???":
            return value
    return None


def _value(spec: Any, key: str) -> Any:
    """Return the value of a key, unresolved; None where there is none."""
    if isinstance(spec, dict):
        return spec.get(key)
    node: Any = spec._get_node(key)
    return None if node is None else node._value()

"""A study that is made of others: what it inherits and what it says itself, as one study."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.cli.compose import short_values
from runner.settings.errors import ConfigError
from runner.settings.files import origins
from runner.settings.trust import omegaconf_private
from runner.settings.values import short
from runner.settings.values.keys import COMPONENTS, KINDS, LENGTHS

#: A study's name -> its plain contents and its file; None where there is no study of this name.
Load = Callable[[str], tuple[dict[str, Any], Path] | None]
#: A group and one of its presets -> what that holds.
Preset = Callable[[str, str], dict[str, Any]]
#: Presets of a model without layers of its own.
EMPTY = (None, "empty")


@dataclass
class Study:
    """A study with all that it inherits.

    body: its values. presets: group -> the preset that it chooses, None for none. others: further entries of its
    defaults, as they stand. paths: its files, its own the last. remarks: what it leaves out of others, for people.
    """

    body: dict[str, Any] = field(default_factory=dict)
    presets: dict[str, Any] = field(default_factory=dict)
    others: list[Any] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def contents(self) -> dict[str, Any]:
        """Return it as one file would hold it."""
        others = sorted(self.others, key=lambda entry: str(entry).lstrip("{'").startswith("override"))
        defaults = [*others, *({f"override /{group}": preset} for group, preset in self.presets.items())]
        return {**({"defaults": defaults} if defaults else {}), **self.body}

    def choose(self, group: str, name: str | None, preset: Preset, typed: bool = False) -> None:
        """Leave out values that belong to another class, or to other layers, than those of the preset."""
        former, self.presets[group] = self.presets.get(group), name
        spec = self.body.get(group)
        if group == "model":
            gone = self._layers_gone(former, name, preset)
        elif group not in COMPONENTS or group not in self.body:
            return
        elif not isinstance(spec, dict) or name is None or _class(spec):
            gone = list(spec) if isinstance(spec, dict) else []
            del self.body[group]
        else:
            gone = not_taken(group, {**preset(group, name), **spec}) if former != name else []
            gone = [key for key in gone if key in spec]
            self.body[group] = {key: value for key, value in spec.items() if key not in gone}
        if gone:
            place = origins.shown(self.paths[-1])
            self.remarks.append(
                f"{group}: {', '.join(gone)} of {place} left out; {group}={'null' if name is None else name} was"
                f" {'typed' if typed else 'chosen'} instead"
            )

    def _layers_gone(self, former: str | None, name: str | None, preset: Preset) -> list[str]:
        layers = self._layers()
        if layers is None:
            return []
        if former in EMPTY or not isinstance(layers, dict):  # a model of its own
            del self.body["model"]
            return ["layers"]
        known = _layers_of(preset("model", name)) if name is not None else None
        gone = [key for key in layers if key not in known] if isinstance(known, dict) else []
        self.body["model"]["layers"] = {key: value for key, value in layers.items() if key not in gone}
        return [f"layers.{key}" for key in gone]

    def _layers(self) -> Any:
        return _layers_of(self.body.get("model"))

    def add(self, other: "Study", preset: Preset) -> None:
        """Put another study's choices and values over those that are there."""
        body = copy.deepcopy(other.body)
        for group, name in other.presets.items():
            if self.paths:
                self.choose(group, name, preset)
            self.presets[group] = name
        for group in COMPONENTS:
            if (own := _class_in(body, group)) and own != self._class_in_force(group, preset):
                self.body.pop(group, None)
        layers = _layers_of(body.get("model"))
        if self.paths and isinstance(layers, dict) and "model" not in other.presets:
            self._take_layers(layers, other.paths[-1], preset)
        before, self.body = self._layers(), merged(self.body, body)
        self._remove_layers(before, preset)
        self.others += other.others
        self.paths += other.paths
        self.remarks += other.remarks

    def _remove_layers(self, before: Any, preset: Preset) -> None:
        """Leave out layers in the place of which null stands now; null stays where a preset has one of this name."""
        layers, chosen = self._layers(), self.presets.get("model")
        if not isinstance(layers, dict) or not isinstance(before, dict):
            return
        of_preset = (_layers_of(preset("model", chosen)) if chosen is not None else None) or ()
        gone = [name for name, spec in layers.items() if spec is None and before.get(name) is not None]
        for name in gone:
            if name not in of_preset:
                del layers[name]

    def _class_in_force(self, group: str, preset: Preset) -> Any:
        name = self.presets.get(group)
        return _class_in(self.body, group) or (_class(preset(group, name)) if name is not None else None)

    def _take_layers(self, layers: dict[Any, Any], path: Path, preset: Preset) -> None:
        """Make room for layers that are a model of their own; those that change inherited ones are merged by name."""
        chosen = self.presets.get("model")
        inherited = _layers_of(preset("model", chosen)) if chosen is not None else None
        if own := self._layers():
            inherited = merged(inherited or {}, own) if isinstance(own, dict) else own
        if not inherited:
            return
        names = list(inherited) if isinstance(inherited, dict) else []
        if all(name in names for name in layers) and _changes_each(inherited, layers):
            return
        if self._layers() is not None:
            del self.body["model"]["layers"]
        self.presets["model"] = "empty"
        if shared := [str(name) for name in layers if name in names]:
            others = [str(name) for name in layers if name not in names]
            reason = (
                f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} not inherited" if others else "unchanged"
            )
            self.remarks.append(
                f"model.layers: those of {origins.shown(path)} are the whole model, though {', '.join(shared)} could be"
                f" changes of inherited layers: {reason}"
            )


def whole(name: str, load: Load, preset: Preset, above: tuple[str, ...] = ()) -> Study:
    """Return the study of this name with what it inherits.

    above: the studies that inherit from this one, the outermost first.
    Raises ConfigError for studies that inherit from each other in a circle.
    """
    if name in above:
        circle = " -> ".join([*above[above.index(name) :], name])
        raise ConfigError("defaults", f"studies inherit from each other in a circle, {circle}; take one of them out")
    loaded = load(name)
    assert loaded is not None, name
    contents, path = loaded
    own = Study({key: value for key, value in contents.items() if key != "defaults"}, paths=[path])
    entries = contents.get("defaults") or []
    own.presets = {group: entry[f"override /{group}"] for entry in entries if (group := _group(entry))}
    chosen = dict(own.presets)
    study = Study()
    rest = [entry for entry in entries if not _group(entry)]
    for entry in rest if "_self_" in rest else [*rest, "_self_"]:
        if entry == "_self_":
            study.add(own, preset)
        elif (base := parent(entry)) and load(base) is not None:
            study.add(whole(base, load, preset, (*above, name)), preset)
        else:
            study.others.append(entry)
    study.presets.update(chosen)
    study.paths.remove(path)
    study.paths.append(path)
    return study


def parent(entry: Any) -> str:
    """Return the name of the study that an entry of defaults may choose; "" for an entry of another kind."""
    if isinstance(entry, dict):
        [(key, value)] = entry.items()
        return value if key in ("experiments", "/experiments") and isinstance(value, str) else ""
    if not isinstance(entry, str) or entry == "_self_" or "@" in entry or " " in entry:
        return ""
    return entry.removeprefix("/").removeprefix("experiments/").removesuffix(".yaml")


def merged(old: dict[Any, Any], new: dict[Any, Any], key: str = "") -> dict[Any, Any]:
    """Return values with others over them: mappings are merged, unless they name different classes.

    key: of both in the configuration; "" for the whole.
    """
    result = dict(old)
    if key == "trainer" and any(new.get(name) is not None for name in LENGTHS):
        result = {name: value for name, value in old.items() if name not in LENGTHS}
    for name, value in new.items():
        below = f"{key}.{name}" if key else str(name)
        former: Any = result.get(name)
        if isinstance(value, dict) and omegaconf_private.is_short(key, name, former):
            former = short_values.spelled(str(name), former)
        elif isinstance(value, dict) and (spelled := short.extended(key, name, former, value)):
            former = spelled
        both = isinstance(former, dict) and isinstance(value, dict)
        result[name] = merged(former, value, below) if both and not _differ(former, value, below) else value
    return result


def _differ(old: dict[Any, Any], new: dict[Any, Any], key: str) -> bool:
    """Return whether both name a class, or a kind, and not the same one."""
    if key in COMPONENTS:
        if omegaconf_private.are_several(new) or (key == "loss" and short.are_losses(new)):
            return bool(_class(old)) or not all(isinstance(one, dict) or short.is_loss(one) for one in old.values())
        if omegaconf_private.are_several(old) or (key == "loss" and short.are_losses(old)):
            return bool(_class(new))
        return bool(_class(new)) and bool(_class(old)) and _class(new) != _class(old)
    if key in KINDS:
        kinds = [{name for name in KINDS[key] if spec.get(name) is not None} for spec in (old, new)]
        return all(kinds) and kinds[0] != kinds[1]
    if not key.startswith(("model.layers.", *(f"{holder}." for holder in short.HOLDERS))):
        return False
    return omegaconf_private.are_other_layers(old, new)


def not_taken(group: str, spec: Any, of_preset: bool = False) -> list[str]:
    """Return arguments that the class or function of a component does not take; none if it is unknown.

    of_preset: they stand in the preset of another class: one that takes any argument, `**options`, is not meant.
    """
    from runner.settings.values import lookup
    from runner.training.parts import data_options, losses, optimizers, scheduling, source

    kinds = {
        "data": source.DATA,
        "loss": losses.LOSS,
        "optimizer": optimizers.OPTIMIZER,
        "scheduler": scheduling.SCHEDULER,
    }
    try:
        name, arguments = lookup.component(spec, group)
        takes = lookup.parameters(lookup.find(name, kinds[group], f"{group}.name"))
    except (ConfigError, TypeError, ValueError):  # the checks look it up again, and report it
        return []
    beside = {"scheduler": ("interval",), "data": data_options.NAMES}.get(group, ())
    if not of_preset and any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
        return []
    named = [name for name, parameter in takes.items() if parameter.kind is not parameter.VAR_KEYWORD]
    return [name for name in arguments if name not in named and name not in beside]


def _group(entry: Any) -> str:
    """Return the group of which an entry chooses a preset; "" for an entry of another kind."""
    key = str(next(iter(entry))) if isinstance(entry, dict) else ""
    return key.removeprefix("override /") if key.startswith("override /") else ""


def _class(spec: dict[Any, Any]) -> Any:
    return spec.get("name") or spec.get("_target_")


def _class_in(body: dict[str, Any], group: str) -> Any:
    return _class(body[group]) if isinstance(body.get(group), dict) else None


def _layers_of(model: Any) -> Any:
    return model.get("layers") if isinstance(model, dict) else None


def _changes_each(old: dict[Any, Any], layers: dict[Any, Any]) -> bool:
    """Return whether each of these layers is another one after merging: who repeats a layer means all of them."""
    return all(
        merged({name: old[name]}, {name: spec}, "model.layers") != {name: old[name]} for name, spec in layers.items()
    )

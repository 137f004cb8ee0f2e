"""A JSON schema of the configuration, from the dataclasses and the installed torch's signatures, for editors."""

import dataclasses
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from runner.model import classes, specs
from runner.settings import Model, Settings, Tracking, Trainer
from runner.settings.files import places
from runner.settings.random_state import AUTO
from runner.settings.values import lookup, ranges, short
from runner.settings.values.lookup import Kind
from runner.training.augment import moving
from runner.training.parts import losses, optimizers, scheduling, source
from runner.training.parts.components import PLOT
from runner.training.parts.metrics import METRIC

Node = dict[str, Any]

_REFERENCE: Node = {"type": "string", "pattern": r"\$\{"}
#: Group -> the kind of its names, the ranges of arguments, and arguments that the program fills in.
GROUPS: dict[str, tuple[Kind, dict[str, ranges.Range], tuple[str, ...]]] = {
    "data": (source.DATA, {}, ()),
    "loss": (losses.LOSS, ranges.LOSS, ()),
    "optimizer": (optimizers.OPTIMIZER, ranges.OPTIMIZER, ("params",)),
    "scheduler": (scheduling.SCHEDULER, ranges.SCHEDULER, ("optimizer",)),
}
#: Group -> keys that are no arguments of the class or function.
BESIDE: dict[str, Node] = {
    "optimizer": {"groups": {"type": ["object", "null"], "additionalProperties": {"type": "object"}}},
    "data": {
        **{key: {"type": ["integer", "null", "string"]} for key in ("folds", "fold")},
        "augment": {"type": ["array", "string", "object", "null"]},
        **{key: {"type": ["number", "null", "string"]} for key in ("mixup", "cutmix")},
        "augment_target": {
            "anyOf": [{"enum": [*moving.NAMES, None]}, {"type": "object", "minProperties": 1}, _REFERENCE]
        },
        "sample": {"enum": ["balanced", None]},
    },
    "scheduler": {"interval": {"enum": ["epoch", "step", None]}},
}
_DOTTED: Node = {"type": "string", "pattern": r"^[A-Za-z_]\w*(\.\w+)+$"}
_TABLES: dict[str, dict[str, ranges.Range]] = {"Trainer": ranges.TRAINER}


def schema() -> Node:
    """Return the schema of a whole configuration or study, and of a preset: a component, model, trainer or store."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "runner",
        "type": "object",
        "$defs": {
            "config": _object(Settings),
            "layer": _layer(),
            "layers": {
                "anyOf": [
                    {"type": "array", "items": {"$ref": "#/$defs/layer"}},
                    {"type": "object", "additionalProperties": {"$ref": "#/$defs/layer"}},
                    {"type": ["string", "null"]},
                ]
            },
            "model": _object(Model),
            "trainer": _object(Trainer),
            "tracking": _object(Tracking),
            "metric": _metric(),
            **{group: _component(group) for group in GROUPS},
        },
        **_first(
            ("name", {"anyOf": [{"$ref": f"#/$defs/{group}"} for group in GROUPS]}),
            ("layers", {"$ref": "#/$defs/model"}),
            ("epochs", {"$ref": "#/$defs/trainer"}),
            ("steps", {"$ref": "#/$defs/trainer"}),
            ("uri", {"$ref": "#/$defs/tracking"}),
            otherwise={"$ref": "#/$defs/config"},
        ),
    }


def _first(*cases: tuple[str, Node], otherwise: Node) -> Node:
    """Return a schema of the first case whose key is in the mapping, else of `otherwise`."""
    node = otherwise
    for key, then in reversed(cases):
        node = {"if": {"required": [key]}, "then": then, "else": node}
    return node


def _object(kind: Any) -> Node:
    hints, table = get_type_hints(kind), _TABLES.get(kind.__name__, {})
    properties = {f.name: _property(kind, f.name, hints[f.name], table) for f in dataclasses.fields(kind)}
    if kind is Settings:
        properties |= {"defaults": {"type": "array"}, "hydra": {"type": "object"}, "experiments": {}}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _property(kind: Any, name: str, hint: Any, table: dict[str, ranges.Range]) -> Node:
    if kind is Settings and name in GROUPS:
        names = sorted({*lookup.known(GROUPS[name][0]), *places.presets(name)})  # `loss: CrossEntropyLoss`, `loss: mse`
        return {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}, {"enum": names}, _DOTTED]}
    if kind is Settings and name in ("model", "trainer", "tracking"):
        return {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}, {"enum": places.presets(name)}]}
    if kind is Settings and name == "metrics":
        one: Node = {"$ref": "#/$defs/metric"}
        several: Node = {"type": "array", "items": {"anyOf": [one, {"type": "object", "maxProperties": 1}]}}
        return {"anyOf": [several, {"type": "object"}, _REFERENCE]}
    if kind is Settings and name == "plots":
        return {"type": "array", "items": {"anyOf": [{"enum": lookup.known(PLOT)}, _DOTTED, {"type": "object"}]}}
    if kind is Model and name == "layers":
        return {"$ref": "#/$defs/layers"}
    if kind is Trainer and name == "threads":
        return {"anyOf": [{"type": "integer", **_limits(table.get(name))}, {"enum": [AUTO, None]}, _REFERENCE]}
    if dataclasses.is_dataclass(hint):
        return _object(hint)
    return _value(hint, table.get(name))


def _component(group: str) -> Node:
    kind, table, free = GROUPS[group]
    names = lookup.known(kind)
    extra = BESIDE.get(group, {})
    cases, as_layers = [], dict[str, Node]()
    for name in names:
        target = lookup.find(name, kind, group)
        arguments = extra | _arguments(target, lookup.parameters(target), table, free)
        closed = not any(p.kind is p.VAR_KEYWORD for p in lookup.parameters(target).values())
        more: Node = {"additionalProperties": False} if closed else {}
        then = {"properties": arguments | {"name": {"const": name}}, **more}
        cases.append({"if": {"required": ["name"], "properties": {"name": {"const": name}}}, "then": then})
        if short.CLASS.fullmatch(name):  # {AdamW: {lr: 0.001}}
            as_layers[name] = {"type": ["object", "null"], "properties": arguments, **more}
    either: Node = {"anyOf": [{"enum": names}, _DOTTED, _REFERENCE]}
    return {"type": "object", "properties": {"name": either, "_target_": either, **as_layers}, "allOf": cases}


def _arguments(target: Any, takes: dict[str, Any], table: dict[str, ranges.Range], free: tuple[str, ...]) -> Node:
    skip = (*free, "self", "cls", "device", "dtype", "args", "kwargs")
    drops = "Dropout" in target.__name__  # elsewhere, p is no probability
    return {
        name: _value(_hint(parameter), table.get(name) if name != "p" or drops else None)
        for name, parameter in takes.items()
        if name not in skip
    }


#: Arguments of any layer: the values of parameters, and the layers that it reads from.
_GIVEN: dict[str, Node] = {"weight": {}, "bias": {}, "from": {}, "lengths": {}}


def _layer() -> Node:
    names = lookup.known(classes.LAYER)
    properties = {}
    for name in names:
        target = classes.find(name, "layer")
        takes = specs.signature(target)
        closed = not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in takes.values())
        inside: Node = {
            "type": "object",
            "properties": _arguments(target, takes, ranges.LAYER, ()) | _stacks(takes) | _GIVEN,
            "patternProperties": {"^(weight|bias|running_|in_proj|num_batches)": {}},
            **({"additionalProperties": False} if closed else {}),
        }
        properties[name] = {"anyOf": [inside, {"type": ["null", "boolean", "number", "string", "array"]}]}
        if not closed:
            properties[name] = {}
    one: Node = {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": properties}
    one |= {"patternProperties": {r"\.": {}}, "additionalProperties": False}
    reading = {**one, "maxProperties": 2, "required": ["from"], "properties": {**properties, "from": {}}}
    named: Node = {"type": "object", "anyOf": [{"required": ["name"]}, {"required": ["_target_"]}]}
    several: Node = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/layer"}}
    return {"anyOf": [{"enum": names}, _DOTTED, one, reading, named, several]}


def _stacks(takes: dict[str, Any]) -> Node:
    holds = [n for n, p in takes.items() if specs.holds_module(p.annotation) or specs.holds_modules(p.annotation)]
    return {name: {} for name in holds}


def _metric() -> Node:
    names = lookup.known(METRIC)
    one: Node = {"type": "object", "properties": {name: {"type": ["object", "null"]} for name in names}}
    return {"anyOf": [{"enum": names}, _DOTTED, one]}


def _hint(parameter: Any) -> Any:
    """Return the annotation of a parameter, or else the type of its default."""
    if parameter.annotation is not parameter.empty and not isinstance(parameter.annotation, str):
        return parameter.annotation
    kind = type(parameter.default)
    return float if kind is int else kind if kind in (bool, float, str) else Any


def _value(hint: Any, within: ranges.Range | None = None) -> Node:
    """Return the schema of one value, for which a reference such as ${model.knobs.width} may stand."""
    node = _type(hint, within)
    return {} if node is None else {"anyOf": [node, _REFERENCE]}


def _type(hint: Any, within: ranges.Range | None) -> Node | None:
    """Return the schema of a type; None where anything is taken, or what YAML cannot express."""
    if hint is type(None):
        return {"type": "null"}
    if get_origin(hint) in (Union, types.UnionType):
        parts = [_type(part, within) for part in get_args(hint) if getattr(part, "__name__", "") != "Tensor"]
        return None if None in parts else {"anyOf": parts}
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if hint in (int, float):
        return {"type": "integer" if hint is int else "number", **_limits(within)}
    if hint in (bool, str):
        return {"type": "boolean" if hint is bool else "string"}
    if hint in (list, tuple) or get_origin(hint) in (list, tuple):
        return {"type": "array"}
    if hint is dict or get_origin(hint) is dict:
        return {"type": "object"}
    return None


def _limits(within: ranges.Range | None) -> Node:
    if within is None:
        return {}
    node: Node = {"exclusiveMinimum" if within.open_low else "minimum": within.low}
    if within.high != float("inf"):
        node["exclusiveMaximum" if within.open_high else "maximum"] = within.high
    return node

"""The plan of a whole model: its inputs, its layers, its outputs, and its first weights."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from runner.model import classes, init, naming, specs, written
from runner.model.graph import INPUT, first
from runner.model.planning import Earlier, follow, plan
from runner.model.stack import Layer, Stack, values_of
from runner.model.wires import Inner, Wires, some
from runner.settings import Model
from runner.settings.errors import ConfigError, Problems, did_you_mean
from runner.settings.values import lookup

#: The layer that concatenates the inputs where the layers do not begin with names of their own.
TOGETHER = "inputs"


def planned(model: Model, example: Any, earlier: Earlier | None = None) -> Stack:
    """Plan a model. example: a batch on the meta device, or a tuple or a dict of such. Raises ConfigError.

    The inputs, the layers and the outputs are layers of one stack, by their own names: `image.0.weight` and
    `digit.weight` in the state_dict.
    """
    if not model.inputs and not model.outputs:
        stack = plan(model.layers, example, earlier=earlier)
    else:
        targets = classes.Targets()
        named = [*_inputs(model, example, targets), *_layers(model, targets)]
        heads, outputs = _outputs(model, named, targets)
        stack = follow([*named, *heads], Wires(example), targets, earlier)
        if outputs:
            by_name = {layer.name: layer for layer in stack.layers}
            stack.outputs = outputs
            stack.output = {name: by_name[name].output for name in outputs}
    if model.init:
        stack.start = init.starts(model.init, stack.planned(), _fixed(stack))
    return stack


def called_by_loss(model: Model, example: Any, earlier: Earlier | None = None) -> Stack:
    """Plan a model that is called by its loss, with all of `example` or, as a Siamese one is, with each of its tensors.

    Where the layers do not take the whole of it, they are planned with its first tensor, which they also take when
    they are called with all. A model with one input by name takes this one. A single layer of the user's own may be
    called with more than x. Others, and raises: see `planned`.
    """
    names = list(model.inputs or ())
    if len(names) == 1 and isinstance(example, Mapping) and isinstance(example.get(names[0]), Tensor):
        stack = planned(model, example[names[0]], earlier)
        stack.first = names[0]
        return stack
    try:
        stack = planned(model, example, earlier)
    except ConfigError:
        if isinstance(example, Tensor) or model.inputs:
            raise
        items = [f"{INPUT}.", *(example if isinstance(example, Mapping) else ())]
        if any(item in repr(model.layers) for item in items):  # they read items of it: the error is about these
            raise
        stack = planned(model, first(example), earlier)
        stack.first = True
    stack.alone = len(stack.layers) == 1 and lookup.is_own(stack.layers[0].target)
    return stack


def check(model: Model) -> None:
    """Raise ConfigError, or ConfigErrors, for everything that is wrong with a model as it is written down."""
    problems, targets = Problems(), classes.Targets()
    for key in ("inputs", "outputs"):
        value = getattr(model, key)
        for name, one in value.items() if isinstance(value, Mapping) else ():
            with problems.collect():
                if one and not written.is_tied(one):
                    naming.check(specs.single(one, targets), f"model.{key}.{name}")
    with problems.collect():
        if model.layers or not (model.inputs or model.outputs):
            naming.check(model.layers)
    problems.raise_all()


def _inputs(model: Model, example: Any, targets: classes.Targets) -> list[tuple[str, str, Any]]:
    """Return the layers of each input as one layer of its name, which reads its part of the batch."""
    inputs = model.inputs
    if not inputs:
        return []
    if isinstance(inputs, list | tuple) and all(isinstance(name, str) for name in inputs):
        inputs = dict.fromkeys(inputs)
    if not isinstance(inputs, Mapping):
        raise ConfigError(
            "model.inputs", f"expected names and their layers, as in {{image: [Flatten]}}, found {inputs!r}"
        )
    if isinstance(example, tuple | list) and len(example) != len(inputs):
        raise ConfigError(
            "model.inputs", f"names {len(inputs)} inputs ({some(inputs)}), and the data gives {len(example)} tensors"
        )
    if isinstance(example, Tensor) and len(inputs) != 1:
        raise ConfigError("model.inputs", f"names {len(inputs)} inputs ({some(inputs)}), and the data gives one tensor")
    layers = []
    for number, (name, value) in enumerate(inputs.items()):
        key = f"model.inputs.{name}"
        if isinstance(example, Mapping) and name not in example:
            near = did_you_mean(name, example)
            raise ConfigError(key, f"the data has no input {name!r}{near} (it has {some(example)})")
        item = f".{number}" if isinstance(example, tuple | list) else f".{name}"
        reads = (INPUT if isinstance(example, Tensor) else f"{INPUT}{item}",)
        layers.append((str(name), key, _part(value, key, reads, targets)))
    return layers


def _layers(model: Model, targets: classes.Targets) -> list[tuple[str, str, Any]]:
    """Return the model's layers, after one that brings several inputs together if they do not begin with names."""
    layers = list(specs.named(model.layers, "model.layers")) if model.layers else []
    inputs = list(model.inputs or ())
    if len(inputs) < 2:
        return layers
    if layers and written.combines(layers[0][2]):  # {Concat: {dim: 2}}
        name, key, spec = layers[0]
        return [(name, key, _reading(spec, inputs)), *layers[1:]]
    if (layers or model.outputs) and not (layers and written.has_reads(layers[0][2])):
        if any(name == TOGETHER for name, *_ in layers) or TOGETHER in inputs:
            raise ConfigError("model.layers", f"{TOGETHER!r} is the layer that concatenates the inputs; rename yours")
        return [(TOGETHER, "model.inputs", {"Concat": inputs}), *layers]
    return layers


def _reading(spec: Any, inputs: list[str]) -> dict[str, Any]:
    return {**({spec: None} if isinstance(spec, str) else spec), written.FROM: inputs}


def _outputs(
    model: Model, named: list[tuple[str, str, Any]], targets: classes.Targets
) -> tuple[list[tuple[str, str, Any]], tuple[str, ...]]:
    """Return the layers of the outputs, each of which reads the last of the layers, and the names of the outputs."""
    outputs, before = model.outputs, [name for name, *_ in named]
    if not outputs:
        return [], ()
    if isinstance(outputs, list | tuple) and all(isinstance(name, str) for name in outputs):
        for number, name in enumerate(outputs):
            if name not in before:
                raise ConfigError(
                    f"model.outputs[{number}]",
                    f"{name!r} is no layer{did_you_mean(name, before)} (there are {some(before)}); an output with"
                    " layers of its own is written {NAME: [...]}",
                )
        return [], tuple(outputs)
    if not isinstance(outputs, Mapping):
        raise ConfigError(
            "model.outputs", f"expected names and their layers, as in {{digit: {{Linear: 10}}}}, found {outputs!r}"
        )
    last = (before[-1] if before else INPUT,)
    heads = []
    for name, value in outputs.items():
        key = f"model.outputs.{name}"
        if name in before:
            raise ConfigError(key, f"a layer or an input is called {name!r} as well; rename one")
        heads.append((str(name), key, _part(value, key, last, targets)))
    return heads, tuple(map(str, outputs))


def _part(value: Any, key: str, reads: tuple[str, ...], targets: classes.Targets) -> Any:
    """Return the layers of an input or an output as one: a single one as it is, several as a stack."""
    if not value:
        return {"From": list(reads)}
    if written.is_tied(value):
        return value if written.has_reads(value) else _reading(value, list(reads))
    single = specs.single(value, targets)
    if isinstance(value, str) or single is not value:
        return value if written.has_reads(value) else _reading(value, list(reads))
    return Inner(value, key, reads)


def _fixed(stack: Stack) -> set[int]:
    """Return the ids of parameters whose values are given by the configuration."""
    layers: list[Layer] = [one for layer in stack.layers for one in (layer, *layer.inner())]
    places = [(values_of(layer.planned), layer.given) for layer in layers]
    return {id(values[name]) for values, names in places for name in names if isinstance(values[name], nn.Parameter)}

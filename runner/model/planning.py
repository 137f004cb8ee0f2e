"""From the layers of a configuration to a model's plan: names, inferred sizes and shapes, one layer after the other."""

import copy
import inspect
import re
from typing import Any

import torch
from torch import Tensor, nn

from runner.model import naming, specs
from runner.model.explain import impossible, impossible_arguments
from runner.model.layers import Repeat
from runner.model.shapes import push
from runner.model.stack import Layer, Stack, is_stacks, shaped, size, values_of
from runner.settings.errors import ConfigError, ConfigErrors, batch_shape, brief, did_you_mean, each
from runner.settings.memory import memory
from runner.settings.memory import size as bytes_
from runner.settings.trust.limits import LAYERS
from runner.settings.values import lookup, ranges

#: Name, key and words of a layer and the shape that comes in -> its plan and what comes out.
Earlier = dict[str, tuple[Layer, Any]]
#: Layers of earlier plans that are held.
MOST = 10_000


def plan(
    spec: Any,
    example: Tensor,
    key: str = "model.layers",
    targets: specs.Targets | None = None,
    earlier: Earlier | None = None,
) -> Stack:
    """Look up, bind and infer every layer, and follow the shape of `example` through the stack.

    spec: a list of layers, or a mapping of names to layers, as `model.layers` has them.
    example: a batch on the meta device, examples first. No memory for parameters is taken, no random number drawn.
    key: of the configuration, where the layers stand.
    targets: the classes that a model around this one has looked up already.
    earlier: layers of other models, which are taken where all of a layer is equal; this one's are added, but for those
        that a user has written. Planned modules are then parts of several models, and none may change them.
    Every layer is constructed once, on the meta device, and every class looked up once.
    Raises ConfigError that names the first layer that cannot be made, with the shapes up to it, and the further layers
    that are wrong whatever comes in.
    """
    layers: list[Layer] = []
    targets = specs.Targets() if targets is None else targets
    named = list(specs.named(spec, key))
    specs.check_modules(named)
    for name, layer_key, layer_spec in named:
        try:
            layer, example = _planned_before(earlier, name, layer_key, layer_spec, example, targets)
        except ConfigError as error:
            errors = each(error)
            depends_on_shape = not naming.problems([named[len(layers)]])  # else it is wrong whatever comes in
            for line in _trail(layers) if depends_on_shape else ():
                errors[0].add_note(line)
            further = naming.problems(named[len(layers) + 1 :])
            raise (ConfigErrors([*errors, *further]) if further else error) from error
        layers.append(layer)
        if sum(size(layer) for layer in layers) > LAYERS:
            raise ConfigError(layer.key, f"there are more than {LAYERS:,} layers up to here; use fewer or larger ones")
    return Stack(layers, example)


def _planned_before(
    earlier: Earlier | None, name: str, key: str, spec: Any, example: Any, targets: specs.Targets
) -> tuple[Layer, Any]:
    if earlier is None or not isinstance(example, Tensor):
        return _plan_layer(name, key, spec, example, targets)
    whole = f"{name} {key} {spec!r} {example.shape} {example.dtype}"
    if whole not in earlier:
        layer, output = _plan_layer(name, key, spec, example, targets)
        if len(earlier) >= MOST or any(lookup.is_own(one.target) for one in (layer, *layer.inner())):
            return layer, output
        earlier[whole] = layer, output
    return earlier[whole]


def _plan_layer(name: str, key: str, spec: Any, example: Tensor, targets: specs.Targets) -> tuple[Layer, Tensor]:
    target_name, key, value = specs.read(spec, key)
    target = targets.find(target_name, key)
    parameters = specs.signature(target)
    arguments = specs.arguments(target, parameters, value, key)
    given = {k: arguments.pop(k) for k in list(arguments) if specs.is_given(parameters, k, arguments[k])}
    ranges.check(target, arguments, ranges.LAYER, key)
    specs.infer(parameters, arguments, example, key)
    specs.batch_first(parameters, arguments, key)
    for k, v in arguments.items():
        if k in parameters:
            arguments[k] = _plan_inside(target, parameters[k], v, example, f"{key}.{k}", arguments, targets)
    stacks = {k for k, v in arguments.items() if isinstance(v, Stack) or (isinstance(v, list) and is_stacks(v))}
    if target is nn.Sequential and "args" not in arguments:
        raise ConfigError(key, "Sequential needs layers, as in {Sequential: [{Linear: 4}, ReLU]}")
    scalars = {k: v for k, v in arguments.items() if k not in stacks}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        _bind(target, parameters, scalars, given, key, {*stacks, "args"})
    layer = Layer(name, key, target, arguments, given)
    return layer, _follow(layer, parameters, example)


def _bind(
    target: Any,
    parameters: dict[str, inspect.Parameter],
    arguments: dict[str, Any],
    given: dict[str, Any],
    key: str,
    free: set[str],
) -> None:
    try:
        lookup.bind(target, arguments, key, free, parameters)
    except ConfigError:
        # A value taken for that of a parameter may be the missing argument with a typing error.
        lookup.bind(target, {**given, **arguments}, key, free, parameters)
        raise


def _plan_inside(
    target: Any,
    parameter: inspect.Parameter,
    value: Any,
    example: Tensor,
    key: str,
    arguments: dict[str, Any],
    targets: specs.Targets,
) -> Any:
    """Return an argument with its layers planned: one that is annotated as a module is a stack of its own."""

    def inner(value: Any, key: str) -> Stack:
        return plan(specs.single(value, targets), example, key, targets)

    if target is nn.Sequential or specs.holds_module(parameter.annotation):
        return None if value is None else inner(value, key)
    if target is Repeat and parameter.name == "layers":
        return _repeated(value, specs.times(arguments, key), example, key, targets)
    if specs.holds_modules(parameter.annotation):
        return [inner(spec, branch_key) for _, branch_key, spec in specs.named(value, key)]
    return value


def _repeated(value: Any, times: int, example: Tensor, key: str, targets: specs.Targets) -> list[Stack]:
    repeated = [plan(value, example, key, targets)]
    if sum(size(layer) for layer in repeated[0].layers) * times > LAYERS:
        raise ConfigError(f"{key.rpartition('.')[0]}.times", f"{times} makes more than {LAYERS:,} layers; use fewer")
    while len(repeated) < times:
        before, example = example, repeated[-1].output
        # Layers that take their own output's shape need not be planned again.
        same = isinstance(example, Tensor) and (before.shape, before.dtype) == (example.shape, example.dtype)
        repeated.append(repeated[-1] if same else plan(value, example, key, targets))
    return repeated


def _follow(layer: Layer, parameters: dict[str, inspect.Parameter], example: Any) -> Any:
    """Make the layer on the meta device and push the example through it."""
    _refuse(impossible_arguments(layer.target, layer.arguments), layer)
    try:
        with torch.device("meta"):
            module = layer.construct(_planned)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(layer.key, f"{layer.target.__name__} refuses its arguments: {brief(error)}") from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            layer.key, f"{layer.target.__name__} returned {type(module).__name__}, expected a torch module"
        )
    _refuse(impossible(module, example.shape) if isinstance(example, Tensor) else None, layer)
    layer.planned = module
    _check_given(layer, module, parameters)
    layer.parameters = sum(p.numel() for p in module.parameters())
    if 4 * layer.parameters > (available := memory(torch.device("cpu"))):
        needed = bytes_(4 * layer.parameters)
        raise ConfigError(
            layer.key,
            f"its {layer.parameters:,} parameters need {needed}, and there are {bytes_(available)}; make it smaller",
        )
    if isinstance(module, nn.Embedding) and isinstance(example, Tensor) and example.is_floating_point():
        raise ConfigError(
            layer.key,
            "takes indices, and the input has numbers with a decimal point; data=arrays reads whole numbers with"
            " data.indices=true",
        )
    output = _output(layer, module, example)
    layer.input = tuple(example.shape[1:]) if isinstance(example, Tensor) else ()
    layer.shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
    return output


def _output(layer: Layer, module: nn.Module, example: Any) -> Any:
    """Push the example through the layer's module. Raises ConfigError for an input that it cannot take."""
    try:
        with torch.no_grad():
            return push(module.eval(), example)
    except Exception as error:
        if isinstance(error, TypeError) and re.search(r"forward\(\) missing \d+ required", str(error)):
            raise ConfigError(
                layer.key,
                f"{layer.target.__name__} takes more than one input, and a stack hands on one; use another layer, or"
                " write one in experiments/ that calls it",
            ) from error
        raise ConfigError(
            layer.key,
            f"{layer.target.__name__} cannot take an input of shape {specs.shape(example)}: {brief(error)}",
        ) from error


def _refuse(problem: str | None, layer: Layer) -> None:
    if problem is not None:
        raise ConfigError(layer.key, problem.removeprefix(f"{layer.key.rpartition('.')[2]}: "))


def _check_given(layer: Layer, module: nn.Module, parameters: dict[str, inspect.Parameter]) -> None:
    holds = values_of(module)
    for name, values in layer.given.items():
        if name not in holds:
            takes = [n for n in parameters if n not in ("device", "dtype")]
            raise ConfigError(
                f"{layer.key}.{name}",
                f"{layer.target.__name__} takes no argument {name!r}{did_you_mean(name, [*takes, *holds])}"
                f" (it takes {', '.join(takes) or 'none'}; its parameters are {', '.join(holds) or 'none'})",
            )
        shaped(holds[name], name, values, layer.key)


def _planned(stacks: list[Stack]) -> list[nn.Sequential]:
    """Return the stacks' own modules; of one that is repeated, copies, as each has parameters of its own."""
    return [
        _copied(stack) if any(stack is earlier for earlier in stacks[:i]) else stack.planned()
        for i, stack in enumerate(stacks)
    ]


def _copied(stack: Stack) -> nn.Sequential:
    try:
        return copy.deepcopy(stack.planned())
    except Exception:  # a layer of the user's may hold what cannot be copied
        return stack.make()


def _trail(layers: list[Layer]) -> list[str]:
    return [f"  {layer.key}  ->  {batch_shape(layer.shape)}" for layer in layers]

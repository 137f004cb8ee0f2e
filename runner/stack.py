"""From the layers of a configuration to a model: names, inferred sizes and shapes, one layer after the other."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Union, get_args, get_origin

import torch
from torch import Tensor, nn

from runner import lookup
from runner.layers import Repeat
from runner.lookup import ConfigError, Kind, did_you_mean
from runner.push import push
from runner.worked import impossible, impossible_arguments

#: Arguments that follow from the input's shape, and the dimension (the batch is 0) that gives them.
INFERRED = {
    "in_features": -1,
    "in_channels": 1,
    "num_features": 1,
    "num_channels": 1,
    "input_size": -1,
    "normalized_shape": -1,
    "d_model": -1,
}


def _is_layer(value: Any) -> bool:
    if isinstance(value, type) and issubclass(value, nn.Module):
        return value is not nn.Module and (value.__module__.startswith("torch.nn.") or lookup.is_users(value))
    return inspect.isfunction(value) and lookup.is_users(value)


LAYER = Kind("a layer", ("runner.layers", "torch.nn"), _is_layer)


@dataclass
class Layer:
    """One layer as it will be made: everything looked up, bound and inferred."""

    name: str  # the module's name in the state_dict
    key: str  # where the configuration says it
    target: Any  # a class, or a user's function that returns a module
    arguments: dict[str, Any]  # a nested stack is a Stack, several are a list of Stacks
    given: dict[str, Any] = field(default_factory=dict)  # parameter name -> its values
    shape: tuple[int, ...] = ()  # of the output, the batch left out
    parameters: int = 0

    def make(self) -> nn.Module:
        """A new module with freshly drawn (or given) parameters, on torch's current default device."""
        arguments = {k: _made(v) for k, v in self.arguments.items()}
        module: nn.Module = arguments["args"] if self.target is nn.Sequential else self.target(**arguments)
        for name, values in self.given.items():
            _fill(module, name, values, self.key)
        return module

    def inner(self) -> Iterator["Layer"]:
        """The layers inside of this one, depth first."""
        for value in self.arguments.values():
            for stack in value if isinstance(value, list) else [value]:
                if isinstance(stack, Stack):
                    for layer in stack.layers:
                        yield layer
                        yield from layer.inner()


@dataclass
class Stack:
    """Layers one after the other, and the shape that comes out."""

    layers: list[Layer]
    output: Tensor  # on the meta device: a shape and a type without values

    def make(self) -> nn.Sequential:
        """The model. Its parameters are drawn from torch's global generator, layer by layer."""
        model = nn.Sequential()
        for layer in self.layers:
            model.add_module(layer.name, layer.make())
        return model


def plan(specs: Any, example: Tensor, key: str = "model.layers") -> Stack:
    """Look up, bind and infer every layer, and follow the shape of `example` through the stack.

    example: on the meta device, batch first. No memory for parameters is taken.
    Raises ConfigError that names the first layer that cannot be, with the shapes up to it.
    """
    layers: list[Layer] = []
    for name, layer_key, spec in _named(specs, key):
        try:
            layer, example = _plan_layer(name, layer_key, spec, example)
        except ConfigError as error:
            for line in _trail(layers):
                error.add_note(line)
            raise
        layers.append(layer)
    return Stack(layers, example)


def classes(stack: Stack) -> list[type]:
    """Every module class that the configuration names, directly or by what a named class is made of."""
    with torch.device("meta"):
        return sorted({type(module) for module in stack.make().modules()}, key=lambda c: c.__qualname__)


def _named(specs: Any, key: str) -> Iterator[tuple[str, str, Any]]:
    if isinstance(specs, str):
        specs = [specs]
    if isinstance(specs, Mapping):
        for name, spec in specs.items():
            if "." in str(name) or not str(name):
                raise ConfigError(f"{key}.{name}", "a layer's name is part of a key and cannot contain a dot")
            yield str(name), f"{key}.{name}", spec
    elif isinstance(specs, list | tuple):
        for index, spec in enumerate(specs):
            yield str(index), f"{key}[{index}]", spec
    else:
        raise ConfigError(key, f"expected a list of layers or a mapping of names to layers, found {specs!r}")


def _plan_layer(name: str, key: str, spec: Any, example: Tensor) -> tuple[Layer, Tensor]:
    target_name, key, value = _read(spec, key)
    target = lookup.find(target_name, LAYER, key)
    parameters = _signature(target)
    arguments = _arguments(target, parameters, value, key)
    given = {k: arguments.pop(k) for k in list(arguments) if _is_given(parameters, k, arguments[k])}
    _infer(parameters, arguments, example, key)
    _batch_first(parameters, arguments, key)
    for k, v in arguments.items():
        if k in parameters:
            arguments[k] = _plan_inside(target, parameters[k], v, example, f"{key}.{k}", arguments)
    stacks = {k for k, v in arguments.items() if isinstance(v, Stack) or (isinstance(v, list) and _stacks(v))}
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
        # What looked like a given parameter may be the missing argument with a typing error.
        lookup.bind(target, {**given, **arguments}, key, free, parameters)
        raise


def _read(spec: Any, key: str) -> tuple[Any, str, Any]:
    """`ReLU`, `{Linear: 10}`, `{Linear: {out_features: 10}}` or `{name: Linear, out_features: 10}`."""
    if isinstance(spec, str):
        return spec, key, None
    if isinstance(spec, Mapping) and ("name" in spec or "_target_" in spec):
        name, arguments = lookup.component(dict(spec), key)
        return name, key, arguments
    if isinstance(spec, Mapping) and len(spec) == 1:
        [(name, value)] = spec.items()
        return name, f"{key}.{name}", value
    if isinstance(spec, Mapping) and spec:
        raise ConfigError(key, f"expected one layer, found {len(spec)}: {', '.join(map(str, spec))}")
    raise ConfigError(key, f"expected a layer such as `ReLU` or `Linear: 10`, found {spec!r}")


def _signature(target: Any) -> dict[str, inspect.Parameter]:
    if isinstance(target, type) and issubclass(target, nn.RNNBase) and target is not nn.RNNBase:
        # RNN, LSTM and GRU take (*args, **kwargs) and hand them on.
        parameters = {k: p for k, p in lookup.parameters(nn.RNNBase).items() if k != "mode"}
        if target is nn.RNN:
            parameters["nonlinearity"] = inspect.Parameter(
                "nonlinearity", inspect.Parameter.KEYWORD_ONLY, default="tanh"
            )
        return parameters
    return lookup.parameters(target)


def _arguments(target: Any, parameters: dict[str, inspect.Parameter], value: Any, key: str) -> dict[str, Any]:
    """A value that is not a mapping of arguments is the first argument that a user has to give."""
    if value is None:
        return {}
    stack = next((n for n, p in parameters.items() if p.kind is p.VAR_POSITIONAL or _wants_modules(p)), None)
    if isinstance(value, Mapping) and not (stack == "args" and target is nn.Sequential):
        return dict(value)
    required = [n for n, p in parameters.items() if p.default is p.empty and n not in INFERRED]
    names = [stack] if stack in required else required or list(parameters)
    if not names:
        raise ConfigError(key, f"{target.__name__} takes no arguments, found {value!r}")
    return {names[0]: value}


def _wants_modules(parameter: inspect.Parameter) -> bool:
    return _holds_module(parameter.annotation)


def _holds_module(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return any(_holds_module(a) for a in get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, nn.Module)


def _holds_modules(annotation: Any) -> bool:
    return any(_holds_module(a) for a in get_args(annotation)) and get_origin(annotation) not in (Union, UnionType)


def _is_given(parameters: dict[str, inspect.Parameter], name: str, value: Any) -> bool:
    """`bias: false` is an argument of the class, `bias: [0.1]` are the values of its parameter."""
    if not isinstance(value, list | tuple | int | float) or isinstance(value, bool):
        return False
    return name not in parameters or parameters[name].annotation is bool


def _batch_first(parameters: dict[str, inspect.Parameter], arguments: dict[str, Any], key: str) -> None:
    """torch's recurrent layers take the sequence first by default, and would mix the examples of a batch."""
    if "batch_first" in parameters and not arguments.setdefault("batch_first", True):
        raise ConfigError(f"{key}.batch_first", "must be true: here the first dimension is the batch; leave it out")


def _infer(parameters: dict[str, inspect.Parameter], arguments: dict[str, Any], example: Any, key: str) -> None:
    """Fill in the sizes that follow from the input; refuse those that contradict it."""
    for name, dim in INFERRED.items():
        if name not in parameters:
            continue
        if not isinstance(example, Tensor):
            if name in arguments:
                continue
            raise ConfigError(key, f"needs a tensor, found {_shape(example)}")
        if example.dim() < 2:
            raise ConfigError(
                key, f"needs an input of at least one dimension beside the batch, found {_shape(example)}"
            )
        size = example.shape[dim]
        if name not in arguments:
            if parameters[name].default is inspect.Parameter.empty:
                arguments[name] = size
        elif name != "normalized_shape" and arguments[name] != size:
            raise ConfigError(
                f"{key}.{name}",
                f"{arguments[name]!r} does not fit: the input has shape {_shape(example)}, so it must be {size};"
                " leave it out and it is filled in",
            )


def _plan_inside(
    target: Any, parameter: inspect.Parameter, value: Any, example: Tensor, key: str, arguments: dict[str, Any]
) -> Any:
    """Layers inside of a layer: an argument that is annotated as a module is a stack of its own."""
    if target is nn.Sequential or _holds_module(parameter.annotation):
        return None if value is None else plan(_single(value), example, key)
    if target is Repeat and parameter.name == "layers":
        stacks = []
        for _ in range(_times(arguments, key)):
            stacks.append(plan(value, example, key))
            example = stacks[-1].output
        return stacks
    if _holds_modules(parameter.annotation):
        return [plan(_single(spec), example, branch_key) for _, branch_key, spec in _named(value, key)]
    return value


def _single(value: Any) -> Any:
    """One layer where a stack may stand: `layers: {Linear: 10}` means `layers: [{Linear: 10}]`."""
    if isinstance(value, Mapping) and ("_target_" in value or (len(value) == 1 and _is_known(next(iter(value))))):
        return [value]
    return value


def _is_known(name: Any) -> bool:
    try:
        return bool(lookup.find(name, LAYER, ""))
    except ConfigError:
        return False


def _times(arguments: dict[str, Any], key: str) -> int:
    times = arguments.get("times")
    if not isinstance(times, int) or isinstance(times, bool) or times < 1:
        raise ConfigError(f"{key.rpartition('.')[0]}.times", f"expected a whole number of at least 1, found {times!r}")
    return times


def _stacks(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(v, Stack) for v in value)


def _follow(layer: Layer, parameters: dict[str, inspect.Parameter], example: Any) -> Any:
    """Make the layer on the meta device and push the example through it."""
    _refuse(impossible_arguments(layer.target, layer.arguments), layer)
    given, layer.given = layer.given, {}
    try:
        with torch.device("meta"):
            module = layer.make()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(layer.key, f"{layer.target.__name__} refuses its arguments: {_first_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            layer.key, f"{layer.target.__name__} returned {type(module).__name__}, expected a torch module"
        )
    _refuse(impossible(module, example.shape) if isinstance(example, Tensor) else None, layer)
    layer.given = given
    _check_given(layer, module, parameters)
    layer.parameters = sum(p.numel() for p in module.parameters())
    try:
        with torch.no_grad():
            output = push(module.eval(), example)
    except Exception as error:
        raise ConfigError(
            layer.key, f"{layer.target.__name__} cannot take an input of shape {_shape(example)}: {_first_line(error)}"
        ) from error
    layer.shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
    return output


def _refuse(problem: str | None, layer: Layer) -> None:
    if problem is not None:
        raise ConfigError(layer.key, problem.removeprefix(f"{layer.key.rpartition('.')[2]}: "))


def _check_given(layer: Layer, module: nn.Module, parameters: dict[str, inspect.Parameter]) -> None:
    holds = _values_of(module)
    for name, values in layer.given.items():
        if name not in holds:
            takes = [n for n in parameters if n not in ("device", "dtype")]
            raise ConfigError(
                f"{layer.key}.{name}",
                f"{layer.target.__name__} takes no argument {name!r}{did_you_mean(name, [*takes, *holds])}"
                f" (it takes {', '.join(takes) or 'none'}; its parameters are {', '.join(holds) or 'none'})",
            )
        _shaped(holds[name], name, values, layer.key)


def _values_of(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}


def _fill(module: nn.Module, name: str, values: Any, key: str) -> None:
    place = _values_of(module)[name]
    if place.device.type != "meta":
        with torch.no_grad():
            place.copy_(_shaped(place, name, values, key))


def _shaped(place: Tensor, name: str, values: Any, key: str) -> Tensor:
    """The given values in the parameter's shape; dimensions of size 1 may be left out, one number fills all."""
    try:
        with torch.device("cpu"):
            tensor = torch.tensor(values, dtype=torch.float64)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key}.{name}", f"not a grid of numbers: {_first_line(error)}") from error
    wanted = [n for n in place.shape if n != 1]
    if tensor.dim() and [n for n in tensor.shape if n != 1] != wanted:
        raise ConfigError(
            f"{key}.{name}", f"the values have shape {tuple(tensor.shape)}, expected {tuple(place.shape)}"
        )
    return tensor.reshape(place.shape) if tensor.dim() else tensor.expand(place.shape)


def _made(value: Any) -> Any:
    if isinstance(value, Stack):
        return value.make()
    if isinstance(value, list):
        return [v.make() for v in value] if _stacks(value) else tuple(value)
    return value


def _shape(example: Any) -> str:
    if not isinstance(example, Tensor):
        return f"a {type(example).__name__} (take one item of it with `Select: 0`)"
    return "(" + ", ".join(["N", *map(str, example.shape[1:])]) + ")"


def _trail(layers: list[Layer]) -> list[str]:
    return [f"  {layer.key}  ->  ({', '.join(['N', *map(str, layer.shape)])})" for layer in layers]


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__

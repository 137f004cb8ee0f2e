"""One layer of a configuration: its class, its arguments, and those of them that follow from the input."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from torch import Tensor, nn

from runner.model import classes, layers
from runner.settings.errors import ConfigError, Problems, batch_shape
from runner.settings.trust import secrets
from runner.settings.values import lookup, signatures

#: Arguments that follow from the input's shape, and the dimension (the batch is 0) that gives them.
INFERRED = {
    "in_features": -1,
    "in_channels": 1,
    "num_features": 1,
    "num_channels": 1,
    "input_size": -1,
    "normalized_shape": -1,
    "d_model": -1,
    "in_chans": 1,
}

#: The same of layers with several inputs: which of these, and the dimension.
OF_INPUT: dict[Any, dict[str, tuple[int, int]]] = {
    nn.Bilinear: {"in1_features": (0, -1), "in2_features": (1, -1)},
    nn.MultiheadAttention: {"embed_dim": (0, -1), "kdim": (1, -1), "vdim": (2, -1)},
    layers.MultiheadAttention: {"embed_dim": (0, -1), "kdim": (1, -1), "vdim": (2, -1)},
    layers.Positions: {"length": (0, 1)},
}
#: Layers that take indices, of which the data may say how many there are: `num_embeddings`.
INDEXED = (nn.Embedding, nn.EmbeddingBag)
#: Sizes that may be others than the input's, which the layer sees to.
SPARE = ("normalized_shape", "length")
#: The remedy where a layer takes several inputs.
NAME_THEM = "name the layers that they come from, as in `from: [left, right]` beside its arguments"

#: The most letters of a layer's name: MLflow's longest key of a param is 250, and there are arguments behind it.
LONGEST = 100
_TAKEN = frozenset(dir(nn.Sequential()))
#: Names that mean something else where a layer's name may stand.
RESERVED = {"from": "the layers that a layer reads from"}


def named(specs: Any, key: str) -> Iterator[tuple[str, str, Any]]:
    """Yield the name, the key and the specification of each layer of a list or a mapping of layers, found at `key`.

    Raises ConfigError for what is neither, and for names that no layer can have.
    """
    specs = [specs] if isinstance(specs, str) else specs
    if isinstance(specs, Mapping):
        for name, spec in specs.items():
            _check_name(str(name), spec, f"{key}.{name}")
            yield str(name), f"{key}.{name}", spec
    elif isinstance(specs, list | tuple):
        for index, spec in enumerate(specs):
            yield str(index), f"{key}[{index}]", spec
    else:
        raise ConfigError(key, f"expected a list of layers or a mapping of names to layers, found {specs!r}")


def _check_name(name: str, spec: Any, key: str) -> None:
    if not name:
        raise ConfigError(key, "a layer has an empty name; give it one of letters, digits and _")
    if name in RESERVED:
        raise ConfigError(key, f"{name!r} means {RESERVED[name]}; give the layer another name")
    if "." in name:
        raise ConfigError(
            key, f"a layer's name is part of a key and cannot contain a dot; call it {name.replace('.', '_')!r}"
        )
    if not re.fullmatch(r"[\w\-]([\w\- ]*[\w\-])?", name):
        raise ConfigError(key, "a layer's name becomes a file's name; use letters, digits and _")
    if len(name) > LONGEST:
        raise ConfigError(key, f"a layer's name becomes a file's name; {len(name)} letters are more than {LONGEST}")
    if secrets.is_secret(name) and secrets.without({name: spec}) != {name: spec}:
        told = f"a layer called {name!r} would be recorded as {secrets.MASK}, as a secret is; call it '{name}_layer'"
        raise ConfigError(key.rpartition(".")[0], told)


def check_modules(named: list[tuple[str, str, Any]]) -> None:
    """Raise ConfigError for names that a torch module has for something else, by which no layer could be reached."""
    problems = Problems()
    for name, key, _ in named:
        if name in _TAKEN:
            near = f"{name.strip('_')}_1"
            problems.add(key, f"torch.nn.Module has something of the name {name!r}; call the layer {near!r}")
    problems.raise_all()


def read(spec: Any, key: str) -> tuple[Any, str, Any]:
    """Return the class's name, the key of its arguments, and their value: a mapping, one argument, or None.

    spec: `ReLU`, `{Linear: 10}`, `{Linear: {out_features: 10}}` or `{name: Linear, out_features: 10}`; a list of layers
        is a Sequential.
    Raises ConfigError for anything else.
    """
    if isinstance(spec, str):
        return spec, key, None
    if isinstance(spec, list | tuple) and spec:
        return "Sequential", key, list(spec)
    if isinstance(spec, Mapping) and ("name" in spec or "_target_" in spec):
        name, arguments = lookup.component(dict(spec), key)
        return name, key, arguments
    if isinstance(spec, Mapping) and len(spec) == 1:
        [(name, value)] = spec.items()
        return name, f"{key}.{name}", value
    if isinstance(spec, Mapping) and spec:
        raise ConfigError(key, f"expected one layer, found {len(spec)}: {', '.join(map(str, spec))}")
    raise ConfigError(key, f"expected a layer such as `ReLU` or `Linear: 10`, found {spec!r}")


def signature(target: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters that a layer's class or function takes, by name."""
    if isinstance(target, type) and issubclass(target, nn.RNNBase) and target is not nn.RNNBase:
        # RNN, LSTM and GRU take (*args, **kwargs) and hand them on.
        parameters = {k: p for k, p in lookup.parameters(nn.RNNBase).items() if k != "mode"}
        if issubclass(target, nn.RNN):
            parameters["nonlinearity"] = inspect.Parameter(
                "nonlinearity", inspect.Parameter.KEYWORD_ONLY, default="tanh"
            )
        return parameters
    return lookup.parameters(target)


def arguments(target: Any, parameters: dict[str, inspect.Parameter], value: Any, key: str) -> dict[str, Any]:
    """Return the arguments by name. A value that is no mapping is the first argument that has to be given."""
    if value is None:
        return {}
    stack = next((n for n, p in parameters.items() if p.kind is p.VAR_POSITIONAL or _wants_modules(p)), None)
    if isinstance(value, Mapping) and not (stack == "args" and target is nn.Sequential):
        return dict(value)
    inferred = INFERRED.keys() | OF_INPUT.get(target, {}).keys() | ({"num_embeddings"} if target in INDEXED else set())
    required = [n for n, p in parameters.items() if p.default is p.empty and n not in inferred]
    names = [stack] if stack in required else required or list(parameters)
    if not names:
        raise ConfigError(key, f"{target.__name__} takes no arguments, found {value!r}")
    if names[0] != stack and isinstance(value, list) and not signatures.fits(parameters[names[0]], value):
        further = [n for n in parameters if n not in inferred and n not in required]
        written = ", ".join(f"{n}: {v}" for n, v in zip([*required, *further], value, strict=False))
        raise ConfigError(key, f"{value} is a list, and what is no mapping is the first argument, {names[0]}; expected"
            f" {{{target.__name__}: {{{written}}}}}")  # fmt: skip
    return {names[0]: value}


def _wants_modules(parameter: inspect.Parameter) -> bool:
    return holds_module(parameter.annotation)


def holds_module(annotation: Any) -> bool:
    """Return whether a parameter with this annotation takes a module, which is then written as layers."""
    if get_origin(annotation) in (Union, UnionType):
        return any(holds_module(a) for a in get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, nn.Module)


def holds_modules(annotation: Any) -> bool:
    """Return whether a parameter with this annotation takes several modules, such as a list of them."""
    return any(holds_module(a) for a in get_args(annotation)) and get_origin(annotation) not in (Union, UnionType)


def is_given(parameters: dict[str, inspect.Parameter], name: str, value: Any) -> bool:
    """Return whether an argument gives values of a parameter, as `bias: [0.1]` does, and `bias: false` does not."""
    if not isinstance(value, list | tuple | int | float) or isinstance(value, bool):
        return False
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return False  # `num_classes: 4` of a function that hands all its arguments on
    return name not in parameters or parameters[name].annotation is bool


def batch_first(
    target: Any, parameters: dict[str, inspect.Parameter], arguments: dict[str, Any], example: Any, key: str
) -> None:
    """Set `batch_first`. torch's recurrent layers take the sequence first by default, and would mix the examples.

    Raises ConfigError for an input that they would take for one sequence, whose steps are the examples.
    """
    recurrent = isinstance(target, type) and issubclass(target, nn.RNNBase)
    if recurrent and isinstance(example, Tensor) and example.dim() == 2:
        raise ConfigError(
            key,
            f"{target.__name__} takes inputs of shape (N, length, features), found {shape(example)}; for sequences of"
            f" one feature put Unflatten: {{dim: 1, unflattened_size: [{example.shape[1]}, 1]}} before it",
        )
    if "batch_first" in parameters and not arguments.setdefault("batch_first", True):
        raise ConfigError(f"{key}.batch_first", "must be true: here the first dimension is the batch; leave it out")


def infer(
    target: Any, parameters: dict[str, inspect.Parameter], arguments: dict[str, Any], inputs: Sequence[Any], key: str
) -> None:
    """Fill in the sizes that follow from the inputs. Raises ConfigError for those that contradict them.

    inputs: batches on the meta device; arguments: of the layer, which are changed.
    """
    if target in INDEXED:
        _infer_rows(target.__name__, arguments, inputs[0], key)
    several = OF_INPUT.get(target, {})
    needed = [n for name, (n, _) in several.items() if parameters[name].default is inspect.Parameter.empty]
    if len(inputs) <= max(needed if target is not nn.MultiheadAttention else [2], default=0):
        raise ConfigError(key, f"{target.__name__} takes {len(several)} inputs; {NAME_THEM}")
    for name, (number, dim) in ({name: (0, dim) for name, dim in INFERRED.items()} | several).items():
        if name not in parameters:
            continue
        number = min(number, len(inputs) - 1)  # MultiheadAttention of two inputs: the second one is its values, too
        example = inputs[number]
        if not isinstance(example, Tensor):
            if name in arguments:
                continue
            raise ConfigError(key, f"needs a tensor, found {shape(example)}")
        if example.dim() < 2:
            raise ConfigError(key, f"needs an input of at least one dimension beside the batch, found {shape(example)}")
        if dim >= example.dim():
            raise ConfigError(f"{key}.{name}", f"needs an input with a dimension {dim}, found {shape(example)}")
        size = example.shape[dim]
        if name not in arguments:
            if parameters[name].default is inspect.Parameter.empty or (number and size != inputs[0].shape[dim]):
                arguments[name] = size
        elif name not in SPARE and arguments[name] != size:
            raise ConfigError(
                f"{key}.{name}",
                f"{arguments[name]!r} does not fit: the input has shape {shape(example)}, so it must be {size}"
                f" ({name} = size of {'dimension 1, the channels' if dim == 1 else 'the last dimension'});"
                " leave it out and it is filled in",
            )


def _infer_rows(name: str, arguments: dict[str, Any], example: Any, key: str) -> None:
    if isinstance(example, Tensor) and example.is_floating_point():
        raise ConfigError(
            key,
            "takes indices, and the input has numbers with a decimal point; data=arrays reads whole numbers with"
            " data.indices=true",
        )
    if "num_embeddings" not in arguments and not (rows := getattr(example, "rows", 0)):
        raise ConfigError(
            key,
            f"{name} needs 'num_embeddings', how many different indices there are; it is filled in only where the layer"
            " reads whole numbers of data in memory as they are",
        )
    if "num_embeddings" not in arguments:
        arguments["num_embeddings"] = rows


def single(value: Any, targets: classes.Targets) -> Any:
    """Return one layer as a list of one, where layers may stand: `layers: {Linear: 10}` is `layers: [{Linear: 10}]`."""
    if not isinstance(value, Mapping):
        return value
    names = [name for name in value if name not in RESERVED]  # `from` stands beside a class, too
    is_layer = (
        (len(names) == 1 and _is_known(names[0], targets))
        or "_target_" in value
        or ("name" in value and _is_known(value["name"], targets))
    )
    return [value] if is_layer else value


def _is_known(name: Any, targets: classes.Targets) -> bool:
    try:
        return bool(targets.find(name, ""))
    except ConfigError:
        return False


def times(arguments: dict[str, Any], key: str) -> int:
    """Return the argument `times` of Repeat. Raises ConfigError for what is no whole number of at least 1."""
    times = arguments.get("times")
    if not isinstance(times, int) or isinstance(times, bool) or times < 1:
        raise ConfigError(f"{key.rpartition('.')[0]}.times", f"expected a whole number of at least 1, found {times!r}")
    return times


def shape(example: Any) -> str:
    """Return words for the shape of a batch: `(N, 3, 8, 8)`."""
    if not isinstance(example, Tensor):
        first = next(iter(example), 0) if isinstance(example, Mapping) else 0
        return f"{what(example)} (take one item of it with `Select: {first}`)"
    return batch_shape(example.shape[1:])


def what(example: Any) -> str:
    """Return words for a batch or a tuple or dict of batches."""
    return f"a tensor of shape {shape(example)}" if isinstance(example, Tensor) else f"a {type(example).__name__}"

"""From the layers of a configuration to a model's plan: names, inferred sizes and shapes, one layer after the other."""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from runner.model import classes, looking, naming, specs, ties
from runner.model.attention import CAUSAL, MASKED, Mask, MultiheadAttention, TransformerDecoder
from runner.model.explain import impossible, impossible_arguments
from runner.model.graph import INPUT
from runner.model.layers import Repeat, Select
from runner.model.stack import Layer, Stack, is_stacks, shaped, shapes, size, values_of
from runner.model.wires import Inner, Inputs, Wires
from runner.model.written import FROM, Written, is_tied, read
from runner.settings.errors import ConfigError, ConfigErrors, brief, did_you_mean, each
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
    example: Any,
    key: str = "model.layers",
    targets: classes.Targets | None = None,
    earlier: Earlier | None = None,
) -> Stack:
    """Look up, bind and infer every layer, and follow the shape of `example` through the stack.

    spec: a list of layers, or a mapping of names to layers, as `model.layers` has them.
    example: a batch on the meta device, examples first; or a tuple or a dict of such. No memory for parameters is
        taken, no random number drawn.
    key: of the configuration, where the layers stand.
    targets: the classes that a model around this one has looked up already.
    earlier: layers of other models, which are taken where all of a layer is equal; this one's are added, but for those
        that a user has written. Planned modules are then parts of several models, and none may change them.
    Every layer is constructed once, on the meta device, and every class looked up once.
    Raises ConfigError that names the first layer that cannot be made, with the shapes up to it, and the further layers
    that are wrong whatever comes in.
    """
    return follow(
        list(specs.named(spec, key)), Wires(example), classes.Targets() if targets is None else targets, earlier
    )


def follow(
    named: list[tuple[str, str, Any]], wires: Wires, targets: classes.Targets, earlier: Earlier | None = None
) -> Stack:
    """Plan layers one after the other. named: as `specs.named` gives them. Raises as `plan` does."""
    specs.check_modules(named)
    layers: list[Layer] = []
    with targets.within([name for name, *_ in named]):
        for number, (name, layer_key, layer_spec) in enumerate(named):
            wires.later = [later for later, *_ in named[number + 1 :]]
            try:
                layer, output = _planned_before(earlier, name, layer_key, layer_spec, wires, targets, layers)
                ties.check(layer, layers)
            except ConfigError as error:
                errors = each(error)
                depends_on_shape = not naming.problems([named[number]])  # else it is wrong whatever comes in
                for line in _trail(layers) if depends_on_shape else ():
                    errors[0].add_note(line)
                further = naming.problems(named[number + 1 :])
                raise (ConfigErrors([*errors, *further]) if further else error) from error
            targets.masked |= layer.target is Mask
            wires.add(name, output)
            layers.append(layer)
            if sum(size(layer) for layer in layers) > LAYERS:
                raise ConfigError(
                    layer.key, f"there are more than {LAYERS:,} layers up to here; use fewer or larger ones"
                )
    naming.check_masks(layers)
    return Stack(layers, wires.example)


def _planned_before(
    earlier: Earlier | None,
    name: str,
    key: str,
    spec: Any,
    wires: Wires,
    targets: classes.Targets,
    before: list[Layer],
) -> tuple[Layer, Any]:
    if is_tied(spec):
        return ties.shared(name, spec, key, wires, targets, before)
    written = spec if isinstance(spec, Inner) else read(spec, key, targets.find)
    inputs = wires.inputs(written, targets)
    tied = ties.sizes(written, before) if isinstance(written, Written) else {}
    shapes, structure = tree_flatten((inputs.inputs, inputs.named))
    if earlier is None or not all(isinstance(one, Tensor) for one in shapes):
        return _plan_layer(name, written, inputs, targets)
    forms = [(one.shape, one.dtype, getattr(one, "rows", 0)) for one in shapes]
    whole = f"{name} {key} {targets.masked} {spec!r} {tied} {inputs.shown()} {structure} {forms}"
    if whole not in earlier:
        layer, output = _plan_layer(name, written, inputs, targets)
        if len(earlier) >= MOST or any(lookup.is_own(one.target) for one in (layer, *layer.inner())):
            return layer, output
        earlier[whole] = layer, output
    return earlier[whole]


def _plan_layer(name: str, written: Written | Inner, inputs: Inputs, targets: classes.Targets) -> tuple[Layer, Any]:
    if isinstance(written, Inner):
        inner = plan(written.layers, inputs.inputs[0], written.key, targets)
        layer = Layer(name, written.key, nn.Sequential, {"args": inner}, reads=inputs.reads)
        return layer, _follow(layer, {}, inputs)
    target, key, parameters, arguments = written.target, written.key, written.parameters, written.arguments
    ranges.check(target, arguments, ranges.LAYER, key)
    specs.infer(target, parameters, arguments, inputs.all(), key)
    specs.batch_first(target, parameters, arguments, inputs.all()[0], key)
    if targets.masked and target in MASKED and not (target is MultiheadAttention and len(inputs.all()) > 1):
        arguments.setdefault("mask", CAUSAL)
    if target is TransformerDecoder and "decoder_layer" in arguments:
        arguments["decoder_layer"] = _decoder_layer(arguments["decoder_layer"], inputs, f"{key}.decoder_layer", targets)
    for k, v in arguments.items():
        if k in parameters and not isinstance(v, Stack):
            arguments[k] = _plan_inside(target, parameters[k], v, inputs.all()[0], f"{key}.{k}", arguments, targets)
    stacks = {k for k, v in arguments.items() if isinstance(v, Stack) or (isinstance(v, list) and is_stacks(v))}
    if target is nn.Sequential and "args" not in arguments:
        raise ConfigError(key, "Sequential needs layers, as in {Sequential: [{Linear: 4}, ReLU]}")
    scalars = {k: v for k, v in arguments.items() if k not in stacks}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        _bind(target, parameters, scalars, written.given, key, {*stacks, "args"})
    layer = Layer(name, key, target, arguments, written.given, reads=inputs.reads, ties=written.ties)
    return layer, _follow(layer, parameters, inputs)


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
    targets: classes.Targets,
) -> Any:
    """Return an argument with its layers planned: one that is annotated as a module is a stack of its own.

    A class whose layers take something else than its input has a static method `inside`, which makes this of it.
    """

    def inner(value: Any, key: str) -> Stack:
        try:
            seen = target.inside(example) if hasattr(target, "inside") else example
        except ValueError as error:
            raise ConfigError(key.rpartition(".")[0], str(error)) from error
        return plan(specs.single(value, targets), seen, key, targets)

    if target is nn.Sequential or specs.holds_module(parameter.annotation):
        return None if value is None else inner(value, key)
    if target is Repeat and parameter.name == "layers":
        return _repeated(value, specs.times(arguments, key), example, key, targets)
    if specs.holds_modules(parameter.annotation):
        return [inner(spec, branch_key) for _, branch_key, spec in specs.named(value, key)]
    return value


def _decoder_layer(value: Any, inputs: Inputs, key: str, targets: classes.Targets) -> Stack:
    """Return the layer of a TransformerDecoder, which reads the memory, too."""
    if len(inputs.all()) < 2:
        raise ConfigError(key.rpartition(".")[0], f"TransformerDecoder takes two inputs; {specs.NAME_THEM}")
    wires = Wires(inputs.all()[0])
    wires.outputs["memory"] = inputs.all()[1]
    named, reads = specs.named(specs.single(value, targets), key), {FROM: [INPUT, "memory"]}
    reading = [(n, k, {**(one if isinstance(one, Mapping) else {one: None}), **reads}) for n, k, one in named]
    return follow(reading, wires, targets)


def _repeated(value: Any, times: int, example: Tensor, key: str, targets: classes.Targets) -> list[Stack]:
    value = specs.single(value, targets)
    repeated = [plan(value, example, key, targets)]
    if sum(size(layer) for layer in repeated[0].layers) * times > LAYERS:
        raise ConfigError(f"{key.rpartition('.')[0]}.times", f"{times} makes more than {LAYERS:,} layers; use fewer")
    while len(repeated) < times:
        before, example = example, repeated[-1].output
        # Layers that take their own output's shape need not be planned again.
        same = isinstance(example, Tensor) and (before.shape, before.dtype) == (example.shape, example.dtype)
        repeated.append(repeated[-1] if same else plan(value, example, key, targets))
    return repeated


def _follow(layer: Layer, parameters: dict[str, inspect.Parameter], inputs: Inputs) -> Any:
    """Make the layer on the meta device and push the inputs through it."""
    example = inputs.all()[0]
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
    if isinstance(module, Select) and isinstance(example, Tensor):
        raise ConfigError(
            layer.key,
            f"takes an item of a tuple or of a dict, and the input is a tensor of shape {specs.shape(example)}, of"
            f" which {module.index!r} would be an example; was a tuple meant, as LSTM gives it? else leave it out",
        )
    inputs.spread(module)
    layer.reads = inputs.reads
    output = looking.output(layer, module, inputs)
    layer.parameters -= sum(values_of(module)[name].numel() for name in layer.ties if name in values_of(module))
    layer.input = tuple(example.shape[1:]) if isinstance(example, Tensor) else ()
    layer.output, layer.taken = output, (inputs.inputs, inputs.named)
    layer.shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
    return output


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
    return [f"  {layer.key}  ->  {shapes(layer)}" for layer in layers]

"""Why a batch is not learned: causes that can be shown, each with its evidence and a remedy."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from runner.data import Batch, Nest, nests
from runner.model import host, modes
from runner.settings.values import lookup
from runner.training.debugging import tries
from runner.training.state import generators

if TYPE_CHECKING:
    from runner.training.run import Run

#: What is wrong, where, how that is seen, and what to do.
Reason = dict[str, Any]

#: Layers whose outputs lie between two numbers, whatever their input.
RANGES: dict[type[nn.Module], tuple[float, float]] = {
    nn.Sigmoid: (0, 1),
    nn.Hardsigmoid: (0, 1),
    nn.Softmax: (0, 1),
    nn.Tanh: (-1, 1),
    nn.Softsign: (-1, 1),
    nn.ReLU: (0, math.inf),
    nn.ReLU6: (0, 6),
    nn.Softplus: (0, math.inf),
}
#: Layers whose output ends where their input becomes large: there they have no gradient.
FLAT = (nn.Sigmoid, nn.Tanh)
#: Losses of logits, and of numbers that the output is to be.
OF_LOGITS = (nn.CrossEntropyLoss, nn.BCEWithLogitsLoss)
OF_NUMBERS = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
#: Numbers beyond which inputs and targets are much larger than layers are made for.
LARGE = 30.0
#: The share of a loss by which two evaluations with the same weights differ if it draws random numbers.
NOISE = 0.01


def reasons(run: "Run", start: dict[str, Tensor], found: dict[str, Any]) -> list[Reason]:
    """Return why the training data of `run`, one batch, is not learned: the causes, the likeliest first.

    start: the first weights, a state_dict. found: what is known of the training, see `overfit.Debugging`.
    """
    x, y = next(iter(run.moved(run.readers.whole(run.data.train, True))))
    with generators.undrawn(run.device):
        now = inside(run, (x, y))
        with weights(run, start):
            before = {(one["cause"], one["layer"]) for one in inside(run, (x, y))}
        shown = [one for one in now if (one["cause"], one["layer"]) in before]
        shown += [*targets(run, y), *examples(x, y), *noise(run, (x, y))]
        shown += [] if shown else tries.tried(run, start, min(found["first"], found["last"]))
        since = [one for one in now if (one["cause"], one["layer"]) not in before]
        shown += [one | {"evidence": f"since the first weights, {one['evidence']}"} for one in since]
    shown += [] if any(one["cause"] == "rate" for one in shown) else large(x, y, run)
    if not shown:
        numbers = f"{sum(parameter.numel() for parameter in run.model.parameters()):,} parameters"
        evidence = f"gradients reach all layers, and no other learning rate does better, with {numbers}"
        remedy = "more steps, as trainer.steps=5000, or a larger model"
        remedy += "; a loss of your own may never come near 0" if lookup.is_own(type(run.loss)) else ""
        shown = [_reason("unknown", evidence, remedy)]
    return shown


def inside(run: "Run", batch: Batch) -> list[Reason]:
    """Return what is wrong with the layers, as they are now."""
    return [*layers(run, batch[0]), *without_gradient(run, batch)]


@contextlib.contextmanager
def weights(run: "Run", start: dict[str, Tensor]) -> Iterator[None]:
    """Put other weights into the model for a block, then its own again."""
    own = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.model.load_state_dict(start)
    try:
        yield
    finally:
        run.model.load_state_dict(own)


def without_gradient(run: "Run", batch: Batch) -> Iterator[Reason]:
    """Yield parameters that the loss does not depend on, and those whose gradients are exactly 0."""
    if run.parts.step is not None:
        return
    run.state.begin()
    loss, _ = run.state.cost(run.model, batch)
    named = [(name, one) for name, one in run.model.named_parameters()]
    trained = [(name, one) for name, one in named if one.requires_grad]
    gradients = torch.autograd.grad(loss, [one for _, one in trained], allow_unused=True) if trained else ()
    if none := [name for (name, _), gradient in zip(trained, gradients, strict=True) if gradient is None]:
        evidence = f"the loss does not depend on {_some(none)}: no gradient"
        yield _reason("no gradient", evidence, "use what these layers give, or leave them out", _layer(none[0]))
    zero = [name for (name, _), one in zip(trained, gradients, strict=True) if one is not None and not one.any()]
    if zero:
        evidence = f"the gradient of {_some(zero)} is exactly 0 for every example"
        remedy = "one of the layers behind it passes no gradient back"
        yield _reason("zero gradient", evidence, remedy, _layer(zero[0]))
    frozen = [name for name, one in named if not one.requires_grad]
    if frozen and sum(one.numel() for _, one in trained) < sum(one.numel() for _, one in named) / 10:
        yield _reason(
            "frozen", f"{_some(frozen)} are not trained", "leave out model.freeze, to see what the rest can do"
        )


def layers(run: "Run", x: Nest) -> Iterator[Reason]:
    """Yield layers whose output is 0, the same for all examples, or at its ends; the first of each kind."""
    seen: list[tuple[str, nn.Module, Tensor, Tensor]] = []

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor) and given and isinstance(given[0], Tensor) and output.is_floating_point():
                seen.append((name, module, given[0], output))

        return hook

    hooks = [one.register_forward_hook(look(n)) for n, one in run.model.named_modules() if n and not [*one.children()]]
    try:
        with run.drawing(), torch.no_grad(), modes.evaluating(run.model):
            run.model(x)
    finally:
        for hook in hooks:
            hook.remove()
    count = nests.length(x)
    for name, module, given, output in seen:
        label = f"layer {name!r} ({type(module).__name__})"
        if not output.any() and given.any():
            remedy = "its input is negative everywhere: another activation (LeakyReLU), bias or learning rate"
            yield _reason("dead layer", f"{label} gives 0 for every example", remedy, name)
            return
        if count > 1 and len(output) == count and _same(output) and not _same(given):
            yield _reason("constant layer", f"{label} gives the same for all examples, of inputs that differ",
                          "nothing behind it can tell them apart: look at its weights and its input", name)  # fmt: skip
            return
        if isinstance(module, FLAT) and name != seen[-1][0]:
            ends = 1 - output.abs() if isinstance(module, nn.Tanh) else torch.minimum(output, 1 - output)
            if (share := host.number((ends < 1e-3).double().mean())) > 0.9:
                remedy = "a normalization before it, smaller first weights or a smaller learning rate"
                evidence = f"{share:.0%} of what {label} gives is at its ends, where there is no gradient"
                yield _reason("saturated layer", evidence, remedy, name)
                return


def targets(run: "Run", y: Nest) -> Iterator[Reason]:
    """Yield targets that the last layer cannot give, and probabilities where the loss takes logits."""
    last = [module for module in run.model.modules() if not [*module.children()]][-1:]
    if not last or not isinstance(y, Tensor):
        return
    layer, loss = last[0], getattr(run.loss, "loss", run.loss)
    name = next(name for name, module in run.model.named_modules() if module is layer)
    label = f"the last layer, {name!r} ({type(layer).__name__}),"
    if isinstance(layer, nn.Softmax | nn.Sigmoid | nn.ReLU) and isinstance(loss, OF_LOGITS):
        evidence = f"{label} limits what {type(loss).__name__} takes as logits, which have no limits"
        yield _reason("output range", evidence, "leave that layer out", name)
    elif type(layer) in RANGES and y.is_floating_point() and isinstance(loss, OF_NUMBERS):
        low, high = RANGES[type(layer)]
        least, most = (host.number(one) for one in (y.min(), y.max()))
        if least < low or most > high:
            ends = f"{low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
            yield _reason("output range", f"{label} gives {ends}, and targets go from {least:.4g} to {most:.4g}",
                          "leave that layer out, or scale the targets", name)  # fmt: skip


def examples(x: Nest, y: Nest) -> Iterator[Reason]:
    """Yield equal inputs with different targets."""
    first: dict[bytes, int] = {}
    pairs = []
    inputs, goals = ([_bytes(nest, i) for i in range(nests.length(x))] for nest in (x, y))
    for i, one in enumerate(inputs):
        other = first.setdefault(one, i)
        if goals[other] != goals[i]:
            pairs.append((other, i))
    if pairs:
        such = f"as numbers {pairs[0][0]} and {pairs[0][1]} of the batch"
        evidence = (
            f"{len(pairs):,} of {len(inputs):,} examples have the input of another one and a different target, {such}"
        )
        yield _reason("contradiction", evidence, "no model learns both: look at how the data is read")


def noise(run: "Run", batch: Batch) -> Iterator[Reason]:
    """Yield a loss that is another one each time, without dropout and with the same weights."""
    with torch.no_grad(), modes.evaluating(run.model):
        values = [host.number(run.state.cost(run.model, batch)[0]) for _ in range(4)]
    if max(values) - min(values) > NOISE * max(map(abs, values)):
        evidence = f"the loss draws random numbers: with the same weights it is {min(values):.4g} to {max(values):.4g}"
        yield _reason("noise", evidence, "such a batch is never learned by heart: judge by how far the loss falls")


def large(x: Nest, y: Nest, run: "Run") -> Iterator[Reason]:
    """Yield inputs and targets whose numbers are large."""
    for what, nest, remedy in (
        ("inputs", x, "bring them to about -1 to 1, as data.normalize or a BatchNorm in front does"),
        ("targets", y if run.data.task == "regression" else (), "divide them, and multiply what is predicted"),
    ):
        for leaf in nests.leaves(nest):
            if leaf.is_floating_point() and (most := host.number(leaf.abs().max())) > LARGE:
                yield _reason(f"large {what}", f"{what} reach {most:.4g}", remedy)


def _reason(cause: str, evidence: str, remedy: str, layer: str | None = None) -> Reason:
    return {"cause": cause, "layer": layer, "evidence": evidence, "remedy": remedy}


def _layer(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _same(value: Tensor) -> bool:
    return bool((value == value[:1]).all())


def _bytes(nest: Nest, i: int) -> bytes:
    return b"".join(bytes(host.content(leaf[i])) for leaf in nests.leaves(nest))

"""One training step of a linear regression: loss, gradients by the chain rule and by autograd, and the update."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runner.model.explain.arithmetic import Sum, factor, in_part, largest_of, number, products
from runner.model.explain.parts import Array, Index, agree, array
from runner.settings import torch_private


@dataclass(frozen=True)
class Stage:
    """One number of the step: worked here, and torch's own."""

    title: str
    line: str
    value: float
    torch: float
    scale: float  # its largest term: rounding is relative to that
    by: str = "torch"


@dataclass(frozen=True)
class TrainingStep:
    """One worked step of training: its formulas, and its numbers in the order in which they are computed."""

    formulas: tuple[str, ...]
    stages: list[Stage]


@dataclass(frozen=True)
class _Taken:
    """The numbers of the step as torch takes it."""

    output: Array
    loss: float
    old: dict[str, Array]  # weight and bias
    gradients: dict[str, Array]
    new: dict[str, Array]


def training_step(
    model: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor
) -> TrainingStep | None:
    """Work one step of one Linear layer, MSELoss and plain SGD; None for anything else.

    x, y: one batch. Model and optimizer are left as they are: a copy of both takes the step.
    Raises Disagreement when a number is not torch's.
    """
    if not is_worked(model, loss, optimizer):
        return None
    taken = _take(model, loss, optimizer, x, y)
    inputs, targets = _rows(array(x)), _rows(array(y))
    predictions = inputs @ taken.old["weight"].T + taken.old.get("bias", 0.0)
    wrong = predictions - targets
    count = wrong.size if loss.reduction == "mean" else 1
    stages = [_prediction(taken, inputs), _loss(predictions, targets, count, taken.loss)]
    rate = float(optimizer.param_groups[0]["lr"])
    for name, at in _first(taken.old).items():
        slope = _gradient(name, wrong, inputs, count, float(taken.gradients[name][at]))
        stages += [slope, _update(name, at, taken, slope.value, rate)]
    return TrainingStep(_formulas(count, "bias" in taken.old), stages)


def reason_not_worked(model: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer, parts: int = 1) -> str:
    """Return why the training step of one Linear layer is not worked; "" where it is, and for other models.

    parts: batches of a step.
    """
    if _layers(model) != [nn.Linear] or (parts == 1 and is_worked(model, loss, optimizer)):
        return ""
    combination = f"{type(loss).__name__}, {type(optimizer).__name__}{' of several batches' if parts > 1 else ''}"
    return f"no step of training is worked ({combination}): only one of MSELoss and plain SGD, without clipping, is"


def is_worked(model: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
    """Return whether the step of these is worked: one Linear layer, MSELoss, SGD without momentum and decay."""
    plain = ("momentum", "weight_decay", "dampening", "nesterov", "maximize")
    return (
        _layers(model) == [nn.Linear]
        and type(loss) is nn.MSELoss
        and loss.reduction in ("mean", "sum")
        and type(optimizer) is torch.optim.SGD
        and not any(group[name] for group in optimizer.param_groups for name in plain)
        and not torch_private.has_step_pre_hooks(optimizer)  # gradients may be clipped there
    )


def _layers(model: nn.Module) -> list[type]:
    return [type(m) for m in model.modules() if not isinstance(m, nn.Sequential)]


def _take(model: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> _Taken:
    model, optimizer = copy.deepcopy((model, optimizer))
    parameters = dict(next(m for m in model.modules() if isinstance(m, nn.Linear)).named_parameters())
    old = {name: array(p).copy() for name, p in parameters.items()}
    with torch.enable_grad():
        optimizer.zero_grad()
        output = model(x)
        cost = loss(output, y)
        cost.backward()
    gradients = {name: array(p.grad) for name, p in parameters.items() if p.grad is not None}
    optimizer.step()
    new = {name: array(p) for name, p in parameters.items()}
    return _Taken(array(output), cost.item(), old, gradients, new)


def _rows(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1])


def _first(parameters: dict[str, Array]) -> dict[str, Index]:
    """Return the places of the first weight and the first bias; both belong to output 0."""
    return {name: (0,) * values.ndim for name, values in parameters.items()}


def _formulas(count: int, bias: bool) -> tuple[str, ...]:
    share = f"1/{count} * " if count > 1 else ""
    twice = f"2/{count} * " if count > 1 else "2 * "
    gradients = [f"d loss/d weight = {twice}sum((prediction - target)*x)"]
    gradients += [f"d loss/d bias = {twice}sum(prediction - target)"] if bias else []
    return (f"loss = {share}sum((prediction - target)^2)", *gradients, "new = old - learning rate*gradient")


def _prediction(taken: _Taken, inputs: Array) -> Stage:
    bias = float(taken.old["bias"][0]) if "bias" in taken.old else None
    total = products(inputs[0].tolist(), taken.old["weight"][0].tolist(), bias)
    return _stage("prediction for the first example", total, float(taken.output.ravel()[0]))


def _loss(predictions: Array, targets: Array, count: int, torch_value: float) -> Stage:
    terms = ((predictions - targets) ** 2).ravel().tolist()
    pairs = zip(predictions.ravel().tolist(), targets.ravel().tolist(), strict=True)
    text = _in_part([f"({number(p)} - {factor(t)})^2" for p, t in pairs], terms)
    total = Sum(f"({text})/{count}" if count > 1 else text, sum(terms) / count, largest_of(terms))
    return _stage("loss", total, torch_value)


def _gradient(name: str, wrong: Array, inputs: Array, count: int, torch_value: float) -> Stage:
    errors = wrong[:, 0].tolist()
    factors = inputs[:, 0].tolist() if name == "weight" else [1.0] * len(errors)
    terms = [e * f for e, f in zip(errors, factors, strict=True)]
    times = [f"*{factor(f)}" if name == "weight" else "" for f in factors]
    text = _in_part([f"{factor(e)}{t}" for e, t in zip(errors, times, strict=True)], terms)
    total = Sum(f"2/{count}*({text})" if count > 1 else f"2*({text})", 2 / count * sum(terms), largest_of(terms))
    return _stage(f"gradient of the {name}, by the chain rule", total, torch_value, "autograd")


def _update(name: str, at: Index, taken: _Taken, slope: float, rate: float) -> Stage:
    was = float(taken.old[name][at])
    text = f"{number(was)} - {number(rate)}*{factor(slope)}"
    total = Sum(text, was - rate * slope, max(abs(was), abs(rate * slope)))
    return _stage(f"new {name}", total, float(taken.new[name][at]))


def _in_part(texts: list[str], terms: list[float]) -> str:
    return in_part(texts, " + ", lambda rest: f"({rest} more, together {number(sum(terms[-rest:]))})")


def _stage(title: str, total: Sum, torch_value: float, by: str = "torch") -> Stage:
    agree(f"training step, {title}", total.value, torch_value, total.scale)
    return Stage(title, f"{total.text} = {number(total.value)}", total.value, torch_value, total.scale, by)

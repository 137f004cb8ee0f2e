"""The same training as a plain torch script, which knows nothing of `runner`."""

import copy
import functools
import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torchmetrics
from torch import Tensor, nn

from tests.against_torch import layers
from tests.against_torch.cases import Case, Pair

#: Losses that are a mean over weights of classes.
WEIGHTED = (nn.CrossEntropyLoss, nn.NLLLoss)


@dataclass
class Trained:
    """What a training has come to."""

    steps: list[float] = field(default_factory=list)
    valid: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)  # of the last weights, and of the best
    metrics: list[dict[str, Tensor]] = field(default_factory=list)  # of every validation


def train(case: Case) -> Trained:
    """Raises what torch or torchmetrics raise."""
    case = _cast(case)
    trainer, found = case.trainer, Trained()
    torch.manual_seed(case.seed)
    model = layers.stack(case.stack)()
    loss = _loss(case)
    if trainer["precision"] == "fp64":
        model, loss = model.double(), loss.double()
    told = {k: tuple(v) if isinstance(v, list) else v for k, v in case.optimizer.items() if k != "name"}
    optimizer = getattr(torch.optim, case.optimizer["name"])(model.parameters(), **told)
    x, _ = case.parts["train"]
    size = min(trainer["batch_size"] or len(x), len(x))
    drops = trainer.get("drop_last", False)
    if drops and (trainer["batch_size"] or 0) > len(x):
        raise ValueError("no batch is left")
    per_epoch = math.ceil((len(x) // size if drops else math.ceil(len(x) / size)) / trainer.get("accumulate", 1))
    schedule, interval = _schedule(case, optimizer, trainer["epochs"], trainer["epochs"] * per_epoch)
    best, stale, best_model = math.inf, 0, None
    done = 0
    for epoch in range(1, trainer["epochs"] + 1):
        model.train()
        for group in _groups(case, epoch - 1, size):
            found.steps.append(_step(case, model, loss, optimizer, group))
            done += 1
            if schedule is not None and interval == "step" and done < trainer["epochs"] * per_epoch:
                schedule.step()
        if epoch % trainer.get("validate_every", 1) == 0 or epoch == trainer["epochs"]:
            if "valid" in case.parts:
                valid, values = _evaluate(case, model, loss, case.parts["valid"])
                found.valid.append(valid)
                found.metrics.append(values)
                value = valid
            if "valid" not in case.parts or trainer.get("monitor") == "train/loss":
                value = _evaluate(case, model, loss, case.parts["train"])[0]
            better = value < best
            best, stale = (value, 0) if better else (best, stale + 1)
            best_model = copy.deepcopy(model) if better or best_model is None else best_model
            if schedule is not None and interval == "epoch":
                _plateau(schedule, value)
            if stale >= trainer.get("patience", math.inf):
                break
        elif interval == "epoch" and not isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            schedule.step()
    if "test" in case.parts:
        found.test = [_evaluate(case, m, loss, case.parts["test"])[0] for m in (model, best_model) if m is not None]
    return found


def _cast(case: Case) -> Case:
    """Numbers for a loss that compares numbers, in the precision of the run."""
    numbers = case.goal.task == "binary" and case.loss_name.startswith("BCE")

    def cast(pair: Pair) -> Pair:
        x, y = pair
        if case.source == "table":
            x = standardized(x)
        if numbers:
            y = y.float().reshape(len(y), 1)
        if case.trainer["precision"] == "fp64":
            x, y = (t.double() if t.is_floating_point() else t for t in (x, y))
        return x, y

    found = copy.copy(case)
    found.parts = {part: cast(pair) for part, pair in case.parts.items()}
    return found


def standardized(x: Tensor) -> Tensor:
    """Every column less its mean, divided by its standard deviation; one that is constant is divided by 1."""
    x = x.double()
    std = torch.where(x.amin(0) == x.amax(0), 1.0, x.std(0, correction=0))
    return ((x - x.mean(0)) / std).float()


def _loss(case: Case) -> nn.Module:
    told = {k: torch.tensor(v) if isinstance(v, list) else v for k, v in case.goal.loss.items() if k != "name"}
    found: nn.Module = getattr(nn, case.loss_name)(**told)
    return found


def _groups(case: Case, epoch: int, size: int) -> Iterator[list[Pair]]:
    """The batches of every optimizer step of an epoch, in the documented order."""
    (x, y), trainer = case.parts["train"], case.trainer
    order = torch.arange(len(x))
    if trainer.get("shuffle", True) and size < len(x):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed((case.seed * 1_000_003 + epoch) % 2**63))
    chunks = [order[i : i + size] for i in range(0, len(x), size)]
    if trainer.get("drop_last") and len(chunks[-1]) < size:
        chunks.pop()
    batches = [(x[chunk].clone(), y[chunk].clone()) for chunk in chunks]
    together = trainer.get("accumulate", 1)
    for i in range(0, len(batches), together):
        yield batches[i : i + together]


def _step(case: Case, model: nn.Module, loss: nn.Module, optimizer: Any, group: list[Pair]) -> float:
    weights = [_weight(loss, pair) for pair in group]

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = torch.zeros(())
        for pair, weight in zip(group, weights, strict=True):
            share = 1.0 if weight is None or len(group) == 1 else weight / (sum(weights) or 1.0)
            value = _cost(case, model, total_of(loss) if weight == 0 else loss, pair)[0]
            (value * share).backward()
            total = total + value.detach() * share
        return total

    if isinstance(optimizer, torch.optim.LBFGS):
        return float(optimizer.step(closure))
    total = closure()
    if "clip_norm" in case.trainer:
        nn.utils.clip_grad_norm_(model.parameters(), case.trainer["clip_norm"])
    if "clip_value" in case.trainer:
        nn.utils.clip_grad_value_(model.parameters(), case.trainer["clip_value"])
    optimizer.step()
    return float(total)


def total_of(loss: nn.Module) -> nn.Module:
    """What the loss is of a batch in which nothing counts, whose mean torch would divide by 0."""
    found = copy.copy(loss)
    found.reduction = "sum"
    return found


def _weight(loss: nn.Module, pair: Pair) -> float | None:
    """What a batch counts in the mean of several; None where losses are sums."""
    if getattr(loss, "reduction", "mean") == "sum":
        return None
    y = pair[1]
    if isinstance(loss, WEIGHTED) and not y.is_floating_point():
        kept = y[y != loss.ignore_index]
        return float(kept.numel() if loss.weight is None else loss.weight[kept].sum())
    return float(len(y))


def _cost(case: Case, model: nn.Module, loss: nn.Module, pair: Pair) -> tuple[Tensor, Tensor]:
    if case.trainer["precision"] == "bf16":
        with torch.autocast("cpu", torch.bfloat16):
            output = model(pair[0])
            return loss(output, pair[1]).float(), output.float()
    output = model(pair[0])
    return loss(output, pair[1]), output


@torch.no_grad()
def _evaluate(case: Case, model: nn.Module, loss: nn.Module, pair: Pair) -> tuple[float, dict[str, Tensor]]:
    """The loss and the metrics of all of it at once."""
    model.eval()
    value, output = _cost(case, model, loss, (pair[0].clone(), pair[1]))
    specs = [] if pair is case.parts["train"] else case.metrics
    return value.item(), {_name(spec): metric(case, spec, output, pair[1]) for spec in specs}


def metric(case: Case, spec: Any, output: Tensor, target: Tensor) -> Tensor:
    """What torchmetrics says of classes as probabilities, and of numbers on the scale of the targets."""
    name, told = (spec, {}) if isinstance(spec, str) else next(iter(spec.items()))
    task = case.goal.task
    if task == "regression":
        if case.loss_name in ("PoissonNLLLoss", "KLDivLoss"):  # of which the model gives the logarithms
            output = output.exp()
        tried: list[dict[str, Any]] = [{}, {"num_outputs": output[0].numel()}]
        for further in tried:
            try:
                return _computed(getattr(torchmetrics, name)(**further, **told), output, target)
            except Exception as error:
                failed = error
        raise failed
    scores = output.softmax(1) if task == "multiclass" or output.shape[1:] == (2,) else output.sigmoid()
    if case.loss_name == "BCELoss":
        scores = output
    if task == "binary":
        scores, target = (scores[:, 1] if scores.shape[1:] == (2,) else scores).reshape(-1), target.reshape(-1)
    found = getattr(torchmetrics, name)
    if "task" in inspect.signature(found.__new__).parameters:
        told = {**({"num_classes": output.shape[1]} if task == "multiclass" else {}), **told}
        ignored = case.goal.loss.get("ignore_index", -100)
        if case.loss_name in ("CrossEntropyLoss", "NLLLoss") and any(
            (y == ignored).any() for _, y in case.parts.values()
        ):
            told = {"ignore_index": ignored, **told}
        found = functools.partial(found, task=task)
    return _computed(found(**told), scores, target.long())


def _computed(made: Any, output: Tensor, target: Tensor) -> Tensor:
    made.update(output, target)
    return torch.as_tensor(made.compute()).double()


def _name(spec: Any) -> str:
    return str(spec if isinstance(spec, str) else next(iter(spec)))


def _schedule(case: Case, optimizer: Any, epochs: int, steps: int) -> tuple[Any, str]:
    if case.scheduler is None:
        return None, ""
    told = dict(case.scheduler)
    name = told.pop("name")
    interval = told.pop("interval", "step" if name in ("OneCycleLR", "CyclicLR") else "epoch")
    length = {"CosineAnnealingLR": "T_max", "OneCycleLR": "total_steps"}.get(name)
    if length:
        told[length] = steps if interval == "step" else epochs
    return getattr(torch.optim.lr_scheduler, name)(optimizer, **told), interval


def _plateau(schedule: Any, value: float) -> None:
    if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
        schedule.step(value)
    else:
        schedule.step()

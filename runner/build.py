"""From settings to the parts of a run: device, loss, optimizer, schedule, metrics, cost."""

import functools
import importlib
import inspect
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from runner import data as sources
from runner import lookup
from runner._startup import spare_dynamo
from runner.data import Batch, Data
from runner.lookup import ConfigError, Kind
from runner.loop import Cost, State, Weigh
from runner.push import push
from runner.settings import Component, Settings, Trainer
from runner.stack import Stack

LOSS = Kind(
    "a loss",
    ("torch.nn",),
    lambda v: (
        isinstance(v, type)
        and issubclass(v, nn.Module)
        and (v.__module__ == "torch.nn.modules.loss" or lookup.is_users(v))
    ),
)
OPTIMIZER = Kind(
    "an optimizer",
    ("torch.optim",),
    lambda v: isinstance(v, type) and issubclass(v, torch.optim.Optimizer) and v is not torch.optim.Optimizer,
)
SCHEDULER = Kind(
    "a scheduler",
    ("runner.schedules", "torch.optim.lr_scheduler"),
    lambda v: (
        isinstance(v, type)
        and issubclass(v, torch.optim.lr_scheduler.LRScheduler)
        and v is not torch.optim.lr_scheduler.LRScheduler
    ),
)
DATA = Kind("a data source", ("runner.data",), lambda v: inspect.isfunction(v) and lookup.is_users(v))

PLOT = Kind("a plot", ("runner.plots",), lambda v: inspect.isfunction(v) and lookup.is_users(v))

DTYPES = {"fp32": torch.float32, "fp64": torch.float64, "bf16": torch.bfloat16, "fp16": torch.float16}
#: Losses that broadcast: an output of (N, 1) against targets of (N,) would silently average N x N differences.
ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCEWithLogitsLoss, nn.BCELoss)
#: How torch's optimizers call their arguments when they refuse a value.
SAID = {
    "lr": "learning rate",
    "momentum": "momentum",
    "weight_decay": "weight_decay",
    "betas": "beta",
    "eps": "epsilon",
}
#: Arguments of schedulers that follow from the length of the training.
LENGTHS = ("total_steps", "T_max")


def device(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda`, `cuda:N` or `mps` means here."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    try:
        found = torch.device(name)
    except RuntimeError:
        raise ConfigError("device", f"{name!r} is not one of auto, cpu, cuda, cuda:0, mps") from None
    here = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(mps)}
    if found.type not in here:
        raise ConfigError("device", f"{name!r} is not one of auto, cpu, cuda, cuda:0, mps")
    if (found.index or 0) >= here[found.type]:
        raise ConfigError("device", f"{name!r} is not on this machine; device=auto takes what is there")
    if found.type == "cuda":  # tensors say cuda:0, and "cuda" would be another device than theirs
        return torch.device("cuda", torch.cuda.current_device() if found.index is None else found.index)
    return found


def data(spec: Component) -> Data:
    """Read the data. Raises ConfigError when the source, its arguments or its files are wrong."""
    name, arguments = lookup.component(spec, "data")
    source = lookup.find(name, DATA, "data.name")
    lookup.bind(source, arguments, "data")
    found = source(**arguments)
    if not isinstance(found, Data):
        raise ConfigError("data.name", f"{name!r} returned {type(found).__name__}, expected runner.data.Data")
    for part in ("train", "valid", "test"):
        _check_source(getattr(found, part), f"{name!r} gives {part}=")
    return found


def _check_source(source: Any, said: str) -> None:
    if source is None:
        return
    if not isinstance(source, sources.Tensors | torch.utils.data.Dataset):
        raise ConfigError(
            "data.name", f"{said}{type(source).__name__}, expected runner.data.Tensors(x, y) or a torch Dataset"
        )
    pair = (source.x, source.y) if isinstance(source, sources.Tensors) else source[0]
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(t, Tensor) for t in pair):
        raise ConfigError("data.name", f"{said}{type(source).__name__} without pairs of tensors (x, y)")


def loss(spec: Component) -> nn.Module:
    """The loss, which must come out as one number."""
    name, arguments = lookup.component(spec, "loss")
    found = lookup.find(name, LOSS, "loss.name")
    for key in ("weight", "pos_weight"):  # YAML has no tensors
        if isinstance(arguments.get(key), list):
            arguments[key] = torch.tensor(arguments[key], dtype=torch.float32)
    lookup.bind(found, {k: v for k, v in arguments.items() if not isinstance(v, Tensor)}, "loss")
    if arguments.get("reduction", "mean") not in ("mean", "sum"):
        raise ConfigError("loss.reduction", f"{arguments['reduction']!r} gives no single number; use mean or sum")
    return _made(found, arguments, "loss")  # type: ignore[no-any-return]


def optimizer(spec: Component, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over all of the model's parameters."""
    found, arguments = optimizer_class(spec)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:  # pooling alone has nothing to learn, and torch refuses an empty list
        parameters = [nn.Parameter(torch.zeros(()))]
    return _made(functools.partial(found, parameters), arguments, "optimizer")  # type: ignore[no-any-return]


def optimizer_class(spec: Component) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The optimizer's class and arguments, checked."""
    name, arguments = lookup.component(spec, "optimizer")
    found = lookup.find(name, OPTIMIZER, "optimizer.name")
    lookup.bind(found, arguments, "optimizer", free=["params"])
    return found, {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}


@dataclass
class Schedule:
    """A learning-rate schedule and when it moves on."""

    scheduler: Any = None
    interval: str = "epoch"  # epoch | step

    def after_step(self) -> None:
        if self.scheduler is not None and self.interval == "step":
            self._move()

    def after_epoch(self, monitored: float | None) -> None:
        """`monitored` is what a plateau schedule looks at."""
        if self.scheduler is None or self.interval != "epoch":
            return
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            if monitored is not None:
                self._move(monitored)
        else:
            self._move()

    def _move(self, *monitored: float) -> None:
        with warnings.catch_warnings():
            # The loss scaling of fp16 leaves the first steps out, as it should; torch then sees no step before this.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            self.scheduler.step(*monitored)


def schedule(spec: Component | None, optimizer: torch.optim.Optimizer, epochs: int, steps: int, mode: str) -> Schedule:
    """The schedule. epochs, steps: the length of the whole training, for schedules that must know it."""
    if spec is None:
        return Schedule()
    found, arguments, interval = scheduler_class(spec)
    takes = lookup.parameters(found)
    for name in LENGTHS:
        if name in takes and name not in arguments and "epochs" not in arguments:
            arguments[name] = max(steps if interval == "step" else epochs, 1)
    if found is torch.optim.lr_scheduler.ReduceLROnPlateau:
        arguments.setdefault("mode", mode)
    return Schedule(_made(functools.partial(found, optimizer), arguments, "scheduler"), interval)


def scheduler_class(spec: Component) -> tuple[type, dict[str, Any], str]:
    """The scheduler's class, arguments and interval, checked."""
    name, arguments = lookup.component(spec, "scheduler")
    found = lookup.find(name, SCHEDULER, "scheduler.name")
    interval = arguments.pop("interval", "step" if name.rpartition(".")[2] in ("OneCycleLR", "CyclicLR") else "epoch")
    if interval not in ("epoch", "step"):
        raise ConfigError("scheduler.interval", f"{interval!r} is not one of epoch, step")
    if interval == "step" and issubclass(found, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise ConfigError("scheduler.interval", "a plateau is seen in validations; use scheduler.interval=epoch")
    lookup.bind(found, arguments, "scheduler", free=["optimizer", *LENGTHS])
    return found, arguments, interval


def cost(loss: nn.Module, trainer: Trainer, where: torch.device) -> Cost:
    """What a batch costs: the loss of the model's output, under autocast where the precision asks for it."""

    def plain(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        output = model(batch[0])
        return loss(output, batch[1]), output

    if trainer.precision in ("fp32", "fp64"):
        return plain

    def mixed(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        with torch.autocast(where.type, DTYPES[trainer.precision]):
            value, output = plain(model, batch)
        return value.float(), output.float()

    return mixed


def weigh(loss: nn.Module) -> Weigh:
    """What a batch counts beside others, so that the loss of many batches is that of all their examples at once."""
    if getattr(loss, "reduction", "mean") == "sum":
        return None
    if not isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) or (loss.weight is None and loss.ignore_index < 0):
        return lambda batch: len(batch[0])

    def by_class(batch: Batch) -> float:
        # The mean of these losses is one over weights, and leaves out ignore_index.
        target = batch[1]
        if target.is_floating_point():
            return len(target)
        kept = target[target != loss.ignore_index]
        return kept.numel() if loss.weight is None else loss.weight[kept].sum().item()

    return by_class


def state(model: nn.Module, spec: Component, trainer: Trainer, where: torch.device) -> State:
    """Model and optimizer on their device, with clipping, loss scaling and compilation as the trainer wants."""
    model.to(where, torch.float64 if trainer.precision == "fp64" else None)
    if trainer.compile:
        model.compile(backend=trainer.compile if isinstance(trainer.compile, str) else "inductor")
    else:
        spare_dynamo(optimizer_class(spec)[0])
    made = State(model, optimizer(spec, model), torch.amp.GradScaler(where.type, enabled=trainer.precision == "fp16"))
    clip(made, trainer)
    return made


def clip(state: State, trainer: Trainer) -> None:
    """Cut the gradients before every optimizer step."""
    parameters = list(state.model.parameters())
    if trainer.clip_norm is not None:
        norm = trainer.clip_norm
        state.optimizer.register_step_pre_hook(lambda *_: void(nn.utils.clip_grad_norm_(parameters, norm)))
    if trainer.clip_value is not None:
        value = trainer.clip_value
        state.optimizer.register_step_pre_hook(lambda *_: void(nn.utils.clip_grad_value_(parameters, value)))


def void(_: object) -> None:
    """A hook that returns something would replace the optimizer's arguments."""


def fit_targets(data: Data, loss: nn.Module) -> Data:
    """Two classes for a loss that compares numbers: 0 and 1 as floating-point numbers of shape (N, 1)."""
    if data.task != "binary" or not isinstance(loss, nn.BCEWithLogitsLoss | nn.BCELoss):
        return data

    def fit(source: Any) -> Any:
        if not isinstance(source, sources.Tensors) or source.y.is_floating_point():
            return source
        return sources.Tensors(source.x, source.y.float().reshape(len(source.y), 1))

    return Data(fit(data.train), fit(data.valid), fit(data.test), data.task, data.classes, data.notes)


def check_loss(loss: nn.Module, output: Any, target: Tensor, classes: int) -> None:
    """Push shapes through the loss. output, target: on the meta device, batch first."""
    name = type(loss).__name__
    if not isinstance(output, Tensor):
        raise ConfigError("model.layers", f"the last layer gives a {type(output).__name__}, expected a tensor")
    if isinstance(loss, ELEMENTWISE) and output.shape != target.shape:
        raise ConfigError(
            "model.layers",
            f"the last layer gives {_batch(output)} and the targets have {_batch(target)};"
            f" {name} compares number by number, so they must be the same",
        )
    if isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) and target.is_floating_point() and target.dim() < 2 + 1:
        raise ConfigError("loss.name", f"{name} needs classes, and the data has numbers to predict; try loss=mse")
    if (
        isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss)
        and classes
        and output.dim() > 1
        and output.shape[1] < classes
    ):
        raise ConfigError(
            "model.layers", f"the last layer gives {output.shape[1]} numbers, and the data has {classes} classes"
        )
    if isinstance(loss, ELEMENTWISE) and not target.is_floating_point():
        raise ConfigError(
            "loss.name", f"{name} needs numbers to predict, and the data has classes; try loss=cross_entropy"
        )
    try:
        value = push(loss.to("meta"), output, target)
    except Exception as error:
        message = str(error).strip().split("\n")[0]
        raise ConfigError(
            "loss", f"{name} of output {_batch(output)} and target {_batch(target)}: {message}"
        ) from error
    if value.dim():
        raise ConfigError("loss", f"{name} gives {tuple(value.shape)} numbers, expected one")


def check(settings: Settings) -> None:
    """Everything that can be said without data: names, arguments, choices and ranges."""
    t = settings.trainer
    _choice("trainer.mode", t.mode, (None, "min", "max"))
    if not 0 <= settings.seed < 2**63:
        raise ConfigError("seed", f"{settings.seed} is not between 0 and 2**63 - 1")
    _choice("trainer.precision", t.precision, tuple(DTYPES))
    _choice("checkpoint.format", settings.checkpoint.format, ("state_dict", "model", "both"))
    for key, least in (("epochs", 0), ("workers", 0), ("validate_every", 1), ("accumulate", 1)):
        _at_least(f"trainer.{key}", getattr(t, key), least)
    for key in ("batch_size", "patience", "threads"):
        if getattr(t, key) is not None:
            _at_least(f"trainer.{key}", getattr(t, key), 1)
    for key in ("clip_norm", "clip_value"):
        if getattr(t, key) is not None and not getattr(t, key) > 0:
            raise ConfigError(f"trainer.{key}", f"{getattr(t, key)!r} is not above 0")
    if not isinstance(t.compile, bool | str):
        raise ConfigError("trainer.compile", f"{t.compile!r} is not true, false or the name of a backend")
    found, _ = optimizer_class(settings.optimizer)
    if found is torch.optim.LBFGS and (t.accumulate > 1 or t.precision == "fp16" or t.clip_norm or t.clip_value):
        raise ConfigError("optimizer.name", "LBFGS works without accumulation, clipping and fp16 only")
    if settings.scheduler is not None:
        scheduler_class(settings.scheduler)
    every(settings.checkpoint.every)
    device(settings.device)
    if t.epochs:
        loss(settings.loss)


def _choice(key: str, value: Any, choices: tuple[str | None, ...]) -> None:
    known = [c for c in choices if c]
    if value not in choices:
        raise ConfigError(
            key,
            f"{value!r} is not one of {', '.join(known)}{lookup.did_you_mean(value, known)}",
        )


def _at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(key, f"{value!r} is below {least}")


def _made(make: Any, arguments: dict[str, Any], key: str) -> Any:
    try:
        return make(**arguments)
    except Exception as error:
        message = str(error).strip().split("\n")[0]
        named = [argument for argument, words in SAID.items() if argument in arguments and words in message]
        raise ConfigError(f"{key}.{named[0]}" if named else key, message) from error


def _batch(tensor: Tensor) -> str:
    return "(" + ", ".join(["N", *map(str, tensor.shape[1:])]) + ")"


def every(value: Any) -> tuple[float, str] | None:
    """`1`, `"2 epochs"`, `"100 steps"` or `"10 minutes"` as (number, unit)."""
    if value is None:
        return None
    number, _, unit = str(value).strip().partition(" ")
    unit = {"": "epochs", "epoch": "epochs", "step": "steps", "minute": "minutes"}.get(unit.strip(), unit.strip())
    try:
        amount = float(number)
    except ValueError:
        amount = 0.0
    whole = unit == "minutes" or amount.is_integer()
    if unit not in ("epochs", "steps", "minutes") or not 0 < amount < math.inf or not whole:
        raise ConfigError(
            "checkpoint.every", f"{value!r} is not understood; expected 1, '2 epochs', '100 steps' or '10 minutes'"
        )
    return amount, unit


def plot(name: Any, key: str) -> Any:
    """The draw function of a plot: ours by its name, the user's by a dotted one."""
    return lookup.find(name, PLOT, key)


def check_plot(name: Any, key: str, data: Data, plan: Stack) -> None:
    """Raise ConfigError for a plot that this data or this model cannot have."""
    draw = plot(name, key)
    problem = getattr(importlib.import_module(draw.__module__), "problem", None)
    with torch.device("meta"):
        model = plan.make()
    found = problem(data, model) if problem else None
    if found:
        raise ConfigError(key, f"{name!r} cannot be drawn: {found}")

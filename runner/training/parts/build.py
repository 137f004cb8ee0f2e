"""From settings to the parts of a run: device, loss, optimizer, schedule, metrics, cost."""

import functools
import importlib
import inspect
import math
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runner import data as sources
from runner.data import Data
from runner.model.stack import Stack
from runner.settings import Component, Trainer
from runner.settings.errors import ConfigError, first_line
from runner.settings.values import lookup, ranges
from runner.settings.values.lookup import Kind
from runner.settings.values.signatures import as_words
from runner.training.checking import rescale
from runner.training.loop import State
from runner.training.parts import data_cache
from runner.training.parts._startup import spare_dynamo

OPTIMIZER = Kind(
    "an optimizer",
    ("torch.optim",),
    lambda v: isinstance(v, type) and issubclass(v, torch.optim.Optimizer) and v is not torch.optim.Optimizer,
)
DATA = Kind("a data source", ("runner.data",), lambda v: inspect.isfunction(v) and lookup.is_users(v))

PLOT = Kind("a plot", ("runner.plots",), lambda v: inspect.isfunction(v) and lookup.is_users(v))


def device(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda`, `cuda:N`, `mps` or another accelerator of torch's means here."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        name = "cpu" if accelerator is None else accelerator.type
    here = {"cpu": 1} | ({} if accelerator is None else {accelerator.type: torch.accelerator.device_count()})
    try:
        found = torch.device(name)
    except RuntimeError:
        found = torch.device("meta")
    if found.type not in ("cpu", "cuda", "mps", *here):
        raise ConfigError("device", f"{name!r} is not one of auto, cpu, cuda, cuda:0, mps")
    if (found.index or 0) >= here.get(found.type, 0):
        raise ConfigError("device", f"{name!r} is not on this machine; device=auto takes what is there")
    if found.type != "cpu" and found.index is None:  # tensors say cuda:0: "cuda" would be another device than theirs
        return torch.device(found.type, torch.accelerator.current_device_index())
    return found


def data(spec: Component, brief: bool = False, noted: dict[str, Any] | None = None) -> Data:
    """Read the data. Raises ConfigError when the source, its arguments or its files are wrong.

    brief: only as much as it takes to know shapes, sizes and classes, where the source's module has a function
        `brief` that takes the same arguments and reads less.
    noted: what a run has noted of its data: these are read as its model knows them, by the function `again` of the
        source's module if it has one. Raises ConfigError where they are of another kind.
    """
    source, arguments = data_source(spec)
    name = source.__name__
    try:
        if noted is not None and (same := getattr(sys.modules[source.__module__], "again", None)):
            found = same(noted, **arguments)
        else:
            found = data_cache.read((brief_source(source) if brief and noted is None else None) or source, arguments)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(*_raised(name, source, error)) from error
    if not isinstance(found, Data):
        raise ConfigError("data.name", f"{name!r} returned {type(found).__name__}, expected runner.data.Data")
    for part in ("train", "valid", "test"):
        _check_source(getattr(found, part), f"{name!r} gives {part}=")
    if noted is not None:
        rescale.check(found, noted)
        found = rescale.alike(found, noted)
    return found


def data_source(spec: Component) -> tuple[Any, dict[str, Any]]:
    """The data source and its arguments, checked."""
    name, arguments = lookup.component(spec, "data")
    source = lookup.find(name, DATA, "data.name")
    arguments = as_words(lookup.parameters(source), arguments)
    lookup.bind(source, arguments, "data")
    ranges.check(source, arguments, ranges.DATA, "data")
    return source, arguments


def reads_again(spec: Component) -> bool:
    """Whether the source's module can read data as a run has noted them."""
    return hasattr(sys.modules[data_source(spec)[0].__module__], "again")


def brief_source(source: Any) -> Any:
    """What reads less than `source` does; None if its module has nothing of the kind."""
    return getattr(importlib.import_module(source.__module__), "brief", None)


def _raised(name: str, source: Any, error: Exception) -> tuple[str, str]:
    """Where a source failed: the innermost line of its own file."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == source.__code__.co_filename]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    told = f"{type(error).__name__}: {first_line(error)}{place}"
    return "data", f"{name!r} failed with {told}; expected runner.data.Data from these arguments"


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


def optimizer(spec: Component, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over all of the model's parameters."""
    found, arguments = optimizer_class(spec)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:  # pooling alone has nothing to learn, and torch refuses an empty list
        parameters = [nn.Parameter(torch.zeros(()))]
    return lookup.made(functools.partial(found, parameters), arguments, "optimizer")  # type: ignore[no-any-return]


def optimizer_class(spec: Component) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The optimizer's class and arguments, checked."""
    name, arguments = lookup.component(spec, "optimizer")
    found = lookup.find(name, OPTIMIZER, "optimizer.name")
    lookup.refuse(arguments, ["params"], "optimizer", "is filled in with the model's parameters; leave it out")
    lookup.bind(found, arguments, "optimizer", free=["params"])
    ranges.check(found, arguments, ranges.OPTIMIZER, "optimizer")
    return found, {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}


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

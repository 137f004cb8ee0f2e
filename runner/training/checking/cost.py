"""Memory and multiply-adds of a model before it is made, from shapes and signatures alone."""

import copy
from dataclasses import dataclass
from math import prod

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from runner.data import Data
from runner.model.stack import Layer, Stack, stacks
from runner.settings import Settings
from runner.settings.errors import ConfigError
from runner.settings.memory import memory, size
from runner.settings.random_state import said
from runner.settings.values import lookup
from runner.settings.values.lookup import Bound
from runner.training.machine import cores
from runner.training.state import generators

#: Multiply-adds of one batch's forward that each thread must have to do. With less, threads wait for each other
#: longer than they work; see docs/decisions.md for what was measured.
WORTH = 50_000_000
#: Multiply-adds that take as long as writing one number of an output and reading it again.
PER_NUMBER = 10

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CPU = torch.device("cpu")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


@dataclass(frozen=True)
class Cost:
    """The cost of training, in bytes where a comment names no other unit."""

    parameters: int  # numbers
    multiply_adds: int  # forward, one example; convolutions, linear and recurrent layers
    weights: int
    gradients: int
    optimizer: int
    activations: int  # outputs of all layers for one batch, which the backward needs
    largest: int  # output of a single layer for one batch: the least that must fit beside the rest

    @property
    def least(self) -> int:
        """The bytes that must fit on the device at once."""
        return self.weights + self.gradients + self.optimizer + self.largest


def cost(settings: Settings, optimizer: Bound, plan: Stack, batch: int) -> Cost:
    """Return the cost of training with batches of `batch` examples; without epochs, of the forward alone."""
    wide = 8 if settings.trainer.precision == "fp64" else 4
    parameters = sum(layer.parameters for layer in plan.layers)
    trains = settings.trainer.trains
    outputs = [wide * batch * prod(layer.shape) for layer in plan.layers]
    return Cost(
        parameters,
        sum(map(multiply_adds, plan.layers)),
        wide * parameters,
        wide * parameters * trains,
        int(wide * parameters * trains * state_per_parameter(optimizer)),
        sum(outputs),
        max(outputs, default=0),
    )


def check(settings: Settings, optimizer: Bound, plan: Stack, batch: int, where: torch.device) -> None:
    """Raise ConfigError for a model that the device's memory cannot hold."""
    needed, available = cost(settings, optimizer, plan, batch), memory(where)
    if needed.least <= available:
        return
    if needed.largest > available // 2 and needed.largest > needed.weights:
        key, remedy = "trainer.batch_size", "use a smaller batch, or smaller layers"
    else:
        most = max(plan.layers, key=lambda layer: layer.parameters)
        key, remedy = (
            most.key,
            f"it has {most.parameters:,} of the model's {needed.parameters:,} parameters; make it smaller",
        )
    raise ConfigError(
        key,
        f"weights {size(needed.weights)}, gradients {size(needed.gradients)}, optimizer {size(needed.optimizer)} and"
        f" the largest output {size(needed.largest)} need {size(needed.least)}, and {where.type} has {size(available)};"
        f" {remedy}",
    )


def batch_size(settings: Settings, data: Data) -> int:
    """Return the number of examples of a batch that is not the last of its epoch."""
    total = len(data.train)  # type: ignore[arg-type]
    return min(settings.trainer.batch_size or total, total)


def threads(settings: Settings, plan: Stack, batch: int, where: torch.device) -> int:
    """Return the CPU threads for one operation, as trainer.threads says.

    `auto` is decided by the work of a step with `batch` examples; on a GPU, where the processor does little, it is 1.
    """
    number = said(settings.trainer)
    if number is not None:
        return number
    if where.type != "cpu":
        return 1
    numbers = sum(prod(layer.shape) for layer in plan.layers)
    work = batch * (sum(map(least_work, plan.layers)) + PER_NUMBER * numbers)
    return max(1, min(cores.share(), work // WORTH))


def least_work(layer: Layer) -> int:
    """Return `multiply_adds`; where these are unknown, every weight counts once for every item of a sequence."""
    inside = stacks(layer)
    if inside:
        return sum(least_work(inner) for stack in inside for inner in stack.layers)
    if isinstance(layer.target, type) and issubclass(layer.target, nn.Embedding | nn.EmbeddingBag):
        return 0  # looks its numbers up
    items = layer.shape[0] if len(layer.shape) == 2 else 1
    return _own(layer) or layer.parameters * items


def state_per_parameter(bound: Bound) -> float:
    """Count the numbers of the optimizer's state for every parameter, by a step with a small one."""
    if bound.target is torch.optim.LBFGS:
        return 2.0 * int(bound.arguments.get("history_size", 100))
    weight = nn.Parameter(torch.zeros(8, 8))
    weight.grad = torch.ones(8, 8)
    if bound.target is torch.optim.SparseAdam:
        return 2.0
    try:
        optimizer = bound.target([weight], **bound.arguments)
        optimizer.step()
    except Exception:  # such as one that is fused on another device; reported when the run's optimizer is made
        return 2.0
    sizes = [v.numel() for v in optimizer.state[weight].values() if isinstance(v, torch.Tensor)]
    return sum(n for n in sizes if n > 1) / weight.numel()


def multiply_adds(layer: Layer) -> int:
    """Return the multiply-adds of one example's forward: 0 for a layer without weights, or of an unknown class."""
    inside = stacks(layer)
    return sum(multiply_adds(inner) for stack in inside for inner in stack.layers) if inside else _own(layer)


def counted(layer: Layer) -> int:
    """Return `multiply_adds`; for modules of other classes those that torch's own counter counts inside of them.

    It runs them without numbers, which takes some hundredths of a second: for the command `check` alone.
    """
    if inside := stacks(layer):
        return sum(counted(inner) for stack in inside for inner in stack.layers)
    return _own(layer) or (_by_torch(layer) if any(layer.planned.children()) or lookup.is_own(layer.target) else 0)


def _by_torch(layer: Layer) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    try:
        module, (inputs, named) = copy.deepcopy(layer.planned).to("meta"), layer.taken
        examples = next(len(one) for one in tree_leaves((inputs, named)) if isinstance(one, torch.Tensor))
        counter = FlopCounterMode(display=False)
        with generators.undrawn(CPU), counter:
            module.train()(*inputs, **named)  # in evaluation some layers take a way that is not counted
    except Exception:  # code of a person's own that looks at values; its numbers are not known
        return 0
    return int(counter.get_total_flops()) // 2 // examples


def _own(layer: Layer) -> int:
    """Count every weight once for every place of the output, or of a sequence."""
    target = layer.target if isinstance(layer.target, type) else object
    bias = bool(layer.arguments.get("bias", True))
    if issubclass(target, nn.Linear | nn.Bilinear):
        width, weights = (layer.shape[-1] if layer.shape else 1), sum(p.numel() for p in layer.planned.parameters())
        return (weights - bias * width) * prod(layer.shape[:-1])  # one that is tied to another's, too
    if issubclass(target, CONVOLUTIONS) and layer.shape:
        transposed = issubclass(target, TRANSPOSED)
        # A transposed convolution uses every weight once for every place of its input.
        return (layer.parameters - bias * layer.shape[0]) * prod((layer.input if transposed else layer.shape)[1:])
    if issubclass(target, nn.RNNBase):
        return layer.parameters * prod(layer.input[:-1])
    return 0

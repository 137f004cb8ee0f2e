"""Trainings written by hand for one job alone: the step captured once as a CUDA graph, and replayed.

On another device than CUDA the same functions are called as they are, so that the script can be tried there.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.driven import synchronize
from runner.data import count, order_of
from runner.training.prepare import prepare

#: Calls before a capture, which let cuBLAS, cuDNN and the allocator make their choices.
WARM = 3


def captured(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return what replays `work`, captured as a graph of its own; its tensors must stay where they are.

    Graphs share no memory pool: each writes its gradients where its own capture has put them.
    """
    if device.type != "cuda":
        return work
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM):
            work()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph.replay


class Rows:
    """A tensor on the device that gets a row with each call inside of a graph, and is read once."""

    def __init__(self, rows: int, *shape: int, device: torch.device) -> None:
        more = rows + 2 * WARM  # for the calls before two captures
        self.all = torch.zeros(more, *shape, device=device)
        self.values = self.all[:rows]
        self.at = torch.zeros(1, dtype=torch.int64).to(device)

    def put(self, value: Tensor) -> None:
        """Write the next row."""
        self.all.index_copy_(0, self.at, value.detach().float()[None])
        self.at.add_(1)

    @property
    def state(self) -> list[Tensor]:
        """The tensors that are to be zero when training begins."""
        return [self.all, self.at]


def single(settings: Any) -> tuple[float, float, float]:
    """Train a job; return the seconds of all of it, of what follows its captures, and the last validation's loss."""
    run, trainer = prepare(settings, "benchmark"), settings.trainer
    run.close()
    device, model, loss_fn, train, valid = run.device, run.model, run.loss, run.data.train, run.data.valid
    total, size = len(train.x), trainer.batch_size or len(train.x)
    each = count(train, trainer.batch_size)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=trainer.precision == "bf16")

    synchronize(device)
    begun = time.perf_counter()
    optimizer, rate = _optimizer(settings.optimizer, list(model.parameters()), device)
    losses = Rows(trainer.epochs * each, device=device)
    values = Rows(trainer.epochs // trainer.validate_every, 2, device=device)
    before = [tensor.clone() for tensor in model.state_dict().values()]

    def step(index: Tensor | None) -> None:
        x, y = (train.x, train.y) if index is None else (train.x[index], train.y[index])
        optimizer.zero_grad(set_to_none=True)
        with mixed:
            loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        losses.put(loss)

    @torch.no_grad()
    def validate() -> None:
        model.eval()
        with mixed:
            output = model(valid.x)
            loss = loss_fn(output, valid.y)
        right = (output.argmax(-1) == valid.y.flatten()).float().mean()  # of a regression it says nothing
        values.put(torch.stack([loss.float(), right]))
        model.train()

    model.train()
    full, rest = (torch.arange(n).to(device) for n in (size, total % size))
    index = None if trainer.batch_size is None else full
    whole = captured(lambda: step(index), device)
    ragged = captured(lambda: step(rest), device) if len(rest) else whole
    look = captured(validate, device)
    _restore(model.state_dict().values(), before, (*_state(optimizer), *losses.state, *values.state))
    synchronize(device)
    ready = time.perf_counter()
    for epoch in range(trainer.epochs):
        rate(_annealed(settings, epoch))
        if index is None:
            whole()
        else:
            for chunk in order_of(total, settings.seed, epoch).to(device).split(size):
                (full if len(chunk) == size else rest).copy_(chunk)
                (whole if len(chunk) == size else ragged)()
        if (epoch + 1) % trainer.validate_every == 0:
            look()
    losses.values.tolist()
    last = values.values.tolist()[-1][0]
    end = time.perf_counter()
    return end - begun, end - ready, last


def stacked(models: int, settings: Any) -> tuple[float, float, float]:
    """Train the nets of digits_mlp in stacked tensors, with one learning rate; return what `single` returns.

    The loss is the mean over the models.
    """
    run, trainer = prepare(settings, "benchmark"), settings.trainer
    run.close()
    device, width, size = run.device, settings.model.knobs["width"], trainer.batch_size
    (x, y), (valid_x, valid_y) = ((part.x.flatten(1), part.y) for part in (run.data.train, run.data.valid))
    sizes, total = [x.shape[1], width, width, 10], len(x)

    synchronize(device)
    begun = time.perf_counter()
    weights, biases = [], []
    for inputs, outputs in itertools.pairwise(sizes):
        for parts, shape in ((weights, (models, inputs, outputs)), (biases, (models, 1, outputs))):
            parts.append(nn.Parameter(torch.empty(shape, device=device).uniform_(-1, 1).div_(math.sqrt(inputs))))
    optimizer, rate = _optimizer(settings.optimizer, [*weights, *biases], device)
    losses = Rows(trainer.epochs * count(run.data.train, size), models, device=device)
    values = Rows(trainer.epochs, 2, models, device=device)
    before = [tensor.detach().clone() for tensor in (*weights, *biases)]

    def forward(values: Tensor) -> Tensor:
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            values = torch.baddbmm(bias, values if layer == 0 else values.relu(), weight)
        return values

    def loss_of(output: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(output.flatten(0, 1), target.flatten(), reduction="none").view(models, -1)

    def step(index: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(forward(x[index]), y[index]).mean(1)
        loss.sum().backward()
        optimizer.step()
        losses.put(loss)

    @torch.no_grad()
    def validate() -> None:
        output = forward(valid_x.expand(models, *valid_x.shape))
        target = valid_y.expand(models, len(valid_y))
        values.put(torch.stack([loss_of(output, target).mean(1), (output.argmax(-1) == target).float().mean(1)]))

    full, rest = (torch.arange(n).to(device).repeat(models, 1) for n in (size, total % size))
    whole, ragged = (captured(lambda index=index: step(index), device) for index in (full, rest))
    look = captured(validate, device)
    _restore((*weights, *biases), before, (*_state(optimizer), *losses.state, *values.state))
    synchronize(device)
    ready = time.perf_counter()
    for epoch in range(trainer.epochs):
        rate(_annealed(settings, epoch))
        for chunk in torch.rand(models, total, device=device).argsort(1).split(size, 1):
            (full if chunk.shape[1] == size else rest).copy_(chunk)
            (whole if chunk.shape[1] == size else ragged)()
        look()
    losses.values.tolist()
    last = float(values.values[-1, 0].mean())
    end = time.perf_counter()
    return end - begun, end - ready, last


def _optimizer(
    spec: dict[str, Any], parameters: list[nn.Parameter], device: torch.device
) -> tuple[Any, Callable[[float], None]]:
    """Return the optimizer of a configuration in the form that can be captured, and what sets its learning rate."""
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items()}
    kind = getattr(torch.optim, arguments.pop("name"))
    if device.type == "cuda":
        arguments["fused"] = True
        arguments["lr"] = torch.tensor(float(arguments["lr"]), device=device)
        if kind is torch.optim.Adam:
            arguments["capturable"] = True
    optimizer = kind(parameters, **arguments)
    [group] = optimizer.param_groups

    def rate(value: float) -> None:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value

    return optimizer, rate


@torch.no_grad()
def _restore(tensors: Iterable[Tensor], before: Iterable[Tensor], counts: Iterable[Tensor]) -> None:
    """Undo the steps in which the graphs were captured: weights as before, all counts and moments 0."""
    for tensor, old in zip(tensors, before, strict=True):
        tensor.copy_(old)
    for tensor in counts:
        tensor.zero_()


def _state(optimizer: Any) -> list[Tensor]:
    """Return the tensors of an optimizer's state, all of which begin as 0."""
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


def _annealed(settings: Any, epoch: int) -> float:
    """Return the learning rate of an epoch, with CosineAnnealingLR or without a schedule."""
    rate = float(settings.optimizer["lr"])
    if not settings.scheduler:
        return rate
    assert settings.scheduler["name"] == "CosineAnnealingLR", settings.scheduler
    return rate * (1 + math.cos(math.pi * epoch / settings.trainer.epochs)) / 2

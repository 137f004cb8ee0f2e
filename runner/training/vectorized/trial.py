"""Try two models at once on copies: outputs, losses, buffers and random states must be those of each alone."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Tensors
from runner.settings.errors import first_line
from runner.training.parts import metric_values
from runner.training.parts.dropout import LAYERS as DROPS
from runner.training.parts.dropout import Streams
from runner.training.run import Run
from runner.training.state import generators
from runner.training.vectorized.costs import losses
from runner.training.vectorized.draws import RandomStates
from runner.training.vectorized.forward import forward
from runner.training.vectorized.stacked import Stacked, Unstackable

#: Examples that are pushed through.
EXAMPLES = 8


def trial(runs: Sequence[Run]) -> None:
    """Raise Unstackable where outputs, losses, random states or buffers of two runs differ from those of each alone."""
    try:
        _trial(runs)
    except Unstackable:
        raise
    except Exception as error:
        raise Unstackable(f"many models at once fail: {first_line(error)[:150]}") from error


def _trial(runs: Sequence[Run]) -> None:
    device = runs[0].device
    x, y = (torch.stack(part) for part in zip(*map(_examples, runs), strict=True))
    models, alone = ([copy.deepcopy(run.model) for run in runs] for _ in range(2))
    stacked, random_states = Stacked(models), _random_states(runs, models)
    output = forward(stacked, models, random_states)(x, True)
    loss = losses(runs[0].loss)(output, y)
    stacked.take_gradients(loss)  # which fails for a parameter that has none
    _check_gradients(runs[0])
    with generators.undrawn(device):
        for i, (run, model) in enumerate(zip(runs, alone, strict=True)):
            generators.set_random_state(run.ready, device)
            streams = Streams([model], [run.settings.seed], device)
            streams.load_state_dict(run.ready, run.state.step)
            attributes = _attributes(model)
            with streams.active():
                expected = model.train()(x[i])
            expected_loss = run.loss(expected, y[i])
            _agree("outputs differ", output[i], expected)
            _agree("losses differ", loss[i], expected_loss)
            expected_loss.backward()
            largest = max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None) or 1.0
            for name, p in model.named_parameters():
                if p.grad is not None:
                    _agree(f"gradients of {name} differ", stacked.gradients[name][i] / largest, p.grad / largest)
            for (name, buffer), other in zip(models[i].named_buffers(), model.buffers(), strict=True):
                _agree(f"{name} differs", buffer, other)
            if not _same(generators.random_state(device) | streams.state_dict(), random_states.state(i)):
                raise Unstackable("the model draws random numbers that are not those of dropout")
            if attributes != _attributes(model):
                raise Unstackable("a layer changes more than its parameters and buffers")
        _check_validation(runs, models, alone, x, y)


def _check_validation(
    runs: Sequence[Run], models: Sequence[nn.Module], alone: Sequence[nn.Module], x: Tensor, y: Tensor
) -> None:
    """Raise Unstackable where a validation has other outputs than each model alone, or draws random numbers.

    Training would go on with another random state.
    """
    device = runs[0].device
    before, random_states = generators.random_state(device), _random_states(runs, models)
    with torch.no_grad():
        output = forward(Stacked(models), models, random_states)(x, False)
        for i, (run, model) in enumerate(zip(runs, alone, strict=True)):
            _agree("outputs in validation differ", output[i], model.eval()(x[i]))
            own = {name: copy.deepcopy(metric) for name, metric in run.metrics.items() if not _is_torchs(metric)}
            if (watch := metric_values.watch(own, run.data, run.loss, model)) is not None:
                watch(output[i], y[i])
                metric_values.values(own)
    if not _same(generators.random_state(device), before):
        raise Unstackable("a layer or a metric draws random numbers in validation")


def _is_torchs(metric: Any) -> bool:
    return type(metric).__module__.startswith("torchmetrics.") and type(metric).__name__ != "BootStrapper"


def _check_gradients(run: Run) -> None:
    """Raise Unstackable for a gradient that is 0 but for rounding, as that of a bias before BatchNorm.

    It differs from one program to another, and Adam and RMSprop, which divide gradients by their size, make steps of a
    full learning rate out of it.
    """
    if type(run.state.optimizer) is torch.optim.SGD:
        return
    model, (x, y) = copy.deepcopy(run.model).double(), _examples(run)
    for module in model.modules():
        if isinstance(module, DROPS):
            module.p = 0.0
    x, y = (part.double() if part.is_floating_point() else part for part in (x, y))
    copy.deepcopy(run.loss).double()(model.train()(x), y).backward()
    largest = {name: float(p.grad.abs().max()) for name, p in model.named_parameters() if p.grad is not None}
    for name, value in largest.items():
        if 0 < value < 1e-10 * max(largest.values()):
            raise Unstackable(
                f"the gradient of {name} is nothing but rounding, which {type(run.state.optimizer).__name__} makes into"
                " steps; a bias before BatchNorm is of no use: with bias: false it can be stacked"
            )


def _examples(run: Run) -> tuple[Tensor, Tensor]:
    source = run.data.train
    assert isinstance(source, Tensors)
    return source.x[:EXAMPLES], source.y[:EXAMPLES]


def _random_states(runs: Sequence[Run], models: Sequence[nn.Module]) -> RandomStates:
    seeds, steps = [run.settings.seed for run in runs], [run.state.step for run in runs]
    return RandomStates([run.ready for run in runs], models, seeds, steps, runs[0].device)


def _agree(what: str, one: Any, other: Any) -> None:
    if not isinstance(one, Tensor) or one.shape != other.shape:
        raise Unstackable(f"many models at once are not each alone: {what} in shape")
    # Rounding alone: of 24 or 53 bits, and of long sums.
    near = 1e-4 if one.dtype == torch.float32 else 1e-10
    if not torch.allclose(one.double(), other.double(), rtol=near, atol=near, equal_nan=True):
        raise Unstackable(f"many models at once are not each alone: {what}")


def _attributes(model: nn.Module) -> list[str]:
    return [repr({k: v for k, v in vars(m).items() if not k.startswith("_")}) for m in model.modules()]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(v, other[k]) for k, v in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)

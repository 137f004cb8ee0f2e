"""Grouping of runs that can be trained as one program, and the reasons why others cannot."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from runner.data import Data, Tensors, nests
from runner.model import host
from runner.model.stack import Layer
from runner.settings import torch_private
from runner.settings.values import lookup
from runner.training.parts import dropout, own_losses
from runner.training.run import Run
from runner.training.vectorized import forecast
from runner.training.vectorized.optimizers import rule
from runner.training.vectorized.schedules import FLAGS
from runner.training.vectorized.stacked import Unstackable
from runner.training.vectorized.trial import trial


def groups(
    runs: Sequence[Run], say: Callable[[str], None] = lambda line: None
) -> tuple[list[list[int]], dict[int, str]]:
    """Return the numbers of runs that can be trained together, group by group; and a reason for each other run.

    runs: prepared ones. Two of each group are tried, on copies.
    say: receives a line for each group that the device's memory cannot hold at once, which is divided.
    """
    alone: dict[int, str] = {}
    by_key: dict[Any, list[int]] = {}
    for i, run in enumerate(runs):
        try:
            check(run)
            by_key.setdefault(key(run), []).append(i)
        except Unstackable as error:
            alone[i] = str(error)
    together = []
    for members in by_key.values():
        try:
            if len(members) == 1:
                raise Unstackable("no other job has its architecture, loss, kind of optimizer and sizes")
            trial([runs[i] for i in members[:2]])
            parts, line = forecast.cut([runs[i] for i in members])
            if line:
                say(line)
            if len(parts) == len(members):
                raise Unstackable("there is no memory for two of them at once")
            together += [members[part] for part in parts]
        except Unstackable as error:
            alone |= dict.fromkeys(members, str(error))
    return together, dict(sorted(alone.items()))


def check(run: Run) -> None:
    """Raise Unstackable for a run that cannot be trained together with any other."""
    trainer = run.settings.trainer
    if not run.trains:
        raise Unstackable("trainer.epochs=0 trains nothing")
    if run.parts.step is not None:
        raise Unstackable("trainer.step names a step of your own")
    rule(run.state.optimizer)
    if run.parts.optimizer.groups:
        raise Unstackable("optimizer.groups is not stacked")
    if trainer.average is not None:
        raise Unstackable("trainer.average is not stacked")
    if run.settings.model.freeze is not None:
        raise Unstackable("model.freeze is not stacked")
    if run.parts.pictures:
        raise Unstackable(f"plots: {', '.join(run.parts.pictures)} every so often is not stacked")
    if trainer.carry:
        raise Unstackable("trainer.carry is not stacked")
    if trainer.debug not in (None, "fast"):
        raise Unstackable(f"trainer.debug={trainer.debug} looks into one run")
    if trainer.train_metrics:
        raise Unstackable("trainer.train_metrics is not stacked")
    if run.parts.treatment:
        raise Unstackable(f"the training data is {run.parts.treatment.described()[0].partition(':')[0]}, by data.*")
    if own_losses.of_model(run.loss):
        raise Unstackable(f"{type(run.loss).__name__} takes the model and the batch")
    if own_losses.found(run.loss).names:
        raise Unstackable("a loss with named parts is not stacked")
    if trainer.accumulate > 1:
        raise Unstackable(f"trainer.accumulate={trainer.accumulate} is not stacked")
    if trainer.precision not in ("fp32", "fp64"):
        raise Unstackable(f"trainer.precision={trainer.precision} is not stacked")
    if trainer.channels_last:
        raise Unstackable("trainer.channels_last is not stacked")
    if trainer.compile:
        raise Unstackable("trainer.compile is not stacked")
    drops = any(isinstance(module, dropout.LAYERS) for module in run.model.modules())
    if drops and run.device.type != "cpu" and not run.streams.layers:
        raise Unstackable(f"dropout on {run.device.type} with trainer.graph=null is not stacked")
    for part in ("train", "valid"):
        source = getattr(run.data, part)
        if source is not None and not isinstance(source, Tensors):
            raise Unstackable(f"the {part} data is not in memory")
        if source is not None and not all(isinstance(one, Tensor) for one in (source.x, source.y)):
            raise Unstackable(f"batches of several tensors are not stacked: {nests.described(source.x)}")
    parameters = list(run.model.parameters())
    if not parameters:
        raise Unstackable("the model has no parameters")
    if any(map(torch_private.gradient_hooks, parameters)):
        raise Unstackable("a hook of your own changes gradients")
    if len(parameters) < sum(1 for _ in run.model.named_parameters(remove_duplicate=False)):
        raise Unstackable("a weight that two layers share is not stacked")
    if any(getattr(module, "padding_idx", None) is not None for module in run.model.modules()):
        raise Unstackable("padding_idx is not stacked")  # torch.func.vmap trains that row of all models but the first
    if len({p.dtype for p in parameters}) > 1 or not all(p.requires_grad for p in parameters):
        raise Unstackable("some parameters are of another type than the others, or are not trained")


def key(run: Run) -> Any:
    """Return a key that is equal for runs that one program can train."""
    trainer, [group] = run.settings.trainer, run.state.optimizer.param_groups
    flags = [bool(group.get(flag)) for flag in FLAGS]
    counts = [run.state.step for m in run.model.modules() if getattr(m, "momentum", 0.0) is None]
    return repr(
        (
            dropout.without_p(run.stack, dropout.LAYERS, _entry),  # its probability may differ in a program
            [(name, tuple(p.shape), p.dtype) for name, p in run.model.state_dict().items()],
            run.settings.loss,
            type(run.loss),
            [repr(v) for v in run.loss.buffers()],
            own_attributes(run.model),
            own_attributes(run.loss),
            _shapes(run.data),
            type(run.state.optimizer),
            flags,
            trainer.batch_size,
            trainer.eval_batch_size,
            trainer.drop_last,
            trainer.deterministic,
            trainer.matmul_precision,
            run.threads,
            trainer.graph,
            trainer.time_limit,  # which ends all of them
            run.device,
            run.state.step % run.steps_per_epoch,
            counts[:1],  # a mean over all batches so far
        )
    )


def own_attributes(module: nn.Module) -> list[Any]:
    """Return what layers and losses of the user's own hold beside parameters and buffers.

    It must be equal in all runs of a program, which calls the code of one of them.
    """
    own = [(name, m) for name, m in module.named_modules() if lookup.is_users(type(m)) and not _is_ours(m)]
    plain = vars(nn.Module()).keys()
    return [(name, key, _frozen_value(v)) for name, m in own for key, v in vars(m).items() if key not in plain]


def _is_ours(module: nn.Module) -> bool:
    return type(module).__module__.startswith("runner.")


def _frozen_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes() if value.dtype != object else repr(list(value.flat))
    return (value.dtype, tuple(value.shape), host.numbers(value)) if isinstance(value, Tensor) else value


def _entry(layer: Layer, arguments: dict[str, Any]) -> Any:
    return layer.name, layer.target, arguments, layer.reads


def _shapes(data: Data) -> list[Any]:
    sources = [s for s in (data.train, data.valid) if isinstance(s, Tensors)]
    return [(part.shape, part.dtype) for s in sources for part in (s.x, s.y)]

"""Check that data, model, loss and optimizer fit each other."""

from typing import Any

import torch
from torch import Tensor, nn

from runner.data import Data, Tensors, nests
from runner.data._streams import is_stream
from runner.model import graph, layers, stack
from runner.settings import Settings
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.values.lookup import Bound


def targets(target: nests.Nest) -> None:
    """Raise ConfigError for a batch of targets without numbers."""
    if not any(tensor.numel() for tensor in nests.leaves(target)):
        raise ConfigError("data.y", "missing, and training needs targets; set data.y, or trainer.epochs=0")


def monitor(settings: Settings, data: Data, names: list[str]) -> None:
    """Raise ConfigError for a sweep.metric, trainer.monitor or trainer.patience of a value that is not measured.

    names: of the metrics.
    """
    monitor, patience = settings.trainer.monitor, settings.trainer.patience
    measured = ["train/loss"] + (["valid/loss", *(f"valid/{n}" for n in names)] if data.valid is not None else [])
    objective = settings.sweep.metric
    for name in [] if objective is None else objective if isinstance(objective, list) else [objective]:
        if name not in measured:
            raise ConfigError(
                "sweep.metric", f"{name!r} is not one of {', '.join(measured)}{did_you_mean(str(name), measured)}"
            )
    if monitor is not None and monitor not in measured:
        raise ConfigError(
            "trainer.monitor", f"{monitor!r} is not one of {', '.join(measured)}{did_you_mean(monitor, measured)}"
        )
    if patience is not None and monitor is None and data.valid is None:
        raise ConfigError(
            "trainer.patience",
            f"{patience} needs validation data; set data.valid, or trainer.monitor=train/loss",
        )


def batches(settings: Settings, data: Data) -> None:
    """Raise ConfigError for trainer.drop_last or trainer.workers that do not suit the data."""
    trainer, total = settings.trainer, len(data.train)  # type: ignore[arg-type]
    if trainer.drop_last and (trainer.batch_size or 0) > total:
        raise ConfigError(
            "trainer.batch_size",
            f"{trainer.batch_size} is more than the {total} training examples;"
            " use a smaller one, or trainer.drop_last=false",
        )
    if trainer.shuffle and is_stream(data.train):
        raise ConfigError(
            "trainer.shuffle",
            "true, and the training data is a stream, which has its own order; set trainer.shuffle=false, and shuffle"
            " in the stream",
        )
    if trainer.workers > 0 and all(s is None or isinstance(s, Tensors) for s in (data.train, data.valid, data.test)):
        raise ConfigError("trainer.workers", f"{trainer.workers} has no effect on data in memory; leave it out")


#: Layers of ours that hand the numbers of their input on, in another shape or only some of them.
PASSING = (nn.Flatten, nn.Unflatten, nn.Identity, layers.From, layers.Select, layers.Last)


def indices(data: Data, plan: stack.Stack) -> None:
    """Raise ConfigError for inputs in memory that are no rows of an Embedding which gets them as they are.

    Training would fail in its middle, on a GPU without the place.
    """
    for part in ("train", "valid", "test"):
        source = getattr(data, part)
        if isinstance(source, Tensors) and not any(one.is_meta for one in nests.leaves(source.x)):
            _follow(plan.layers, source.x, f"the {part} data")


def _follow(plan: list[stack.Layer], x: Any, where: str) -> Any:
    """Check each Embedding that gets `x` or parts of it; return what comes out, None once it has other numbers."""
    held, last = {graph.INPUT: x}, graph.INPUT
    for layer in plan:
        reads = layer.reads or (last,)
        inputs = [_taken(held, one) for one in graph.names(reads)]
        held[layer.name], last = _passed(layer, inputs[0] if len(inputs) == 1 else None, where), layer.name
    return held[last]


def _passed(layer: stack.Layer, x: Any, where: str) -> Any:
    """Check one layer and those inside of it; return the numbers that it hands on, None if there are others or none."""
    if x is None:
        return None
    if layer.target in (nn.Embedding, nn.EmbeddingBag):
        _check_rows(layer, x, where)
        return None
    if layer.target in PASSING:
        return layer.planned(x)
    branches = [_follow(inner.layers, x, where) for inner in stack.stacks(layer)]
    return branches[0] if layer.target is nn.Sequential and len(branches) == 1 else None


def _taken(held: dict[str, Any], reference: str) -> Any:
    """Return what a reference means, None where its numbers are not known."""
    try:
        return graph.read(held, reference)
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _check_rows(layer: stack.Layer, x: Tensor, where: str) -> None:
    rows = layer.arguments["num_embeddings"]
    if x.is_floating_point() or not x.numel():
        return
    low, high = (int(value) for value in x.aminmax())
    if low >= 0 and high < rows:
        return
    wrong = high if high >= rows else low
    raise ConfigError(
        f"{layer.key}.num_embeddings",
        f"{rows} rows take indices from 0 to {rows - 1}, and {where} holds {wrong};"
        + (f" expected at least {wrong + 1}" if wrong >= rows else " number them from 0"),
    )


def sparse(optimizer: Bound, plan: stack.Stack) -> None:
    """Raise ConfigError for an optimizer that does not take the layers' sparse gradients, or only sparse ones."""
    kind = optimizer.target
    layers = [inner for layer in plan.layers for inner in (layer, *layer.inner()) if inner.parameters]
    leaves = [layer for layer in layers if not stack.stacks(layer)]
    sparse = [layer for layer in leaves if layer.arguments.get("sparse") is True]
    if kind is torch.optim.SparseAdam and len(sparse) < len(leaves):
        dense = next(layer for layer in leaves if layer not in sparse)
        raise ConfigError(
            "optimizer.name",
            f"SparseAdam takes sparse gradients only, and those of {dense.key} are not; use optimizer=adam",
        )
    if sparse and kind not in (torch.optim.SparseAdam, torch.optim.SGD, torch.optim.Adagrad):
        raise ConfigError(
            f"{sparse[0].key}.sparse",
            f"{kind.__name__} takes no sparse gradients; leave it out, or use SGD, Adagrad or SparseAdam",
        )

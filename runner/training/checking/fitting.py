"""Whether data, model, loss and optimizer fit each other."""

import torch
from torch import Tensor, nn

from runner.data import Data, Tensors
from runner.model import stack
from runner.settings import Settings
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.values.lookup import Bound


def targets(target: Tensor) -> None:
    if not target.numel():
        raise ConfigError("data.y", "training needs targets, and there are none; give them, or use trainer.epochs=0")


def monitor(settings: Settings, data: Data, names: list[str]) -> None:
    monitor, patience = settings.trainer.monitor, settings.trainer.patience
    known = ["train/loss"] + (["valid/loss", *(f"valid/{n}" for n in names)] if data.valid is not None else [])
    wanted = settings.sweep.metric
    for name in [] if wanted is None else wanted if isinstance(wanted, list) else [wanted]:
        if name not in known:
            raise ConfigError(
                "sweep.metric", f"{name!r} is not one of {', '.join(known)}{did_you_mean(str(name), known)}"
            )
    if monitor is not None and monitor not in known:
        raise ConfigError(
            "trainer.monitor", f"{monitor!r} is not one of {', '.join(known)}{did_you_mean(monitor, known)}"
        )
    if patience is not None and monitor is None and data.valid is None:
        raise ConfigError(
            "trainer.patience",
            f"{patience} validations are waited for, and there is no validation data to monitor; set data.valid, or"
            " trainer.monitor=train/loss",
        )


def batches(settings: Settings, data: Data) -> None:
    trainer, total = settings.trainer, len(data.train)  # type: ignore[arg-type]
    if trainer.drop_last and (trainer.batch_size or 0) > total:
        raise ConfigError(
            "trainer.batch_size",
            f"{trainer.batch_size} is more than the {total} training examples;"
            " use a smaller one, or trainer.drop_last=false",
        )
    if trainer.workers > 0 and all(s is None or isinstance(s, Tensors) for s in (data.train, data.valid, data.test)):
        raise ConfigError("trainer.workers", f"{trainer.workers} has no effect on data in memory; leave it out")


def indices(data: Data, plan: stack.Stack) -> None:
    """An index beyond an Embedding's table fails in the middle of training, on a GPU without a word of where."""
    layer = plan.layers[0] if plan.layers else None
    if layer is None or layer.target is not nn.Embedding or not isinstance(data.train, Tensors):
        return
    rows = layer.arguments["num_embeddings"]
    for part in ("train", "valid", "test"):
        source = getattr(data, part)
        if isinstance(source, Tensors) and not source.x.is_meta and (source.x.max() >= rows or source.x.min() < 0):
            wrong = source.x.max().item() if source.x.max() >= rows else source.x.min().item()
            raise ConfigError(
                f"{layer.key}.num_embeddings",
                f"{rows} rows take indices from 0 to {rows - 1}, and the {part} data holds {wrong};"
                + (f" expected at least {wrong + 1}" if wrong >= rows else " number them from 0"),
            )


def sparse(optimizer: Bound, plan: stack.Stack) -> None:
    """Sparse gradients and optimizers must fit each other."""
    found = optimizer.target
    layers = [inner for layer in plan.layers for inner in (layer, *layer.inner()) if inner.parameters]
    leaves = [layer for layer in layers if not stack.stacks(layer)]
    sparse = [layer for layer in leaves if layer.arguments.get("sparse") is True]
    if found is torch.optim.SparseAdam and len(sparse) < len(leaves):
        dense = next(layer for layer in leaves if layer not in sparse)
        raise ConfigError(
            "optimizer.name",
            f"SparseAdam takes sparse gradients only, and those of {dense.key} are not; use optimizer=adam",
        )
    if sparse and found not in (torch.optim.SparseAdam, torch.optim.SGD, torch.optim.Adagrad):
        raise ConfigError(
            f"{sparse[0].key}.sparse",
            f"{found.__name__} takes no sparse gradients; leave it out, or use SGD, Adagrad or SparseAdam",
        )

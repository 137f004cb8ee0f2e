"""Both runs made again, as far as their first batch: which layer's first weights differ, and which layer's output."""

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.tracking.read.difference import weights
from runner.tracking.read.difference.record import Recorded, attempt

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Made:
    """A run before its first step: its weights, and the inputs, outputs and loss of its first batch, by their names."""

    weights: "dict[str, Tensor]"
    batch: "dict[str, Tensor]"
    outputs: "dict[str, Tensor]"


def compare(uri: str, a: Recorded, b: Recorded, code: str, unknown: list[str]) -> dict[str, Any] | None:
    """Return how first weights, the first batch and what each layer makes of it compare, see `weights.differing`.

    code: current or recorded. None: a run cannot be made again; `unknown` has a line then.
    The random generators of this process are seeded.
    """
    one, other = (attempt("made again", partial(_made, uri, r, code), unknown, s) for s, r in (("A", a), ("B", b)))
    if one is None or other is None:
        return None
    return {
        "first_weights": weights.differing(one.weights, other.weights),
        "first_batch": weights.differing(one.batch, other.batch),
        "outputs": weights.differing(one.outputs, other.outputs),
    }


def _made(uri: str, run: Recorded, code: str) -> Made:
    from runner.settings import loaded, random_state
    from runner.settings.errors import ConfigError
    from runner.tracking import recorded_code
    from runner.tracking.read import drift, restoring
    from runner.training.parts import data_cache
    from runner.training.prepare import prepare
    from runner.training.state import checkpoint

    if run.settings is None:
        raise ConfigError("", "its configuration cannot be read")
    model = restoring.started(run.settings.model, run.tags)
    tracking = dataclasses.replace(run.settings.tracking, uri=uri)
    settings = dataclasses.replace(run.settings, model=model, tracking=tracking)
    threads = random_state.tagged(run.tags) or random_state.recorded(settings.trainer, run.tags)
    with recorded_code.used(uri, run.run_id, code), loaded.as_recorded(run.tags), drift.data_in_place(run.settings):
        prepared = prepare(settings, run.experiment, threads)
        try:
            first = checkpoint.copy(prepared.model)
            batch, outputs = _first_batch(prepared) if prepared.trains else ({}, {})
            return Made(first, batch, outputs)
        finally:
            prepared.close()
            data_cache.clear()


def _first_batch(prepared: Any) -> "tuple[dict[str, Tensor], dict[str, Tensor]]":
    """Return the tensors of the first batch, and the output of each layer for it, the loss at the end."""
    import torch

    from runner.data import nests
    from runner.model import host
    from runner.training.state import generators

    generators.set_random_state(prepared.ready, prepared.device)
    _, batch = next(iter(prepared.batches()))[0]
    sides = [(part, leaf) for side, nest in zip("xy", batch, strict=False) for part, leaf in nests.named(nest, side)]
    tensors = {part: host.copied(leaf) for part, leaf in sides}
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(layer: Any, given: Any, output: Any) -> None:
            for part, leaf in nests.named(output) if nests.is_nest(output) else ():
                outputs.setdefault(f"{name}.output{f'.{part}' if part else ''}", host.copied(leaf.detach()))

        return hook

    leaves = {name: layer for name, layer in prepared.model.named_modules() if name and not list(layer.children())}
    hooks = [layer.register_forward_hook(keep(name)) for name, layer in leaves.items()]
    try:
        prepared.state.begin()
        with torch.enable_grad():
            loss, _ = prepared.state.cost(prepared.model, batch)
        outputs["loss.output"] = host.copied(loss.detach())
    finally:
        for hook in hooks:
            hook.remove()
    return tensors, outputs

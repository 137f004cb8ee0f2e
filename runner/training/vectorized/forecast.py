"""Forecast the number of models that fit on the device as one program, from shapes alone, before memory is taken.

A formula, and no rehearsal as in `checking/forecast.py`: a program's operations are not those of a model. SHARE leaves
room for what it does not know.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from runner.data import Tensors, evaluation_size, nests
from runner.settings import memory
from runner.training.parts import dropout
from runner.training.run import Run
from runner.training.vectorized.optimizers import rule

#: Share of the free memory that a program may take by this forecast.
SHARE = 0.8


def cut(runs: Sequence[Run]) -> tuple[list[slice], str]:
    """Divide a group into programs that fit on the device one after the other, of sizes as equal as can be.

    Returns also a line about it; "" for one program. Slices of single runs are for those that are too large for two.
    """
    n, first = len(runs), runs[0]
    free = int(SHARE * memory.free(first.device))
    each, stays = bytes_of_each(runs), _state(first)
    # Runs that have ended keep their optimizer's state until all have.
    fit = n if n * each <= free else max(1, int((free - n * stays) // max(each - stays, 1)))
    if fit >= n:
        return [slice(0, n)], ""
    count = -(-n // fit)
    ends = [n * i // count for i in range(count + 1)]
    needed, there = memory.size(n * each), memory.size(free)
    line = f"{n:,} models as one program would take {needed}, and {first.device} has {there} for them"
    line += f": they are {'stacked' if fit > 1 else 'trained'} in {count:,} parts, one after the other"
    return [slice(a, b) for a, b in pairwise(ends)], line


def bytes_of_each(runs: Sequence[Run]) -> int:
    """Return the bytes that a program takes for each of its models, beside the model that is there already."""
    run = runs[0]
    weights = sum(p.nbytes for p in run.model.parameters())
    buffers = sum(b.nbytes for b in run.model.buffers())
    # The stack, its gradients, the best so far, and on an accelerator what the optimizer's formula needs meanwhile.
    copies = 3 * weights + 2 * buffers + _state(run) + (3 * weights if run.device.type != "cpu" else 0)
    return copies + _step(run) + _data(runs)


def _state(run: Run) -> int:
    return len(rule(run.state.optimizer).names) * sum(p.nbytes for p in run.model.parameters())


def _step(run: Run) -> int:
    """Return the bytes of a model's batch, of the outputs of all layers with their gradients, and of masks."""
    source = run.data.train
    assert isinstance(source, Tensors)
    wide, trainer = next(run.model.parameters()).element_size(), run.settings.trainer
    batch = min(trainer.batch_size or len(source), len(source))
    examples = batch * nests.nbytes(source[0])
    outputs = [prod(layer.shape) for layer in run.stack.layers]
    drawn = sum(prod(layer.shape) for layer in run.stack.layers if layer.target in dropout.LAYERS)
    trained = batch * (2 * wide * sum(outputs) + 24 * drawn)
    read = run.data.valid if isinstance(run.data.valid, Tensors) else source
    evaluated = 2 * wide * min(evaluation_size(source, trainer) or len(read), len(read)) * max(outputs, default=0)
    return examples + max(trained, evaluated)


def _data(runs: Sequence[Run]) -> int:
    """Return the bytes of a run's own data, which a program copies; 0 where all read the same."""
    first = runs[0].data
    parts = [part for part in (first.train, first.valid) if isinstance(part, Tensors)]
    if all(run.data.train is first.train and run.data.valid is first.valid for run in runs):
        return 0
    return sum(nests.nbytes((part.x, part.y)) for part in parts)

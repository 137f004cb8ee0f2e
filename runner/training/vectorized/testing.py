"""Outputs and test values of many runs that have ended, in one pass for all of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from runner.data import Source, Tensors
from runner.model import host
from runner.training.measure import Tested
from runner.training.parts.metric_sums import MetricValues
from runner.training.run import Run
from runner.training.vectorized.feed import Pool
from runner.training.vectorized.shared import has_own

if TYPE_CHECKING:
    from runner.training.vectorized.program import Program

#: Bytes of the outputs of all models, above which each run computes its own.
MOST = 2**28
#: All models are evaluated; where only one of so many has ended, it is faster by itself.
SHARE = 16


@torch.no_grad()
def tested_of(program: "Program", chosen: Sequence[int]) -> list[Tested | None]:
    """Return for each run in `chosen` what `finish` would measure, with the weights that it is tested with.

    None where each run measures itself, which also gives the reason for whatever fails.
    """
    if len(chosen) * SHARE < len(program.runs):
        return [None] * len(chosen)
    with program.bests.shown([i for i in chosen if program.runs[i].tested[0] == "best"]):
        try:
            outputs, values = _outputs(program), _values(program, chosen)
        except Exception:
            for i in chosen:
                for metric in program.runs[i].metrics.values():
                    metric.reset()
            return [None] * len(chosen)
        return [
            Tested(_source(program.runs[i]), None if outputs is None else _own(program.runs[i], outputs[i]), own)
            for i, own in zip(chosen, values, strict=True)
        ]


def _source(run: Run) -> Source:
    """Return the part of the data that predictions are of."""
    return run.data.train if run.data.valid is None else run.data.valid


def _own(run: Run, output: Tensor) -> tuple[Tensor, Tensor]:
    """Return targets and outputs of a run, which hold nothing of other runs."""
    source = _source(run)
    assert isinstance(source, Tensors)
    return host.copied(source.y), output.clone()


def _outputs(program: "Program") -> Tensor | None:
    """Return the outputs of all models on the host, of shape (N, examples, ...); None if they are too many."""
    pool = program.validation.train if program.validation.valid is None else program.validation.valid
    parts: list[Tensor] = []
    for x, _ in program.validation.batches(pool):
        parts.append(host.tensor(program.forward(x, False)))
        if parts[0].nbytes / parts[0].shape[1] * pool.size > MOST:
            return None
    return torch.cat(parts, 1)


def _values(program: "Program", chosen: Sequence[int]) -> Sequence[dict[str, float] | None]:
    """Return the test values of the runs `chosen`: none without test data, None where it is not the same in size."""
    sources = [run.data.test for run in program.runs]
    if all(source is None for source in sources):
        return [{} for _ in chosen]
    tensors = [source for source in sources if isinstance(source, Tensors)]
    if len(tensors) < len(sources) or len({(s.x.shape, s.x.dtype, s.y.shape, s.y.dtype) for s in tensors}) > 1:
        return [None] * len(chosen)
    validation = program.validation
    metrics = MetricValues(program.runs, chosen, validation.counts)
    losses = validation.losses_of(Pool(tensors, has_own(program.runs[0])), metrics.update)
    return [
        {"test/loss": losses[i], **{f"test/{name}": value for name, value in others.items()}}
        for i, others in zip(chosen, metrics.values(), strict=True)
    ]

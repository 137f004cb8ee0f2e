"""A test of learning rates: they rise from step to step, and the loss shows which of them a training can take.

The range test of L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017,
https://arxiv.org/abs/1506.01186, section 3.3. The rates rise exponentially, the loss is smoothed and the test ends as
in S. Gugger, "How Do You Find A Good Learning Rate", 2018,
https://sgugger.github.io/how-do-you-find-a-good-learning-rate.html.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.settings import Settings
from runner.settings.errors import ConfigError
from runner.training.events import Step
from runner.training.loop import train
from runner.training.parts import several

if TYPE_CHECKING:
    from runner.training.run import Run

#: The share of the loss before that stays in the smoothed loss of a step.
SMOOTH = 0.9
#: The test ends when the smoothed loss is so many times its least one.
LARGE = 4.0
#: A loss falls if it does so by more than this share.
FALL = 1e-3
#: Steps of which none is suggested, and after which the test may end: the smoothed loss is of few steps there.
FIRST = 5


def settings(given: Settings, steps: int) -> Settings:
    """Return the settings of the test: so many steps, at rates of its own, from the same first weights and batches."""
    trainer = dataclasses.replace(
        given.trainer,
        epochs=None,
        steps=steps,
        validate_every=f"{steps} steps",
        graph=False,
        average=None,
        patience=None,
    )
    return dataclasses.replace(given, trainer=trainer, scheduler=None, plots=[])


def tested(run: "Run", low: float, high: float) -> Iterator[tuple[float, Step]]:
    """Take the steps of `run` with rates that rise exponentially, and yield the rate and the event of each.

    low, high: the learning rates of the first and the last step; where several groups have rates, those of the others
    keep their ratio to the first. It ends where the loss is not finite, or LARGE times its least value.
    Raises ConfigError for a run whose optimizers are several, or have no learning rate.
    """
    optimizer = run.state.optimizer
    if len(several.each_of(optimizer)) > 1 or "lr" not in optimizer.param_groups[0]:
        raise ConfigError("optimizer", "find_lr needs one optimizer with a learning rate")
    shares = [group["lr"] / optimizer.param_groups[0]["lr"] for group in optimizer.param_groups]
    rates, losses = np.geomspace(low, high, run.steps).tolist(), list[float]()

    def set_rate(rate: float) -> None:
        for group, share in zip(optimizer.param_groups, shares, strict=True):
            group["lr"] = rate * share

    set_rate(rates[0])
    for event in train(run.state, run.batches(), run.step):
        losses.append(event.read())
        yield rates[event.step - 1], event
        if not math.isfinite(losses[-1]):
            return
        smooth = smoothed(losses)
        if len(losses) > FIRST and smooth[-1] > LARGE * min(smooth) and min(smooth) > 0:
            return
        set_rate(rates[min(event.step, run.steps - 1)])


def smoothed(losses: list[float]) -> list[float]:
    """Return the exponentially weighted mean of the losses so far, for each: m = 0.9 m + 0.1 loss, over 1 - 0.9^n."""
    mean, result = 0.0, []
    for n, loss in enumerate(losses, 1):
        mean = SMOOTH * mean + (1 - SMOOTH) * loss
        result.append(mean / (1 - SMOOTH**n))
    return result


def found(rates: list[float], losses: list[float]) -> dict[str, Any]:
    """Return rates, losses, smoothed, suggestion and least, as plain values.

    suggestion: the rate at which the smoothed loss falls most steeply over the logarithm of the rate, before its least
        value; None where it does not fall. least: the rate of the least smoothed loss, at which a training is about to
        diverge.
    """
    whole = [(rate, loss) for rate, loss in zip(rates, losses, strict=True) if math.isfinite(loss)]
    smooth = smoothed([loss for _, loss in whole])
    result: dict[str, Any] = {"rates": rates, "losses": [loss if math.isfinite(loss) else None for loss in losses]}
    result |= {"smoothed": smooth, "suggestion": None, "least": None}
    if len(whole) > FIRST + 1:
        slopes = np.gradient(smooth, np.log([rate for rate, _ in whole]))
        lowest = FIRST + int(np.argmin(smooth[FIRST:]))
        steepest = FIRST + int(np.argmin(slopes[FIRST : lowest + 1]))
        if slopes[steepest] < 0 and smooth[0] - min(smooth) > FALL * abs(smooth[0]):
            result |= {"suggestion": whole[steepest][0], "least": whole[lowest][0]}
    return result

"""The command `find_lr`: a test of learning rates, recorded as a run with its plot."""

import math
from typing import Any

from runner.commands import _words
from runner.commands._result import Result
from runner.settings import Settings
from runner.settings.context import Context
from runner.settings.errors import ConfigError


def with_settings(
    settings: Settings, context: Context, *, low: str = "1e-7", high: str = "10", steps: str = "100"
) -> Result:
    """Train some steps with learning rates that rise from `low` to `high`, and suggest one.

    That is the rate at which the loss falls most steeply, from the first weights and batches of a training. The run has
    the tag runner.debug, the plot plots/find_lr.png and the numbers debug/find_lr.json.
    low: the learning rate of the first step. high: that of the last step.
    steps: how many; the test ends before where the loss is four times its least value.
    """
    first, last, many = _rate("low", low), _rate("high", high), _words.whole("steps", steps, least=10)
    if last <= first:
        raise ConfigError("high", f"{high!r} is not above low={low}")
    if not settings.trainer.trains:
        raise ConfigError("trainer.epochs", "0 trains nothing; find_lr needs steps to take")
    from runner import plots
    from runner.plots import _rate_test
    from runner.tracking import session
    from runner.tracking.identity import DEBUG
    from runner.training.debugging import rates
    from runner.training.debugging.artifact import artifact
    from runner.training.events import Finished
    from runner.training.machine.signals import Signals
    from runner.training.prepare import prepare
    from runner.training.state import generators

    context.tags[DEBUG] = "find_lr"
    with Signals() as signals:
        run = prepare(rates.settings(settings, many), context.name)
        try:
            with session.opened(run, context) as tracker:
                generators.set_random_state(run.ready, run.device)  # opening the record may have drawn numbers
                tried, losses = list[float](), list[float]()
                for rate, event in rates.tested(run, first, last):
                    tracker.record(event)
                    tried.append(rate)
                    losses.append(event.read())
                    signals.check()
                found = rates.found(tried, losses)
                files = artifact(run, "find_lr", found)
                (files.folder / "plots").mkdir()
                plots.save(_rate_test.draw(found, context.name), files.folder / "plots" / "find_lr.png")
                tracker.record(files)
                tags = {} if found["suggestion"] is None else {"find_lr.suggestion": f"{found['suggestion']:.3g}"}
                tracker.record(Finished(run.state.step, {}, f"{len(tried)} learning rates tried", tags))
        finally:
            run.close()
    plain: dict[str, Any] = {"run": tracker.run_id, "now": settings.optimizer.get("lr"), **found}
    return Result(plain, lambda: _print(plain))


def _print(plain: dict[str, Any]) -> None:
    from runner.settings.trust import terminal

    f, losses = plain, [loss for loss in plain["losses"] if loss is not None]
    lines = [f"{len(f['rates'])} steps with learning rates from {f['rates'][0]:.3g} to {f['rates'][-1]:.3g}"]
    if f["suggestion"] is None:
        lines.append(
            f"the loss does not fall: {losses[0]:.4g} at first, {min(losses):.4g} at least; no rate is suggested"
        )
    else:
        now = f" (now {f['now']:g})" if isinstance(f["now"], int | float) else ""
        lines.append(f"the loss falls most steeply at optimizer.lr={f['suggestion']:.2g}{now}")
        lines.append(f"and is least at {f['least']:.2g}, where a training is about to diverge")
    terminal.put(*lines, f"run {f['run']}, with plots/find_lr.png and debug/find_lr.json")


def _rate(key: str, word: str) -> float:
    """Return the number above 0 typed for `key`."""
    try:
        value = float(word)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise ConfigError(key, f"{word!r} is not a number above 0")
    return value

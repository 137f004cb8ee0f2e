"""The command `train`, which is the default: train one experiment and record it in MLflow."""

from runner.commands._result import Result, nothing
from runner.settings import Settings
from runner.settings.context import Context
from runner.training.machine.signals import Signals


def with_settings(settings: Settings, context: Context) -> Result:
    """Check the settings, build the run, train and record it."""
    from runner.tracking import screen
    from runner.tracking.session import record
    from runner.training.parts import data_cache
    from runner.training.prepare import prepare

    console = screen.console()
    with Signals() as signals:
        run = prepare(settings, context.name)
        data_cache.clear()  # the run has its own copy, and no other job comes
        try:
            signals.check()
            return Result(record(run, context, console, signals), nothing)
        finally:
            run.close()

"""Train one experiment and keep everything about it in MLflow."""

from runner.context import Context
from runner.settings import Settings
from runner.signals import Signals


def with_settings(settings: Settings, context: Context) -> int:
    """Check, build, train, record. Returns the exit code."""
    from runner import kept, screen
    from runner.prepare import prepare
    from runner.session import record

    console = screen.console()
    with Signals() as signals:
        run = prepare(settings, context.name)
        kept.clear()
        try:
            signals.check()
            record(run, context, console, signals)
        finally:
            run.close()
    return 0

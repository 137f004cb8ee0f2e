"""The command `summary`: the layers with their shapes and parameters."""

from runner.settings import Settings
from runner.settings.context import Context


def with_settings(settings: Settings, context: Context) -> int:
    """Print the layer table of the configured model for the configured data, and train nothing."""
    from runner.settings.trust import terminal
    from runner.tracking import screen, weights_table
    from runner.training.augment import treatment
    from runner.training.prepare import prepare

    run = prepare(settings, context.name)
    try:
        for line in treatment.lines(run.parts.treatment, run.loss, run.data):
            terminal.put(line)
        console = screen.console()
        console.print(screen.layer_table(run.stack, run.data.train[0][0]))
        if weights_table.differs(run):
            console.print("")
            console.print(weights_table.table(run))
    finally:
        run.close()
    return 0

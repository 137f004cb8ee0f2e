"""The weights of a recorded run, for another run to start from."""

from typing import Any

from torch import Tensor

from runner.model import stack, whole
from runner.tracking.read import checkpoints, load, recall


def weights(run: str, uri: str, checkpoint: str = "best") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the weights of a recorded run's checkpoint by their names, and what they are: run, checkpoint, step.

    run: RUN, of a sweep its best job. Raises ConfigError if there is no such run or checkpoint, CheckpointError if it
    is damaged, Unreachable if the store is away.
    """
    load.check(checkpoint)
    run_id = recall.find_run(uri, run)
    settings, classes = recall.settings(uri, run_id), list[Any]()
    if settings.checkpoint.format == "model":
        classes = stack.classes(whole.planned(settings.model, load.example(recall.data(uri, run_id), "meta")))
    values = checkpoints.weights(uri, run_id, checkpoint, classes)
    steps = [one.step for one in checkpoints.recorded(uri, run_id, checkpoint)]
    return values, {"run": run_id, "checkpoint": checkpoint, "step": str(steps[0] if steps else 0)}

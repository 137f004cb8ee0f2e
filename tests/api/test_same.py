"""Every experiment ends with the same weights from Python and from the command line."""

from pathlib import Path

import pytest

import runner
from runner.tracking.read import checkpoints, recall
from runner.training.state import checkpoint
from tests.support import command, composing
from tests.support.experiments import cases


def words(study: str) -> list[str]:
    """Few steps of an experiment, without what takes long beside them."""
    with composing.hydra():
        settings = composing.settings(f"experiments={study}")
    length = ["trainer.epochs=1"] if settings.trainer.steps is None else ["trainer.steps=3"]
    started = ["model.start=null"] if settings.model.start else []  # from a run that is not here
    return [*(length if settings.trainer.trains else []), *started, "plots=[]", "device=cpu", "seed=5"]


def digests(uri: str, run_id: str) -> dict[str, str]:
    """The SHA-256 of the weights of a run's checkpoints."""
    there = [name for name in ("last", "best") if f"checkpoint.{name}.step" in recall.facts(uri, run_id)[1]]
    return {name: checkpoint.digest(checkpoints.weights(uri, run_id, name, ())) for name in there}


@pytest.mark.parametrize("path", cases())
def test_python_and_the_command_line_end_with_the_same_weights(
    path: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    typed = words(path.stem)
    done = command.runner(f"experiments={path.stem}", *typed, cwd=workplace)
    run = runner.train(path.stem, *typed, show=False)
    assert run.status == "FINISHED"
    assert digests(run.uri, run.id) == digests(run.uri, done.run_id)
    assert run.metrics == runner.run(done.run_id).metrics or run.metrics != run.metrics

"""Commands of a run whose training examples are augmented: killed and resumed, reproduced, evaluated."""

import contextlib
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import begin, ended, runner

WORDS = (
    "experiments=digits_mlp",
    "model.layers.flatten=[{CenterCrop: 7}, Flatten]",
    "data.augment=[{RandomCrop: {size: 7, padding: 1}}, {ColorJitter: {brightness: 0.3}}]",
    "data.mixup=0.2",
    "loss.weight=balanced",
    "trainer.epochs=12",
    "checkpoint.every=1",
    "plots=[augmented]",
)


def rows(place: Path, query: str, *values: Any) -> list[Any]:
    with contextlib.closing(sqlite3.connect(place / "mlflow.db")) as store:
        return store.execute(query, values).fetchall()


def history(place: Path, run: str) -> list[Any]:
    query = "select key, step, value from metrics where run_uuid = ? and key like '%loss' order by key, step"
    return rows(place, query, run)


@pytest.mark.vision
def test_a_killed_run_goes_on_with_the_same_pictures_and_is_reproduced(workplace: Path) -> None:
    whole = runner(*WORDS, cwd=workplace)
    assert "training examples are augmented: RandomCrop(size=7, padding=1), ColorJitter(brightness=0.3)" in whole.out
    process = begin(*WORDS, "tracking.run_name=killed", cwd=workplace)
    begun = "select r.run_uuid from runs r join tags t on r.run_uuid = t.run_uuid where r.name = 'killed'"
    while process.is_alive() and not rows(workplace, f"{begun} and t.key = 'checkpoint.last.step'"):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    ended(process, workplace, None)
    [[killed], *_] = rows(workplace, begun)
    runner("resume", killed, cwd=workplace)
    assert history(workplace, killed) == history(workplace, whole.run_id)
    assert "identical" in runner("reproduce", whole.run_id, cwd=workplace).out
    [[weights]] = rows(workplace, "select value from tags where key = 'loss.weight' and run_uuid = ?", whole.run_id)
    assert len(weights.split(", ")) == 10
    [[loss]] = rows(
        workplace, "select value from latest_metrics where key = 'test/loss' and run_uuid = ?", whole.run_id
    )
    assert f"test/loss={loss!r}" in runner("evaluate", whole.run_id, cwd=workplace).out

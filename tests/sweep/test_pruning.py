"""Jobs of a sweep that are given up between epochs: the rules, the file between the jobs, and runs."""

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.settings.errors import ConfigError
from runner.sweeps.prune import rules
from runner.sweeps.prune.observer import FILE, pruning
from runner.sweeps.prune.rules import Asha, JobValues, Median
from runner.sweeps.prune.shared_values import SharedValues
from runner.training.drive import drive
from runner.training.run import Run
from tests.conftest import Start, settings

EPOCHS = 27
#: In an order that is neither from worst to best nor from best to worst.
RATES = [0.01, 0.3, 0.001, 0.1, 0.03, 0.003, 0.05, 0.005, 0.02]


def trained(rule: rules.Rule | None, curves: Sequence[Sequence[float]], mode: str = "min") -> list[int]:
    """The epochs that each job got, one job after the other; `curves` are their values after each epoch."""
    looks, spent = JobValues(mode), []
    for job, curve in enumerate(curves):
        epoch = 0
        for epoch, value in enumerate(curve, 1):
            looks.add(job, epoch, value)
            if rule is not None and epoch < len(curve) and rule.judge(looks, job, epoch):
                break
        spent.append(epoch)
    return spent


def curves(jobs: int, seed: int = 0) -> list[list[float]]:
    """Losses that fall from 1 towards a floor of each job's own, in an order drawn from `seed`."""
    floors = [job / jobs for job in range(jobs)]
    random.Random(seed).shuffle(floors)
    return [[floor + 1 / epoch for epoch in range(1, EPOCHS + 1)] for floor in floors]


RULES = [Asha(), Asha(2, 2), Asha(1, 4), Median(3, 2), Median(0, 1)]


def test_without_a_rule_every_job_is_trained_to_the_end() -> None:
    assert trained(None, curves(27)) == [EPOCHS] * 27


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_a_job_that_is_best_at_every_epoch_is_never_pruned_and_others_are(rule: rules.Rule, seed: int) -> None:
    jobs = curves(27, seed)
    best = min(range(27), key=lambda job: jobs[job][-1])
    spent = trained(rule, jobs)
    assert spent[best] == EPOCHS
    assert sum(spent) < 0.75 * 27 * EPOCHS


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_more_is_better_is_the_same_upside_down(rule: rules.Rule) -> None:
    jobs = curves(27)
    assert trained(rule, jobs) == trained(rule, [[-value for value in curve] for curve in jobs], "max")
    assert trained(rule, jobs) != trained(rule, jobs, "max")


def test_the_rungs_of_asha_are_powers_of_its_factor() -> None:
    assert [epoch for epoch in range(1, 100) if Asha(2, 3).is_rung(epoch)] == [2, 6, 18, 54]


def test_asha_from_best_to_worst_stops_all_but_the_first_third() -> None:
    """Of n values n // 3 go on: the second job is one too many, and so are all others that are worse."""
    ordered = [[job + 1 / epoch for epoch in range(1, EPOCHS + 1)] for job in range(9)]
    assert trained(Asha(), ordered) == [EPOCHS, *[1] * 8]


def test_asha_from_worst_to_best_stops_nobody() -> None:
    ordered = [[-job + 1 / epoch for epoch in range(1, EPOCHS + 1)] for job in range(9)]
    assert trained(Asha(), ordered) == [EPOCHS] * 9


def test_among_fewer_than_twice_the_factor_only_the_best_goes_on() -> None:
    seen = JobValues("min", {job: {1: float(job)} for job in range(5)})
    assert [bool(Asha(1, 3).judge(seen, job, 1)) for job in range(5)] == [False, True, True, True, True]
    seen.add(5, 1, 5.0)
    assert [bool(Asha(1, 3).judge(seen, job, 1)) for job in range(6)] == [False, False, True, True, True, True]


def test_jobs_that_are_equal_go_on_together() -> None:
    assert trained(Asha(), [[0.5] * EPOCHS] * 9) == trained(Median(0, 1), [[0.5] * EPOCHS] * 9) == [EPOCHS] * 9


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_no_number_is_the_worst(mode: str, wrong: float) -> None:
    seen = JobValues(mode, {0: {1: 0.5}, 1: {1: wrong}, 2: {1: 0.5}})
    assert Asha().judge(seen, 1, 1)
    assert Median(0, 1).judge(seen, 1, 1)
    assert not Asha().judge(seen, 0, 1)


def test_the_median_counts_the_best_so_far_of_those_that_came_as_far() -> None:
    seen = JobValues(
        "min", {0: {1: 0.1, 2: 0.9}, 1: {1: 0.3, 2: 0.3}, 2: {1: 0.5, 2: 0.5}, 3: {1: 0.0}, 4: {1: 0.4, 2: 0.6}}
    )
    told = Median(0, 3).judge(seen, 4, 2)
    assert told == "its best, 0.4, is worse than 0.3, the median of 3 other jobs there"
    assert not Median(0, 4).judge(seen, 4, 2), "job 3 has not come as far"
    assert not Median(2, 3).judge(seen, 4, 2), "warmup"


WRONG = {
    "aha": ("sweep.pruner: ", "did you mean 'asha'?"),
    "{name: asha, factr: 2}": ("sweep.pruner.factr: ", "did you mean 'factor'?"),
    "{name: asha, factor: 1}": ("sweep.pruner.factor: ", "at least 2"),
    "{name: asha, factor: 2.5}": ("sweep.pruner.factor: ", ""),
    "{name: asha, min_epochs: 0}": ("sweep.pruner.min_epochs: ", "at least 1"),
    "{name: asha, min_epochs: 30}": ("sweep.pruner.min_epochs: ", "nothing to prune"),
    "{name: asha, min_epochs: 3}": ("sweep.pruner.min_epochs: ", "trainer.validate_every=2"),
    "{name: median, warmup: -1}": ("sweep.pruner.warmup: ", "at least 0"),
    "{name: median, warmup: 28}": ("sweep.pruner.warmup: ", "nothing to prune"),
    "{name: median, startup: 0}": ("sweep.pruner.startup: ", "at least 1"),
    "{factor: 2}": ("sweep.pruner.name: ", "missing"),
    "[asha]": ("sweep.pruner: ", "not a mapping"),
}


@pytest.mark.parametrize("spec", WRONG)
def test_a_wrong_pruner_is_refused_with_its_key(spec: str) -> None:
    from yaml import safe_load

    made = settings(epochs=30, validate_every=2)
    made.sweep.pruner = safe_load(spec)
    with pytest.raises(ConfigError) as told:
        rules.check(made)
    assert str(told.value).startswith(WRONG[spec][0])
    assert WRONG[spec][1] in str(told.value)


@pytest.mark.parametrize("spec", ["median", {"name": "asha", "min_epochs": 2}, {"name": "median", "warmup": 27}])
def test_a_right_pruner_is_taken(spec: object) -> None:
    made = settings(epochs=30, validate_every=2)
    made.sweep.pruner = spec
    rules.check(made)
    assert isinstance(rules.read(spec), Asha | Median)


TELL = """
import sys
from pathlib import Path
from runner.sweeps.prune.shared_values import SharedValues

shared, job = SharedValues(Path(sys.argv[1]), "min"), int(sys.argv[2])
for epoch in range(500):
    shared.add(job, epoch, job + epoch / 7)
"""


def test_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-W", "error", "-c", TELL, tmp_path / FILE]
    processes = [subprocess.Popen([*words, str(job)]) for job in range(3)]
    reader, seen = SharedValues(tmp_path / FILE, "min"), 0
    while any(process.poll() is None for process in processes):
        now = sum(map(len, reader.now().values.values()))
        assert now >= seen
        seen = now
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert reader.now().values == {job: {epoch: job + epoch / 7 for epoch in range(500)} for job in range(3)}


def test_half_a_line_and_a_look_that_comes_twice_do_no_harm(tmp_path: Path) -> None:
    shared = SharedValues(tmp_path / FILE, "min")
    shared.add(0, 1, 0.5)
    with shared.path.open("a") as file:
        file.write('\n{"job": 1, "epo')
    assert shared.now().values == {0: {1: 0.5}}
    shared.add(1, 1, float("nan"))
    shared.add(0, 1, 0.7)
    assert shared.now().values[0] == {1: 0.5}
    assert shared.now().values.keys() == SharedValues(shared.path, "min").now().values.keys() == {0, 1}


def sweep(start: Start, folder: Path, pruner: object, **changes: Any) -> list[Run]:
    """27 jobs of learning rates and widths, one after the other."""
    runs = []
    for job, (rate, width) in enumerate((rate, width) for rate in RATES for width in (8, 16, 32)):
        layers = ["Flatten", {"Linear": width}, "ReLU", {"Linear": 10}]
        optimizer = {"name": "SGD", "lr": rate, "momentum": 0.9}
        given = {"data": {"name": "digits"}, "loss": {"name": "CrossEntropyLoss"}, "epochs": 9, "batch_size": 128}
        run = start(**{**given, "layers": layers, "optimizer": optimizer, **changes})
        run.settings.sweep.pruner = pruner
        drive(run, pruning(run, job, folder))
        runs.append(run)
    return runs


def pruned(run: Run) -> int:
    """The epoch after which the run was pruned; 0 if it was not."""
    return int(run.tags.get("sweep.pruned", 0))


def test_asha_over_27_runs_finds_the_same_best_with_40_percent_fewer_epochs(start: Start, tmp_path: Path) -> None:
    whole = sweep(start, tmp_path / "whole", None)
    less = sweep(start, tmp_path / "less", "asha")
    assert [run.epoch for run in whole] == [9] * 27
    assert not any(pruned(run) for run in whole)
    assert sum(run.epoch for run in less) <= 0.6 * 27 * 9
    best, found = (min(range(27), key=lambda job: runs[job].best.value) for runs in (whole, less))
    assert best == found
    assert less[found].best.value == whole[best].best.value
    ended = [run for run in less if pruned(run)]
    assert ended
    assert all(run.stopped.startswith(f"pruned after epoch {run.epoch}: ") for run in ended)
    assert all(pruned(run) == run.epoch for run in ended)


def test_the_median_stops_runs_too_and_training_loss_can_be_monitored(start: Start, tmp_path: Path) -> None:
    pruner = {"name": "median", "warmup": 3, "startup": 4}
    runs = sweep(start, tmp_path, pruner, monitor="train/loss")
    assert min(pruned(run) for run in runs if pruned(run)) > 3


def test_a_run_that_was_interrupted_at_the_look_that_prunes_it_is_pruned_when_it_goes_on(
    start: Start, tmp_path: Path
) -> None:
    shared = SharedValues(tmp_path / FILE, "min")
    shared.add(0, 1, 1e-6)
    run = start(epochs=EPOCHS)
    run.settings.sweep.pruner = "asha"
    run.epoch = 1
    run.state.step = run.steps_per_epoch
    shared.add(1, 1, 0.5)
    pruning(run, 1, tmp_path)
    assert pruned(run) == 1
    drive(run)
    assert run.state.step == run.steps_per_epoch

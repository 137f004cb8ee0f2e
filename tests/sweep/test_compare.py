"""The best of several configurations: the right p, no false winner, and a real one is told."""

import math
import random
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks import null_sweeps
from runner.sweeps.report import comparison
from runner.sweeps.report.compare import with_best
from runner.sweeps.report.table import Row, Table


def samples(count: int, seeds: int, first: float = 0.0) -> list[dict[int, float]]:
    values = np.random.default_rng(count + seeds).normal(size=(count, seeds))
    values[0] += first
    return [dict(enumerate(map(float, row))) for row in values]


def table(values: dict[str, list[float | str | None]], mode: str = "min", key: str = "seed") -> Table:
    """Configuration -> its values by seed; None for a job that waits, a text for a status, "pruned" for such a one."""
    rows: list[Row] = []
    for name, each in values.items():
        for seed, value in enumerate(each):
            status = "WAITING" if value is None else value if isinstance(value, str) else "FINISHED"
            row = Row(len(rows), {"optimizer.lr": name, key: str(seed)}, f"run{len(rows)}", status)
            row.value = value if isinstance(value, float) else None
            if status == "pruned":
                row.status, row.pruned, row.value = "FINISHED", 2, 0.0
            rows.append(row)
    return Table(rows, mode=mode)


def labels(value: dict[str, Any]) -> list[str]:
    return [one["overrides"]["optimizer.lr"] for one in value["configurations"]]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_same_seeds_are_compared_in_pairs(mode: str) -> None:
    best, *others = samples(5, 6, -3.0 if mode == "min" else 3.0)
    expected = [stats.ttest_rel(list(best.values()), list(other.values())).pvalue for other in others]
    assert [one.p for one in with_best([best, *others], mode)] == pytest.approx(expected, rel=1e-9)


def test_other_seeds_are_compared_without_pairs() -> None:
    best, other = samples(2, 6, -3.0)
    other = {seed + 100: value for seed, value in list(other.items())[:4]}
    expected = stats.ttest_ind(list(best.values()), list(other.values()), equal_var=False).pvalue
    assert with_best([best, other])[0].p == pytest.approx(expected, rel=1e-9)


def test_folds_overlap_in_their_training_parts() -> None:
    best, other = samples(2, 5, -3.0)
    behind = np.array([other[fold] - best[fold] for fold in best])
    t = behind.mean() / math.sqrt(behind.var(ddof=1) * (1 / 5 + 1 / 4))  # Nadeau and Bengio
    assert with_best([best, other], folds=5)[0].p == pytest.approx(2 * stats.t.sf(t, 4), rel=1e-9)


def test_the_smallest_p_is_corrected_for_all_pairs_and_the_winner_for_none() -> None:
    best, other, last = samples(3, 6, -1.5)
    first, second = with_best([best, other, last])
    low, high = sorted((first, second), key=lambda one: one.p)
    assert low.corrected == pytest.approx(min(3 * low.p, high.p))
    assert high.corrected == pytest.approx(high.p)


@pytest.mark.parametrize(
    ("best", "other", "p"),
    [
        ([0.1] * 2, [0.2] * 2, 0.5),  # the sign test: no spread is no certainty
        ([0.1] * 8, [0.2] * 8, 2**-7),
        ([0.1, 0.2], [0.1, 0.2], 1.0),
        ([0.0, 0.0], [0.0, 0.0], 1.0),
        ([1e200, 3e200], [2e200, 5e200], 2 * stats.t.sf(3, 1)),
    ],
)
def test_values_without_spread_or_too_large_to_square(best: list[float], other: list[float], p: float) -> None:
    assert with_best([dict(enumerate(best)), dict(enumerate(other))])[0].p == pytest.approx(p)


def test_at_most_five_percent_of_null_sweeps_have_a_false_winner() -> None:
    winners, statements = null_sweeps.mixed(400)
    assert winners <= 0.05 * 400
    assert statements <= 0.05 * 400
    draws = random.Random(2)
    two = [null_sweeps.told(null_sweeps.sweep(draws, 2, 3, "normal", 2.0))[0] for _ in range(1000)]
    assert 0.01 * 1000 < sum(two) <= 0.05 * 1000  # a test that never says anything has none either


def test_a_real_winner_is_told() -> None:
    draws = random.Random(0)
    told = [null_sweeps.told(null_sweeps.sweep(draws, 6, 8, "normal", 2.0, ahead=3.0)) for _ in range(50)]
    assert sum(winner and best == "0" for winner, _, best in told) > 45


def test_the_best_mean_is_best_whatever_single_seeds_say() -> None:
    found = table({"1": [0.1, 0.9], "2": [0.4, 0.5]})
    assert found.best is not None
    assert found.best.run_id == "run2"  # the best run of the best mean
    value = comparison.plain(found)
    assert labels(value) == ["2", "1"]
    assert value["best"]["mean"] == pytest.approx(0.45)
    assert value["best"]["spread"] == pytest.approx(np.std([0.4, 0.5], ddof=1))
    assert "does not differ from optimizer.lr=1 (0.50 ± 0.57, p=" in comparison.lines(value)[0]


def test_higher_may_be_better() -> None:
    assert labels(comparison.plain(table({"1": [0.1, 0.9], "2": [0.4, 0.5]}, "max"))) == ["1", "2"]


@pytest.mark.parametrize("wrong", ["FAILED", "pruned", math.nan])
def test_a_configuration_that_failed_for_a_seed_is_not_compared(wrong: float | str) -> None:
    value = comparison.plain(table({"1": [0.1, 0.1, wrong], "2": [0.4, 0.5, 0.4], "3": [0.5, 0.6, 0.7]}))
    assert labels(value) == ["2", "3", "1"]
    assert value["configurations"][-1]["rank"] is None
    assert comparison.lines(value)[-1].startswith("not compared: optimizer.lr=1 (seed=2 ")


@pytest.mark.parametrize("missing", [None, "RUNNING", "KILLED"])
def test_unfinished_seeds_are_left_out_of_pairs(missing: str | None) -> None:
    best, other = [0.1, 0.2, 0.15, 0.1], [0.3, 0.35, 0.5]
    value = comparison.plain(table({"1": best, "2": [*other, missing]}))
    assert value["configurations"][1]["p"] == pytest.approx(stats.ttest_rel(best[:3], other).pvalue)
    assert value["configurations"][1]["n"] == 3
    folds = comparison.plain(table({"1": best, "2": [*other, missing]}, key="data.fold"))
    assert folds["compared"] == 1  # a mean without a fold is of other examples


def test_of_one_seed_nothing_is_said() -> None:
    found = table({"1": [0.1], "2": [0.2]})
    assert found.best is not None
    assert found.best.run_id == "run0"
    value = comparison.plain(found)
    assert (value["best"], value["compared"]) == (None, 0)
    assert "cannot be said" in comparison.lines(value)[0]

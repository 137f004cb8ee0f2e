"""Whether the best of several configurations is better than the others by more than their seeds account for."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: The corrected p below which the best is said to differ. Meant are at most 5% of false statements: the rest is for
#: values that are not normal.
LEVEL = 0.04
#: A spread below this share of the values is that of rounding in float32.
ROUNDING = 1e-7


@dataclass(frozen=True)
class Difference:
    """One comparison with the best."""

    p: float  # of this pair alone, two-sided
    corrected: float  # for the choice of the best, and for all comparisons

    @property
    def is_clear(self) -> bool:
        """True if the best is said to be better."""
        return self.corrected < LEVEL


def with_best(samples: list[Mapping[Any, float]], mode: str = "min", folds: int = 0) -> list[Difference]:
    """Return how each of `samples[1:]` compares with `samples[0]`, which was chosen because its mean is the best.

    Each sample has at least two values by the name of their repeat (a seed). mode: which are better, min | max.
    folds: number of folds, where repeats are folds of one data set.

    Configurations with the same seeds are compared by the paired t-test, which cancels what a seed does to all of
    them; with other seeds by Welch's. No variance is pooled: a configuration with a wide spread makes no other look
    surer than it is. p is two-sided, although the best is known to be ahead: it was chosen. Two corrections follow,
    and the smaller p counts.

    - Holm's step-down procedure (Scandinavian Journal of Statistics 6, 1979) over all pairs of those that are not
      told apart yet, since any of them might have been the best: the smallest p of k configurations is multiplied by
      k(k-1)/2, the next by (k-1)(k-2)/2, the last by 1.
    - If the best beats every other at once, the largest p needs no factor. Hung and Fithian, "Rank verification for
      exponential families", Annals of Statistics 47, 2019: the two-sided comparison with the runner-up is a valid
      test of the winner. Gutmann and Maymin, "Is the selected population the best?", Annals of Statistics 15, 1987.

    benchmarks/null_sweeps.py measures how often this is wrong, and how often it tells a real difference.
    """
    best, others = samples[0], samples[1:]
    pairs = [_p(best, other, 1.0 if mode == "min" else -1.0, folds) for other in others]
    corrected, largest = list(pairs), 0.0
    left = len(samples)  # configurations that are not told apart yet, the best among them
    for place in sorted(range(len(pairs)), key=pairs.__getitem__):
        largest = max(largest, pairs[place] * math.comb(left, 2))
        corrected[place], left = min(1.0, largest, max(pairs)), left - 1
    return [Difference(p, q) for p, q in zip(pairs, corrected, strict=True)]


def _p(best: Mapping[Any, float], other: Mapping[Any, float], sign: float, folds: int) -> float:
    """Return the two-sided p of a pair; 1 where the other one is not behind."""
    size = sign * (max(map(abs, [*best.values(), *other.values()])) or 1.0)
    best, other = ({repeat: value / size for repeat, value in sample.items()} for sample in (best, other))
    common = [repeat for repeat in best if repeat in other]
    if len(common) >= 2 and 2 * len(common) >= min(len(best), len(other)):
        return _paired([other[repeat] - best[repeat] for repeat in common], folds)
    return _welch(list(best.values()), list(other.values()))


def _paired(behind: list[float], folds: int) -> float:
    """Return the p of the paired t-test; of differences that are all the same, that of the sign test.

    Of k folds, whose training parts overlap, the variance of the mean is s²(1/n + 1/(k-1)) instead of s²/n: Nadeau and
    Bengio, "Inference for the generalization error", Machine Learning 52, 2003; for repeated folds Bouckaert and Frank,
    "Evaluating the replicability of significance tests", PAKDD 2004.
    """
    count, mean, spread = len(behind), statistics.fmean(behind), statistics.stdev(behind)
    if mean <= ROUNDING:
        return 1.0
    if spread <= ROUNDING:
        return 2.0 ** (1 - count)
    share = 1 / count + (1 / (folds - 1) if folds > 1 else 0.0)
    return _two_sided(mean / (spread * math.sqrt(share)), count - 1)


def _welch(best: list[float], other: list[float]) -> float:
    """Return the p of Welch's t-test; without any spread, that of a permutation of all values.

    Welch, "The generalization of 'Student's' problem", Biometrika 34, 1947.
    """
    behind = statistics.fmean(other) - statistics.fmean(best)
    parts = [statistics.variance(values) / len(values) for values in (best, other)]
    if behind <= ROUNDING:
        return 1.0
    if math.sqrt(sum(parts)) <= ROUNDING:
        return 2 / math.comb(len(best) + len(other), len(best))
    degrees = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (best, other), strict=True)
    )
    return _two_sided(behind / math.sqrt(sum(parts)), degrees)


def _two_sided(t: float, degrees: float) -> float:
    from scipy.special import stdtr

    return min(1.0, 2 * float(stdtr(degrees, -abs(t))))

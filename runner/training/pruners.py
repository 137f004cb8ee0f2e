"""When a job of a sweep is given up between two epochs: the rules, which know nothing of runs and files."""

import math
import statistics
from dataclasses import dataclass, field
from typing import Any, Protocol

from runner.settings import Settings
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.values import lookup, ranges


@dataclass
class Looks:
    """What the jobs of a sweep had come to when their validation data were looked at."""

    mode: str = "min"  # which values are better: min | max
    values: dict[int, dict[int, float]] = field(default_factory=dict)  # job -> epoch -> value

    def add(self, job: int, epoch: int, value: float) -> None:
        """A look that is there already stays: a resumed job looks again at what it has lost."""
        self.values.setdefault(job, {}).setdefault(epoch, value)

    def at(self, epoch: int) -> dict[int, float]:
        """job -> value of the jobs that looked after just this epoch."""
        return {job: looks[epoch] for job, looks in self.values.items() if epoch in looks}

    def best(self, epoch: int) -> dict[int, float]:
        """job -> best value up to this epoch, of the jobs that have come as far."""
        there = {job: looks for job, looks in self.values.items() if max(looks) >= epoch}
        return {job: min((v for e, v in looks.items() if e <= epoch), key=self.cost) for job, looks in there.items()}

    def cost(self, value: float) -> float:
        """The value as a number of which less is better; what is no number is the worst."""
        if not math.isfinite(value):
            return math.inf
        return value if self.mode == "min" else -value


class Rule(Protocol):
    """Decides about one job after one of its epochs."""

    def judge(self, looks: Looks, job: int, epoch: int) -> str:
        """Why the job is given up after `epoch`, the newest that it has looked at; "" if it goes on."""

    def check(self, epochs: int, every: int) -> None:
        """Raise ConfigError if the rule can never decide in a training of `epochs` with a look every so many."""


@dataclass(frozen=True)
class Asha:
    """Asynchronous successive halving, in the variant that stops jobs instead of pausing them.

    At the epochs min_epochs * factor**k, k = 0, 1, ..., a job goes on if its newest value is among the best
    1/factor of those that the sweep's jobs had there so far, its own included. A share of n values is n // factor
    of them, and at least one. So among fewer than 2 * factor values only the best goes on, which the first job to come
    always is; equal values go on together. Nobody waits for others, therefore later jobs are judged more strictly
    than the first ones, and an order from worst to best prunes nothing.

    Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2018, https://arxiv.org/abs/1810.05934
    """

    min_epochs: int = 1
    factor: int = 3

    def judge(self, looks: Looks, job: int, epoch: int) -> str:
        if not self.is_rung(epoch):
            return ""
        seen = looks.at(epoch)
        better = sum(looks.cost(value) < looks.cost(seen[job]) for value in seen.values())
        if better < max(1, len(seen) // self.factor):
            return ""
        return f"{seen[job]:.6g} is not among the best 1/{self.factor} of {len(seen)} jobs there"

    def is_rung(self, epoch: int) -> bool:
        rung = self.min_epochs
        while rung < epoch:
            rung *= self.factor
        return rung == epoch

    def check(self, epochs: int, every: int) -> None:
        if self.min_epochs >= epochs:
            raise ConfigError(
                "sweep.pruner.min_epochs", f"{self.min_epochs} leaves nothing to prune of trainer.epochs={epochs}"
            )
        if self.min_epochs % every:
            raise ConfigError(
                "sweep.pruner.min_epochs",
                f"{self.min_epochs} is no multiple of trainer.validate_every={every}, so there is no value to judge by;"
                f" expected one, such as {every}",
            )


@dataclass(frozen=True)
class Median:
    """A job is given up when its best value so far is worse than the median of the others' best values.

    Compared are the bests up to the same epoch, of all jobs that have come as far; those that were given up before do
    not count. Nothing is decided in the first `warmup` epochs, nor with fewer than `startup` others.

    Golovin et al., "Google Vizier", 2017, https://doi.org/10.1145/3097983.3098043, section 3.2.2, with the best value
    in the place of the running average: a learning rate that starts slowly is no worse for it.
    """

    warmup: int = 5
    startup: int = 4

    def judge(self, looks: Looks, job: int, epoch: int) -> str:
        if epoch <= self.warmup:
            return ""
        best = looks.best(epoch)
        own = best.pop(job)
        if len(best) < self.startup:
            return ""
        middle = statistics.median(map(looks.cost, best.values()))
        if looks.cost(own) <= middle:
            return ""
        value = middle if looks.mode == "min" else -middle
        return f"its best, {own:.6g}, is worse than {value:.6g}, the median of {len(best)} other jobs there"

    def check(self, epochs: int, every: int) -> None:
        if (self.warmup // every + 1) * every >= epochs:
            raise ConfigError(
                "sweep.pruner.warmup",
                f"{self.warmup} leaves nothing to prune of trainer.epochs={epochs} with a look every {every}",
            )


RULES: dict[str, Any] = {"asha": Asha, "median": Median}


def read(spec: Any) -> Rule:
    """The rule that `sweep.pruner` means: a name, or `{name: X, **arguments}`. Raises ConfigError."""
    name, arguments = lookup.component({"name": spec} if isinstance(spec, str) else spec, "sweep.pruner")
    if name not in RULES:
        raise ConfigError("sweep.pruner", f"{name!r} is not one of {', '.join(RULES)}{did_you_mean(name, RULES)}")
    lookup.bind(RULES[name], arguments, "sweep.pruner")
    ranges.check(RULES[name], arguments, ranges.PRUNER, "sweep.pruner")
    rule: Rule = RULES[name](**arguments)
    return rule


def check(settings: Settings) -> None:
    """Raise ConfigError for a pruner that there is not, or that could never prune."""
    if settings.sweep.pruner is not None:
        rule, trainer = read(settings.sweep.pruner), settings.trainer
        if trainer.epochs > 0 and trainer.validate_every > 0:
            rule.check(trainer.epochs, trainer.validate_every)

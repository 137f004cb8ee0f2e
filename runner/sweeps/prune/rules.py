"""The rules by which a job of a sweep is pruned between two epochs; they read metric values only."""

import math
import statistics
from dataclasses import dataclass, field
from typing import Any, Protocol

from runner.settings import Settings
from runner.settings.errors import ConfigError, did_you_mean
from runner.settings.values import lookup, ranges
from runner.training.state import due


@dataclass
class JobValues:
    """The metric values of a sweep's jobs after their validations."""

    mode: str = "min"  # which values are better: min | max
    values: dict[int, dict[int, float]] = field(default_factory=dict)  # job -> epoch -> value

    def add(self, job: int, epoch: int, value: float) -> None:
        """Add a job's value after an epoch. An earlier one stays: a resumed job repeats validations."""
        self.values.setdefault(job, {}).setdefault(epoch, value)

    def at(self, epoch: int) -> dict[int, float]:
        """Return job -> value, of the jobs with a value after just this epoch."""
        return {job: by_epoch[epoch] for job, by_epoch in self.values.items() if epoch in by_epoch}

    def best(self, epoch: int) -> dict[int, float]:
        """Return job -> best value up to this epoch, of the jobs with a value after this epoch or a later one."""
        far = {job: by_epoch for job, by_epoch in self.values.items() if max(by_epoch) >= epoch}
        return {
            job: min((v for e, v in by_epoch.items() if e <= epoch), key=self.cost) for job, by_epoch in far.items()
        }

    def cost(self, value: float) -> float:
        """Return a number of which less is better; infinity for a value that is not finite."""
        if not math.isfinite(value):
            return math.inf
        return value if self.mode == "min" else -value


class Rule(Protocol):
    """Decides about one job after one of its epochs; where trainer.validate_every counts steps, after a validation."""

    def judge(self, values: JobValues, job: int, epoch: int) -> str:
        """Return why the job is pruned after `epoch`, that of its newest value; "" if it goes on."""

    def check(self, epochs: int, every: int) -> None:
        """Raise ConfigError if the rule can never prune in a training of `epochs` with a validation `every` epochs."""


@dataclass(frozen=True)
class Asha:
    """Asynchronous successive halving, in the variant that stops jobs instead of pausing them.

    At the epochs min_epochs * factor**k, k = 0, 1, ..., a job goes on if its newest value is among the best
    1/factor of those that the sweep's jobs had there so far, its own included. A share of n values is n // factor
    of them, and at least one. So among fewer than 2 * factor values only the best goes on, which the first value always
    is; equal values go on together. No job waits for others, therefore later jobs are judged more strictly than the
    first ones, and an order from worst to best prunes nothing.

    Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2018, https://arxiv.org/abs/1810.05934
    """

    min_epochs: int = 1
    factor: int = 3

    def judge(self, values: JobValues, job: int, epoch: int) -> str:
        """Return why the job is pruned; see `Rule`."""
        if not self.is_rung(epoch):
            return ""
        at_rung = values.at(epoch)
        better = sum(values.cost(value) < values.cost(at_rung[job]) for value in at_rung.values())
        if better < max(1, len(at_rung) // self.factor):
            return ""
        return f"{at_rung[job]:.6g} is not among the best 1/{self.factor} of {len(at_rung)} jobs there"

    def is_rung(self, epoch: int) -> bool:
        """Return whether jobs are compared after this epoch."""
        rung = self.min_epochs
        while rung < epoch:
            rung *= self.factor
        return rung == epoch

    def check(self, epochs: int, every: int) -> None:
        """Raise ConfigError if nothing can be pruned; see `Rule`."""
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
    """The median rule: a job whose best value so far is worse than the median of the others' best values is pruned.

    Best values up to the same epoch are compared, of all jobs that have come as far; those pruned before do not count.
    Nothing is pruned in the first `warmup` epochs, nor with fewer than `startup` others.

    Golovin et al., "Google Vizier", 2017, https://doi.org/10.1145/3097983.3098043, section 3.2.2, with the best value
    in the place of the running average: a learning rate that starts slowly is no worse for it.
    """

    warmup: int = 5
    startup: int = 4

    def judge(self, values: JobValues, job: int, epoch: int) -> str:
        """Return why the job is pruned; see `Rule`."""
        if epoch <= self.warmup:
            return ""
        best = values.best(epoch)
        own = best.pop(job)
        if len(best) < self.startup:
            return ""
        middle = statistics.median(map(values.cost, best.values()))
        if values.cost(own) <= middle:
            return ""
        value = middle if values.mode == "min" else -middle
        return f"its best, {own:.6g}, is worse than {value:.6g}, the median of {len(best)} other jobs there"

    def check(self, epochs: int, every: int) -> None:
        """Raise ConfigError if nothing can be pruned; see `Rule`."""
        if (self.warmup // every + 1) * every >= epochs:
            raise ConfigError(
                "sweep.pruner.warmup",
                f"{self.warmup} leaves nothing to prune of trainer.epochs={epochs} with trainer.validate_every={every}",
            )


RULES: dict[str, Any] = {"asha": Asha, "median": Median}


def read(spec: Any) -> Rule:
    """Make the rule that `sweep.pruner` names. Raises ConfigError.

    spec: a name, or `{name: X, **arguments}`.
    """
    name, arguments = lookup.component({"name": spec} if isinstance(spec, str) else spec, "sweep.pruner")
    if name not in RULES:
        raise ConfigError("sweep.pruner", f"{name!r} is not one of {', '.join(RULES)}{did_you_mean(name, RULES)}")
    lookup.bind(RULES[name], arguments, "sweep.pruner")
    ranges.check(RULES[name], arguments, ranges.PRUNER, "sweep.pruner")
    rule: Rule = RULES[name](**arguments)
    return rule


def check(settings: Settings) -> None:
    """Raise ConfigError for an unknown pruner, wrong arguments, or a rule that could never prune."""
    if settings.sweep.pruner is not None:
        rule, trainer = read(settings.sweep.pruner), settings.trainer
        every = due.read(trainer.validate_every, "trainer.validate_every", due.COUNTED)
        if trainer.epochs and every.unit == "epochs" and every.number.is_integer():
            rule.check(trainer.epochs, int(every.number))
        elif trainer.epochs and every.unit == "epochs":
            rule.check(math.ceil(trainer.epochs / every.number), 1)
        elif trainer.steps and every.unit == "steps":
            rule.check(-(-trainer.steps // int(every.number)), 1)

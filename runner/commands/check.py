"""The command `check`: all checks without training, and the cost of training."""

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from runner.commands._result import Result, nothing
from runner.settings import Settings
from runner.settings.context import Context

if TYPE_CHECKING:
    from runner.data import Data, Source
    from runner.training.checking.checks import Checked
    from runner.training.checking.forecast import Forecast
    from runner.training.parts.length import Length


def with_settings(settings: Settings, context: Context) -> Result:
    """Print the layer table and the cost, and record no run. Raises ConfigError with everything that is wrong."""
    from runner.training import prepare
    from runner.training.checking import checks

    checked = checks.check(settings)
    if not checked.kind.complete:  # read all data to the last value, as a training does before its first step
        checked = replace(checked, kind=replace(checked.kind, data=prepare.whole(settings, checked), complete=True))
    costs = Costs()
    costs.show(settings, checked, context.title)
    return costs.result()


class Costs:
    """The costs of jobs, printed job by job; jobs that differ in nothing that costs are tried once."""

    def __init__(self) -> None:
        self.jobs: list[Cost] = []
        self.plain: list[dict[str, Any]] = []
        self._known: dict[str, Cost] = {}

    def show(self, settings: Settings, checked: "Checked", name: str) -> None:
        """Print the data, the layers, and the cost in numbers, bytes, steps and seconds."""
        from runner.settings.memory import size
        from runner.settings.trust import terminal
        from runner.tracking import screen, training_screen
        from runner.training.augment import treatment
        from runner.training.checking import cost, untrained
        from runner.training.machine import cores
        from runner.training.parts.length import length

        console, trainer, where = screen.console(), settings.trainer, checked.parts.device
        total = len(checked.data.train)  # type: ignore[arg-type]
        batch = cost.batch_size(settings, checked.data)
        bill = cost.cost(settings, checked.parts.optimizer, checked.plan, batch)
        treated = treatment.lines(checked.parts.treatment, checked.parts.loss, checked.data)
        treated += untrained.lines(checked.parts, checked.parts.loss, checked.plan)
        terminal.put(f"{name}: right", *_data_lines(checked.data), *treated)
        console.print(training_screen.layer_table(checked.plan, checked.data.train[0][0]))
        extent = length(settings, checked.data)
        setting = "null" if trainer.threads is None else trainer.threads
        threads = cost.threads(settings, checked.plan, batch, where)
        if (key := _key(settings)) not in self._known:
            self._known[key] = Cost.of(settings, checked, threads)
        self.jobs.append(found := self._known[key])
        needs, multiply_adds = found.memory, sum(map(cost.counted, checked.plan.layers))
        self.plain.append(
            {
                "name": name,
                "parameters": bill.parameters,
                "multiply_adds": multiply_adds,
                "bytes": needs.total,
                "seconds": found.seconds,
                "steps": extent.steps,
                "examples": total,
                "device": str(where),
                "threads": threads,
            }
        )
        memory = f"data {size(needs.data)}, weights {size(needs.weights)}, gradients {size(needs.gradients)}"
        memory += f", optimizer {size(needs.optimizer)}, the work of a batch {size(needs.work)}"
        lines = (
            f"parameters     {bill.parameters:,}",
            f"multiply-adds  {multiply_adds:,} for one example, forward",
            f"memory         about {size(needs.total)}: {memory}",
            f"time           {found.time}",
            f"steps          {_steps(extent)}, {total:,} examples",
            f"device         {where}",
            f"threads        {threads} for one operation, of {cores.share()} cores (trainer.threads={setting})",
        )
        terminal.put(*lines)

    def result(self) -> Result:
        """Return what the jobs cost, which is printed already."""
        return Result({"jobs": self.plain}, nothing)

    def sum(self) -> None:
        """Print the time of all jobs together, and the memory of the one that takes most."""
        from runner.settings.memory import size
        from runner.settings.trust import terminal

        if not self.jobs:
            return
        tried = [job.seconds for job in self.jobs if job.seconds is not None]
        of = f"{len(tried):,} of {len(self.jobs):,} jobs" if len(tried) < len(self.jobs) else f"{len(self.jobs):,} jobs"
        most = max(job.memory.total for job in self.jobs)
        time = f"about {_duration(sum(tried))} for {of} one after the other"
        terminal.put(f"all jobs       {time}, and about {size(most)} for the largest")


@dataclass(frozen=True)
class Cost:
    """The memory and the time that a job takes."""

    memory: "Forecast"
    epoch: float | None  # seconds; None: no step was tried
    epochs: float

    @classmethod
    def of(cls, settings: Settings, checked: "Checked", threads: int) -> "Cost":
        """Forecast a job's memory, and try some steps with as many threads as it will have."""
        from runner.settings.random_state import restrain
        from runner.training.checking import trial_steps
        from runner.training.checking.forecast import forecast
        from runner.training.parts.length import length

        memory, extent = forecast(settings, checked), length(settings, checked.data)
        epochs = extent.steps / max(extent.per_epoch, 1)
        restrain(settings.trainer, threads)
        trial = trial_steps.trial(settings, checked, memory)
        if trial is None:
            return cls(memory, None, epochs)
        return cls(memory.with_work(trial.work), trial.seconds, epochs)

    @property
    def seconds(self) -> float | None:
        """All epochs."""
        return None if self.epoch is None else self.epoch * self.epochs

    @property
    def time(self) -> str:
        """In words."""
        if self.epoch is None:
            return "unknown: nothing is trained, or a step is too large to be tried here"
        return f"about {_duration(self.epoch)} for an epoch, {_duration(self.seconds or 0)} in all, by a few steps"


def _steps(extent: "Length") -> str:
    """Return the steps of a training, and the epochs that they make."""
    whole, rest = divmod(extent.steps, max(extent.per_epoch, 1))
    epochs = f"{extent.steps / extent.per_epoch:.3g}" if rest else f"{whole:,}"
    return f"{extent.steps:,} = {epochs} epochs of {extent.per_epoch:,}"


def _key(settings: Settings) -> str:
    """Return all of the settings on which time and memory depend."""
    plain = asdict(settings)
    for name in ("seed", "plots", "tracking", "sweep", "checkpoint"):
        plain.pop(name, None)
    plain["optimizer"] = {k: v for k, v in plain["optimizer"].items() if k not in ("lr", "weight_decay")}
    return json.dumps(plain, sort_keys=True, default=repr)


def _duration(seconds: float) -> str:
    """Return seconds as text: 5400 as `1.5 hours`."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} s"


#: Classes whose examples are listed.
MOST = 20


def _data_lines(data: "Data") -> list[str]:
    """Return lines on how the source read its files, the task, and the sizes of the splits and their classes."""
    lines = [f"{'data' if i == 0 else '':15}{line}" for i, line in enumerate(data.report)]
    lines += _task_lines(data)
    parts = {name: part for name in ("train", "valid", "test") if (part := getattr(data, name)) is not None}
    lines.append(f"{'examples':15}" + ", ".join(f"{len(part):,} {name}" for name, part in parts.items()))
    counts = {name: counted for name, part in parts.items() if (counted := _counts(part, data))}
    for i, name in enumerate(data.classes[:MOST] if counts else ()):
        each = ", ".join(f"{counted[i]:,} {part}" for part, counted in counts.items())
        lines.append(f"{'classes' if i == 0 else '':15}{name!r}: {each}")
    if counts and len(data.classes) > MOST:
        lines.append(f"{'':15}and {len(data.classes) - MOST:,} more")
    return lines


def _task_lines(data: "Data") -> list[str]:
    """Return the task with its number of classes, for each of several targets."""
    if not isinstance(data.task, dict):
        return [f"{'task':15}{data.task}" + (f" of {len(data.classes):,} classes" if data.classes else "")]
    each = [
        f"{name}: {task}" + (f" of {len(data.classes[name]):,} classes" if data.classes[name] else "")
        for name, task in data.task.items()
    ]
    return [f"{'task' if i == 0 else '':15}{line}" for i, line in enumerate(each)]


def _counts(source: "Source", data: "Data") -> list[int]:
    """Return the number of examples of each class; empty if all examples would have to be read for that."""
    from runner.data import labels_of

    labels = getattr(source, "labels", getattr(source, "y", None))
    if (
        isinstance(data.task, dict)
        or not data.classes
        or labels is None
        or labels.is_meta
        or labels.numel() != len(labels)
    ):
        return []
    classes = labels_of(labels, data.task).flatten()
    counted = classes[(classes >= 0) & (classes != (-1 if data.ignored is None else data.ignored))]
    return counted.bincount(minlength=len(data.classes)).tolist()

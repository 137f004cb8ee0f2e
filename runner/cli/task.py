"""The task that Hydra calls: with one configuration, with the jobs of a sweep, and for each job wherever it runs."""

import importlib
import json
import os
import pickle
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from runner.cli import hydra_private, launching, sweep_anew, sweep_check
from runner.cli.answers import advice, all_problems
from runner.cli.compose import configuration
from runner.commands._result import Result, finished, nothing
from runner.settings.errors import ConfigError, Refused, first_line, labelled
from runner.settings.files import places
from runner.settings.trust import permission, resolvers, secrets, terminal, typed_words
from runner.settings.values.lookup import use_folder
from runner.sweeps.digest import digest
from runner.sweeps.manifest import Job, Manifest, complete, same
from runner.sweeps.report.rows import DIGEST
from runner.sweeps.run.job import SweepInfo
from runner.sweeps.run.outcome import Outcome
from runner.training.machine import cores

if TYPE_CHECKING:
    from runner.sweeps.under_way import Launch, Sweep


@dataclass
class Task:
    """A task function that another process can be handed: it takes its jobs along."""

    name: str  # the command
    own: dict[str, str]  # key=value of the command's own
    words: list[str] = field(default_factory=list)  # of the command line, without the command
    jobs: dict[int, Job] = field(default_factory=dict)  # Hydra's job number -> job
    info: SweepInfo | None = None  # what the jobs of a sweep share
    cores: int | None = None  # for each of the jobs that a launcher runs at once in other processes; see cores.each
    place: str = field(default_factory=os.getcwd)
    trust: str = field(default_factory=lambda: os.environ.get("RUNNER_TRUST", ""))
    typed: list[str] = field(default_factory=permission.words)
    pid: int = field(default_factory=os.getpid)
    begun: bool = False
    results: list[Result] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def __call__(self, config: DictConfig) -> Any:
        """Run the command with a composed configuration, or one job of a sweep."""
        if self.info is not None:
            return self.job(HydraConfig.get().job.num)
        self.begun, elsewhere = True, os.getpid() != self.pid
        if elsewhere:
            permission.begin(self.typed, Path(self.place))
            resolvers.restrict()
        overrides = list(HydraConfig.get().overrides.task)
        sweeps_ = HydraConfig.get().mode == RunMode.MULTIRUN
        try:
            self.results.append(finished(self._run(config, overrides)))
        except configuration.ERRORS as error:
            if elsewhere:  # the first process, which has composed it, reports the problem
                raise
            message = all_problems.report(error, overrides)
            if sweeps_:
                terminal.say(message)
                raise
            self.failures.append(Refused(advice.added(message, self.name, self.words)))
        except Exception as error:
            if sweeps_:
                raise
            self.failures.append(error)  # raised later: Hydra would print all overrides, secrets too

    def job(self, number: int) -> Outcome:
        """Run one job of a sweep; in a process of a launcher's this is the first call."""
        from runner.sweeps.run import job

        assert self.info is not None
        is_first = self._settle()
        return job.run(self.jobs[number], self.info) if is_first else job.elsewhere(self.jobs[number], self.info)

    def _run(self, config: DictConfig, overrides: list[str]) -> Result | int:
        """Run the command with the settings of a configuration and return its result."""
        settings = configuration.settings(config, overrides)
        for line in configuration.left_over(config, overrides):
            terminal.say(line)
        context = configuration.context(config, HydraConfig.get().runtime.choices.get("experiments"), overrides)
        if self.name == "train":
            context.tags[DIGEST] = digest(OmegaConf.to_container(config, resolve=True), places.experiments())  # type: ignore[arg-type]
        result: Result | int = self.command.with_settings(settings, context, **self.own)
        return result

    @property
    def command(self) -> Any:
        """The module of the command."""
        return importlib.import_module(f"runner.commands.{self.name}")

    def _settle(self) -> bool:
        """Give the process of a launcher the place, the trust and the experiments of the first.

        Returns whether this is the first.
        """
        from runner.tracking import recorded_code

        if os.getpid() == self.pid:
            return True
        cores.limit(self.cores)
        if os.environ.get(places.ACTIVE) == str(os.getpid()):
            return False
        os.environ[places.ACTIVE] = str(os.getpid())
        os.environ.setdefault("RUNNER_TRUST", self.trust)
        if Path(self.place).is_dir():
            os.chdir(self.place)
        for folder in reversed(places.experiments()):
            use_folder(folder)
        recorded_code.again()
        terminal.guard()
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Return what launchers hand over with every job: the jobs, which are much alike, are packed."""
        packed = zlib.compress(pickle.dumps(self.jobs))
        return {**self.__dict__, "jobs": packed, "failures": [], "results": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpack the jobs."""
        self.__dict__.update(state, jobs=pickle.loads(zlib.decompress(state["jobs"])))


Compose = sweep_check.Compose
#: (jobs, number of the first) -> the result of each from Hydra's launcher.
HydraLaunch = Callable[[list[list[str]], int], list[Any]]


def sweep(task: Task, jobs: list[list[str]], compose: Compose, launch: HydraLaunch, config: DictConfig) -> None:
    """Check all jobs of a sweep, then run them under one parent run."""
    from runner.sweeps import parent, recorded
    from runner.tracking import screen

    plan, settings, run_id, left_out = _planned(task, jobs, compose, config)
    task.begun, anew = True, recorded.running_anew()
    words = anew.words if anew else task.words
    with parent.sweeping(plan, settings, launched(task, launch), screen.console(), words, run_id) as under_way:
        under_way.run(plan.jobs)
    task.results.append(result(under_way, 2 if left_out else 0))


def launched(task: Task, launch: HydraLaunch) -> "Launch":
    """Return a function that runs jobs by Hydra's launcher, and can be called again and again."""
    numbers = [0]

    def run(jobs: list[Job], info: SweepInfo) -> list[Outcome]:
        first, numbers[0] = numbers[0], numbers[0] + len(jobs)
        task.jobs, task.info = dict(enumerate(jobs, first)), info
        try:
            results = launch([job.words for job in jobs], first)
            return [_outcome(job, info, result) for job, result in zip(jobs, results, strict=True)]
        finally:
            task.jobs, task.info = {}, None

    return run


def result(done: "Sweep", else_code: int = 0) -> Result:
    """Return the result of a sweep that has come to its end. else_code: the exit code where nothing has failed."""
    from runner.sweeps.report import plain

    undelivered = any(outcome.undelivered for outcome in done.outcomes.values())
    failed = int(done.tracker.verdict[0] != "FINISHED" or undelivered)
    return Result(plain.of_sweep(done.info, done.end, done.tracker.verdict), nothing, failed or else_code)


def _outcome(job: Job, info: SweepInfo, result: Any) -> Outcome:
    """Return the outcome of a job from a launcher's result; for a process without one, the store's."""
    from runner.sweeps.run import lost

    answer = hydra_private.answer(result)
    if isinstance(answer, Outcome):
        return answer
    reason = first_line(answer) if isinstance(answer, launching.Lost) else labelled(answer)
    return lost.outcome(job, info, secrets.masked(reason))


def _planned(
    task: Task, jobs: list[list[str]], compose: Compose, config: DictConfig
) -> tuple[Manifest, Any, str, bool]:
    """Return the plan, settings of a job, the id of the sweep that continues or "", and whether jobs are left out."""
    from runner.settings import made
    from runner.sweeps import recorded
    from runner.tracking.read import recall

    resumed, uri = config.sweep.resume, store(config)
    jobs = [[word for word in job if not word.startswith("sweep.resume=")] for job in jobs]
    if resumed is not None and resumed != "last":
        further = [word for word in jobs[0] if not word.startswith("tracking.uri=")]
        if further:
            raise ConfigError("sweep.resume", f"a sweep goes on as it was recorded; leave out {further[0]}")
        run_id = recall.find(uri, str(resumed))
        if (anew := recorded.running_anew()) is not None:
            return *sweep_anew.planned(uri, anew), "", False
        plan = complete(recorded.plan(uri, run_id))
        settings = made(plan.jobs[0].config)
        settings.tracking.uri = uri
        return plan, settings, run_id, False
    checked = sweep_check.check(jobs, compose, alike=sweep_check.alike(config))
    study = str(config.hydra.runtime.choices.get("experiments") or "runner")
    plan = sweep_check.manifest(checked, jobs, study, launcher(config))
    settings = checked[0].settings
    if resumed is None:
        return plan, settings, "", len(checked) < len(jobs)
    run_id = recorded.newest(settings.tracking.uri, settings.tracking.experiment or study)
    before = recorded.plan(settings.tracking.uri, run_id)
    if not same(before, plan):
        raise ConfigError(
            "sweep.resume",
            f"the last sweep, {run_id[:8]} ({before.title}), has other jobs than this command ({plan.title});"
            f" to go on with it: runner resume {run_id[:8]}",
        )
    return complete(before, plan), settings, run_id, len(checked) < len(jobs)


def store(config: DictConfig) -> str:
    """Return the store of a sweep that goes on. Raises ConfigError for one that a person has to name."""
    uri = str(config.tracking.uri)
    permission.store(uri, "tracking.uri")
    return uri


def launcher(config: DictConfig) -> list[str]:
    """Return the words that choose and configure Hydra's launcher."""
    chosen = config.hydra.runtime.choices["hydra/launcher"]
    words = [part for word in config.hydra.overrides.hydra for part in _parts(word)]
    return [f"hydra/launcher={chosen}", *(word for word in words if word.lstrip("+").startswith("hydra.launcher."))]


def _parts(word: str) -> list[str]:
    """Return a word for each value of a mapping, as in `hydra.launcher={n_jobs: 2}`; other words as they are."""
    override = typed_words.read(word)
    if override is None or not isinstance(override.value(), dict):
        return [word]
    values = typed_words.leaves(override.value(), (override.key_or_group,))
    texts = {key: typed_words.written(v) if isinstance(v, str) else json.dumps(v) for key, v in values.items()}
    return [f"++{'.'.join(map(str, key))}={text}" for key, text in texts.items()]

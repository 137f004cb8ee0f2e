"""Launchers for jobs in this process: `hydra/launcher=one_by_one`, `vectorized` and `auto`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class OneByOne:
    """`hydra/launcher=one_by_one`: what `runner -m` takes when nothing else is said."""

    _target_: str = "hydra_plugins.runner_launchers.OneByOneLauncher"


@dataclass
class Vectorized:
    """`hydra/launcher=vectorized`: jobs that share an architecture are trained as one program."""

    _target_: str = "hydra_plugins.runner_launchers.VectorizedLauncher"
    models: int = 64  # at most so many in one program; fewer take less memory


@dataclass
class Auto(Vectorized):
    """`hydra/launcher=auto`: as one program where some steps of it have shown to be faster."""

    measure: bool = True


for name, node in (("one_by_one", OneByOne), ("vectorized", Vectorized), ("auto", Auto)):
    ConfigStore.instance().store(name, node, group="hydra/launcher", provider="runner")


class Here(Launcher):
    """Hands the jobs that the task function has to one of runner's own ways to run many."""

    def __init__(self) -> None:
        self._task: Any = None
        self._launch: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher

        self._task = task_function
        basic: Any = BasicLauncher()  # for commands that train nothing
        basic.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self._launch = basic.launch

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        if self._task.told is None:
            found: Sequence[JobReturn] = self._launch(job_overrides, initial_job_idx)
            return found
        jobs = [self._task.jobs[initial_job_idx + i] for i in range(len(job_overrides))]
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=outcome) for outcome in self.run(jobs)]

    def run(self, jobs: list[Any]) -> list[Any]:
        raise NotImplementedError


class OneByOneLauncher(Here):
    def run(self, jobs: list[Any]) -> list[Any]:
        from runner.sweep.run.one_by_one import run_one_by_one

        return list(run_one_by_one(jobs, self._task.told))


class VectorizedLauncher(Here):
    def __init__(self, models: int, measure: bool = False) -> None:
        from runner.settings.errors import ConfigError

        super().__init__()
        if models < 1:
            raise ConfigError("hydra.launcher.models", f"{models} is not one or more models in a program")
        self.models, self.measure = models, measure

    def run(self, jobs: list[Any]) -> list[Any]:
        from runner.sweep.run.together import run_together

        batches = [jobs[start : start + self.models] for start in range(0, len(jobs), self.models)]
        return [outcome for batch in batches for outcome in run_together(batch, self._task.told, print, self.measure)]

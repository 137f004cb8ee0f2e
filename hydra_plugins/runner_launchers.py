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
    """`hydra/launcher=one_by_one`, the default of `runner -m`."""

    _target_: str = "hydra_plugins.runner_launchers.OneByOneLauncher"


@dataclass
class Vectorized:
    """`hydra/launcher=vectorized`: jobs that share an architecture are trained as one program."""

    _target_: str = "hydra_plugins.runner_launchers.VectorizedLauncher"
    models: int = 64  # most models in one program; fewer take less memory


@dataclass
class Auto(Vectorized):
    """`hydra/launcher=auto`: jobs are trained as one program where some measured steps of it are faster."""

    measure: bool = True


for name, node in (("one_by_one", OneByOne), ("vectorized", Vectorized), ("auto", Auto)):
    ConfigStore.instance().store(name, node, group="hydra/launcher", provider="runner")


class InProcessLauncher(Launcher):
    """The base of launchers that run the jobs in this process; `run` says how."""

    def __init__(self) -> None:
        self._task: Any = None
        self._launch: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the task function, as Hydra's interface asks; commands that train nothing use Hydra's basic launcher."""
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher

        self._task = task_function
        basic: Any = BasicLauncher()
        basic.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self._launch = basic.launch

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs of these numbers and return their outcomes."""
        if self._task.told is None:
            results: Sequence[JobReturn] = self._launch(job_overrides, initial_job_idx)
            return results
        jobs = [self._task.jobs[initial_job_idx + i] for i in range(len(job_overrides))]
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=outcome) for outcome in self.run(jobs)]

    def run(self, jobs: list[Any]) -> list[Any]:
        """Run the jobs of a sweep and return their outcomes."""
        raise NotImplementedError


class OneByOneLauncher(InProcessLauncher):
    """Runs jobs one after the other."""

    def run(self, jobs: list[Any]) -> list[Any]:
        """Run the jobs and return their outcomes."""
        from runner.sweep.run.one_by_one import run_one_by_one

        return list(run_one_by_one(jobs, self._task.told))


class VectorizedLauncher(InProcessLauncher):
    """Trains jobs that share an architecture as one program."""

    def __init__(self, models: int, measure: bool = False) -> None:
        from runner.settings.errors import ConfigError

        super().__init__()
        if models < 1:
            raise ConfigError("hydra.launcher.models", f"must be at least 1, not {models}")
        self.models, self.measure = models, measure

    def run(self, jobs: list[Any]) -> list[Any]:
        """Run the jobs, at most `models` in one program, and return their outcomes."""
        from runner.sweep.run.together import run_together

        batches = [jobs[start : start + self.models] for start in range(0, len(jobs), self.models)]
        return [outcome for batch in batches for outcome in run_together(batch, self._task.told, print, self.measure)]

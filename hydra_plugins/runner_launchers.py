"""Launchers for jobs in this process: `hydra/launcher=one_by_one`, `vectorized` and `auto`."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class OneByOne:
    """`hydra/launcher=one_by_one`: the default of `runner -m`."""

    _target_: str = "hydra_plugins.runner_launchers.OneByOneLauncher"


@dataclass
class Vectorized:
    """`hydra/launcher=vectorized`: jobs that share an architecture are trained as one program."""

    _target_: str = "hydra_plugins.runner_launchers.VectorizedLauncher"
    models: int = 64  # at most so many in one program; fewer take less memory


@dataclass
class Auto(Vectorized):
    """`hydra/launcher=auto`: as one program where a measurement of some steps shows it to be faster."""

    measure: bool = True


for name, node in (("one_by_one", OneByOne), ("vectorized", Vectorized), ("auto", Auto)):
    ConfigStore.instance().store(name, node, group="hydra/launcher", provider="runner")


class InProcessLauncher(Launcher):
    """Runs the jobs that the task function has in this process."""

    def __init__(self) -> None:
        self._task: Any = None
        self._launch: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take the task function, and Hydra's own launcher for commands that train nothing."""
        from runner.cli import hydra_private

        self._task = task_function
        basic: Any = hydra_private.BasicLauncher()
        basic.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self._launch = basic.launch

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs, numbered from `initial_job_idx`, and return their results."""
        from runner.cli import hydra_private

        if self._task.info is None:
            results: Sequence[JobReturn] = self._launch(job_overrides, initial_job_idx)
            return results
        jobs = [self._task.jobs[initial_job_idx + i] for i in range(len(job_overrides))]
        return [hydra_private.completed(outcome) for outcome in self.run(jobs)]

    @abstractmethod
    def run(self, jobs: list[Any]) -> list[Any]:
        """Run the jobs of a training and return their outcomes."""


class OneByOneLauncher(InProcessLauncher):
    """Runs one job after the other."""

    def run(self, jobs: list[Any]) -> list[Any]:
        """Run the jobs and return their outcomes."""
        from runner.sweeps.run.one_by_one import run_one_by_one

        return list(run_one_by_one(jobs, self._task.info))


class VectorizedLauncher(InProcessLauncher):
    """Trains up to `models` jobs as one program."""

    def __init__(self, models: int, measure: bool = False) -> None:
        from runner.settings.errors import ConfigError

        super().__init__()
        if models < 1:
            raise ConfigError("hydra.launcher.models", f"{models} is out of range; expected at least 1")
        self.models, self.measure = models, measure

    def run(self, jobs: list[Any]) -> list[Any]:
        """Run the jobs and return their outcomes."""
        from runner.settings.trust import terminal
        from runner.sweeps.run.together import run_together

        batches = [jobs[start : start + self.models] for start in range(0, len(jobs), self.models)]
        return [
            outcome for batch in batches for outcome in run_together(batch, self._task.info, terminal.put, self.measure)
        ]

"""`hydra/launcher=vectorized`: jobs that share an architecture are trained as one program in this process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class Vectorized:
    """`hydra/launcher=vectorized`."""

    _target_: str = "hydra_plugins.runner_vectorized.VectorizedLauncher"
    models: int = 256  # at most so many in one program; fewer take less memory


ConfigStore.instance().store("vectorized", Vectorized, group="hydra/launcher", provider="runner")


class VectorizedLauncher(Launcher):
    """Needs a task function that has its jobs: `runner.task.Task`."""

    def __init__(self, models: int) -> None:
        self.models = models
        self._task: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._task = task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        from runner.errors import ConfigError
        from runner.sweep.together import run_together

        task = self._task
        if task.told is None:
            raise ConfigError("hydra/launcher", f"vectorized is for training; {task.name} -m needs no launcher")
        jobs = [task.jobs[initial_job_idx + i] for i in range(len(job_overrides))]
        found: list[JobReturn] = []
        for start in range(0, len(jobs), self.models):
            outcomes = run_together(jobs[start : start + self.models], task.told, print)
            found += [JobReturn(status=JobStatus.COMPLETED, _return_value=outcome) for outcome in outcomes]
        return found

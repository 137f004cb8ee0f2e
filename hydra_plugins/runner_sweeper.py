"""Hydra's basic sweeper, with all jobs checked before the first one starts."""

import contextlib
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

#: Jobs from which on the check takes seconds and is announced.
MANY = 200


@dataclass
class Node:
    """`hydra/sweeper=checked`."""

    _target_: str = "hydra_plugins.runner_sweeper.CheckedSweeper"
    max_batch_size: int | None = None  # jobs given to the launcher at once; null: all
    params: dict[str, str] | None = field(default_factory=dict)  # overrides of each sweep, as on the command line


ConfigStore.instance().store("checked", Node, group="hydra/sweeper", provider="runner")


class CheckedSweeper(BasicSweeper):
    """A sweeper over all combinations of values. runner/cli/task.py and Hydra's launcher run the jobs."""

    _task: Any
    _composing: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the task function, as Hydra's interface asks."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self._task = task_function

    def sweep(self, arguments: list[str]) -> Any:
        """Check all jobs, then run them, or print them for the command `check`. arguments: overrides as typed."""
        from runner.cli import sweep_check, task
        from runner.settings.errors import ConfigError
        from runner.settings.trust import limits, terminal

        assert self.config is not None
        if self.config.hydra.launcher.get("n_jobs") == 0:
            raise ConfigError("hydra.launcher.n_jobs", "must not be 0; -1 means one process for each core")
        _refuse_many_tasks(self.config.hydra.launcher)
        jobs = sweep_check.capped(self._jobs([*self._parse_config(), *arguments]), limits.JOBS)
        if len(jobs) >= MANY:
            terminal.put(f"checking {len(jobs):,} jobs")
        if self._task.name == "check":
            sweep_check.check(jobs, self._compose, self._task.command.show)
        elif self._task.name == "train":
            task.sweep(self._task, jobs, self._compose, self._frozen, self.config)
        else:
            _raise_failures(self._composed(jobs))

    def _frozen(self, jobs: list[list[str]], first: int) -> list[Any]:
        """Launch jobs whose configurations the task function has, so that Hydra composes none of them again."""
        from runner.cli.compose.frozen import Frozen
        from runner.cli.guard import hydra_rules

        assert self.config is not None
        folders = {}
        for number, words in enumerate(jobs, first):
            if folder := hydra_rules.folder_of_job(self.config, self._task.jobs[number].config, number):
                folders[tuple(words)] = folder
        return self._launched(Frozen(folders), jobs, first)

    def _composed(self, jobs: list[list[str]]) -> list[Any]:
        """Launch jobs of a command that trains nothing, each with its composed configuration."""
        from runner.cli.compose.frozen import Composed

        assert self.config is not None
        assert self.hydra_context is not None
        HydraConfig.instance().set_config(self.config)
        load: Any = self.hydra_context.config_loader.load_sweep_config
        return self._launched(Composed({tuple(job): load(self.config, job) for job in jobs}), jobs, 0)

    def _launched(self, loader: Any, jobs: list[list[str]], first: int) -> list[Any]:
        assert self.hydra_context is not None
        assert self.launcher is not None
        assert self.config is not None
        context = HydraContext(config_loader=loader, callbacks=self.hydra_context.callbacks)
        self.launcher.setup(hydra_context=context, task_function=self._task, config=self.config)
        return self._launch(jobs, first)

    def _launch(self, jobs: list[list[str]], first: int) -> list[Any]:
        from runner.cli import launching
        from runner.settings.trust import recorded_settings, secrets
        from runner.training.machine import cores

        assert self.config is not None
        assert self.launcher is not None
        HydraConfig.instance().set_config(self.config)
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        shown = secrets.without(OmegaConf.to_container(self.config, resolve=False))
        (folder / "multirun.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(shown)))
        with read_write(self.config.hydra):  # Ray's workers start in another folder
            self.config.hydra.sweep.dir = recorded_settings.escaped(str(folder.absolute()))
        results: list[Any] = []
        name = str(self.config.hydra.runtime.choices["hydra/launcher"])
        values: Any = OmegaConf.to_container(self.config.hydra.launcher, resolve=True)
        for batch in self.split_overrides_to_chunks(jobs, self.max_batch_size):
            batch = list(batch)
            self._task.cores = cores.each(name, values, len(batch))
            results += launching.launch(name, self.launcher, batch, first + len(results))
        return results

    def _jobs(self, arguments: list[str]) -> Iterator[list[str]]:
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        values = {o.get_key_element(): o for o in parser.parse_overrides(arguments)}
        for job in itertools.product(*[list(_values(key, override)) for key, override in values.items()]):
            yield list(job)

    def _compose(self, number: int, job: list[str]) -> DictConfig:
        assert self.hydra_context is not None
        assert self.config is not None
        from runner.cli.compose.composing import Composing
        from runner.cli.guard import hydra_rules

        self._composing = self._composing or Composing(self.hydra_context.config_loader, self.config)
        config: DictConfig = self._composing.compose(number, job)
        hydra_rules.folder_of_job(self.config, config, number)  # raises ConfigError for a folder that is not allowed
        return config


def _values(key: str, override: Override) -> Iterator[str]:
    from runner.settings.errors import ConfigError
    from runner.settings.trust.limits import JOBS

    if not override.is_sweep_override():
        yield f"{key}={override.get_value_element_as_str()}"
        return
    if not override.is_discrete_sweep():
        raise ConfigError(
            key, "an interval is continuous and cannot be swept; list its values, as in optimizer.lr=0.1,0.5"
        )
    values = list(itertools.islice(override.sweep_string_iterator(), JOBS + 1))
    if not values:
        raise ConfigError(key, f"{override.input_line!r} gives no value to sweep over; give at least one")
    yield from (f"{key}={value}" for value in values)


def _refuse_many_tasks(launcher: Any) -> None:
    """Raise ConfigError for several tasks: submitit calls a job in each of them, and each would train the same run."""
    from runner.settings.errors import ConfigError

    for key in ("tasks_per_node", "nodes"):
        if isinstance(count := launcher.get(key), int) and count > 1:
            raise ConfigError(f"hydra.launcher.{key}", f"{count} would train each job {count} times; expected 1")


def _raise_failures(results: Sequence[Any]) -> None:
    for result in results:
        with contextlib.redirect_stderr(io.StringIO()):  # Hydra would print all overrides, secrets too
            _ = result.return_value

"""The product of all values as a sweep, every job of it checked before the first one begins."""

import contextlib
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

#: Jobs that take more than a moment to check.
MANY = 200


@dataclass
class Node:
    """`hydra/sweeper=checked`."""

    _target_: str = "hydra_plugins.runner_sweeper.CheckedSweeper"
    max_batch_size: int | None = None  # jobs handed to the launcher at once; null: all
    params: dict[str, str] | None = field(default_factory=dict)  # overrides of every sweep, as on the command line


ConfigStore.instance().store("checked", Node, group="hydra/sweeper", provider="runner")


class CheckedSweeper(Sweeper):
    """Makes the jobs; `runner.cli.task` decides what is run of them, and Hydra's launcher where."""

    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher
    _task: Any
    _composing: Any = None

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None = None) -> None:
        self.max_batch_size, self.params = max_batch_size, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra has prepared, and make the launcher that the configuration chooses."""
        self.hydra_context, self.config, self._task = hydra_context, config, task_function
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Check the jobs of these overrides and run them."""
        from runner.cli import sweep_check, task
        from runner.settings.errors import ConfigError
        from runner.settings.trust import limits, terminal

        if self.config.hydra.launcher.get("n_jobs") == 0:
            raise ConfigError("hydra.launcher.n_jobs", "must not be 0; -1 means one process per core")
        _refuse_many_tasks(self.config.hydra.launcher)
        jobs = sweep_check.capped(self._jobs(self._parsed(arguments)), limits.JOBS)
        if len(jobs) >= MANY:
            terminal.put(f"checking {len(jobs):,} jobs")
        if self._task.name == "check":
            costs = self._task.command.Costs()
            sweep_check.check(jobs, self._compose, costs.show, sweep_check.alike(self.config))
            costs.sum()
            self._task.results.append(costs.result())
        elif self._task.name == "train":
            task.sweep(self._task, jobs, self._compose, self._frozen, self.config)
        else:
            _raise_failures(self._composed(jobs))

    @property
    def _loader(self) -> ConfigLoader:
        return self.hydra_context.config_loader

    def _parsed(self, arguments: list[str]) -> list[Override]:
        """Return the overrides of `params` and those of the command line, which come later and win."""
        params = [f"{key}={value}" for key, value in self.params.items()]
        return OverridesParser.create(config_loader=self._loader).parse_overrides([*params, *arguments])

    def _jobs(self, overrides: list[Override]) -> Iterator[list[str]]:
        values = {override.get_key_element(): override for override in overrides}
        for job in itertools.product(*[list(_values(key, override)) for key, override in values.items()]):
            yield list(job)

    def _compose(self, number: int, job: list[str]) -> DictConfig:
        from runner.cli.compose.composing import Composing
        from runner.cli.guard import hydra_rules

        self._composing = self._composing or Composing(self._loader, self.config)
        config: DictConfig = self._composing.compose(number, job)
        hydra_rules.folder_of_job(self.config, config, number)  # which may be refused
        return config

    def _frozen(self, jobs: list[list[str]], first: int) -> list[Any]:
        """Run jobs whose configurations the task function has: Hydra's own part is not composed again."""
        from runner.cli.compose.frozen import Frozen
        from runner.cli.guard import hydra_rules

        folders: dict[tuple[str, ...], dict[int, str]] = {}
        for number, words in enumerate(jobs if hydra_rules.folders_vary(self.config) else [], first):
            if folder := hydra_rules.folder_of_job(self.config, self._task.jobs[number].config, number):
                folders.setdefault(tuple(words), {})[number] = folder
        return self._launched(Frozen(folders), jobs, first)

    def _composed(self, jobs: list[list[str]]) -> list[Any]:
        """Run jobs of a command that trains nothing, each with the whole of its configuration."""
        from runner.cli.compose.frozen import Composed

        HydraConfig.instance().set_config(self.config)
        configs = {tuple(job): self._loader.load_sweep_config(self.config, job) for job in jobs}
        return self._launched(Composed(configs), jobs, 0)

    def _launched(self, loader: Any, jobs: list[list[str]], first: int) -> list[Any]:
        """Run jobs by Hydra's launcher, which gets their configurations from `loader`."""
        from runner.cli import launching
        from runner.training.machine import cores

        context = HydraContext(config_loader=loader, callbacks=self.hydra_context.callbacks)
        self.launcher.setup(hydra_context=context, task_function=self._task, config=self.config)
        HydraConfig.instance().set_config(self.config)
        self._write_down()
        results: list[Any] = []
        name = str(self.config.hydra.runtime.choices["hydra/launcher"])
        values: Any = OmegaConf.to_container(self.config.hydra.launcher, resolve=True)
        size = self.max_batch_size if self.max_batch_size not in (None, -1) else max(len(jobs), 1)
        for start in range(0, len(jobs), size):
            batch = jobs[start : start + size]
            self._task.cores = cores.each(name, values, len(batch))
            results += launching.launch(name, self.launcher, batch, first + len(results))
        return results

    def _write_down(self) -> None:
        """Write multirun.yaml into the sweep's folder, without secrets, and make the folder's path absolute."""
        from runner.settings.trust import recorded_settings, secrets

        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        shown = secrets.without(OmegaConf.to_container(self.config, resolve=False))
        (folder / "multirun.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(shown)))
        with read_write(self.config.hydra):  # Ray's workers begin in another folder
            self.config.hydra.sweep.dir = recorded_settings.escaped(str(folder.absolute()))


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
    """Refuse several tasks for a job: submitit calls the job in each of them, and each would train the same run."""
    from runner.settings.errors import ConfigError

    for key in ("tasks_per_node", "nodes"):
        if isinstance(count := launcher.get(key), int) and count > 1:
            raise ConfigError(
                f"hydra.launcher.{key}", f"{count} would train each job {count} times over; runner takes 1 for a job"
            )


def _raise_failures(results: Sequence[Any]) -> None:
    for result in results:
        with contextlib.redirect_stderr(io.StringIO()):  # Hydra would print all overrides, secrets too
            _ = result.return_value

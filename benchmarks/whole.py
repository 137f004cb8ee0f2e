"""Whole jobs and whole sweeps, ours and others', for benchmarks/sweeps.py. Each function returns seconds."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

URI = "sqlite:///mlflow.db"
EXPERIMENT = "benchmark"
#: Of the sweep whose cost per job is measured.
JOBS = 64


@contextmanager
def composer() -> Iterator[Any]:
    """What composes the jobs of a sweep, as the command line does."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from runner.cli.compose import trials
    from runner.cli.compose.composing import Composing
    from runner.cli.guard import composition
    from runner.settings.files import places

    os.environ[places.ACTIVE] = str(os.getpid())
    trials.register()
    composition.install()
    with hydra.initialize_config_dir(str(places.conf()), version_base="1.3"):
        loader: Any = GlobalHydra.instance().config_loader()
        yield Composing(loader, loader.load_configuration("config", [], RunMode.MULTIRUN))


def words(experiment: str, count: int, epochs: int, *more: str) -> list[list[str]]:
    """`count` jobs: half as many learning rates as seeds, or so."""
    rates = max(count // 8, 1)
    lr = {"linear_regression": 0.5, "digits_mlp": 0.003}[experiment]
    told = [f"experiments={experiment}", "device=cpu", f"trainer.epochs={epochs}", f"tracking.experiment={EXPERIMENT}"]
    return [
        [*told, *more, f"optimizer.lr={lr * 2 ** -(i % rates / 2):.6g}", f"seed={i // rates}"] for i in range(count)
    ]


def planned(jobs: list[list[str]]) -> Any:
    """The manifest of a sweep: every job composed and checked."""
    with composer() as made:
        return _planned(made, jobs)


def _planned(made: Any, jobs: list[list[str]]) -> Any:
    from runner.cli import sweep_check

    good = sweep_check.check(jobs, made.compose)
    return sweep_check.manifest(good, jobs, EXPERIMENT, []), good[0].settings


def swept(jobs: list[list[str]], how: str) -> float:
    """A whole sweep in this process: composed, checked, trained, recorded, plotted, closed.

    how: "together" (hydra/launcher=vectorized), "one by one" (hydra/launcher=one_by_one) or "basic".
    """
    from rich.console import Console

    from runner.sweep import parent
    from runner.sweep.run import job
    from runner.sweep.run.one_by_one import run_one_by_one
    from runner.sweep.run.together import run_together

    def launch(todo: list[Any], told: Any) -> list[Any]:
        if how == "together":
            return run_together(todo, told, lambda line: None)
        if how == "one by one":
            return run_one_by_one(todo, told)
        return [job.run(one, told) for one in todo]

    with composer() as made:  # Hydra itself starts with the process, and not with a sweep
        begun = time.perf_counter()
        plan, settings = _planned(made, jobs)
        with (
            Path(os.devnull).open("w") as null,
            parent.sweeping(plan, settings, launch, Console(file=null), []) as sweep,
        ):
            sweep.run(plan.jobs)
        seconds = time.perf_counter() - begun
    assert sweep.tracker.verdict[0] == "FINISHED", sweep.tracker.verdict
    return seconds


@contextmanager
def _trained() -> Iterator[list[float]]:
    """Seconds from each run's first step to its last look."""
    from runner.training import run as runs

    found: list[float] = []
    train, finish = runs.train, runs.Run.finish

    def timed(*given: Any) -> Any:
        found.append(-time.perf_counter())
        yield from train(*given)

    def finished(run: Any) -> Any:
        found[-1] += time.perf_counter()
        yield from finish(run)

    runs.train, runs.Run.finish = timed, finished  # type: ignore[assignment,method-assign]
    try:
        yield found
    finally:
        runs.train, runs.Run.finish = train, finish  # type: ignore[method-assign]


class Beside:
    """What a small job costs beside its training, and what MLflow's own calls and the same pictures cost."""

    def __init__(self, experiment: str, epochs: int, *more: str) -> None:
        self.experiment, self.epochs, self.more = experiment, epochs, more
        self.content = Path("content").absolute()

    def ours(self) -> float:
        """Of a sweep of JOBS jobs, per job: all of it but the steps and the looks at the validation data."""
        with _trained() as seconds:
            whole = swept(words(self.experiment, JOBS, self.epochs, *self.more), "one by one")
        assert len(seconds) == JOBS
        return (whole - sum(seconds)) / JOBS

    def floor(self) -> float:
        """MLflow's calls for the same tags, params, points and files, and the same pictures drawn and written."""
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag

        from runner.tracking.store import stores

        client: MlflowClient = stores.open_store(URI)
        run = _newest_job(client)
        self.run_id = run.info.run_id
        points = [
            Metric(p.key, p.value, p.timestamp, p.step)
            for key in run.data.metrics
            for p in client.get_metric_history(self.run_id, key)
        ]
        shutil.rmtree(self.content, ignore_errors=True)
        self.content.mkdir()
        client.download_artifacts(self.run_id, "", str(self.content))
        draw = _pictures(words(self.experiment, 1, self.epochs, *self.more)[0])
        begun = time.perf_counter()
        made = client.create_run(run.info.experiment_id, run_name=run.info.run_name).info.run_id
        tags = [RunTag(key, value) for key, value in run.data.tags.items() if key != "mlflow.runName"]
        params = [Param(key, value) for key, value in run.data.params.items()]
        client.log_batch(made, tags=tags[:100], params=params[:100])
        for start in range(0, len(points), 1000):
            client.log_batch(made, metrics=points[start : start + 1000])
        draw(self.content / "plots")
        client.log_artifacts(made, str(self.content))
        client.set_terminated(made)
        return time.perf_counter() - begun


def _newest_job(client: Any) -> Any:
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    found = client.search_runs([experiment], "tags.`sweep.job` = '0'", order_by=["attributes.start_time DESC"])
    return found[0]


def _pictures(told: list[str]) -> Callable[[Path], None]:
    """What draws and writes the plots of a run that is trained already."""
    from runner import plots
    from runner.settings import made
    from runner.training.drive import drive
    from runner.training.prepare import prepare

    plan, _ = planned([told])
    run = prepare(made(plan.jobs[0].config), EXPERIMENT)
    finish, run.finish = run.finish, lambda: iter(())  # type: ignore[method-assign]
    drive(run)
    run.finish = finish  # type: ignore[method-assign]

    def draw(folder: Path) -> None:
        for name in run.settings.plots:
            plots.save(run.parts.plots[name](Subject(run)), folder / f"{name}.png")
        run.close()

    return draw


def lightning(experiment: str, count: int, epochs: int, *more: str) -> float:
    """The same jobs with Lightning and its MLFlowLogger, every step logged, validation and metrics alike."""
    import logging
    import warnings

    import lightning
    import torch
    from lightning.pytorch.loggers import MLFlowLogger

    from benchmarks.peers import Module
    from runner.settings import made
    from runner.training.prepare import prepare

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    plan, _ = planned(words(experiment, count, epochs, *more))
    begun = time.perf_counter()
    for job in plan.jobs:
        settings = made(job.config)
        run = prepare(settings, EXPERIMENT)  # the same model, data and optimizer; Lightning does the rest
        trainer = settings.trainer
        size = trainer.batch_size or len(run.data.train)  # type: ignore[arg-type]
        train, valid = (
            torch.utils.data.DataLoader(torch.utils.data.TensorDataset(s.x, s.y), n, shuffle=shuffle)  # type: ignore[union-attr]
            for s, n, shuffle in ((run.data.train, size, trainer.batch_size is not None), (run.data.valid, 256, False))
        )
        logger = MLFlowLogger(f"{EXPERIMENT}-lightning", tracking_uri=URI)
        logger.log_hyperparams({word.partition("=")[0]: word.partition("=")[2] for word in job.words})
        fit = lightning.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=logger,
            log_every_n_steps=1,
            check_val_every_n_epoch=trainer.validate_every,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir="lightning",
        )
        fit.fit(Module(run), train, valid)
        run.close()
    return time.perf_counter() - begun

"""Whole jobs and whole sweeps, ours and Lightning's, for benchmarks/sweeps.py. Each function returns seconds."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import composing, ends

URI = "sqlite:///mlflow.db"
EXPERIMENT = "benchmark"
#: Jobs of the sweep whose cost per job is measured.
JOBS = 64


def words(experiment: str, count: int, epochs: int, *more: str) -> list[list[str]]:
    """Return the command lines of `count` jobs: count / 8 learning rates x 8 seeds."""
    rates = max(count // 8, 1)
    lr = {"linear_regression": 0.5, "digits_mlp": 0.003}[experiment]
    common = [
        f"experiments={experiment}",
        "device=cpu",
        f"trainer.epochs={epochs}",
        f"tracking.experiment={EXPERIMENT}",
    ]
    return [
        [*common, *more, f"optimizer.lr={lr * 2 ** -(i % rates / 2):.6g}", f"seed={i // rates}"] for i in range(count)
    ]


def plan(jobs: list[list[str]]) -> Any:
    """Compose and check all jobs; return the manifest of a sweep of them, and the settings of the first."""
    with composing.composer() as composer:
        return _plan(composer, jobs)


def _plan(composer: Any, jobs: list[list[str]]) -> Any:
    from runner.cli import sweep_check

    checked = sweep_check.check(jobs, composer.compose)
    return sweep_check.manifest(checked, jobs, EXPERIMENT, []), checked[0].settings


def sweep(jobs: list[list[str]], how: str) -> float:
    """Compose, check, train, record, plot and close a sweep in this process; return the seconds.

    how: "together" (hydra/launcher=vectorized), "one by one" (hydra/launcher=one_by_one) or "basic".
    """
    from rich.console import Console

    from runner.sweeps import parent
    from runner.sweeps.run import job
    from runner.sweeps.run.one_by_one import run_one_by_one
    from runner.sweeps.run.together import run_together

    def launch(todo: list[Any], info: Any) -> list[Any]:
        if how == "together":
            return run_together(todo, info, lambda line: None)
        if how == "one by one":
            return run_one_by_one(todo, info)
        return [job.run(one, info) for one in todo]

    with composing.composer() as composer:  # Hydra starts with the process, not with a sweep
        begun = time.perf_counter()
        manifest, settings = _plan(composer, jobs)
        with (
            Path(os.devnull).open("w") as null,
            parent.sweeping(manifest, settings, launch, Console(file=null), []) as under_way,
        ):
            under_way.run(manifest.jobs)
        seconds = time.perf_counter() - begun
    assert under_way.tracker.verdict[0] == "FINISHED", under_way.tracker.verdict
    return seconds


@contextmanager
def _trained() -> Iterator[list[float]]:
    """Yield a list that gets the seconds of each run from its first step to its last validation."""
    from runner.training import drive, finish

    seconds: list[float] = []
    train, usual = drive.train, finish.finish

    def timed(*arguments: Any) -> Any:
        seconds.append(-time.perf_counter())
        yield from train(*arguments)

    def finished(run: Any, draw: Any) -> Any:
        seconds[-1] += time.perf_counter()
        yield from usual(run, draw)

    drive.train = timed  # type: ignore[attr-defined]
    try:
        with ends.ending(finished):
            yield seconds
    finally:
        drive.train = train  # type: ignore[attr-defined]


class Beside:
    """The cost of a small job beside its training, and the cost of MLflow's own calls and the same plots."""

    def __init__(self, experiment: str, epochs: int, *more: str) -> None:
        self.experiment, self.epochs, self.more = experiment, epochs, more
        self.content = Path("content").absolute()

    def ours(self) -> float:
        """Return the seconds per job of a sweep of JOBS jobs, without training steps and validations."""
        with _trained() as seconds:
            total = sweep(words(self.experiment, JOBS, self.epochs, *self.more), "one by one")
        assert len(seconds) == JOBS
        return (total - sum(seconds)) / JOBS

    def floor(self) -> float:
        """Return the seconds of MLflow's calls for the same content, and of drawing and writing the same plots."""
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag

        from runner.tracking.store import stores

        client: MlflowClient = stores.open_store(URI)
        run = _newest_job(client)
        self.run_id = run.info.run_id
        values = [
            Metric(p.key, p.value, p.timestamp, p.step)
            for key in run.data.metrics
            for p in client.get_metric_history(self.run_id, key)
        ]
        shutil.rmtree(self.content, ignore_errors=True)
        self.content.mkdir()
        client.download_artifacts(self.run_id, "", str(self.content))
        draw = _plots(words(self.experiment, 1, self.epochs, *self.more)[0])
        begun = time.perf_counter()
        run_id = client.create_run(run.info.experiment_id, run_name=run.info.run_name).info.run_id
        tags = [RunTag(key, value) for key, value in run.data.tags.items() if key != "mlflow.runName"]
        params = [Param(key, value) for key, value in run.data.params.items()]
        client.log_batch(run_id, tags=tags[:100], params=params[:100])
        for start in range(0, len(values), 1000):
            client.log_batch(run_id, metrics=values[start : start + 1000])
        draw(self.content / "plots")
        client.log_artifacts(run_id, str(self.content))
        client.set_terminated(run_id)
        return time.perf_counter() - begun


def _newest_job(client: Any) -> Any:
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    runs = client.search_runs([experiment], "tags.`sweep.job` = '0'", order_by=["attributes.start_time DESC"])
    return runs[0]


def _plots(job: list[str]) -> Callable[[Path], None]:
    """Train a run, and return a function that draws and writes its plots into a folder."""
    from runner import plots
    from runner.settings import made
    from runner.training.drive import drive
    from runner.training.prepare import prepare
    from runner.training.subject import Subject

    manifest, _ = plan([job])
    run = prepare(made(manifest.jobs[0].config), EXPERIMENT)
    with ends.ending():
        drive(run)

    def draw(folder: Path) -> None:
        for name, plot in run.parts.plots.items():
            plots.save(plot(Subject(run)), folder / f"{name}.png")
        run.close()

    return draw


def lightning(experiment: str, count: int, epochs: int, *more: str) -> float:
    """Train the same jobs with Lightning and its MLFlowLogger; every step, validation and metric is logged."""
    import logging
    import warnings

    import lightning
    import torch
    from lightning.pytorch.loggers import MLFlowLogger

    from benchmarks.in_lightning import Module
    from runner.settings import made
    from runner.training.prepare import prepare

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    manifest, _ = plan(words(experiment, count, epochs, *more))
    begun = time.perf_counter()
    for job in manifest.jobs:
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

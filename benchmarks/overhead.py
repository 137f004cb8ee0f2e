"""What the runner costs beside the work itself. Prints a table, and exits with 1 when a bar is missed.

    python benchmarks/overhead.py [--only loop|close|process|cfg] [--pairs N]

loop      The tracked training loop (`drive` up to its last step: events, history, a Tracker on a SQLite store, plain
          lines to nowhere) against a bare PyTorch loop. The bare loop takes the same optimizer steps on the same
          tensors and the same batches, draws the order of the examples and moves the learning rate as the
          configuration wants it, makes the same validation passes (loss and accuracy) and reads their figures, and
          nothing else: it keeps no losses. Both end with the same weights, bit for bit, or the benchmark stops.
          `line` is 300 steps with a validation every 10, `digits_cnn` 10 epochs at batch 64 with a validation after
          each.
close     From the last step of the `line` job to its run being FINISHED (flush, checkpoints, predictions, end; no
          plots) against MLflow's own calls for the same content: create_run, a log_batch of the params, a log_batch
          of the 300 losses, the same files in one log_artifacts, set_terminated.
process   `runner experiments=linear_regression` against benchmarks/by_hand.py, whole processes on an existing store.
cfg       `runner --cfg job` against 0.4 x `python -c "import torch"` + 0.5 s.

The two sides of a pair follow each other directly and take turns in going first. A ratio is the median of the pairs'
ratios, so that a machine whose speed drifts slows down both sides of it.
"""

import argparse
import contextlib
import gc
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


@dataclass
class Row:
    """One line of the table. Without a bar it is there for information."""

    what: str
    ours: float  # seconds, median
    other: float
    ratio: float
    bar: float | None

    @property
    def missed(self) -> bool:
        return self.bar is not None and self.ratio > self.bar


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), help="run one part")
    parser.add_argument("--pairs", type=int, help="pairs of each comparison, instead of its own number")
    told = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, contextlib.chdir(folder):
        for name, part in PARTS.items():
            if told.only in (None, name):
                for row in part(told.pairs):
                    _show(row, first=not rows)
                    rows.append(row)
    return int(any(row.missed for row in rows))


def _show(row: Row, first: bool) -> None:
    if first:
        print(f"{'':58} {'runner':>10} {'other':>10} {'ratio':>7} {'bar':>7}")
    bar = "-" if row.bar is None else f"{row.bar:.2f}x"
    verdict = "" if row.bar is None else "MISSED" if row.missed else "ok"
    print(f"{row.what:58} {row.ours:>8.3f} s {row.other:>8.3f} s {row.ratio:>6.3f}x {bar:>7} {verdict}", flush=True)


def _compare(what: str, ours: Callable[[], float], other: Callable[[], float], pairs: int, bar: float | None) -> Row:
    """Both return seconds. One pair before the others warms up what is cached."""
    ours(), other()
    found: list[tuple[float, float]] = []
    for i in range(pairs):
        gc.collect()
        if i % 2:
            second = other()
            found.append((ours(), second))
        else:
            found.append((ours(), other()))
    ratios = [a / b for a, b in found]
    medians = [statistics.median(side) for side in zip(*found, strict=True)]
    return Row(what, medians[0], medians[1], statistics.median(ratios), bar)


# --- loop


def loop(pairs: int | None) -> Iterator[Row]:
    """The tracked loop against the bare one."""
    line, digits = _settings("linear_regression"), _settings("digits_cnn")
    digits.trainer.epochs = 10
    assert digits.trainer.batch_size == 64
    for name, settings, n in (("line x 300 steps", line, 41), ("digits_cnn x 10 epochs", digits, 7)):
        _check_same_weights(settings)
        for bar, words, validate in ((1.10, "", True), (None, ", bare without validation", False)):
            yield _compare(
                f"loop: {name}{words}",
                lambda s=settings: _tracked(s)[0],
                lambda s=settings, v=validate: _bare(s, v)[0],
                pairs or n,
                bar,
            )


def _settings(experiment: str) -> Any:
    """The settings that `runner experiments=NAME` trains with, without plots, on the CPU."""
    import hydra
    from omegaconf import OmegaConf

    from runner.cli.compose import trials
    from runner.settings.files import places

    os.environ[places.ACTIVE] = "1"
    trials.register()
    with hydra.initialize_config_dir(str(places.conf()), version_base="1.3"):
        config = hydra.compose("config", [f"experiments={experiment}", "device=cpu", "plots=[]"])
    return OmegaConf.to_object(config)


def _check_same_weights(settings: Any) -> None:
    import torch

    ours, bare = _tracked(settings)[1], _bare(settings, True)[1]
    same = all(torch.equal(ours[name], bare[name]) for name in ours)
    assert same, "the tracked loop and the bare one did not do the same work"


def _tracked(settings: Any) -> tuple[float, dict[str, Any]]:
    """Seconds of `drive` up to its last step, and the weights."""
    with _driven(settings) as (run, drive, *_):
        run.finish = lambda: iter(())
        begun = time.perf_counter()
        drive()
        seconds = time.perf_counter() - begun
    return seconds, run.model.state_dict()


@contextlib.contextmanager
def _driven(settings: Any) -> Iterator[tuple[Any, Callable[[], None], Any, str]]:
    """A prepared run, what drives it with a real tracker and plain lines on a null file, what ends its record, its id.

    The record is ended after the block where the block did not do it, so that nothing works in the background after.
    """
    from rich.console import Console

    from runner.settings.context import Context
    from runner.tracking import recording, screen
    from runner.training.drive import drive
    from runner.training.prepare import prepare

    run = prepare(settings, "benchmark")
    identity = _identity(run, Context("benchmark", "# the configuration\n" * 60))
    record = contextlib.ExitStack()
    tracker = record.enter_context(recording.recording(settings.tracking.uri, "benchmark", None, *identity))
    with Path(os.devnull).open("w") as null, contextlib.closing(record):
        trainer = settings.trainer
        lines = screen.Lines(Console(file=null), trainer.epochs, trainer.epochs * run.steps_per_epoch)
        try:
            yield run, lambda: drive(run, tracker, lines), record, tracker.run_id
        finally:
            run.close()


def _identity(run: Any, context: Any) -> Any:
    from runner.tracking import identity

    return identity.of_run(run, context)


def _bare(settings: Any, validate: bool) -> tuple[float, dict[str, Any]]:
    """Seconds of the loop alone, and the weights."""
    import torch

    from runner.training.prepare import prepare

    run, trainer = prepare(settings, "benchmark"), settings.trainer
    model, optimizer, loss_fn = run.model, run.state.optimizer, run.loss
    train, valid, accuracy = run.data.train, run.data.valid, bool(run.metrics)
    scheduler = run.schedule.scheduler  # once an epoch, or there is none
    every = trainer.validate_every if validate else trainer.epochs + 1
    run.close()

    begun = time.perf_counter()
    for epoch in range(trainer.epochs):
        model.train()
        for x, y in _bare_batches(train, trainer.batch_size, epoch):
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
        if (epoch + 1) % every == 0:
            model.eval()
            with torch.no_grad():
                output = model(valid.x)
                loss_fn(output, valid.y).item()
                if accuracy:
                    (output.argmax(1) == valid.y).float().mean().item()
        if scheduler is not None:
            scheduler.step()
    return time.perf_counter() - begun, model.state_dict()


def _bare_batches(train: Any, size: int | None, epoch: int) -> Iterator[Any]:
    """Everything at once, or a new order every epoch: the one that the runner draws from seed 0."""
    import torch

    if size is None:
        yield train.x, train.y
        return
    generator = torch.Generator().manual_seed(epoch)
    for index in torch.randperm(len(train.x), generator=generator).split(size):
        yield train.x[index], train.y[index]


# --- close


def close(pairs: int | None) -> Iterator[Row]:
    """The end of a run against MLflow's own calls, without the plots on either side."""
    settings = _settings("linear_regression")
    kept = Path("content").absolute()
    for bar, words, opening in ((1.3, "", False), (None, ", with its opening", True)):
        yield _compare(
            f"close: line x 300 steps{words}",
            lambda o=opening: _closed(settings, kept, o),
            lambda: _floor(settings, kept),
            pairs or 31,
            bar,
        )


def _closed(settings: Any, kept: Path, opening: bool = False) -> float:
    """Seconds from the last step to FINISHED. The files that went to MLflow are put into `kept` for the other side."""
    last: list[float] = []
    before = time.perf_counter()
    with _driven(settings) as (run, drive, record, run_id):
        opened = time.perf_counter() - before
        finish = run.finish

        def timed() -> Iterator[Any]:
            last.append(time.perf_counter())
            yield from finish()

        run.finish = timed
        drive()
        record.close()
        seconds = time.perf_counter() - last[0]
        _keep(settings, run_id, kept)
    return seconds + (opened if opening else 0.0)


def _keep(settings: Any, run_id: str, kept: Path) -> None:
    """Put the files that came to the run at its end into `kept`: checkpoints and predictions."""
    from runner.tracking.store import stores

    shutil.rmtree(kept, ignore_errors=True)
    client = stores.open_store(settings.tracking.uri)
    for name in ("checkpoints", "predictions.npy"):
        client.download_artifacts(run_id, name, str(_folder(kept)))


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _floor(settings: Any, kept: Path) -> float:
    """Seconds of MLflow's calls for the same content."""
    import dataclasses

    from mlflow.entities import Metric, Param

    from runner.tracking.identity import params
    from runner.tracking.store import stores

    client = stores.open_store(settings.tracking.uri)
    experiment = client.get_experiment_by_name("benchmark").experiment_id
    losses = [Metric("train/loss", 1e-4, time.time_ns() // 1_000_000, step) for step in range(1, 301)]
    entries = [Param(key, value) for key, value in params(dataclasses.asdict(settings)).items()]
    begun = time.perf_counter()
    run_id = client.create_run(experiment).info.run_id
    client.log_batch(run_id, params=entries)
    client.log_batch(run_id, metrics=losses)
    client.log_artifacts(run_id, str(kept))
    client.set_terminated(run_id)
    return time.perf_counter() - begun


# --- process


def process(pairs: int | None) -> Iterator[Row]:
    """Whole processes. The script is copied, so that neither side starts inside a git repository."""
    shutil.copy(HERE / "by_hand.py", "by_hand.py")
    ours = [sys.executable, "-m", "runner", "experiments=linear_regression", "device=cpu"]
    by_hand = [sys.executable, "by_hand.py"]
    yield _compare("process: linear_regression against by_hand.py", _spent(ours), _spent(by_hand), pairs or 7, 0.9)


def cfg(pairs: int | None) -> Iterator[Row]:
    """The configuration alone, which must not wait for torch."""
    torch = _spent([sys.executable, "-c", "import torch"])
    ours = _spent([sys.executable, "-m", "runner", "--cfg", "job"])
    what = "cfg: --cfg job against 0.4 x import torch + 0.5 s"
    yield _compare(what, ours, lambda: 0.4 * torch() + 0.5, pairs or 7, 1.0)


def _spent(command: list[str]) -> Callable[[], float]:
    """Seconds that a command takes. It inherits the environment, except for another tracking store."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}

    def run() -> float:
        begun = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - begun
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return seconds

    return run


PARTS: dict[str, Callable[[int | None], Iterator[Row]]] = {"loop": loop, "close": close, "process": process, "cfg": cfg}

if __name__ == "__main__":
    sys.exit(main())

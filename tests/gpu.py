"""The laws that depend on the device, on one GPU: `python -m tests.gpu`, from the root of the repository.

A line for each law with its seconds; the first that fails ends it, with exit code 1.

    python -m tests.gpu                  # cuda, or what the machine has
    python -m tests.gpu --cpu            # the same script on the processor
    python -m tests.gpu --pretend        # and on the pretended device, tests/support/pretend.py
    python -m tests.gpu --keep-going     # try all laws
    python -m tests.gpu reproduced served      # these laws alone
"""

import contextlib
import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import gpu_graph
from tests.support.experiments import here

ROOT = Path(__file__).parent.parent
EXPERIMENTS = [path.stem for path in here()]
#: Epochs of experiments that come through all of their parts only in so many; of the others, a few batches are enough.
EPOCHS = {
    "digits_cnn": 2, "digits_lenet": 1, "digits_mlp": 2, "diabetes": 3,
    "linear_regression": 20, "losses": 20, "optimizers": 1, "save_and_load": 2, "gan_digits": 3,
}  # fmt: skip
FEW = ("trainer.epochs=1", "trainer.limit_batches=3")
#: A training with everything that may draw, round or choose: convolutions, dropout, BatchNorm, Adam, a schedule.
WORDS = (
    "experiments=digits_cnn",
    "trainer.epochs=3",
    "data.valid=0.2",
    "plots=[]",
    "+model.layers.norm={BatchNorm1d: {}}",
    "trainer.threads=1",
)

#: A layer that kills its process, or asks for more memory than there is, in its fiftieth training call.
LAYERS = """
import os, signal, time
from pathlib import Path
import torch
from torch import nn


class Ends(nn.Module):
    def __init__(self, how: str):
        super().__init__()
        self.how, self.calls = how, 0

    def forward(self, x):
        self.calls += bool(self.training and not x.is_meta)
        if self.calls == 50 and self.how == "killed" and not Path("killed").exists():
            Path("killed").touch()
            while not any(Path("mlruns").glob("*/*/artifacts/checkpoints/last-*")):
                time.sleep(0.05)  # one is on its way to the store, in the background
            os.kill(os.getpid(), 9)
        if self.calls == 50 and self.how == "memory":
            return x + torch.empty(2**45, dtype=torch.uint8, device=x.device)[0]
        return x
"""


@dataclasses.dataclass
class Place:
    """Where a law tries commands: a folder with an empty store, and the device."""

    device: str
    folder: Path
    env: dict[str, str]

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def runner(self, *words: str, code: int = 0) -> Any:
        """A command in a process of its own, on the device if it trains."""
        from tests.support.command import runner

        return runner(*words, cwd=self.folder, env=self.env, code=code)

    def trained(self, *words: str, code: int = 0) -> Any:
        return self.runner(*words, f"device={self.device}", code=code)

    def points(self, run_id: str, name: str) -> dict[int, float]:
        from runner.tracking.read import recall

        return recall.points(self.uri, run_id, [name])[name]  # type: ignore[no-any-return]

    def tags(self, run_id: str) -> dict[str, str]:
        from runner.tracking.read import recall

        return recall.facts(self.uri, run_id)[1]  # type: ignore[no-any-return]

    def digest(self, run_id: str) -> str:
        from runner.tracking.read import checkpoints
        from runner.training.state import checkpoint

        return str(checkpoint.digest(checkpoints.weights(self.uri, run_id, "last")))

    def artifacts(self, run_id: str) -> Path:
        from mlflow import MlflowClient

        return Path(MlflowClient(self.uri).get_run(run_id).info.artifact_uri.removeprefix("file://"))


def experiments(place: Place) -> str:
    """Every experiment is FINISHED, with all of its plots and with finite predictions."""
    found, plots = trained_all(place, EXPERIMENTS), 0
    for name in EXPERIMENTS:
        one = found[name]
        assert one["status"] == "FINISHED", f"{name}: {one}"
        assert {path for path, size in one["plots"].items() if size > 5000} == set(one["asked"]), f"{name}: {one}"
        plots += len(one["asked"])
    return f"{len(EXPERIMENTS)} FINISHED with {plots} plots"


def trained_all(place: Place, names: list[str], *words: str) -> dict[str, Any]:
    """Train the experiments in a process of its own; name -> status, plots and metrics."""
    from tests.support.command import HANGS, _context

    process = _context.Process(target=train_all, args=(place.device, str(place.folder), place.env, names, words))
    process.start()
    process.join(HANGS)
    found: dict[str, Any] = json.loads((place.folder / "experiments.json").read_text())
    assert process.exitcode == 0, f"exit code {process.exitcode} after {', '.join(found)}\n{found.get('error', '')}"
    return found


def train_all(device: str, folder: str, env: dict[str, str], names: list[str], more: tuple[str, ...]) -> None:
    """Train the experiments in this process and write experiments.json."""
    os.chdir(folder)
    os.environ.update(env)
    if "PRETEND" in env:
        from tests.support import pretend

        pretend.register()
    from mlflow import MlflowClient

    from runner.commands import train
    from runner.settings.context import Context
    from tests.support import composing

    found: dict[str, Any] = {}
    try:
        with Path(os.devnull).open("w") as quiet, composing.hydra():
            sys.stdout = quiet
            client = MlflowClient("sqlite:///mlflow.db")
            for name in names:
                words = [f"experiments={name}", f"device={device}", "trainer.threads=1", *more]
                words += [f"trainer.epochs={EPOCHS[name]}"] if name in EPOCHS else []
                if name not in EPOCHS and composing.settings(*words).trainer.trains:
                    words += FEW
                settings = composing.settings(*words)
                train.with_settings(settings, Context(name, "", words))
                [run] = client.search_runs([client.get_experiment_by_name(name).experiment_id])
                artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
                plots = {path.stem: path.stat().st_size for path in (artifacts / "plots").glob("*.png")}
                found[name] = {
                    "status": run.info.status,
                    "asked": [_name(plot).rpartition(".")[2] for plot in settings.plots],
                    "plots": {name: size for name, size in plots.items() if not name.startswith("explain_")},
                    "metrics": run.data.metrics,
                }
    except BaseException:
        found["error"] = traceback.format_exc()
        raise
    finally:
        Path("experiments.json").write_text(json.dumps(found))


def _name(plot: Any) -> str:
    """Return the name of a plot, which may stand with the interval at which it is drawn."""
    return str(plot if isinstance(plot, str) else next(iter(plot)))


def resumed(place: Place) -> str:
    """Killed by SIGKILL and resumed, a deterministic run has the weights of one that was not."""
    words = (*WORDS, "trainer.deterministic=true", "checkpoint.every=7 steps", *ending("killed"))
    (place.folder / "killed").touch()
    whole = place.trained(*words).run_id
    (place.folder / "killed").unlink()
    killed = place.trained(*words, code=-signal.SIGKILL)
    assert place.runner("resume", "last").last.split()[2] == "FINISHED", killed.out
    runs = [run for run in all_runs(place) if run != whole]
    assert len(runs) == 1, runs
    assert place.digest(runs[0]) == place.digest(whole), "other weights"
    assert place.points(runs[0], "train/loss") == place.points(whole, "train/loss"), "other losses"
    done = place.runner("reproduce", whole)
    assert f"reproduce {whole} identical values=" in done.last, done.out
    return f"{len(place.points(whole, 'train/loss'))} steps identical, and reproduced to the last bit"


def reproduced(place: Place) -> str:
    """Without trainer.deterministic=true, reproduce is identical or close."""
    run_id = place.trained(*WORDS).run_id
    done = place.runner("reproduce", run_id)
    word = done.last.split()[2]
    assert word in ("identical", "close"), done.out
    shares = [line.split("at most ")[1].split()[0] for line in done.out.splitlines() if "of what is allowed" in line]
    return f"{word}, at most {max(shares, key=float)} of what is allowed" if shares else word


def evaluated(place: Place) -> str:
    """What evaluate measures is what the run recorded, to the last bit, for both checkpoints."""
    count = 0
    for more in ((), ("trainer.batch_size=100", "trainer.deterministic=true"), ("trainer.precision=bf16",)):
        run_id = place.trained(*WORDS, *more).run_id
        tests = []
        for name in ("best", "last"):
            for split in ("valid", "test"):
                figures = place.runner("evaluate", run_id, f"checkpoint={name}", f"split={split}").last.split()
                step = int(figures[3].removeprefix("step="))
                found = {key: float(value) for key, _, value in (word.partition("=") for word in figures[4:])}
                recorded = {key: place.points(run_id, key) for key in found}
                if split == "valid":
                    wrong = {key: (value, recorded[key][step]) for key, value in found.items()
                             if recorded[key][step] != value}  # fmt: skip
                    assert not wrong, f"{more} {name}: (evaluated, recorded) {wrong}"
                tests += [found] * (split == "test")
                count += 1
        last = {key: values[max(values)] for key, values in recorded.items()}
        assert last in tests, f"{more}: recorded {last}, evaluated {tests}"
    return f"{count} times, exactly as recorded"


def served(place: Place) -> str:
    """What MLflow serves, what runner.load gives and what predict writes are one."""
    import numpy as np
    import torch

    import runner
    from runner.tracking.read import logged_model

    apart = 0.0
    for study, more in (("digits_cnn", WORDS[1:4]), ("diabetes", ("trainer.epochs=3", "plots=[]"))):
        run_id = place.trained(f"experiments={study}", *more, "tracking.log_model=true").run_id
        model = runner.load(run_id, place.uri)
        shape = (5, 1, 8, 8) if study == "digits_cnn" else (5, 10)
        x = np.random.default_rng(0).normal(size=shape)
        np.save(place.folder / f"{study}.npy", x)
        raw = torch.from_numpy(x)
        with torch.no_grad():
            loaded = model(raw if study == "diabetes" else raw.float()).numpy()
        place.runner("predict", run_id, f"inputs={study}.npy", f"output={study}-out.npy")
        predicted = np.load(place.folder / f"{study}-out.npy")
        uri = place.tags(run_id)["runner.logged_model"]
        with logged_model.quiet():
            import mlflow.pyfunc

            mlflow.set_tracking_uri(place.uri)
            served = mlflow.pyfunc.load_model(uri)
            dtype = served.metadata.signature.inputs.input_types()[0]
            output = np.asarray(served.predict(x.astype(dtype)))
        apart = max(apart, float(abs(predicted - loaded).max()), float(abs(output - loaded).max()) / abs(loaded).max())
        assert apart < 1e-5, f"{study}: loaded {loaded[0]}, predicted {predicted[0]}, served {output[0]}"
    return f"at most {apart:.1g} apart"


def looked_at(place: Place) -> str:
    """check, summary, explain, export and a look at what was recorded work for a run of the device."""
    run_id = place.trained(*WORDS).run_id
    place.trained("check", *WORDS)
    place.trained("summary", *WORDS)
    place.runner("explain", run_id)
    place.runner("export", run_id, "format=pt2", "output=model.pt2")
    return "check, summary, explain, export"


def precisions(place: Place) -> str:
    """bf16 and fp16 end with all plots."""
    said = []
    for precision in ("bf16", "fp16"):
        plots = ("loss_curve", "confusion_matrix", "examples", "filters", "feature_maps")
        run_id = place.trained(
            "experiments=digits_cnn", "trainer.epochs=2", f"trainer.precision={precision}", f"plots=[{','.join(plots)}]"
        ).run_id
        there = {path.stem for path in (place.artifacts(run_id) / "plots").glob("*.png")}
        assert there == set(plots), there
        said.append(f"{precision} train/loss {list(place.points(run_id, 'train/loss').values())[-1]:.4g}")
    return ", ".join(said)


def compiled(place: Place) -> str:
    """trainer.compile=true trains as without it."""
    if place.device.startswith("pretend"):
        return "not tried: inductor does not know the pretended device"
    if place.device != "cpu" and importlib.util.find_spec("triton") is None:
        return "not tried: triton is not installed"
    if shutil.which(os.environ.get("CC", "gcc")) is None:
        return "not tried: there is no C compiler"
    words = ("experiments=digits_mlp", "trainer.epochs=1", "plots=[confusion_matrix]", "model.knobs.dropout=0")
    plain, other = (place.trained(*words, f"trainer.compile={flag}").run_id for flag in ("false", "true"))
    one, two = (list(place.points(run, "train/loss").values()) for run in (plain, other))
    apart = max(abs(a - b) / max(one) for a, b in zip(one, two, strict=True))
    assert apart < 1e-2, f"{apart:.2g} apart"
    return f"losses at most {apart:.1g} apart"


def swept(place: Place) -> str:
    """Stacked jobs have the losses of each alone, within what is promised."""
    base = ("-m", "experiments=linear_regression", "trainer.epochs=20", "optimizer.lr=0.5,0.1,0.02")
    drawn = {"basic": ("plots=[]", "sweep.plots=false"), "vectorized": ("plots=[fit]",)}
    said = []
    for more, allowed in (((), 1e-5), (("trainer.precision=fp64",), 1e-10)):
        found = {}
        for launcher in ("basic", "vectorized"):
            done = place.trained(*base, *more, f"hydra/launcher={launcher}", *drawn[launcher])
            assert done.last.split()[2] == "FINISHED", done.out
            if launcher == "vectorized":
                assert "jobs 0-2 are trained as one program" in done.out, done.out
            found[launcher] = losses_of(place, done.run_id)
        apart = {
            launcher: max(abs(a - b) / max(1, abs(a)) for one, other in zip(found["basic"], jobs, strict=True)
                          for a, b in zip(one, other, strict=True))
            for launcher, jobs in found.items()
        }  # fmt: skip
        assert max(apart.values()) <= allowed, apart
        said.append(f"{more[0] if more else 'fp32'}: vectorized {apart['vectorized']:.1g} apart")
    return "; ".join(said)


def elsewhere(place: Place) -> str:
    """Jobs in other processes have the losses of each here."""
    from tests.support.command import fresh

    if importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        return "not tried: joblib's launcher is not installed"
    base = ("-m", "experiments=linear_regression", "trainer.epochs=3", "optimizer.lr=0.5,0.1", "plots=[]")
    base = (*base, "sweep.plots=false")
    basic = place.trained(*base)
    words = (*base, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1", f"device={place.device}")
    joblib = fresh(*words, cwd=place.folder, env=place.env)  # a forked process does not end joblib's workers
    assert losses_of(place, joblib.run_id) == losses_of(place, basic.run_id), joblib.out
    return "2 jobs, identical"


def memory(place: Place) -> str:
    """What does not fit is refused before; what asks for too much under way ends FAILED with one message."""
    done = place.trained("check", "experiments=digits_mlp", "model.knobs.width=400000", code=2)
    assert "Traceback" not in done.err, done.err
    assert "make it smaller" in done.err, done.err
    done = place.trained(*WORDS, *ending("memory"), code=1)
    assert "Traceback" not in done.err, done.err
    assert done.err.startswith("trainer.batch_size="), done.err
    assert done.last.split()[2] == "FAILED", done.out
    assert "trainer.batch_size=" in place.tags(done.run_id)["runner.status_reason"]
    return done.err.strip().splitlines()[0][:100]


def ending(how: str) -> tuple[str, ...]:
    return (f"+model.layers.ends={{experiments.ends.Ends: {{how: {how}}}}}",)


def all_runs(place: Place) -> list[str]:
    from mlflow import MlflowClient

    client = MlflowClient(place.uri)
    return [run.info.run_id for run in client.search_runs([e.experiment_id for e in client.search_experiments()])]


def losses_of(place: Place, parent: str) -> list[list[float]]:
    """train/loss of a sweep's jobs in their order."""
    from mlflow import MlflowClient

    client = MlflowClient(place.uri)
    found = client.search_runs(
        [e.experiment_id for e in client.search_experiments()], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    jobs = sorted(found, key=lambda run: int(run.data.tags["sweep.job"]))
    return [list(place.points(run.info.run_id, "train/loss").values()) for run in jobs]


LAWS: list[Callable[[Place], str]] = [
    experiments, resumed, reproduced, evaluated, served, looked_at, precisions, compiled, swept, elsewhere, memory,
    *gpu_graph.LAWS,
]  # fmt: skip


def tried(law: Callable[[Place], str], device: str, env: dict[str, str], store: Path) -> str:
    """What the law says of itself, tried in a folder of its own with a copy of the empty `store`."""
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        place = Place(device, Path(folder), env)
        shutil.copy(store, place.folder / "mlflow.db")
        (place.folder / "experiments").mkdir()
        (place.folder / "experiments/ends.py").write_text(LAYERS)
        before = dict(os.environ)
        try:
            return law(place)
        finally:  # MLflow puts its store into the environment
            os.environ.clear()
            os.environ.update(before)


def main(words: list[str]) -> int:
    flags, names = {word for word in words if word.startswith("--")}, [w for w in words if not w.startswith("--")]
    env = {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))}
    with tempfile.TemporaryDirectory(prefix="gpu-") as site:
        if "--pretend" in flags:
            from tests.support import pretend

            env = pretend.environment(Path(site))
        device = "cpu" if "--cpu" in flags else "pretend" if "--pretend" in flags else _device()
        store = _empty_store(Path(site) / "mlflow.db")
        begun, failed = time.monotonic(), 0
        for law in LAWS:
            if names and law.__name__ not in names:
                continue
            start = time.monotonic()
            try:
                said = tried(law, device, env, store)
            except BaseException as error:
                failed += 1
                print(f"FAILED {law.__name__}, {time.monotonic() - start:.1f} s")
                print("".join(traceback.format_exception(error))[-6000:], flush=True)
                if "--keep-going" not in flags or isinstance(error, KeyboardInterrupt):
                    break
            else:
                print(f"{law.__name__:12} {time.monotonic() - start:6.1f} s  {said}", flush=True)
        print(f"{device}: {'FAILED' if failed else 'all laws hold'}, {time.monotonic() - begun:.0f} s", flush=True)
    return int(bool(failed))


def _empty_store(path: Path) -> Path:
    """A new MLflow store. To make one takes seconds, to copy it nothing."""
    from runner.tracking.store import stores

    stores.open_store(f"sqlite:///{path}")
    with contextlib.closing(sqlite3.connect(path)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def _device() -> str:
    """What this machine has, asked in another process: one that has asked a GPU cannot be forked."""
    told = "import torch; a = torch.accelerator.current_accelerator(check_available=True); print(a.type if a else '')"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.strip()
    if not found:
        sys.exit("there is no accelerator on this machine; to try the script without one: --cpu or --pretend")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Digests of this version's numbers, for comparison with another's: `python benchmarks/identity.py > before.txt`.

Trains every experiment, `digits_cnn` with every optimizer preset, a sweep as one program, and a run that is killed and
resumed. Prints a line for each run: SHA-256 of the losses of all steps, of the weights, and of the arrays that it
leaves (predictions, outputs of layers). A change that moves code and no number leaves all lines as they are. The lines
of two machines differ in their last bits.
"""

import hashlib
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNNER = Path(sys.executable).with_name("runner")
ROOT = Path(__file__).parent.parent
SHORT = ("trainer.epochs=3", "plots=[]")


def main() -> None:
    """Train everything and print its lines."""
    experiments = sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml"))
    presets = sorted(path.stem for path in (ROOT / "conf/optimizer").glob("*.yaml"))
    for name in experiments:
        show(name, f"experiments={name}", "plots=[]")
    for name in presets:
        show(f"optimizer={name}", "experiments=digits_cnn", f"optimizer={name}", "optimizer.lr=0.01", *SHORT)
    for launcher in ("basic", "vectorized"):
        sweep = ("-m", "experiments=digits_mlp", "optimizer.lr=0.01,0.001", "seed=1,2", f"hydra/launcher={launcher}")
        show(f"sweep {launcher}", *sweep, *SHORT)
    resumed()


def show(name: str, *words: str) -> None:
    """Run a command in a folder of its own, and print the lines of its runs."""
    with tempfile.TemporaryDirectory() as folder:
        command(folder, *words)
        print_runs(name, folder)


def resumed() -> None:
    """Train up to the first checkpoint, kill the process, and resume the run."""
    words = ("experiments=digits_cnn", "trainer.epochs=12", "plots=[]", "checkpoint.every=1")
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([RUNNER, *words], cwd=folder, stdout=subprocess.DEVNULL)
        while not list(Path(folder).glob("mlruns/*/*/artifacts/checkpoints/last-*/sha256.json")):
            if process.poll() is not None:
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        command(folder, "resume", "last")
        print_runs("resumed", folder)


def command(folder: str, *words: str) -> None:
    """Run `runner` in a folder; end this process if it fails."""
    done = subprocess.run([RUNNER, *words], cwd=folder, capture_output=True, text=True, env={**os.environ, "CI": "1"})
    if done.returncode:
        sys.exit(f"runner {' '.join(words)}: exit code {done.returncode}\n{done.stderr[-2000:]}")


def print_runs(name: str, folder: str) -> None:
    """Print a line for each run, sorted, so that the order does not depend on the time."""
    from mlflow import MlflowClient

    client, lines = MlflowClient(f"sqlite:///{folder}/mlflow.db"), []
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            history = client.get_metric_history(run.info.run_id, "train/loss")
            losses = [metric.value for metric in sorted(history, key=lambda metric: metric.step)]
            place = Path(run.info.artifact_uri.removeprefix("file://"))
            digests = f"losses {of_losses(losses)}  weights {of_weights(place)}  arrays {of_arrays(place)}"
            lines.append(f"{name:20} {len(losses):4} steps  {digests}")
    print("\n".join(sorted(lines)), flush=True)


def of_losses(losses: list[float]) -> str:
    """Return the digest of the losses as float64."""
    return hashlib.sha256(struct.pack(f"<{len(losses)}d", *losses)).hexdigest()[:16]


def of_weights(artifacts: Path) -> str:
    """Return the digest of the newest checkpoint's tensors; the file itself contains a time and a name."""
    import torch

    folders = (artifacts / "checkpoints").glob("last-*")
    newest = max(folders, key=lambda folder: int(folder.name.removeprefix("last-")), default=None)
    if newest is None:
        return "none"
    sha = hashlib.sha256()
    for name, tensor in sorted(torch.load(newest / "state_dict.pt", weights_only=True).items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        sha.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()[:16]


def of_arrays(artifacts: Path) -> str:
    """Return the digest of all .npy files of a run."""
    sha = hashlib.sha256()
    for path in sorted(artifacts.rglob("*.npy")):
        sha.update(str(path.relative_to(artifacts)).encode() + path.read_bytes())
    return sha.hexdigest()[:16]


if __name__ == "__main__":
    main()

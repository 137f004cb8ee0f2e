"""What a run was made with: versions, threads, device, git commit and state."""

import importlib.metadata
import platform
import shlex
import subprocess
import sys
from functools import cache
from typing import Any

import torch

import runner
from runner.settings.trust import secrets


def tags(overrides: list[str], device: torch.device) -> dict[str, str]:
    """What to find and compare runs by, as MLflow tags."""
    commit, state = git()
    told = {
        "runner.version": runner.__version__,
        "runner.command": secrets.masked(shlex.join(["runner", *map(secrets.word, sys.argv[1:])])),
        "runner.overrides": secrets.masked(shlex.join(map(secrets.word, overrides))),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "device": device_name(device),
        **(_cuda() if device.type == "cuda" else {}),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "host": platform.node(),
    }
    if commit:
        told |= {"mlflow.source.git.commit": commit, "git.state": "clean" if not state else "changed"}
    return {**told, "mlflow.source.name": "runner", "mlflow.source.type": "LOCAL", "mlflow.user": _user()}


def text(overrides: list[str], device: torch.device) -> str:
    """The same and more as a file for people: every installed package with its version."""
    commit, state = git()
    lines = [f"{key}: {value}" for key, value in tags(overrides, device).items() if not key.startswith("mlflow.")]
    lines += [
        f"platform: {platform.platform()}",
        f"git commit: {commit or 'none'}",
        "git changes:",
        *(state or ["  none"]),
    ]
    return "\n".join([*lines, "packages:", *_packages()]) + "\n"


@cache
def _packages() -> list[str]:
    packages = {f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions()}
    return sorted(packages, key=str.lower)


#: What decides the last bits of a training, or the training itself; `python -m pip` names for packages.
DECISIVE = (
    *("runner.version", "python", "torch", "numpy", "scikit-learn", "torchmetrics", "pillow"),
    *("threads", "device", "cuda", "cudnn", "tf32", "cpu", "git commit"),
)


def differences(recorded: str, device: torch.device) -> list[str]:
    """What is otherwise here than when `recorded`, an environment.txt, was written: one line each."""
    then, now = facts(recorded), facts(text([], device))
    found = [
        f"{key}: recorded {then[key]}, here {now.get(key, 'none')}"
        for key in DECISIVE
        if key in then and then[key] != now.get(key)
    ]
    for when, told in (("recorded", then), ("here", now)):
        if told.get("git.state") == "changed":
            found.append(f"git state: {when} with uncommitted changes, of which the commit does not tell")
    return found


def facts(recorded: str) -> dict[str, str]:
    """The values of an environment.txt by their keys, and the packages' versions by their names in lower case."""
    lines, _, packages = recorded.partition("\npackages:\n")
    found = dict(line.split("==", 1) for line in packages.lower().splitlines() if "==" in line)
    return found | dict(line.split(": ", 1) for line in lines.splitlines() if ": " in line and line[0] != " ")


@cache
def git() -> tuple[str, list[str]]:
    """The commit of the working directory and its uncommitted changes; empty outside of a repository.

    As they were when the process first asked: what it has imported by then does not change.
    """
    commit = _output("git", "rev-parse", "HEAD")
    return commit, _output("git", "status", "--porcelain").splitlines() if commit else []


def device_name(device: torch.device) -> str:
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def _cuda() -> dict[str, str]:
    """What decides the last bits on a GPU beside the GPU."""
    products, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    return {
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        "tf32": f"products {'yes' if products else 'no'}, convolutions {'yes' if convolutions else 'no'}",
    }


def _output(*command: str) -> str:
    try:
        done: Any = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"

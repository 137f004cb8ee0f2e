"""The environment of a run: versions, threads, device, git commit and uncommitted changes."""

import importlib.metadata
import platform
import re
import shlex
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import runner
from runner.settings.trust import permission, secrets

if TYPE_CHECKING:
    import torch

#: Tag with the words of the command line.
OVERRIDES = "runner.overrides"


def written(overrides: list[str]) -> str:
    """Return words as one would type them into a shell, without the secrets in them."""
    return secrets.masked(shlex.join(map(secrets.word, overrides)))


def tags(overrides: list[str], device: "torch.device") -> dict[str, str]:
    """Return the environment as MLflow tags, to find and compare runs by.

    overrides: words of the command line. Secrets in them are masked.
    """
    import torch

    commit, changes = git()
    typed = permission.words() or sys.argv[1:]
    values = {
        "runner.version": runner.__version__,
        "runner.command": secrets.masked(shlex.join(["runner", *map(secrets.word, typed)])),
        OVERRIDES: written(overrides),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "device": device_name(device),
        **(_cuda() if device.type == "cuda" else {}),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "host": platform.node(),
    }
    if commit:
        values |= {"mlflow.source.git.commit": commit, "git.state": "clean" if not changes else "changed"}
    return {**values, "mlflow.source.name": "runner", "mlflow.source.type": "LOCAL", "mlflow.user": _user()}


def text(overrides: list[str], device: "torch.device") -> str:
    """Return environment.txt: the tags, uncommitted changes, and every installed package with its version."""
    return text_of(tags(overrides, device))


def text_of(described: dict[str, str]) -> str:
    """Return environment.txt of the environment that `tags` has described."""
    commit, changes = git()
    lines = [f"{key}: {value}" for key, value in described.items() if not key.startswith("mlflow.")]
    lines += [
        f"platform: {platform.platform()}",
        f"git commit: {commit or 'none'}",
        "git changes:",
        *(changes or ["  none"]),
    ]
    return "\n".join([*lines, "packages:", *_packages()]) + "\n"


@cache
def _packages() -> list[str]:
    return sorted({_package(one) for one in importlib.metadata.distributions()}, key=str.lower)


def _package(one: Any) -> str:
    """Return name and version of a package; Python would read all of its description for that."""
    head = (one.read_text("METADATA") or one.read_text("PKG-INFO") or "").partition("\n\n")[0]
    name, version = (re.search(rf"^{key}:[ \t]*(\S+)[ \t]*$", head, re.MULTILINE) for key in ("Name", "Version"))
    return f"{name[1]}=={version[1]}" if name and version else f"{one.metadata['Name']}=={one.version}"


#: Keys and packages that decide the last bits of a training, or the training itself.
DECISIVE = (
    *("runner.version", "python", "torch", "numpy", "scikit-learn", "torchmetrics", "pillow"),
    *("threads", "device", "cuda", "cudnn", "tf32", "cpu", "git commit"),
)


def differences(recorded: str, device: "torch.device") -> list[str]:
    """Return a line for each way in which this environment differs from `recorded`, an environment.txt.

    Compared are DECISIVE facts; uncommitted changes, then or now, are a line too.
    """
    then, now = facts(recorded), facts(text([], device))
    lines = [
        f"{key}: recorded {then[key]}, here {now.get(key, 'none')}"
        for key in DECISIVE
        if key in then and then[key] != now.get(key)
    ]
    for when, values in (("recorded", then), ("here", now)):
        if values.get("git.state") == "changed":
            lines.append(f"git state: {when} with uncommitted changes, which the commit does not contain")
    return lines


def facts(recorded: str) -> dict[str, str]:
    """Return the values of an environment.txt by their keys, and packages' versions by their names in lower case."""
    lines, _, packages = recorded.partition("\npackages:\n")
    versions = dict(line.split("==", 1) for line in packages.lower().splitlines() if "==" in line)
    return versions | dict(line.split(": ", 1) for line in lines.splitlines() if ": " in line and line[0] != " ")


@cache
def git() -> tuple[str, list[str]]:
    """Return the commit of the working directory and its uncommitted changes; both empty outside of a repository.

    They are those of the first call in this process: modules that are imported by then do not change.
    """
    commit = _output("git", "rev-parse", "HEAD")
    return commit, _output("git", "status", "--porcelain").splitlines() if commit else []


def device_name(device: "torch.device") -> str:
    """Return `cpu`, or a GPU with its model: `cuda:0 NVIDIA H200`."""
    import torch

    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def _cuda() -> dict[str, str]:
    """Return what decides the last bits on a GPU besides its model."""
    import torch

    products, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    return {
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        "tf32": f"products {'yes' if products else 'no'}, convolutions {'yes' if convolutions else 'no'}",
    }


def _output(*command: str) -> str:
    try:
        process: Any = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"

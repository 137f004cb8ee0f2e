"""Names of tags that no configuration may set: the program, or MLflow, reads them back.

A run with a tag `mlflow.parentRunId` is hidden from `last` and counts as a job of another's sweep. The tag
`checkpoint.last.kept` decides what is loaded and deleted, `runner.process` which process is at work, and
`runner.command` is there to be pasted.
"""

import re
from collections.abc import Iterable

from runner.settings.errors import Problems

#: Beginnings of the names of MLflow and of this program.
RESERVED = ("mlflow.", "runner.", "checkpoint.", "sweep.", "drift.", "start.", "find_lr.")
#: Tags about a run beside these.
RUNS = (
    *("python", "torch", "threads", "device", "cuda", "cudnn", "tf32", "cpu", "host", "git.state"),
    *("best.metric", "best.mode", "best.value", "best.step", "test.checkpoint", "test.step", "step"),
    *("model.parameters", "warnings"),
)
#: Tags that MLflow shows and no program reads: the description of a run, and where its code is from.
SHOWN = ("mlflow.note.content", "mlflow.source.git.branch", "mlflow.source.git.repoURL")


def is_reserved(name: str) -> bool:
    """Return whether no configuration may set it. Servers with MySQL ignore case and spaces at the end."""
    plain = name.strip().lower()
    return name not in SHOWN and (plain.startswith(RESERVED) or plain in RUNS)


def check(names: Iterable[str]) -> None:
    """Raise ConfigError for reserved names."""
    problems = Problems()
    for name in names:
        if is_reserved(name):
            plain = name.strip().lower()
            problems.add(
                f"tracking.tags.{name}",
                f"this tag is {'MLflow' if plain.startswith('mlflow.') else 'runner'}'s own, found in a configuration;"
                f" expected a name of yours, such as my.{plain.rpartition('.')[2] or 'tag'}",
            )
    problems.raise_all()


def letters(name: str) -> str:
    """Return a name in the letters that MLflow takes for params, metrics and tags: `all.bias` for `*.bias`."""
    return re.sub(r"[^\w\-./: ]", "_", name.replace("*", "all"))

"""A training in a process of its own, which trains once more whenever it is asked to, over a pipe."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class Worker:
    """The asking side: starts `python -m MODULE SPEC` and asks it to train.

    module: such as benchmarks.in_keras; it ends in `serve`. spec: what to train, plain values. env: its variables.
    """

    def __init__(self, module: str, spec: dict[str, Any], **env: str) -> None:
        self.name = f"{module} {env}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(spec)],
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answers: list[dict[str, Any]] = []

    def train(self) -> float:
        """Train once more from the first weights, and return the seconds; `answers` has all that was said."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print("train", file=self.process.stdin, flush=True)
            answer = json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            sys.exit(f"{self.name} ended with code {self.process.wait()}")
        self.answers.append(answer)
        return float(answer["seconds"])

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(train: Callable[[], dict[str, Any]]) -> None:
    """Train whenever a line comes in and answer with a line of JSON, until there are no more.

    train: trains from the first weights; its result has at least "seconds". What it prints goes to stderr.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    for _ in sys.stdin:
        print(json.dumps(train()), file=answers, flush=True)

"""Runs `runner` as a process of its own: from the console script, or forked from a server that has imported torch."""

import multiprocessing
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Seconds after which a command hangs. It bounds what is wrong, and measures nothing: a busy machine is slow.
HANGS = 1500
SCRIPT = Path(sys.executable).with_name("runner")
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.warm"])


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.out.strip().splitlines()[-1]

    @property
    def run_id(self) -> str:
        return self.last.split()[1]


def runner(
    *words: str, cwd: Path, env: dict[str, str] | None = None, code: int | None = 0, beside: bool = False
) -> Done:
    """Run a command in a forked process.

    cwd: its working directory, which gets its output as `.out` and `.err`.
    env: environment variables beside those of this process; the folders of PYTHONPATH come first in `sys.path`.
    code: the exit code to insist on; None takes any.
    beside: true while another command is at work in `cwd`, whose output stays in its files.
    """
    process = begin(*words, cwd=cwd, env=env, beside=beside)
    return ended(process, cwd, code, beside)


def begin(*words: str, cwd: Path, env: dict[str, str] | None = None, beside: bool = False) -> Any:
    """Begin a command as `runner` does and return its process, which `ended` takes."""
    out, err = _files(cwd, beside)
    out.write_text("")
    process = _context.Process(target=_child, args=(words, str(cwd), str(out), str(err), env or {}))
    process.start()
    return process


def ended(process: Any, cwd: Path, code: int | None = 0, beside: bool = False) -> Done:
    """Wait for a command that was begun, and return its exit code and its output."""
    process.join(HANGS)
    assert process.exitcode is not None, "the command did not end"
    done = Done(process.exitcode, *(path.read_text() for path in _files(cwd, beside)))
    assert code is None or done.code == code, f"exit code {done.code}\n{done.out[-2000:]}\n{done.err[-4000:]}"
    return done


def fresh(*words: str, cwd: Path, env: dict[str, str] | None = None, code: int | None = 0) -> Done:
    """Run the installed console script, or the module where there is none."""
    command = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-m", "runner"]
    done = subprocess.run(
        [*command, *words], cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=HANGS
    )
    assert code is None or done.returncode == code, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr}"
    return Done(done.returncode, done.stdout, done.stderr)


def newest(artifacts: Path, name: str = "last") -> Path:
    """Return the folder of a run's newest checkpoint `last` or `best`."""
    return max((artifacts / "checkpoints").glob(f"{name}-*"), key=lambda path: int(path.name.rpartition("-")[2]))


def _files(cwd: Path, beside: bool) -> tuple[Path, Path]:
    """The files of a command's output."""
    return cwd / f".out{'2' * beside}", cwd / f".err{'2' * beside}"


def _child(words: tuple[str, ...], cwd: str, out: str, err: str, env: dict[str, str]) -> None:
    os.chdir(cwd)
    os.environ.update(env)
    sys.path[:0] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    if "PRETEND" in env:  # a fresh process would get the device with torch
        from tests.support import pretend

        pretend.register()
    for path, number in ((out, 1), (err, 2)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["runner", *words]
    from runner.cli.command import main

    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()

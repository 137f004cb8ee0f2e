"""A small disk of its own that fills up at a chosen moment of a command, and is emptied again or not."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import command

#: What Python tells an audit hook before it changes a file system; `open` counts where it is for writing.
CHANGES = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "sqlite3.connect")
#: Seconds for which commands wait for room where there will never be any.
PATIENCE = 1.0
KILL = -1
BALLAST = "ballast"


@dataclass
class Disk:
    """A tmpfs at `folder`."""

    folder: Path

    def fill(self, left: int) -> None:
        """Leave `left` bytes free, in whole pages."""
        fill(self.folder, left)

    def empty(self) -> None:
        (self.folder / BALLAST).unlink(missing_ok=True)

    def clear(self) -> None:
        """Nothing is on it any more."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def newest(folder: Path) -> int:
    """The step of the newest checkpoint in the store's artifacts; 0 if there is none."""
    found = folder.glob("mlruns/*/*/artifacts/checkpoints/last-*")
    return max((int(path.name.rpartition("-")[2]) for path in found), default=0)


def fill(folder: Path, left: int) -> None:
    stat = os.statvfs(folder)
    size = stat.f_bavail * stat.f_frsize - left
    with (folder / BALLAST).open("ab") as file:
        if size > 0:
            os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)


@contextlib.contextmanager
def small(folder: Path, size: str = "24m") -> Iterator[Disk | None]:
    """A small disk at `folder`, which is made; None where this process may mount none."""
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "runner-test", folder], capture_output=True)
    if done.returncode:
        yield None
        return
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def begin(*words: str, cwd: Path, env: dict[str, str] | None = None, at: int, left: int, seconds: float) -> Any:
    """Begin a command in `cwd`, the disk's folder, which is filled before the command's change of number `at`.

    left: bytes that stay free; KILL kills the command instead. seconds: until there is room again; infinity if never.
    """
    told = (words, str(cwd), str(cwd.parent / ".out"), str(cwd.parent / ".err"), env or {}, at, left, seconds)
    process = command._context.Process(target=_child, args=told)
    process.start()
    return process


def ended(process: Any, cwd: Path) -> command.Done:
    """What a command has come to that was begun on the disk; its output is beside it."""
    return command.ended(process, cwd.parent, None)


def runner(*words: str, cwd: Path, env: dict[str, str] | None = None, **full: Any) -> command.Done:
    """`begin` and `ended`; without `full` the disk is left as it is."""
    return ended(begin(*words, cwd=cwd, env=env, **({"at": -1, "left": 0, "seconds": 0.0} | full)), cwd)


def _child(
    words: tuple[str, ...], cwd: str, out: str, err: str, env: dict[str, str], at: int, left: int, seconds: float
) -> None:
    from runner.settings.files import durable

    durable.PATIENCE = PATIENCE if seconds == float("inf") else durable.PATIENCE
    places = (cwd, env.get("TMPDIR", cwd))
    count = [0]

    def changes(event: str, args: tuple[Any, ...]) -> bool:
        if event not in CHANGES or threading.current_thread().name == "room":
            return False
        path, writes = str(args[0]), event != "open" or args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        return bool(writes) and (not path.startswith("/") or path.startswith(places))

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if not changes(event, args):
            return
        count[0] += 1
        if count[0] == at + 1:
            Path(cwd).parent.joinpath(".newest").write_text(str(newest(Path(cwd))))
            if left == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            fill(Path(cwd), left)
            if seconds != float("inf"):
                timer = threading.Timer(seconds, lambda: Disk(Path(cwd)).empty())
                timer.name, timer.daemon = "room", True
                timer.start()

    if "TMPDIR" in env:
        import tempfile

        tempfile.tempdir = None
    Path(cwd).parent.joinpath(".newest").write_text("0")
    sys.addaudithook(hook)
    try:
        command._child(words, cwd, out, err, env)
    finally:
        Path(cwd).parent.joinpath(".count").write_text(str(count[0]))

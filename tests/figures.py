"""The figures behind "nothing is lost", measured at full length: python -m tests.figures [NAME ...]

Each is one line. The test suite does a part of every one of them; all of them together take some 25 minutes.
"""

import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from runner.tracking.store import stores
from tests.commands import test_resume
from tests.settings import test_durable
from tests.support import clean_clone, killed_workers, remote
from tests.sweep import test_sweep
from tests.tracking import test_delivery, test_disk, test_reconcile, test_status
from tests.training import test_checkpoint, test_exact

#: name -> (folder, empty store) -> its line.
FIGURES: dict[str, Callable[[Path, Path], str]] = {
    "save": lambda folder, store: test_durable.kills(folder, store),
    "damage": lambda folder, _: test_checkpoint.figure(folder),
    "exact": lambda *_: test_exact.matrix(),
    "status": lambda _, store: test_status.figure(store),
    "kills": lambda folder, store: test_resume.figure(folder, store),
    "stores": lambda *_: test_reconcile.figure_store_race(),
    "live": lambda *_: test_reconcile.figure_live_runs(),
    "server": lambda *_: test_delivery.figure_server_killed(),
    "remote": lambda folder, store: remote.figure(folder, store),
    "disk": lambda folder, store: test_disk.figure(folder, store),
    "sweeps": lambda folder, _: test_sweep.figure(folder),
    "workers": lambda folder, store: killed_workers.figure(folder, store),
    "reproduce": lambda *_: clean_clone.figure(),
}


def main(names: list[str]) -> None:
    unknown = set(names) - FIGURES.keys()
    if unknown:
        sys.exit(f"there is no figure {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    with tempfile.TemporaryDirectory(prefix="runner-figures-") as place:
        store = _empty_store(Path(place))
        for name in names or FIGURES:
            folder, begun = Path(place) / name, time.monotonic()
            folder.mkdir()
            told = FIGURES[name](folder, store)
            print(f"{name} ({time.monotonic() - begun:.0f} s): {told}", flush=True)
            shutil.rmtree(folder, ignore_errors=True)


def _empty_store(folder: Path) -> Path:
    path = folder / "empty.db"
    stores.open_store(f"sqlite:///{path}")
    with sqlite3.connect(path) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    return path


if __name__ == "__main__":
    main(sys.argv[1:])

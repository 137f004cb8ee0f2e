"""More records than a process may open files are refused before anything is written, with what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

from runner.tracking.store import stores
from runner.tracking.write import spool
from tests.support.command import HANGS

pytest.importorskip("resource")

OPENS = """
import resource, sys
from runner.settings.errors import ConfigError
from runner.tracking import opening
from runner.tracking.write.group import Group

resource.setrlimit(resource.RLIMIT_NOFILE, (50, 150))
runs = [opening.Opening(f"run {i}", {}, {}, {"a.txt": "a"}) for i in range(int(sys.argv[2]))]
try:
    trackers = opening.opened(sys.argv[1], "many", runs, Group())
except ConfigError as error:
    print(error.key, "ulimit -n" in str(error), "models=" in str(error))
    raise SystemExit(0)
for tracker in trackers:
    tracker.end("FINISHED", "")
for tracker in trackers:
    tracker.close("FINISHED", "")
print("FINISHED", len(trackers))
"""


@pytest.mark.parametrize(("count", "says"), [(100, "hydra.launcher.models True True"), (60, "FINISHED 60")])
def test_records_for_which_there_are_no_files_are_refused(store: str, tmp_path: Path, count: int, says: str) -> None:
    words = [sys.executable, "-c", OPENS, store, str(count)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.stdout.split("\n")[-2:] == [says, ""], done.stderr
    client = stores.open_store(store)
    runs = [run for home in client.search_experiments() for run in client.search_runs([home.experiment_id])]
    assert len(runs) == (60 if "FINISHED" in says else 0)
    assert spool.folders(store) == []

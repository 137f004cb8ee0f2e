"""A tracking server that goes while a sweep does: its jobs are trained, and what is left waits in the spools."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import begin, ended, runner
from tests.support.server import Proxy, Server
from tests.support.sweeping import furnish, until


@pytest.fixture
def proxy(empty_store: Path, workplace: Path) -> Iterator[Proxy]:
    server = Server(empty_store, workplace)
    server.start()
    server.wait()
    made = Proxy(server)
    yield made
    made.close()
    server.kill()


def test_a_sweep_whose_server_goes_says_how_to_deliver_the_rest(proxy: Proxy, workplace: Path) -> None:
    furnish(workplace)
    words = ("-m", "experiments=bad", "seed=1,2", "model.knobs.plan='1:wait'", f"tracking.uri={proxy.uri}")
    process = begin(*words, cwd=workplace)
    until((workplace / "killed").exists, "for the first job")
    proxy.mode = "refuse"
    (workplace / "go").touch()
    done = ended(process, workplace, code=None)
    assert done.code == 1
    assert "the table is made of what the jobs reported" in done.err
    assert "to deliver it, in this directory: runner sync" in done.err
    proxy.mode = "pass"
    runner("sync", f"tracking.uri={proxy.uri}", cwd=workplace)
    [table] = (workplace / "artifacts").rglob("results.csv")
    assert [line["status"] for line in csv.DictReader(table.read_text().splitlines())] == ["FINISHED", "FAILED"]
    again = runner("resume", done.run_id, f"tracking.uri={proxy.uri}", cwd=workplace)
    assert again.last.startswith(f"sweep {done.run_id} FINISHED")

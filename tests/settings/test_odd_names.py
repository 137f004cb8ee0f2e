"""Stores, storages and folders whose names hold what URIs, SQL, Hydra and shells read otherwise."""

import json
import re
import shlex
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runner.settings.errors import ConfigError
from runner.settings.trust import permission, typed_words
from runner.sweeps.search import study
from runner.tracking.store import stores
from tests.support import command

ODD = "100%2F? #'\"\\ü {x}, :b;$&"
URIS = [
    "a%2Fb.db",
    "a#b.db",
    "a?b.db",
    "a b.db",
    "a\\b.db",
    "ü🙂.db",
    "it's.db",
    'a"b.db',
    "a{b}.db",
    "a?mode=ro&uri=true",
]
STUDY = """
defaults: [override /hydra/sweeper: optuna, override /hydra/sweeper/sampler: random]
trainer: {epochs: 1, threads: 1}
plots: []
tracking: {uri: URI}
hydra: {sweeper: {n_trials: 1, storage: STORAGE, params: {seed: "1,2"}}}
"""


def test_a_store_and_a_storage_of_any_name_are_used_where_they_are(tmp_path: Path) -> None:
    place = tmp_path / ODD
    (place / "experiments").mkdir(parents=True)
    names = {"URI": f"sqlite:///{place}/m%2F#?.db", "STORAGE": "sqlite:///s%2F# ?uri=true.db"}
    text = re.sub("URI|STORAGE", lambda found: json.dumps(names[found[0]]), STUDY)
    (place / "experiments/x.yaml").write_text(text)
    first = command.runner("experiments=x", cwd=place)
    see = shlex.split(first.out.partition("to see it: runner ui ")[2].splitlines()[0])
    assert typed_words.text(see[1]) == names["URI"]
    command.runner("-m", "experiments=x", cwd=place)
    typed = "tracking.uri='sqlite:///m%2F#?.db'"
    longer = command.runner("resume", "last", typed, "hydra.sweeper.n_trials=2", cwd=place)
    assert "FINISHED" in longer.last
    assert {path.name for path in tmp_path.iterdir()} == {ODD}
    left = {path.name for path in place.iterdir() if not path.name.endswith((".lock", "-shm", "-wal"))}
    assert left - {".out", ".err"} == {"m%2F#?.db", "s%2F# ?uri=true.db", "mlruns", ".runner", "outputs", "experiments"}
    with sqlite3.connect(place / "m%2F#?.db") as held:
        locations = held.execute("SELECT artifact_location FROM experiments").fetchall()
    held.close()
    assert {location for (location,) in locations} == {(place / f"mlruns/{name}").as_uri() for name in ("0", "x")}


@pytest.mark.parametrize("name", URIS)
def test_a_name_is_the_path_of_a_file_for_who_looks_and_for_who_opens(
    name: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    permission.begin([])
    permission.store(f"sqlite:///{name}", "hydra.sweeper.storage")
    study.opened(f"sqlite:///{name}")
    assert [path.name for path in tmp_path.iterdir()] == [name]


#: What SQLite or SQLAlchemy read as another place than a path's.
ELSEWHERE = ["..%2Fx.db", "file:../x.db?mode=rwc&uri=true", "file:..%2Fx.db?uri=true", "file%3A..%2Fx.db?uri=true"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_spelling_of_a_file_s_leads_out_of_the_working_directory(
    name: str, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    permission.begin([])
    for key in ("tracking.uri", "hydra.sweeper.storage"):
        try:
            permission.store(f"sqlite:///{name}", key)
            study.opened(f"sqlite:///{name}")
            stores.open_store(f"sqlite:///{name}")
        except ConfigError:
            continue
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    for other in (f"sqlite+pysqlite:///{name}", f"SQLITE:///{name}", f"sqlite://{name}", f"sqlite:///{name}\n"):
        with pytest.raises(ConfigError):
            permission.store(other, "hydra.sweeper.storage")


def test_the_guard_on_spellings_guards_something(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    url = f"sqlite:///{'file:../x.db?uri=true'}"
    permission.begin([f"hydra.sweeper.storage='{url}'"])  # typed, so that all of it is for SQLAlchemy to read
    study.opened(url)
    assert (tmp_path / "x.db").exists()


def test_a_folder_with_a_comma_in_its_name_can_be_allowed(tmp_path: Path, monkeypatch: Any) -> None:
    there, work = tmp_path / "a, b", tmp_path / "work"
    for folder in (there, work):
        folder.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("RUNNER_PLACES", "/somewhere")
    permission.begin([])
    with pytest.raises(ConfigError) as refused:
        permission.store(f"sqlite:///{there}/x.db", "tracking.uri")
    line = str(refused.value).partition("profile of your shell: ")[2]
    shell = ["bash", "-c", f'{line}; printf %s "$RUNNER_PLACES"']
    told = subprocess.run(shell, capture_output=True, text=True, check=True, timeout=60).stdout
    monkeypatch.setenv("RUNNER_PLACES", told)
    permission.begin([])
    assert permission.places() == ["/somewhere", str(there)]
    permission.store(f"sqlite:///{there}/x.db", "tracking.uri")
